"""Plain-text tables for the terminal."""

from collections.abc import Sequence
from unicodedata import combining

from deeplim.printable import printable


def text_table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return the lines under their head, every column as wide as its widest cell; names are shown, never obeyed.

    An accent takes no place of its own.

    >>> print(text_table(["layer", "mean"], [["10", "0.3"], ["100", "0.25"]]))
    layer  mean
    10     0.3
    100    0.25
    """
    cells = [[printable(cell) for cell in line] for line in (head, *lines)]
    widths = [max(_places(line[column]) for line in cells) for column in range(len(head))]
    return "\n".join("  ".join(map(_padded, line, widths)).rstrip() for line in cells)


def _places(cell: str) -> int:
    return sum(not combining(character) for character in cell)


def _padded(cell: str, width: int) -> str:
    return cell + " " * (width - _places(cell))
