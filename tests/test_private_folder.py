"""A private folder is the user's own, whatever is in the way; what others could have put there is refused."""

import os
import stat
import time
from pathlib import Path

import pytest

from deeplim.private_folder import private_folder

pytestmark = pytest.mark.skipif(not hasattr(os, "getuid"), reason="owners and modes of files are those of POSIX")
as_root = pytest.mark.skipif(os.name != "posix" or os.getuid() != 0, reason="only root can give files to others")
SOMEBODY = 12345


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def refused(path: Path) -> bool:
    try:
        with private_folder(path):
            return False
    except OSError:
        return True


def test_a_new_folder_and_its_new_parents_are_the_users_alone(tmp_path: Path) -> None:
    with private_folder(tmp_path / "a" / "b") as folder:
        folder.write("x.kernel", b"one")
        assert folder.read("x.kernel") == b"one"
    assert mode(tmp_path / "a") == mode(tmp_path / "a" / "b") == 0o700
    assert mode(tmp_path / "a" / "b" / "x.kernel") == 0o600


def test_a_folder_that_others_can_only_read_is_closed_to_them(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir(mode=0o755)
    assert not refused(tmp_path / "a")
    assert mode(tmp_path / "a") == 0o700


@pytest.mark.parametrize("open_to", [0o777, 0o770, 0o702, 0o1777])
def test_a_folder_that_others_can_write_in_is_refused_and_left_as_it_is(open_to: int, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a").chmod(open_to)
    assert refused(tmp_path / "a")
    assert mode(tmp_path / "a") == open_to


@pytest.mark.parametrize(("open_to", "safe"), [(0o777, False), (0o775, False), (0o1777, True), (0o755, True)])
def test_nobody_else_may_replace_a_folder_on_the_way(open_to: int, safe: bool, tmp_path: Path) -> None:
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    (tmp_path / "a").chmod(open_to)
    assert refused(tmp_path / "a" / "b" / "c") is not safe
    assert refused(tmp_path / "a" / "b" / ".." / "b" / "c") is not safe


def test_a_users_own_links_are_followed_and_checked_on_the_way(tmp_path: Path) -> None:
    (tmp_path / "safe" / "place").mkdir(parents=True)
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "open" / "place").mkdir()
    (tmp_path / "to safe").symlink_to("safe/../safe")
    (tmp_path / "to open").symlink_to(tmp_path / "open")
    (tmp_path / "circle").symlink_to("circle")
    with private_folder(tmp_path / "to safe" / "place") as folder:
        folder.write("x", b"1")
    assert (tmp_path / "safe" / "place" / "x").read_bytes() == b"1"
    assert refused(tmp_path / "to open" / "place")
    assert refused(tmp_path / "circle" / "place")


@as_root
def test_folders_and_links_of_another_user_are_refused(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "mine").mkdir()
    os.chown(tmp_path / "theirs", SOMEBODY, SOMEBODY)
    (tmp_path / "mine").mkdir()
    (tmp_path / "link").symlink_to("mine")
    os.chown(tmp_path / "link", SOMEBODY, SOMEBODY, follow_symlinks=False)
    assert not refused(tmp_path / "mine")
    for name in ("theirs", "theirs/mine", "link"):
        assert refused(tmp_path / name), name


@as_root
def test_a_file_of_another_user_is_not_read(tmp_path: Path) -> None:
    with private_folder(tmp_path / "a") as folder:
        folder.write("x", b"1")
        os.chown(tmp_path / "a" / "x", SOMEBODY, SOMEBODY)
        with pytest.raises(PermissionError):
            folder.read("x")


def test_what_is_no_ordinary_file_of_the_users_is_not_read(tmp_path: Path) -> None:
    with private_folder(tmp_path / "a") as folder:
        folder.write("x", b"1")
        (tmp_path / "a" / "link").symlink_to("x")
        os.mkfifo(tmp_path / "a" / "pipe")
        (tmp_path / "a" / "folder").mkdir()
        for name in ("link", "pipe", "folder"):
            with pytest.raises(OSError):  # noqa: PT011
                folder.read(name)
        assert set(folder.ages()) == {"x"}
        (tmp_path / "a" / "x").chmod(0o620)
        with pytest.raises(PermissionError):
            folder.read("x")


def test_a_failed_write_leaves_the_old_file_and_no_draft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with private_folder(tmp_path / "a") as folder:
        folder.write("x", b"old")
        monkeypatch.setattr(os, "replace", lambda *names, **folders: exec("raise OSError(28, 'full')"))
        with pytest.raises(OSError, match="full"):
            folder.write("x", b"new")
        assert folder.read("x") == b"old"
    assert os.listdir(tmp_path / "a") == ["x"]


def test_drafts_of_killed_processes_are_removed_and_nothing_else(tmp_path: Path) -> None:
    names = {".deeplim-0123abcd.draft": True, ".deeplim-0123abcd": False, ".deeplim-x.draft": False, "notes": False}
    with private_folder(tmp_path / "a") as folder:
        for name in names:
            (tmp_path / "a" / name).write_bytes(b"half")
            os.utime(tmp_path / "a" / name, (0, time.time() - 3600))
        (tmp_path / "a" / ".deeplim-ffffffff.draft").write_bytes(b"being written")
        folder.write("x", b"1")
    left = {name for name, removed in names.items() if not removed}
    assert set(os.listdir(tmp_path / "a")) == left | {"x", ".deeplim-ffffffff.draft"}
