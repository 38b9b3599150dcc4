"""Paths in files: they come back as they were, and one sentence for files that hold none."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_paths import LAYERS, random_paths, with_losses
from refusals import refused_as_input as refusal

from deeplim.paths import Paths

FIELDS = ("log_norm", "log_gap", "alive", "time")


@pytest.mark.parametrize("inputs", [1, 2, 4])
@pytest.mark.parametrize("changes", [{}, {"width": None}, {"width": None, "depth": None}, {"deterministic": True}])
def test_saved_paths_read_back(inputs: int, changes: dict[str, Any], tmp_path: Path) -> None:
    names = ("größer", "two words", "", "d")[:inputs]
    paths = random_paths(inputs=inputs, names=names, source="ρ, quoted “so”", **changes).on_clock("layer")
    paths.save(tmp_path / "paths of mine")
    read = Paths.load(tmp_path / "paths of mine")
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(read, name), getattr(paths, name))
        assert getattr(read, name).dtype == getattr(paths, name).dtype
    for name in ("clock", "names", "source", "width", "depth", "deterministic"):
        assert getattr(read, name) == getattr(paths, name)
        assert type(getattr(read, name)) is type(getattr(paths, name))


def test_saved_losses_read_back(tmp_path: Path) -> None:
    with_losses().save(str(tmp_path / "paths.npz"))
    read = Paths.load(str(tmp_path / "paths.npz"))
    np.testing.assert_array_equal(read.dead, with_losses().dead)
    np.testing.assert_array_equal(read.exploded, with_losses().exploded)


def saved(path: Path, **changes: Any) -> Path:
    """A file as ``save`` writes it, with some arrays changed, or left out where they are None."""
    paths = random_paths()
    fields = {name: value for name, value in (vars(paths) | changes).items() if value is not None}
    np.savez(path, **fields)
    return path


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"log_gap": None, "clock": None}, "(it has no log_gap, clock)"),
        ({"deterministic": None}, "(it has no deterministic)"),
        ({"time": np.zeros(3)}, "are needed and"),
        ({"clock": "fortnight"}, "the clock 'fortnight' is not known"),
        ({"width": "wide"}, "width is of type <U4 and must be of whole numbers"),
        ({"width": np.zeros(2)}, "does not hold saved paths ("),
        ({"colour": np.zeros(2)}, "does not hold saved paths ("),
        ({"names": np.array(["a", "b", None], dtype=object)}, "allow_pickle"),
        ({"log_gap": random_paths().log_gap + 5}, "a correlation below -1"),
        ({"log_gap": np.full((5, 4, 3), np.nan)}, "a log gap that is no number"),
        ({"time": LAYERS[::-1].copy()}, "its times do not increase"),
        ({"time": np.array([0, 3, np.nan, 200])}, "the times are 0, 3, nan, 200"),
        ({"time": np.array([0, 3, 3, 200.0])}, "all different"),
        ({"time": np.array([-1, 3, 7, 200.0])}, "finite numbers from 0 on"),
        ({"time": np.array(list("abcd"))}, "time is of type <U1"),
        ({"time": np.arange(4)}, "time is of type <i8"),
        ({"width": np.array(-5)}, "width = -5 was given"),
        ({"depth": np.array(0)}, "depth = 0 was given"),
        ({"depth": np.array(1.5)}, "depth is of type <f8"),
        ({"width": np.array(True)}, "width is of type |b1"),
        ({"kind": np.array("nonsense")}, "the kind 'nonsense' is not known"),
        ({"log_norm": random_paths().log_norm + 1j}, "log_norm is of type <c16"),
        ({"log_norm": random_paths().log_norm.astype("M8[s]")}, "log_norm is of type <M8[s]"),
        ({"log_norm": random_paths().log_norm.astype(">f8")}, "log_norm is of type >f8"),
        ({"log_norm": random_paths().log_norm.astype(np.float16)}, "log_norm is of type <f2"),
        ({"log_norm": random_paths().log_norm.astype(np.float32)}, "log_norm is of type <f4"),
        ({"alive": np.ones((5, 4))}, "alive is of type <f8"),
        ({"names": np.array([b"a", b"b", b"c"])}, "names is of type |S1"),
        ({"names": np.frombuffer(b"\xff" * 12, dtype="<U1")}, "does not hold saved paths ("),
        ({"clock": np.array(["layer"])}, "clock is of shape (1,)"),
        ({"layer_names": np.array(list("abc"))}, "3 layer names were given for 4 layers"),
        ({"layer_names": np.array(list("abcd")), "silent": np.zeros((5, 4), np.float32)}, "silent is of type <f4"),
        ({"format": np.array(3), "sha256": np.array("")}, "update deeplim"),
        ({"format": np.array(2)}, "a version without a digest"),
        ({"format": np.array(2), "sha256": np.array("0" * 64)}, "changed since it was written"),
    ],
)
def test_archives_that_hold_no_paths(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    path = saved(tmp_path / "paths.npz", **changes)
    message = refusal(lambda: Paths.load(path))
    assert said in message
    assert message.startswith(f"{path} does not hold saved paths (")


def test_the_file_that_is_changed_above_is_read_unchanged(tmp_path: Path) -> None:
    read = Paths.load(saved(tmp_path / "paths.npz"))
    np.testing.assert_array_equal(read.log_gap, random_paths().log_gap)


@pytest.mark.parametrize(
    "content", [b"", b"text\n", b"PK\x03\x04 a zip", b"\x80\x04K\x01.", b"\x93NUMPY\x01\x00", None]
)
def test_files_of_another_kind(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "paths.npy"
    if content is None:
        np.save(path, np.zeros(3))
    else:
        path.write_bytes(content)
    assert "does not hold saved paths (" in refusal(lambda: Paths.load(path))


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9, 0.99])
def test_a_file_that_was_cut_short(kept: float, tmp_path: Path) -> None:
    path = saved(tmp_path / "paths.npz")
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    assert "does not hold saved paths (" in refusal(lambda: Paths.load(path))


@pytest.mark.parametrize("at", [100, 300, 600])
def test_a_file_with_a_changed_byte(at: int, tmp_path: Path) -> None:
    path = tmp_path / "paths.npz"
    random_paths().save(path)
    content = bytearray(path.read_bytes())
    content[at] ^= 0xFF
    path.write_bytes(bytes(content))
    assert "does not hold saved paths (" in refusal(lambda: Paths.load(path))


def test_a_number_is_no_file() -> None:
    """Loading 1 closed standard output."""
    for name in (1, 0, None, True, b"paths.npz"):
        assert "give its name as text" in refusal(lambda: Paths.load(name))  # type: ignore[arg-type]  # noqa: B023
        assert "give its name as text" in refusal(lambda: random_paths().save(name))  # type: ignore[arg-type]  # noqa: B023
    os.fstat(1)


def test_layers_in_another_order_are_saved_in_theirs(tmp_path: Path) -> None:
    random_paths().at([200, 3]).save(tmp_path / "paths.npz")
    read = Paths.load(tmp_path / "paths.npz")
    assert read.time.tolist() == [3, 200]
    np.testing.assert_array_equal(read.log_gap, random_paths().at([3, 200]).log_gap)


def test_files_that_cannot_be_read_or_written(tmp_path: Path) -> None:
    assert "does not hold saved paths (" in refusal(lambda: Paths.load(tmp_path / "missing.npz"))
    assert "does not hold saved paths (" in refusal(lambda: Paths.load(tmp_path))
    assert "is not an ordinary file" in refusal(lambda: random_paths().save(tmp_path))
    assert "does not exist" in refusal(lambda: random_paths().save(tmp_path / "missing" / "paths.npz"))
