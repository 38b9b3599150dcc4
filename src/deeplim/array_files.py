"""NumPy's files, .npy and .npz, written with a digest and read without trusting a byte of them.

What a file says of itself is looked at before anything of that size is made: its names, its types, its shapes, and
whether what they come to is what is there and fits in memory. Only numbers, truth values and text are ever made of it.
"""

import hashlib
import io
import struct
import sys
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np

from deeplim.files import opened, write_whole
from deeplim.memory import memory_left

FORMAT = 2
"""The version of the archives written here; those of version 1 say no version and have no digest."""
_VERSION, _DIGEST = "format", "sha256"
_LONGEST_HEADER = 10_000
"""Bytes of text that describe an array; NumPy writes some hundred and reads no more than this."""
_MOST_AXES = 32
_CHUNK = 2**24
"""Bytes read, or hashed, at a time."""
_SHARE = 0.8
"""Of the memory that is left, how much the arrays of a file may take."""
_END = struct.Struct("<4s4H2LH")
"""The end of an archive: a mark, numbers of disks and of entries (the fourth), sizes."""
_PLAIN = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


@dataclass(frozen=True)
class Entry:
    """What an array of an archive must be: the letter of its type (f, i, b or U), as NumPy has it, and its axes."""

    letter: str
    axes: int = 0

    @property
    def words(self) -> str:
        """What the numbers are, in words."""
        return {"f": "type float64", "i": "whole numbers", "b": "True and False", "U": "text"}[self.letter]

    def check(self, name: str, header: "Header") -> None:
        """Raise ValueError unless an array is of this kind, in this machine's order of bytes."""
        if not self._holds(header.dtype):
            raise ValueError(f"{name} is of type {header.dtype.str} and must be of {self.words}")
        if len(header.shape) != self.axes:
            raise ValueError(f"{name} is of shape {header.shape} and must have {self.axes} axes")

    def holds(self, value: object) -> bool:
        """Whether a value is an array of this type."""
        return isinstance(value, np.ndarray) and self._holds(value.dtype)

    def _holds(self, dtype: np.dtype) -> bool:
        return dtype.kind == self.letter and dtype.isnative and (dtype.itemsize == 8 or self.letter != "f")


@dataclass(frozen=True)
class Header:
    """What an array's file says at its beginning: shape, order of the axes, type, and how many bytes it said it in."""

    shape: tuple[int, ...]
    columns_first: bool
    dtype: np.dtype
    length: int

    @property
    def size(self) -> int:
        """The bytes that the numbers take."""
        return prod(self.shape) * self.dtype.itemsize


def read_array(path: str | Path) -> np.ndarray:
    """Return the array in an .npy file; OSError or ValueError when there is none, or it does not fit in memory."""
    with opened(path) as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        header = _header(file)
        _check_sizes(header, size, "the file")
        _check_memory(2 * header.size + 8 * prod(header.shape))  # the array itself, and as doubles
        return _numbers(file, header)


