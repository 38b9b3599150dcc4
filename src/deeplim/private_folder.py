"""A folder that its owner alone can write in, reached without trusting anything that another user may have put there.

What is read from such a folder is run. So every folder on the way from the root must belong to the user or to root and
be closed to others, or be one where nobody can replace what belongs to somebody else (the sticky bit, as /tmp has); a
symbolic link must belong to the user or to root. Each step is taken from the folder before it, already open, so that
nothing that was looked at can be exchanged for something else.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePath

from deeplim.files import draft_name, lock, remove_drafts

_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
_BINARY = getattr(os, "O_BINARY", 0)
_OTHERS = stat.S_IWGRP | stat.S_IWOTH
_MOST_LINKS = 40
_GUARDED = hasattr(os, "getuid") and os.open in os.supports_dir_fd
"""Whether the system has owners of files and folders that can be opened; on Windows a user's folders are private."""


@dataclass(frozen=True)
class PrivateFolder:
    """An open folder of the user's own; every name is that of a file in it."""

    path: Path
    descriptor: int | None

    def read(self, name: str) -> bytes:
        """Return the content of a file; OSError unless it is an ordinary one that the user alone can write."""
        descriptor = os.open(self._at(name), os.O_RDONLY | _NO_LINK | _BINARY, dir_fd=self.descriptor)
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or (_GUARDED and not _own(found)):
                raise PermissionError(f"{name} is not an ordinary file that its owner alone can write")
            return file.read()

    def write(self, name: str, content: bytes) -> None:
        """Write a file, whole or not at all, and remove the drafts of processes that were killed."""
        draft = draft_name()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINK | _BINARY
        descriptor = os.open(self._at(draft), flags, 0o600, dir_fd=self.descriptor)
        try:
            with os.fdopen(descriptor, "wb") as file:
                lock(descriptor)
                file.write(content)
            os.replace(self._at(draft), self._at(name), src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor)
        except BaseException:
            self.remove(draft)
            raise
        if self.descriptor is not None:
            remove_drafts(self.descriptor)

    def remove(self, name: str) -> None:
        """Remove a file; nothing where there is none."""
        with suppress(FileNotFoundError):
            os.unlink(self._at(name), dir_fd=self.descriptor)

    def touch(self, name: str) -> None:
        """Note that a file was used now."""
        os.utime(self._at(name), dir_fd=self.descriptor)

    def ages(self) -> dict[str, float]:
        """Return when each ordinary file of the user's was last used, in seconds, by its name."""
        found: dict[str, float] = {}
        with os.scandir(self.path if self.descriptor is None else self.descriptor) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):  # removed by another process meanwhile
                    about = entry.stat(follow_symlinks=False)
                    if stat.S_ISREG(about.st_mode) and (not _GUARDED or about.st_uid == os.getuid()):
                        found[entry.name] = about.st_mtime
        return found

    def _at(self, name: str) -> str:
        return str(self.path / name) if self.descriptor is None else name


@contextmanager
def private_folder(path: str | Path) -> Iterator[PrivateFolder]:
    """Open a folder, made if need be for the user alone; OSError where another user could write in it or replace it."""
    chosen = Path(path).absolute()
    if not _GUARDED:
        chosen.mkdir(parents=True, exist_ok=True)
        yield PrivateFolder(chosen, None)
        return
    descriptor = _reached(chosen)
    try:
        about = os.fstat(descriptor)
        if not _own(about):
            raise PermissionError(f"{chosen} belongs to another user, or others can write in it")
        if about.st_mode & 0o077:
            os.fchmod(descriptor, 0o700)
        if not os.access(".", os.W_OK | os.X_OK, dir_fd=descriptor):
            raise PermissionError(f"{chosen} cannot be written in")
        yield PrivateFolder(chosen, descriptor)
    finally:
        os.close(descriptor)


def _reached(path: Path) -> int:
    """Open a folder step by step from the root, following links oneself; OSError for a step that cannot be trusted."""
    here = os.open(path.anchor, _FOLDER)
    steps, links = list(reversed(path.parts[1:])), 0
    try:
        _check_way(os.fstat(here), path.anchor)
        while steps:
            step = steps.pop()
            target = _target(step, here)
            if target is None:
                inner = _entered(step, here)
            else:
                links += 1
                if links > _MOST_LINKS:
                    raise OSError(f"{path} has too many symbolic links")
                absolute = target.is_absolute()
                steps += reversed(target.parts[1:] if absolute else target.parts)
                inner = os.open(target.anchor if absolute else ".", _FOLDER, dir_fd=None if absolute else here)
            here, left = inner, here
            os.close(left)
            _check_way(os.fstat(here), step)
    except BaseException:
        os.close(here)
        raise
    return here


def _target(step: str, here: int) -> PurePath | None:
    """Where a symbolic link leads, or None where there is none; OSError for one that another user made."""
    try:
        about = os.stat(step, dir_fd=here, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if not stat.S_ISLNK(about.st_mode):
        return None
    if about.st_uid not in (0, os.getuid()):
        raise PermissionError(f"the symbolic link {step} belongs to another user")
    return PurePath(os.readlink(step, dir_fd=here))


def _entered(step: str, here: int) -> int:
    """Open a folder in an open one, made for the user alone where there is none."""
    try:
        return os.open(step, _FOLDER | _NO_LINK, dir_fd=here)
    except FileNotFoundError:
        with suppress(FileExistsError):  # another process was faster
            os.mkdir(step, 0o700, dir_fd=here)
        return os.open(step, _FOLDER | _NO_LINK, dir_fd=here)


def _check_way(about: os.stat_result, step: str) -> None:
    """Raise OSError where another user than root could replace what is in a folder."""
    if about.st_uid not in (0, os.getuid()) or (about.st_mode & _OTHERS and not about.st_mode & stat.S_ISVTX):
        raise PermissionError(f"others can replace what is in the folder {step}")


def _own(about: os.stat_result) -> bool:
    return about.st_uid == os.getuid() and not about.st_mode & _OTHERS
