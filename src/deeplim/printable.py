"""Text that came from outside, made safe to show: names are data in a terminal, in a figure and on a page.

A name may hold escape sequences that a terminal obeys, characters that XML forbids (a renderer aborts the process on
them), halves of surrogate pairs that no file can hold, or marks that turn the direction of the text around them. Here
each of these becomes the escape that Python writes for it, such as ``\\x1b``; all other text is unchanged.
"""

import re

_CONTROLS = r"\x00-\x1f\x7f-\x9f"
_DIRECTIONS = r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
_SEPARATORS = r"\u2028\u2029"
_SURROGATES = r"\ud800-\udfff"
_NONCHARACTERS = r"\ufdd0-\ufdef" + "".join(rf"\U{plane:04x}fffe\U{plane:04x}ffff" for plane in range(17))
_UNSAFE = _DIRECTIONS + _SEPARATORS + _SURROGATES + _NONCHARACTERS
_IN_A_LINE = re.compile(f"[{_CONTROLS}{_UNSAFE}]")
_IN_LINES = re.compile(rf"(?![\n\t])[{_CONTROLS}{_UNSAFE}]")


def printable(text: str) -> str:
    r"""Return text as one line that is safe to show: control, direction and unassignable characters are escaped.

    >>> print(printable("red\x1b[31m, two\nlines"))
    red\x1b[31m, two\nlines
    """
    if text.isprintable():  # far faster than the expression, and the rule
        return text
    return _IN_A_LINE.sub(_escaped, text) if _IN_A_LINE.search(text) else text


def printable_lines(text: str) -> str:
    r"""Return text of several lines that is safe to show: as ``printable``, but line ends and tabs are left alone.

    >>> print(printable_lines("one\ntwo\r\x9b"))
    one
    two\r\x9b
    """
    if all(line.isprintable() for line in text.split("\n")):
        return text
    return _IN_LINES.sub(_escaped, text) if _IN_LINES.search(text) else text


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")
