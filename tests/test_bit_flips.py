"""No changed bit in a file is believed: see bit_flips.py, which does this a thousand times."""

from pathlib import Path

import pytest
from bit_flips import KINDS, flipped


@pytest.mark.parametrize("kind", KINDS)
def test_a_changed_bit_is_refused_or_changes_nothing(kind: str, tmp_path: Path) -> None:
    found = KINDS[kind](tmp_path, 150)
    assert set(found) <= {"refused", "the same"}
    assert found["refused"] > 100


def test_a_reader_that_believes_all_is_caught(tmp_path: Path) -> None:
    path = tmp_path / "numbers"
    path.write_bytes(b"\0" * 100)
    found = flipped(path, 50, lambda: path.read_bytes(), (b"\0" * 100).__eq__)
    assert found == {"OTHER NUMBERS": 50}
    found = flipped(path, 50, lambda: [][0], bool)
    assert found == {"CRASHED: IndexError": 50}
