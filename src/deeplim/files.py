"""Files written whole or not at all."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

from deeplim.errors import InputError


def check_writable(path: str | Path) -> Path:
    """Return where a file would be written, links followed; InputError when it cannot be: before any work is done."""
    if not str(path):
        raise InputError("the name of the file to write is empty; give one.")
    target = Path(os.path.realpath(path))
    if len(os.fsencode(target.name)) > 255:
        raise InputError(f"the name {target.name[:20]}... has more than 255 letters; choose a shorter one.")
    if target.exists() and not target.is_file():
        raise InputError(f"{path} is not an ordinary file, and would be replaced by one; name another.")
    if not target.parent.is_dir():
        raise InputError(f"the folder of {path} does not exist; make it first or choose another.")
    if not os.access(target.parent, os.W_OK):
        raise InputError(f"{path} cannot be written; choose a folder that you can write in.")
    return target


def write_whole(path: str | Path, write: Callable[[IO[bytes]], object]) -> None:
    """Call write(file) on a draft beside the file and move it there when it is complete; InputError if it cannot be."""
    target = check_writable(path)
    draft = None
    try:
        with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".deeplim-", delete=False) as file:
            draft = Path(file.name)
            write(file)
        mode = target.stat().st_mode if target.exists() else 0o666 & ~_umask()
        draft.chmod(mode & 0o777)
        os.replace(draft, target)
    except OSError as error:
        raise InputError(f"{path} could not be written ({error.strerror or error}); choose another file.") from None
    finally:
        if draft is not None:
            draft.unlink(missing_ok=True)


def _umask() -> int:
    """The permissions new files are denied, which can only be read by setting them."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