def write_archive(path: str | Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays to one compressed .npz file, whole, with their version and digest; InputError if that cannot be."""
    write_whole(path, lambda file: np.savez_compressed(file, **sealed(arrays)))  # type: ignore[arg-type]


def sealed(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return arrays with their version and digest, as a file holds them."""
    return dict(arrays) | {_VERSION: np.array(FORMAT), _DIGEST: np.array(digest(arrays))}


def read_archive(path: str | Path, kinds: Mapping[str, Entry], *, sealed: bool = False) -> dict[str, np.ndarray]:
    """Return the arrays that ``write_archive`` wrote, those of these names and kinds alone.

    sealed: whether files without a version, from before there was one, are refused too. OSError or ValueError when the
    file has others, is damaged, is of a newer version or does not fit in memory.
    """
    try:
        with opened(path) as file, zipfile.ZipFile(file) as archive:
            _check_count(file, archive)
            found = _archived(archive, dict(kinds) | {_VERSION: Entry("i"), _DIGEST: Entry("U")})
    except (OSError, ValueError):
        raise
    except Exception as error:  # whatever the reader of archives stumbles over in a damaged or made-up one
        raise ValueError(str(error) or type(error).__name__) from None
    if sealed and _VERSION not in found:
        raise ValueError("it says no version of its format")
    return {name: array for name, array in found.items() if name not in (_VERSION, _DIGEST)}


def digest(arrays: Mapping[str, np.ndarray]) -> str:
    """Return the SHA-256 of arrays with their names, types and shapes, in hexadecimal digits."""
    found = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        found.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        for part in _parts(array):
            found.update(part)
    return found.hexdigest()


def _parts(array: np.ndarray) -> Iterator[memoryview | bytes]:
    """The bytes of an array in C order, a few at a time, copied only where they are not so in memory."""
    if array.flags.c_contiguous:
        if array.nbytes:
            yield array.reshape(-1).view(np.uint8).data
        return
    step = max(1, _CHUNK * len(array) // max(array.nbytes, 1))
    for begin in range(0, len(array), step):
        yield np.ascontiguousarray(array[begin : begin + step]).tobytes()


def _archived(archive: zipfile.ZipFile, kinds: Mapping[str, Entry]) -> dict[str, np.ndarray]:
    members = {_array_name(member): member for member in archive.infolist()}
    if len(members) != len(archive.infolist()):
        raise ValueError("a name stands in it twice")
    unknown = [name for name in members if name not in kinds]
    if _VERSION in members:  # first: a newer version may have names and kinds that this one does not know
        with archive.open(members[_VERSION]) as file:
            _check_version(_checked(file, members[_VERSION], _VERSION, kinds))
    if unknown:
        raise ValueError(f"it has an array called {unknown[0]!r:.60}, which is none of theirs")
    headers = {}
    for name, member in members.items():
        with archive.open(member) as file:
            headers[name] = _header(file)
            kinds[name].check(name, headers[name])
            _check_sizes(headers[name], member.file_size, name)
    _check_memory(sum(header.size for header in headers.values()))
    found = {}
    for name, member in members.items():
        with archive.open(member) as file:
            file.read(headers[name].length)
            found[name] = _numbers(file, headers[name])
            _check_text(name, found[name])
            if file.read(1):  # reading to the end is what makes the archive check its sum
                raise ValueError(f"{name} has more bytes than it says")
    return _unsealed(found)


def _check_count(file: BinaryIO, archive: zipfile.ZipFile) -> None:
    """Raise ValueError unless an archive lists as many arrays as it says at its end, where ``save`` leaves no comment.

    The reader of archives does not compare the two, and one changed bit makes an entry a comment on the one before.
    """
    file.seek(-_END.size, io.SEEK_END)
    mark, _, _, _, count, _, _, _ = _END.unpack(file.read(_END.size))
    if mark != b"PK\5\6" or count != len(archive.infolist()):
        raise ValueError(f"its end does not agree with the {len(archive.infolist())} arrays that it lists")


def _unsealed(found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays again, whose version and digest, where they say any, must be theirs."""
    if (_VERSION in found) != (_DIGEST in found):
        raise ValueError("it has a version without a digest, or a digest without a version")
    own = {name: array for name, array in found.items() if name not in (_VERSION, _DIGEST)}
    if _DIGEST in found and str(found[_DIGEST]) != digest(own):
        raise ValueError("its digest is not that of its numbers: it has been changed since it was written")
    return found


def _array_name(member: zipfile.ZipInfo) -> str:
    if member.compress_type not in _PLAIN or member.flag_bits & 0x1:
        raise ValueError(f"{member.filename!r:.60} in it is packed in another way than `save` packs")
    if not member.filename.endswith(".npy"):
        raise ValueError(f"{member.filename!r:.60} in it is no array")
    return member.filename.removesuffix(".npy")


def _checked(file: IO[bytes], member: zipfile.ZipInfo, name: str, kinds: Mapping[str, Entry]) -> np.ndarray:
    """One small array of an archive."""
    header = _header(file)
    kinds[name].check(name, header)
    _check_sizes(header, member.file_size, name)
    return _numbers(file, header)


def _check_version(version: np.ndarray) -> None:
    if int(version) > FORMAT:
        raise ValueError(f"its format is version {version} and this deeplim reads up to {FORMAT}; update deeplim")
    if int(version) < FORMAT:
        raise ValueError(f"there is no version {version} of its format")


def _header(file: IO[bytes] | BinaryIO) -> Header:
    """Read what an array's file says at its beginning; ValueError unless it is sound."""
    start = file.read(8)
    if start[:6] != b"\x93NUMPY" or start[6:] not in (b"\1\0", b"\2\0"):
        raise ValueError("it does not begin as an array's file does")
    wide = 2 if start[6] == 1 else 4
    size = file.read(wide)
    told = int.from_bytes(size, "little")
    if len(size) < wide or told > _LONGEST_HEADER:
        raise ValueError("the description of an array in it is cut short or too long")
    text = file.read(told)
    read = np.lib.format.read_array_header_1_0 if wide == 2 else np.lib.format.read_array_header_2_0
    try:
        shape, columns_first, dtype = read(io.BytesIO(size + text))
    except Exception as error:  # a text that is parsed as Python's can fail in every way that Python's can
        raise ValueError(f"an array in it has no sound description ({type(error).__name__})") from None
    if any(type(length) is not int or length < 0 for length in shape) or len(shape) > _MOST_AXES:
        raise ValueError(f"an array in it is of the shape {str(shape)[:60]}, which is none")
    if dtype.hasobject:
        raise ValueError("Object arrays cannot be loaded when allow_pickle=False")
    return Header(shape, bool(columns_first), dtype, len(start) + wide + told)


def _check_sizes(header: Header, size: int, what: str) -> None:
    """Raise ValueError unless the bytes that are there are those of the numbers."""
    if header.length + header.size != size:
        raise ValueError(
            f"{what} has {size - header.length:,} bytes of numbers where its shape {header.shape} takes {header.size:,}"
        )


def _check_memory(size: int) -> None:
    left = memory_left()
    if left is not None and size > _SHARE * left:
        raise ValueError(f"it takes {size / 2**30:.1f} GiB of memory and {left / 2**30:.1f} are free")


def _check_text(name: str, array: np.ndarray) -> None:
    """Raise ValueError for text with characters beyond the last one, which Python cannot hold."""
    if array.dtype.kind == "U" and array.dtype.itemsize and (_codes(array) > sys.maxunicode).any():
        raise ValueError(f"{name} has characters that there are not")


def _codes(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint32)


def _numbers(file: Any, header: Header) -> np.ndarray:
    """Read the numbers of an array straight into it."""
    order: Any = "F" if header.columns_first else "C"
    if not header.size:
        return np.zeros(header.shape, header.dtype, order=order)
    flat = np.empty(prod(header.shape), header.dtype)
    room = flat.view(np.uint8).data
    filled = 0
    while filled < len(room):
        count = file.readinto(room[filled : filled + _CHUNK])
        if not count:
            raise ValueError("it ends before its numbers do")
        filled += count
    return flat.reshape(header.shape, order=order)
