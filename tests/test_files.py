"""Files are written whole or not at all, where links lead, and never over what is not a file."""

import os
from pathlib import Path

import pytest

from deeplim.errors import InputError
from deeplim.files import check_writable, write_whole


def test_a_file_is_written_and_replaced_with_its_permissions(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    write_whole(path, lambda file: file.write(b"one"))
    path.chmod(0o640)
    write_whole(path, lambda file: file.write(b"two"))
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [path]


def test_a_new_file_has_the_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "usual").write_text("")
    write_whole(tmp_path / "new", lambda file: file.write(b""))
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_a_failure_leaves_the_old_file_and_no_draft(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def fail(file: object) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(InputError, match="No space left on device"):
        write_whole(path, fail)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_is_followed(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"old")
    link.symlink_to(target)
    write_whole(link, lambda file: file.write(b"new"))
    assert link.is_symlink()
    assert target.read_bytes() == b"new"


def test_what_is_no_file_is_refused_and_kept(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, tmp_path, Path("/dev/null")):
        with pytest.raises(InputError, match="is not an ordinary file"):
            check_writable(path)
    assert pipe.is_fifo()
    for path, words in (("", "is empty"), (tmp_path / "no" / "x", "does not exist"), (tmp_path / ("x" * 256), "255")):
        with pytest.raises(InputError, match=words):
            check_writable(path)
