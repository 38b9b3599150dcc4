"""What runs every time of tests that are many, or long: a part that stands for the rest, which is slow."""

from collections.abc import Iterable
from typing import Any

import pytest


def slow(*values: Any) -> Any:
    """Return one case of a parametrized test, for ``make slow`` alone."""
    return pytest.param(*values, marks=pytest.mark.slow)


def quick(*chosen: Any, of: Iterable[Any]) -> list[Any]:
    """Return all cases, the chosen ones to run every time and the others for ``make slow`` alone."""
    every = list(of)
    assert all(one in every for one in chosen), "a chosen case is none of them"
    return [one if one in chosen else slow(one) for one in every]
