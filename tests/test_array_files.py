"""Arrays in files come back as they were, or are refused: after any changed bit, and whatever a header claims."""

import io
import random
import struct
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from deeplim import array_files
from deeplim.array_files import Entry, digest, read_archive, read_array, write_archive

ARRAYS = {
    "numbers": np.random.default_rng(0).normal(size=(4, 3)),
    "counts": np.arange(5),
    "marks": np.array([[True, False]]),
    "words": np.array(["größer", ""]),
    "extra": np.array(7),
}
ENTRIES = {
    "numbers": Entry("f", 2),
    "counts": Entry("i", 1),
    "marks": Entry("b", 2),
    "words": Entry("U", 1),
    "extra": Entry("i"),
}


def same(found: dict[str, np.ndarray]) -> bool:
    return found.keys() == ARRAYS.keys() and all(np.array_equal(found[name], ARRAYS[name]) for name in ARRAYS)


def test_arrays_read_back(tmp_path: Path) -> None:
    write_archive(tmp_path / "a", ARRAYS)
    found = read_archive(tmp_path / "a", ENTRIES)
    assert same(found)
    assert all(found[name].dtype == ARRAYS[name].dtype for name in ARRAYS)
    with np.load(tmp_path / "a") as archive:
        assert set(archive.files) == {*ARRAYS, "format", "sha256"}


@pytest.mark.parametrize("changed", [np.asfortranarray, lambda array: array[::-1], lambda array: array[:, ::2]])
def test_arrays_that_lie_otherwise_in_memory_read_back(
    changed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(array_files, "_CHUNK", 40)
    array = changed(ARRAYS["numbers"])
    assert digest({"numbers": array}) == digest({"numbers": np.ascontiguousarray(array)})
    write_archive(tmp_path / "a", {"numbers": array})
    np.testing.assert_array_equal(read_archive(tmp_path / "a", ENTRIES)["numbers"], array)
    np.save(tmp_path / "a.npy", array)
    np.testing.assert_array_equal(read_array(tmp_path / "a.npy"), array)


def test_no_changed_bit_gives_another_number(tmp_path: Path) -> None:
    """Every bit of the directory, where sums of the members do not reach, and 1,000 of the rest."""
    write_archive(tmp_path / "a", ARRAYS)
    content = (tmp_path / "a").read_bytes()
    directory = content.index(b"PK\x01\x02")
    spots = [random.Random(3).randrange(8 * len(content)) for _ in range(1000)]
    outcomes: Counter[str] = Counter()
    for bit in {*spots, *range(8 * directory, 8 * len(content))}:
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        (tmp_path / "b").write_bytes(changed)
        try:
            outcomes["same" if same(read_archive(tmp_path / "b", ENTRIES)) else "other"] += 1
        except (OSError, ValueError):
            outcomes["refused"] += 1
    assert outcomes["other"] == 0
    assert outcomes["refused"] > outcomes["same"] > 0


def header(text: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


def described(shape: str = "(2,)", descr: str = "'<f8'", order: str = "False") -> bytes:
    return header(f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n")


HOSTILE = {
    "10^15 numbers": described("(1000000000000000,)"),
    "more than a machine counts": described("(9223372036854775807, 9223372036854775807)"),
    "a negative length": described("(-2,)"),
    "a truth value for a length": described("(True, 2)"),
    "a fraction for a length": described("(2.0,)"),
    "no tuple": described("2"),
    "many axes": described("(" + "1," * 40 + ")"),
    "an unknown type": described(descr="'<f9'"),
    "objects": described(descr="'|O'"),
    "code": header("{'descr': __import__('os').abort(), 'fortran_order': False, 'shape': (2,)}\n"),
    "brackets": header("(" * 5000 + "\n"),
    "a long header": header("{" + " " * 60_000 + "}"),
    "too few bytes": described("(3,)"),
    "too many bytes": described("(1,)"),
    "another version": b"\x93NUMPY\x07\x00" + bytes(100),
    "no end": b"\x93NUMPY\x02\x00\xff\xff\xff\xff",
    "nothing": b"",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_claims_of_a_header_are_not_believed(name: str, tmp_path: Path) -> None:
    content = HOSTILE[name] + np.ones(2).tobytes()
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises((OSError, ValueError)):
        read_array(tmp_path / "a.npy")
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("counts.npy", content)
    with pytest.raises((OSError, ValueError)):
        read_archive(tmp_path / "a.npz", ENTRIES | {"counts": Entry("f", 1)})


def test_a_small_archive_of_many_zeros_is_refused_where_they_do_not_fit(tmp_path: Path, monkeypatch) -> None:
    write_archive(tmp_path / "a", {"numbers": np.zeros((1000, 1000))})
    assert (tmp_path / "a").stat().st_size < 20_000
    monkeypatch.setattr(array_files, "memory_left", lambda: 2**20)
    with pytest.raises(ValueError, match=r"takes 0.0 GiB of memory"):
        read_archive(tmp_path / "a", ENTRIES)


def test_text_of_no_characters_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a", "w") as archive:
        archive.writestr("words.npy", described("(1,)", "'<U2'") + b"\xff" * 8)
    with pytest.raises(ValueError, match="has characters that there are not"):
        read_archive(tmp_path / "a", ENTRIES)


def packed(path: Path, kind: int = zipfile.ZIP_STORED, names: tuple[str, ...] = ("counts.npy",)) -> Path:
    buffer = io.BytesIO()
    np.save(buffer, ARRAYS["counts"])
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name in names:
            archive.writestr(name, buffer.getvalue())
    return path


def test_other_ways_of_packing_and_other_names_are_refused(tmp_path: Path) -> None:
    assert read_archive(packed(tmp_path / "a"), ENTRIES)["counts"].tolist() == [0, 1, 2, 3, 4]
    for kind in (zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2):
        with pytest.raises(ValueError, match="packed in another way"):
            read_archive(packed(tmp_path / "b", kind), ENTRIES)
    for name in ("counts", "../counts.npy", "counts.npy.npy", "\x1b[2J.npy", "x" * 5000 + ".npy"):
        with pytest.raises(ValueError, match=r"is no array|which is none of theirs"):
            read_archive(packed(tmp_path / "c", names=(name,)), ENTRIES)
    with pytest.warns(UserWarning, match="Duplicate name"):
        packed(tmp_path / "d", names=("counts.npy", "counts.npy"))
    with pytest.raises(ValueError, match="stands in it twice"):
        read_archive(tmp_path / "d", ENTRIES)
