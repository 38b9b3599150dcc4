"""The checkers of arguments: what they let pass, and the one sentence with which they refuse all else."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from refusals import refusal

from deeplim import checks
from deeplim.errors import SpecError


class Unshown:
    """What has no repr."""

    def __repr__(self) -> str:
        raise RuntimeError("no")


HUGE, BEYOND_TEXT = 10**400, 10**5000
NO_NUMBERS = {
    "None": None,
    "True": True,
    "NumPy's True": np.True_,
    "text": "1",
    "bytes": b"1",
    "a list": [1],
    "a dict": {},
    "an array": np.ones(2),
    "an array of no axis": np.array(1.0),
    "a complex number": 1j,
    "an object": object(),
    "an object without a repr": Unshown(),
    "a type": int,
}
NOT_WHOLE = {
    "1.0": 1.0,
    "NaN": np.nan,
    "-1": -1,
    "8": 8,
    "huge": HUGE,
    "beyond text": BEYOND_TEXT,
    "1/2": Fraction(1, 2),
}
NOT_REAL = {"NaN": np.nan, "infinity": np.inf, "huge": HUGE, "beyond text": -BEYOND_TEXT}
OUTSIDE = {"0": 0, "1": 1, "1.5": np.float32(1.5), "3/2": Fraction(3, 2)}


@pytest.mark.parametrize("case", NO_NUMBERS | NOT_WHOLE)
def test_a_whole_number_is_nothing_else(case: str):
    message = refusal(lambda: checks.check_whole("steps", (NO_NUMBERS | NOT_WHOLE)[case], 0, 7))
    assert message.startswith("steps=")
    assert message.endswith("was given; give a whole number from 0 to 7.")


@pytest.mark.parametrize("case", NO_NUMBERS | NOT_REAL | OUTSIDE)
def test_a_real_number_is_finite_and_within_its_bounds(case: str):
    value = (NO_NUMBERS | NOT_REAL | OUTSIDE)[case]
    message = refusal(lambda: checks.check_real("rate", value, above=0, below=1))
    assert message.startswith("rate=")
    assert message.endswith("was given; give a finite number above 0 and below 1.")
    if case not in OUTSIDE:
        assert refusal(lambda: checks.check_real("x", value)).endswith("give a finite number.")


@pytest.mark.parametrize("case", [*NO_NUMBERS, *NOT_WHOLE])
def test_counts_and_seeds_refuse_the_same(case: str):
    value = (NO_NUMBERS | NOT_WHOLE)[case]
    if case != "8":
        assert "repeats were asked for; give a whole number" in refusal(lambda: checks.check_count("repeats", value))
        assert "was given; it must be a whole number from 0" in refusal(lambda: checks.check_seed(value))


def test_what_is_allowed_passes_as_pythons_own():
    assert checks.check_whole("n", np.int8(7), 0, 7) == 7
    assert type(checks.check_whole("n", np.int8(7))) is int
    assert "of 2 or more" in refusal(lambda: checks.check_whole("n", 1, 2))
    for value in (0.5, np.float32(0.5), Fraction(1, 2)):
        assert checks.check_real("x", value, above=0, most=0.5) == 0.5
        assert type(checks.check_real("x", value)) is float
    assert checks.check_real("x", 1, least=1, most=1) == 1.0
    assert checks.check_flag("f", np.True_) is True
    assert checks.check_word("w", "a", ("a", "b")) == "a"
    assert checks.check_callable("f", len, "give a function") is len
    assert checks.check_callable("f", None, "give a function", optional=True) is None
    assert checks.check_kind("it", 3, int, "give a number") == 3
    assert checks.check_list("names", iter("ab"), "give names") == ["a", "b"]


@pytest.mark.parametrize("case", [*NO_NUMBERS, *NOT_WHOLE])
def test_other_kinds_are_refused_too(case: str):
    value = (NO_NUMBERS | NOT_WHOLE)[case]
    assert "it must be one of 'a', 'b', 'c'." in refusal(lambda: checks.check_word("w", value, ("a", "b", "c")))
    assert "it must be 'a' or 'b'." in refusal(lambda: checks.check_word("w", value, ("a", "b")))
    assert refusal(lambda: checks.check_kind("the depth", value, Unused, "give one")).endswith(
        "for the depth; give one."
    )
    if case not in ("True", "NumPy's True"):
        assert refusal(lambda: checks.check_flag("f", value)).endswith("give True or False.")
    if case != "a type":
        assert refusal(lambda: checks.check_callable("step", value, "give a function")).startswith("step=")
    if case not in ("a list", "an array"):
        assert refusal(lambda: checks.check_list("widths", value, "give widths")).endswith("give widths.")


class Unused:
    """A type that nothing is of."""


def test_what_never_ends_is_no_list():
    told = refusal(lambda: checks.check_list("widths", itertools.count(), "give widths"))
    assert told == "widths=count(1000001) was given; give widths."


def test_another_error_is_raised_where_it_is_asked_for():
    for check in (
        lambda: checks.check_whole("width", "3", error=SpecError),
        lambda: checks.check_real("slope", None, error=SpecError),
        lambda: checks.check_word("vary", 3, ("a",), error=SpecError),
        lambda: checks.check_kind("a network", 3, str, "give one", error=SpecError),
        lambda: checks.check_list("names", 3, "give some", error=SpecError),
        lambda: checks.check_callable("f", 3, "give a function", error=SpecError),
        lambda: checks.check_flag("f", 3, error=SpecError),
    ):
        refusal(check, SpecError)


def test_text_of_any_value():
    assert checks.brief(Unshown()) == "<Unshown>"
    assert checks.brief("é" * 50, 9) == "'ééééé..."
    assert len(checks.brief(np.ones((90, 90)))) == 60
