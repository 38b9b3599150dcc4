"""Files written whole or not at all, and read only where they are ordinary files."""

import os
import re
import secrets
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, BinaryIO

from deeplim.checks import brief
from deeplim.errors import InputError, OutputError

_PREFIX, _SUFFIX = ".deeplim-", ".draft"
_DRAFT = re.compile(r"\.deeplim-[a-z0-9_]{8}\.draft")
"""What a draft is called while it is written: no file of anybody else's has such a name."""
_YOUNG = 60.0
"""Seconds for which a draft is left alone, so that one just made is not taken for one left behind."""
_LONGEST = 255
"""Bytes of a file's name on the usual file systems."""


def check_name(path: object) -> Path:
    """Return a file's name as a path; InputError unless it is text or a path. A number would be an open file's."""
    if not isinstance(path, str | os.PathLike) or not isinstance(os.fspath(path), str):
        raise InputError(f"{brief(path)} is of type {type(path).__name__} and names no file; give its name as text.")
    if "\0" in os.fspath(path):
        raise InputError(f"the name {brief(os.fspath(path))} has a null character in it; give one without.")
    return Path(path)


def check_writable(path: str | Path, suffixes: Sequence[str] = ()) -> Path:
    """Return where a file would be written, links followed; InputError when it cannot be: before any work is done.

    ``suffixes``: how its name may end, where that says what is written.
    """
    name = check_name(path)
    if not str(path):
        raise InputError("the name of the file to write is empty; give one.")
    if suffixes and name.suffix.lower() not in suffixes:
        raise InputError(f"a figure cannot be written as {name.name!r:.80}; end its name in {', '.join(suffixes)}.")
    target = _resolved(name)
    if len(os.fsencode(target.name)) > _LONGEST:
        raise InputError(f"the name {target.name[:20]}... has more than 255 letters; choose a shorter one.")
    try:
        there = target.exists()
    except OSError as error:  # a path that is too long, or a folder that may not be looked into
        raise InputError(f"{path} cannot be written ({error.strerror}); choose another file.") from None
    if there and not target.is_file():
        raise InputError(f"{path} is not an ordinary file, and would be replaced by one; name another.")
    if there and _protected(target):
        raise InputError(f"{path} is write-protected; name another file, or allow writing it (chmod u+w).")
    if not target.parent.is_dir():
        raise InputError(f"the folder of {path} does not exist; make it first or choose another.")
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise InputError(f"{path} cannot be written; choose a folder that you can write in.")
    return target


def _resolved(name: Path) -> Path:
    """Where a name leads; InputError where that cannot be said: the current folder is gone, links form a circle."""
    try:
        return Path(os.path.realpath(name))
    except (OSError, RuntimeError):
        raise InputError(f"{name} leads nowhere: the current folder is gone; name a file from the root on.") from None


def check_folder(folder: str | Path) -> Path:
    """Return a folder that files can be written in once it is made; InputError when it cannot be, without making it."""
    chosen = check_name(folder)
    if not str(folder):
        raise InputError("the name of the folder to write in is empty; give one.")
    nearest = _resolved(chosen)
    try:
        while not nearest.exists():
            nearest = nearest.parent
    except OSError as error:
        raise InputError(f"the folder {folder} could not be made ({error.strerror}); choose another.") from None
    if not nearest.is_dir():
        raise InputError(f"the folder {folder} could not be made ({nearest} is not a folder); choose another.")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise InputError(f"the folder {folder} cannot be written in; choose one that you can write in.")
    return chosen


def make_folder(folder: str | Path) -> Path:
    """Return the folder, made if need be; InputError when it cannot be."""
    chosen = check_folder(folder)
    try:
        chosen.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"the folder {folder} could not be made ({error.strerror}); choose another.") from None
    return chosen


def write_whole(path: str | Path, write: Callable[[IO[bytes]], object]) -> None:
    """Call write(file) on a draft beside the file and move it there when it is complete; InputError if it cannot be.

    The draft is on the disk before it is moved, and the move before this returns: a power failure leaves the old file
    or the new one. Drafts that killed processes left in the folder are removed.
    """
    target = check_writable(path)
    try:
        with _drafted(target.parent, write) as draft:
            mode = target.stat().st_mode if target.exists() else 0o666 & ~_umask()
            draft.chmod(mode & 0o777)
            os.replace(draft, target)
        _settle(target.parent)
    except OSError as error:
        raise OutputError(f"{path} could not be written ({error.strerror or error}); choose another file.") from None


@contextmanager
def _drafted(folder: Path, write: Callable[[IO[bytes]], object]) -> Iterator[Path]:
    """A new file in a folder, written and on the disk; removed at the end if it is still there."""
    descriptor, name = tempfile.mkstemp(prefix=_PREFIX, suffix=_SUFFIX, dir=folder)
    draft = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            lock(descriptor)
            write(file)
            file.flush()
            os.fsync(descriptor)
        yield draft
    finally:
        draft.unlink(missing_ok=True)


def _settle(folder: Path) -> None:
    """Put a folder's list of files on the disk, and remove the drafts that were left in it."""
    with suppress(OSError):  # a folder that one may write in but not read, and systems that do not open folders
        descriptor = os.open(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
        try:
            os.fsync(descriptor)
            remove_drafts(descriptor)
        finally:
            os.close(descriptor)


def draft_name() -> str:
    """Return a new name for a draft, by which it is known as one when it is left behind."""
    return _PREFIX + secrets.token_hex(4) + _SUFFIX


def lock(descriptor: int) -> bool:
    """Lock an open file without waiting; whether it is locked now. The lock ends with the process, however it ends."""
    try:
        import fcntl
    except ImportError:  # Windows
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # another process writes it, or the file system has no locks
        return False
    return True


def remove_drafts(folder: int) -> None:
    """Remove the drafts of this user's killed processes from an open folder: such files are old, and nobody's lock."""
    if os.unlink not in os.supports_dir_fd:
        return
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if _DRAFT.fullmatch(entry.name)]
    for name in names:
        with suppress(OSError):
            descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
            try:
                if _left_behind(os.fstat(descriptor)) and lock(descriptor):
                    os.unlink(name, dir_fd=folder)
            finally:
                os.close(descriptor)


def _left_behind(found: os.stat_result) -> bool:
    own = stat.S_ISREG(found.st_mode) and found.st_uid == os.getuid()
    return own and time.time() - found.st_mtime > _YOUNG


@contextmanager
def opened(path: str | Path) -> Iterator[BinaryIO]:
    """Open an ordinary file for reading; OSError or ValueError for anything else, such as a pipe, which could hang."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(check_name(path), flags)
    try:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise ValueError("it is a folder")
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("it is not an ordinary file")
    except ValueError:
        os.close(descriptor)
        raise
    with os.fdopen(descriptor, "rb") as file:
        yield file


def read_text(path: str | Path, most: int) -> str:
    """Return the text, in UTF-8, of an ordinary file of at most so many bytes; OSError or ValueError for any other."""
    with opened(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"it has more than {most:,} bytes")
    return content.decode("utf-8-sig")


def _protected(file: Path) -> bool:
    """Whether a file is there to be kept: nobody may write it (root, who always could, included), or this user not."""
    return not file.stat().st_mode & 0o222 or not os.access(file, os.W_OK)


def _umask() -> int:
    """The permissions new files are denied, which can only be read by setting them."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
