"""Summaries in files: they come back as they were and merge, and one sentence for files that hold none."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_paths import random_paths, with_losses
from refusals import refused_as_input as refusal

import deeplim as dl
from deeplim import array_files
from deeplim.summary import Summary
from deeplim.summary_files import ENTRIES, MOMENTS, read_summary


@pytest.mark.parametrize("inputs", [1, 2, 4])
def test_saved_summaries_read_back_and_merge(inputs: int, tmp_path: Path) -> None:
    names = ("größer", "two words", "", "d")[:inputs]
    first, second = (
        Summary.of(random_paths(inputs=inputs, names=names, seed=seed, source=f"“so” {seed}")) for seed in (1, 2)
    )
    first.save(tmp_path / "summary of mine")
    read = Summary.load(tmp_path / "summary of mine")
    assert (read.to_dict(), read.sources, read.names) == (first.to_dict(), first.sources, first.names)
    assert read.merge(second).to_dict() == first.merge(second).to_dict()
    for name in first.moments:
        np.testing.assert_array_equal(read.histograms[name], first.histograms[name])
        for field in MOMENTS:
            np.testing.assert_array_equal(getattr(read.moments[name], field), getattr(first.moments[name], field))


@pytest.mark.parametrize(
    "made",
    [
        with_losses,
        lambda: random_paths(samples=1),
        lambda: random_paths(alive=np.zeros((5, 4), dtype=bool)),
        lambda: random_paths(log_gap=np.full((5, 4, 3), -np.inf)),
        lambda: random_paths(log_gap=np.full((5, 4, 3), -1e-300)),
        lambda: random_paths(log_norm=np.full((5, 4, 3), 1e300)),
        lambda: random_paths(log_norm=np.full((5, 4, 3), -0.1)),
        lambda: dl.simulate(dl.MLP(width=3, depth=60), dl.gram(correlation=-1.0), networks=200),
        lambda: dl.simulate(dl.MLP(width=500, depth=8), dl.gram(gap=1e-30), networks=64),
        lambda: random_paths().on_clock("layer/width"),
    ],
)
def test_every_summary_that_is_made_can_be_loaded(made: Any, tmp_path: Path) -> None:
    summary = Summary.of(made())
    summary.save(tmp_path / "a.npz")
    assert Summary.load(tmp_path / "a.npz").to_dict() == summary.to_dict()


def test_layers_in_another_order_are_saved_in_theirs(tmp_path: Path) -> None:
    paths = random_paths()
    Summary.of(paths.at(paths.time[::-1].tolist())).save(tmp_path / "a.npz")
    assert Summary.load(tmp_path / "a.npz").to_dict() == Summary.of(paths).to_dict()


def forged(path: Path, **changes: Any) -> Path:
    """A file as ``save`` writes it, digest and all, with some arrays changed, or left out where they are None."""
    Summary.of(random_paths()).save(path)
    arrays = array_files.read_archive(path, ENTRIES) | changes
    array_files.write_archive(path, {name: np.asarray(array) for name, array in arrays.items() if array is not None})
    return path


SOUND = Summary.of(random_paths())
LOW, HIGH = (np.stack([getattr(m, name) for m in SOUND.moments.values()]) for name in ("low", "high"))
COUNTED = np.stack([SOUND.histograms[name] for name in SOUND.moments])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"mean": None, "dead": None}, "it has no dead, mean"),
        ({"colour": np.zeros(2)}, "an array called 'colour'"),
        ({"samples": -5}, "it is of -5 samples"),
        ({"samples": 4}, "above its 4 samples"),
        ({"samples": 5.0}, "samples is of type <f8"),
        ({"dead": np.array([0, 0, 6, 0])}, "dead has numbers below 0 or above its 5 samples"),
        ({"dead": np.array([0, -1, 0, 0])}, "dead has numbers below 0"),
        ({"count": np.full((5, 4), 4)}, "its histograms do not hold as many samples as it counts"),
        ({"histograms": COUNTED + np.eye(COUNTED.shape[2], dtype=int)[0]}, "its histograms do not hold"),
        ({"histograms": -COUNTED}, "its histograms do not hold"),
        ({"histograms": COUNTED[:, :, 1:]}, "histograms is of shape (5, 4, 4001)"),
        ({"mean": np.full((5, 4), np.nan)}, "its moments are not finite"),
        ({"mean": np.full((5, 4), 147.0)}, "not those of numbers between its extremes"),
        ({"m2": np.full((5, 4), -1.0)}, "not those of numbers between its extremes"),
        ({"m4": np.full((5, 4), 1e9)}, "not those of numbers between its extremes"),
        ({"low": LOW - 147, "m2": np.zeros((5, 4))}, "its extremes are beyond what its observables can be"),
        ({"high": HIGH + 147}, "its extremes are beyond what its observables can be"),
        ({"low": HIGH, "high": LOW}, "not those of numbers between its extremes"),
        ({"mean": np.zeros((5, 3))}, "mean is of shape (5, 3) and must be of (5, 4)"),
        ({"time": np.array([0.0, np.nan, 7, 200])}, "the times are 0, nan, 7, 200"),
        ({"time": np.array([7.0, 3, 0, 200])}, "its times do not increase"),
        ({"time": np.array(["a", "b", "c", "d"])}, "time is of type <U1"),
        ({"clock": "fortnight"}, "the clock 'fortnight' is not known"),
        ({"observables": np.array(["correlation"] * 5)}, "which is none of its two sets"),
        ({"names": np.array(["a"])}, "it has 1 names"),
        ({"names": np.array([b"a", b"b"])}, "names is of type |S1"),
    ],
)
def test_archives_that_hold_no_summary(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    path = forged(tmp_path / "a.npz", **changes)
    message = refusal(lambda: Summary.load(path))
    assert said in message
    assert message.startswith(f"{path} does not hold a saved summary (")


def test_paths_and_summaries_are_not_taken_for_each_other_and_need_a_version(tmp_path: Path) -> None:
    random_paths().save(tmp_path / "paths.npz")
    assert "does not hold a saved summary (" in refusal(lambda: Summary.load(tmp_path / "paths.npz"))
    forged(tmp_path / "a.npz")
    assert "does not hold saved paths (" in refusal(lambda: dl.Paths.load(tmp_path / "a.npz"))
    arrays = array_files.read_archive(tmp_path / "a.npz", ENTRIES)
    np.savez(tmp_path / "b.npz", **arrays)
    assert "it says no version of its format" in refusal(lambda: Summary.load(tmp_path / "b.npz"))
    np.savez(tmp_path / "b.npz", **arrays, format=np.array(3), sha256=np.array(""))
    assert "update deeplim" in refusal(lambda: Summary.load(tmp_path / "b.npz"))
    np.savez(tmp_path / "b.npz", **arrays, format=np.array(2), sha256=np.array("0" * 64))
    assert "changed since it was written" in refusal(lambda: Summary.load(tmp_path / "b.npz"))


@pytest.mark.parametrize("content", [b"", b"text\n", b"PK\x03\x04 a zip", b"\x80\x04K\x01.", None])
def test_files_of_another_kind(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    if content is not None:
        path.write_bytes(content)
    assert "does not hold a saved summary (" in refusal(lambda: Summary.load(path))
    assert "give its name as text" in refusal(lambda: read_summary(1))  # type: ignore[arg-type]
