"""Plain-text tables for the terminal."""

from collections.abc import Sequence

from deeplim.printable import printable


def text_table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return the lines under their head, every column as wide as its widest cell; names are shown, never obeyed.

    >>> print(text_table(["layer", "mean"], [["10", "0.3"], ["100", "0.25"]]))
    layer  mean
    10     0.3
    100    0.25
    """
    cells = [[printable(cell) for cell in line] for line in (head, *lines)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(head))]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in cells)
