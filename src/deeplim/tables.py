"""Plain-text tables for the terminal."""

from collections.abc import Sequence


def text_table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return the lines under their head, every column as wide as its widest cell.

    >>> print(text_table(["layer", "mean"], [["10", "0.3"], ["100", "0.25"]]))
    layer  mean
    10     0.3
    100    0.25
    """
    cells = [head, *lines]
    widths = [max(len(line[column]) for line in cells) for column in range(len(head))]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in cells)
