"""Paths in files: they come back as they were, and one sentence for files that hold none."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_paths import random_paths, with_losses
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
        ({"width": "wide"}, "invalid literal"),
        ({"width": np.zeros(2)}, "does not hold saved paths ("),
        ({"colour": np.zeros(2)}, "does not hold saved paths ("),
        ({"names": np.array(["a", "b", None], dtype=object)}, "allow_pickle"),
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


def test_files_that_cannot_be_read_or_written(tmp_path: Path) -> None:
    assert "does not hold saved paths (" in refusal(lambda: Paths.load(tmp_path / "missing.npz"))
    assert "does not hold saved paths (" in refusal(lambda: Paths.load(tmp_path))
    assert "is not an ordinary file" in refusal(lambda: random_paths().save(tmp_path))
    assert "does not exist" in refusal(lambda: random_paths().save(tmp_path / "missing" / "paths.npz"))
