"""Inputs from files: .npy and .csv as people write them, and one sentence for files that hold no inputs."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from refusals import refused_as_input as refusal

from deeplim import gram, read_inputs

ROWS = np.array([[1.0, 2.0, 3.0], [-1.0, 0.5, 2.0]])


@pytest.mark.parametrize("dtype", [float, np.float32, np.float16, int, np.int8, bool])
def test_npy_files_of_every_real_type(dtype: type, tmp_path: Path) -> None:
    table = np.array([[1, 2, 0], [0, 0, 4]]).astype(dtype)
    np.save(tmp_path / "rows.npy", table)
    inputs = read_inputs(tmp_path / "rows.npy")
    np.testing.assert_allclose(inputs.covariance, table.astype(float) @ table.T.astype(float) / 3, atol=1e-15)
    assert inputs.source == "rows.npy"


def test_npy_files_of_one_row_and_of_images(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", ROWS[:1])
    assert read_inputs(str(tmp_path / "one.npy")).count == 1
    images = np.random.default_rng(9).standard_normal((4, 5, 3, 2))
    np.save(tmp_path / "images.NPY", images)
    (tmp_path / "images.NPY.npy").rename(tmp_path / "images.NPY")
    np.testing.assert_array_equal(read_inputs(tmp_path / "images.NPY").gap, gram(images.reshape(4, 30)).gap)


CSV = {
    "plain": "1,2,3\n-1,0.5,2\n",
    "no last newline": "1,2,3\n-1,0.5,2",
    "header": "a,b,c\n1,2,3\n-1,0.5,2\n",
    "quoted header": '"a, b","b","c d"\n1,2,3\n-1,0.5,2\n',
    "spaces and empty lines": "\n 1, 2 ,3\n\n-1,0.5, 2\n\n",
    "comments": "# made by hand\n1,2,3  # the first\n-1,0.5,2\n",
    "Windows": "\ufeffa,b,c\r\n1,2,3\r\n-1,0.5,2\r\n",
    "byte order mark": "\ufeff1,2,3\n-1,0.5,2\n",
    "exponents": "1e0,2.0,+3\n-1.,.5,2E0\n",
}


@pytest.mark.parametrize("name", CSV)
def test_csv_files(name: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(CSV[name], encoding="utf-8", newline="")
    inputs = read_inputs(path)
    np.testing.assert_array_equal(inputs.gap, gram(ROWS).gap)
    np.testing.assert_array_equal(inputs.log_norm, gram(ROWS).log_norm)
    assert inputs.source == "rows.csv"


def test_a_csv_file_of_one_row(tmp_path: Path) -> None:
    (tmp_path / "row.csv").write_text("3,4\n")
    assert read_inputs(tmp_path / "row.csv").covariance.tolist() == [[pytest.approx(12.5, rel=1e-15)]]


BAD_CSV = {
    "": "it holds no numbers",
    "\n\n": "it holds no numbers",
    "# nothing\n": "it holds no numbers",
    "a,b,c\n": "it holds no numbers",
    "a,b\nc,d\n": "could not convert string 'c'",
    "a,1\n2,3\n": "could not convert string 'a'",
    ",x,y\n0,1,2\n": "a column has no name; save the table without row labels",
    '"","x"\n0,1\n': "a column has no name; save the table without row labels",
    "1,2\n3\n": "the number of columns changed",
    "1;2\n3;4\n": "could not convert string '3;4'",
    "1,2\n,3\n": "could not convert string ''",
    "1,nan\n3,4\n": "contain a NaN or an infinity",
    "0,0\n3,4\n": "input 0 is all zeros",
    "1\n2\n": "have correlation 1",
}


@pytest.mark.parametrize("text", BAD_CSV)
def test_csv_files_that_hold_no_inputs(text: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(text)
    assert BAD_CSV[text] in refusal(lambda: read_inputs(path))


BAD_NPY: dict[str, tuple[object, str]] = {
    "complex": (np.array([[1j, 2]]), "it is of type complex128"),
    "objects": (np.array([[1, "a"], [None, 2.0]], dtype=object), "Object arrays cannot be loaded"),
    "text": (np.array([["a", "b"]]), "it is of type <U1"),
    "records": (np.zeros(3, dtype=[("a", float), ("b", int)]), "cannot be read as real numbers"),
    "a number": (np.array(3.0), "inputs of shape () were given"),
    "one axis": (np.ones(3), "inputs of shape (3,) were given"),
    "nothing": (np.zeros((0, 8, 8)), "inputs of shape (0, 8, 8) were given"),
    "empty images": (np.zeros((2, 0, 8)), "inputs of shape (2, 0, 8) were given"),
}


@pytest.mark.parametrize("name", BAD_NPY)
def test_npy_files_that_hold_no_inputs(name: str, tmp_path: Path) -> None:
    value, said = BAD_NPY[name]
    np.save(tmp_path / "rows.npy", value, allow_pickle=True)  # type: ignore[arg-type]
    assert said in refusal(lambda: read_inputs(tmp_path / "rows.npy"))


@pytest.mark.parametrize(
    "content", [b"", b"1,2\n3,4\n", b"PK\x03\x04 a zip", b"\x80\x04K\x01.", b"\x93NUMPY\x01\x00", b"\x00" * 99]
)
@pytest.mark.parametrize("suffix", [".npy", ".csv"])
def test_files_of_another_kind(content: bytes, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"rows{suffix}"
    path.write_bytes(content)
    if suffix == ".csv" and content.startswith(b"1"):
        assert read_inputs(path).count == 2
    else:
        assert f"the inputs in {path} could not be read (" in refusal(lambda: read_inputs(path))


def test_an_archive_of_arrays_is_not_one_array(tmp_path: Path) -> None:
    np.savez(tmp_path / "rows.npz", a=ROWS)
    (tmp_path / "rows.npz").rename(tmp_path / "rows.npy")
    assert "could not be read (" in refusal(lambda: read_inputs(tmp_path / "rows.npy"))


def test_half_an_array_is_not_an_array(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", ROWS)
    (tmp_path / "rows.npy").write_bytes((tmp_path / "rows.npy").read_bytes()[:-7])
    assert "could not be read (" in refusal(lambda: read_inputs(tmp_path / "rows.npy"))


@pytest.mark.parametrize("name", ["missing.npy", "missing.csv", "folder.npy", "folder.csv"])
def test_files_that_are_not_there(name: str, tmp_path: Path) -> None:
    if name.startswith("folder"):
        (tmp_path / name).mkdir()
    assert f"the inputs in {tmp_path / name} could not be read (" in refusal(lambda: read_inputs(tmp_path / name))


@pytest.mark.parametrize("name", ["rows.txt", "rows", "digit", "rows.npz", ".npy", ""])
def test_files_with_another_ending(name: str) -> None:
    assert "not a .npy or .csv file; give one, or 'digits'." in refusal(lambda: read_inputs(name))


@pytest.mark.parametrize("suffix", [".npy", ".csv"])
def test_pipes_and_devices_are_refused_without_waiting_for_them(suffix: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / f"pipe{suffix}")
    (tmp_path / f"zero{suffix}").symlink_to("/dev/zero")
    for name in ("pipe", "zero"):
        message = refusal(lambda: read_inputs(tmp_path / f"{name}{suffix}"))  # noqa: B023
        assert "could not be read (it is not an ordinary file)" in message


@pytest.mark.parametrize("suffix", [".npy", ".csv"])
def test_files_larger_than_the_memory_are_not_read(suffix: str, tmp_path: Path) -> None:
    """A sparse file takes no disk and may be as long as a file system allows."""
    path = tmp_path / f"rows{suffix}"
    text = "{'descr': '<f8', 'fortran_order': False, 'shape': (2, 100000000000), }\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode())
    os.truncate(path, 10 + len(text) + 1_600_000_000_000)
    assert "memory" in refusal(lambda: read_inputs(path))


@pytest.mark.parametrize("name", [3, None, True, b"rows.npy", ["rows.npy"]])
def test_only_text_and_paths_name_files(name: Any) -> None:
    assert "give its name as text" in refusal(lambda: read_inputs(name))


def test_an_array_with_more_bytes_than_it_says_is_not_read(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", ROWS)
    with (tmp_path / "rows.npy").open("ab") as file:
        file.write(bytes(8))
    assert "56 bytes of numbers where its shape (2, 3) takes 48" in refusal(lambda: read_inputs(tmp_path / "rows.npy"))
