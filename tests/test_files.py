"""Files are written whole or not at all, where links lead, and never over what is not a file."""

import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from refusals import refused_as_input as refusal

from deeplim.errors import InputError
from deeplim.files import check_folder, check_writable, lock, make_folder, opened, read_text, write_whole


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


@pytest.mark.parametrize("name", [1, 0, True, None, b"bytes", ["a"], 1.5])
def test_only_text_and_paths_are_names(name: Any) -> None:
    """A number is the descriptor of a file that is open already: reading it would close standard output."""
    for use in (check_writable, check_folder, lambda path: write_whole(path, lambda file: None), opened_whole):
        assert "give its name as text" in refusal(lambda: use(name))  # noqa: B023
    assert "null character" in refusal(lambda: check_writable("a\0b"))


def opened_whole(path: Any) -> bytes:
    with opened(path) as file:
        return file.read()


@pytest.mark.parametrize("mode", [0o444, 0o400, 0o555])
def test_a_write_protected_file_is_kept(mode: int, tmp_path: Path) -> None:
    path = tmp_path / "kept"
    path.write_bytes(b"old")
    path.chmod(mode)
    assert "write-protected" in refusal(lambda: write_whole(path, lambda file: file.write(b"new")))
    (tmp_path / "link").symlink_to("kept")
    assert "write-protected" in refusal(lambda: check_writable(tmp_path / "link"))
    assert path.read_bytes() == b"old"


def test_a_file_too_large_for_its_limit_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    code = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, {resource.RLIM_INFINITY}))\n"
    code += "from deeplim.files import write_whole\n"
    code += f"write_whole({str(path)!r}, lambda file: file.write(bytes(5000)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "OutputError" in done.stderr
    assert "could not be written (File too large); choose another file." in done.stderr
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_files_are_on_the_disk_before_they_are_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    sync, move = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (done.append("sync"), sync(descriptor)))
    monkeypatch.setattr(os, "replace", lambda *names: (done.append("move"), move(*names)))
    write_whole(tmp_path / "a", lambda file: file.write(b"1"))
    assert done == ["sync", "move", "sync"]


def test_drafts_of_killed_processes_are_removed_later(tmp_path: Path) -> None:
    code = (
        f"import os\nfrom deeplim.files import write_whole\nwrite_whole({str(tmp_path / 'a')!r}, lambda f: os._exit(9))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 9
    [left] = tmp_path.iterdir()
    write_whole(tmp_path / "b", lambda file: None)
    assert left.exists(), "it is too young to be told from one just begun"
    os.utime(left, (0, 0))
    descriptor = os.open(left, os.O_RDONLY)
    assert lock(descriptor)
    write_whole(tmp_path / "b", lambda file: None)
    assert left.exists(), "a process that holds it writes it"
    os.close(descriptor)
    for name in (".deeplim-notes", "draft", ".deeplim-1234567.draft", ".deeplim-1234567X.draft"):
        (tmp_path / name).write_text("mine")
        os.utime(tmp_path / name, (0, 0))
    write_whole(tmp_path / "b", lambda file: None)
    assert not left.exists()
    assert len(list(tmp_path.iterdir())) == 5


def test_only_ordinary_files_are_read_and_nothing_hangs(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), Path("/dev/null")):
        with pytest.raises(ValueError, match="not an ordinary file"):
            read_text(path, 100)
    with pytest.raises(ValueError, match="it is a folder"):
        read_text(tmp_path, 100)
    (tmp_path / "text").write_text("größer", encoding="utf-8")
    assert read_text(tmp_path / "text", 100) == "größer"
    with pytest.raises(ValueError, match="more than 7 bytes"):
        read_text(tmp_path / "text", 7)


def test_a_name_that_is_no_utf8_is_a_name(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    write_whole(path, lambda file: file.write(b"1"))
    assert os.listdir(os.fsencode(tmp_path)) == [b"caf\xe9"]
    message = refusal(lambda: check_writable(path / "x"))
    assert "caf\\udce9" in message
    message.encode()


def test_folders_are_looked_at_before_they_are_made(tmp_path: Path) -> None:
    assert check_folder(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    assert not (tmp_path / "a").exists()
    assert make_folder(tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").write_text("")
    wrong = {
        "": "is empty",
        tmp_path / "file": "is not a folder",
        tmp_path / "file" / "a": "is not a folder",
        tmp_path / ("x" * 256) / "a": "File name too long",
    }
    for path, words in wrong.items():
        assert words in refusal(lambda: make_folder(path))  # noqa: B023
