"""Names are shown, never obeyed: whatever a terminal, a page or a renderer would act on is escaped."""

import sys
import unicodedata

import pytest

from deeplim.errors import InputError
from deeplim.printable import printable, printable_lines

ESCAPED = {
    "\x1b[2J": r"\x1b[2J",
    "a\x00b": r"a\x00b",
    "\x07\x08\x0d": r"\x07\x08\r",
    "\x9b31m": r"\x9b31m",
    "txt\u202eexe": r"txt\u202eexe",
    "\u2066a\u2069": r"\u2066a\u2069",
    "a\u2028b": r"a\u2028b",
    "\ud800": r"\ud800",
    "\ufffe": r"\ufffe",
    "\U0010ffff": r"\U0010ffff",
}
KEPT = ["größer ρ ½ … 1 − ρ", "שלום", "你好", "👩‍🔬", "a\\x1b", "nbsp\u00a0thin\u2009", "<script>&'\"", ""]


@pytest.mark.parametrize("text", ESCAPED)
def test_what_would_be_obeyed_is_escaped(text: str) -> None:
    assert printable(text) == printable_lines(text) == ESCAPED[text]
    assert str(InputError(f"the name {text} is wrong.")) == f"the name {ESCAPED[text]} is wrong."


@pytest.mark.parametrize("text", KEPT)
def test_what_is_only_read_is_kept(text: str) -> None:
    assert printable(text) is text
    assert printable_lines(text) is text


def test_lines_are_kept_only_where_there_are_lines() -> None:
    assert printable("a\n\tb\r") == r"a\n\tb\r"
    assert printable_lines("a\n\tb\r") == "a\n\tb\\r"


def test_every_character_is_one_that_xml_holds_and_a_file_can_store() -> None:
    for code in range(sys.maxunicode + 1):
        shown = printable(chr(code))
        assert all(unicodedata.category(each) not in ("Cc", "Cs", "Zl", "Zp") for each in shown)
        assert all(ord(each) & 0xFFFE != 0xFFFE for each in shown)
