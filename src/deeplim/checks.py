"""What is checked at the border: counts, seeds, numbers, words and kinds of arguments, and that results fit in memory.

Each checker takes the argument's name and its value, and returns the value or raises one sentence: what came, and what
to give instead. True and False are no numbers, and what cannot be shown as text is shown by its type.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from inspect import signature
from itertools import islice
from math import isfinite
from numbers import Integral, Real
from typing import Any, ParamSpec, TypeVar

import numpy as np

from deeplim.errors import DeeplimError, InputError, LimitError
from deeplim.memory import check_room

P = ParamSpec("P")
MOST_SAMPLES = 1_000_000_000
MOST_LISTED = 1_000_000
"""Values that are taken of an iterable before it is refused: more are no list that a person gives."""
FEWER = (
    "ask for fewer samples, layers or inputs, or for networks' summary alone: "
    "dl.summarize, or simulate without --output"
)
"""The cure for paths that do not fit in memory."""
T = TypeVar("T")


def brief(value: object, most: int = 60) -> str:
    """Return the repr of a value on one line, without its address and the function it is in, cut where it is long.

    The type's name where there is no repr, as of a number of more digits than Python writes.

    >>> brief(np.float64(0.5)), brief(10**5000), brief("a" * 90, 10)
    ('0.5', '<int>', "'aaaaaa...")
    """
    try:
        shown = repr(value.item() if isinstance(value, np.generic) else value)
    except Exception:
        shown = f"<{type(value).__name__}>"
    text = re.sub(r" at 0x[0-9a-fA-F]+(?=>)|((\w+\.)+<locals>\.)+", "", " ".join(shown.split()))
    return text if len(text) <= most else text[: most - 3] + "..."


def kind_of(value: object) -> str:
    """Return the name of a value's type with its article, or None for None.

    >>> kind_of(3), kind_of("x"), kind_of(None), kind_of(np.ones(2)), kind_of(np.uint8(3))
    ('an int', 'a str', 'None', 'an ndarray', 'a uint8')
    """
    name = type(value).__name__
    spelled = name[:2].isupper() and name[0] in "AEFHILMNORSX"  # letter by letter, as an MLP and an LSTM
    article = "an" if spelled or name[0].lower() in "aeio" or name == "ndarray" else "a"
    return "None" if value is None else f"{article} {name}"


def check_kind(
    what: str, value: Any, kinds: type[T] | tuple[type[T], ...], cure: str, *, error: type[DeeplimError] = InputError
) -> T:
    """Return a value of some types; else raise that its type was given for ``what``, and the cure."""
    if not isinstance(value, kinds):
        raise error(f"{kind_of(value)} was given for {what}; {cure}.")
    return value


def check_whole(
    what: str, value: Any, least: int = 0, most: int | None = None, *, error: type[DeeplimError] = InputError
) -> int:
    """Return a whole number from ``least`` to ``most``, both included; None is no bound."""
    if _is_number(value, Integral) and least <= value and (most is None or value <= most):
        return int(value)
    allowed = f"of {least:,} or more" if most is None else f"from {least:,} to {most:,}"
    raise error(f"{what}={brief(value)} was given; give a whole number {allowed}.")


def check_real(
    what: str,
    value: Any,
    *,
    above: float | None = None,
    below: float | None = None,
    least: float | None = None,
    most: float | None = None,
    error: type[DeeplimError] = InputError,
) -> float:
    """Return a finite number as a float, within bounds: ``above`` and ``below`` exclude theirs, the others do not."""
    found = _as_float(value)
    if found is not None and (
        (above is None or found > above)
        and (below is None or found < below)
        and (least is None or found >= least)
        and (most is None or found <= most)
    ):
        return found
    bounds = {"above": above, "at least": least, "below": below, "at most": most}
    allowed = " and ".join(f"{word} {bound:g}" for word, bound in bounds.items() if bound is not None)
    raise error(f"{what}={brief(value)} was given; give {f'a finite number {allowed}'.rstrip()}.")


def check_float(what: str, value: Any, *, error: type[DeeplimError] = InputError) -> float:
    """Return a number as a float, NaN and infinities too."""
    if _is_number(value, Real):
        try:
            return float(value)
        except OverflowError:
            pass
    raise error(f"{what}={brief(value)} was given; give a number that a float holds.")


def check_flag(what: str, value: Any, *, error: type[DeeplimError] = InputError) -> bool:
    """Return True or False, Python's or NumPy's."""
    if not isinstance(value, bool | np.bool_):
        raise error(f"{what}={brief(value)} was given; give True or False.")
    return bool(value)


def check_word(what: str, value: Any, words: Sequence[str], *, error: type[DeeplimError] = InputError) -> str:
    """Return one of some words."""
    if not isinstance(value, str) or value not in words:
        listed = " or ".join(map(repr, words)) if len(words) < 3 else f"one of {', '.join(map(repr, words))}"
        raise error(f"{what}={brief(value)} was given; it must be {listed}.")
    return value


def check_callable(
    what: str, value: Any, cure: str, *, optional: bool = False, error: type[DeeplimError] = InputError
) -> Any:
    """Return what can be called; None too where it is optional."""
    if not (callable(value) or (optional and value is None)):
        raise error(f"{what}={brief(value)} was given; {cure}.")
    return value


def check_function(what: str, value: Any, cure: str) -> Any:
    """Return a function that takes one argument, or None."""
    check_callable(what, value, cure, optional=True)
    try:
        taken = value is None or signature(value).bind(None) is not None
    except TypeError:
        taken = False
    except ValueError:  # one that is written in C, and does not say what it takes
        taken = True
    if not taken:
        raise InputError(f"{what}={brief(value)} was given, which does not take one argument; {cure}.")
    return value


def check_progress(progress: Any) -> Any:
    """Return what is told of progress, or None."""
    return check_function("progress", progress, "give a function of one argument, or None")


def check_list(what: str, value: Any, cure: str, *, error: type[DeeplimError] = InputError) -> list[Any]:
    """Return the parts of an iterable as a list; no text and no mapping is one, nor what never ends."""
    if isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping):
        try:
            found = list(islice(value, MOST_LISTED + 1))
        except TypeError:  # an array of no axis
            found = [None] * (MOST_LISTED + 1)
        if len(found) <= MOST_LISTED:
            return found
    raise error(f"{what}={brief(value)} was given; {cure}.")


def check_numbers(what: str, value: Any, cure: str, *, error: type[DeeplimError] = InputError) -> np.ndarray:
    """Return finite numbers, one or a list or array of one axis of them, as an array of floats of one axis."""
    given = [value] if _is_number(value, Real) else check_list(what, value, cure, error=error)
    found = [_as_float(one) for one in given]
    if None in found:
        raise error(f"{what}={brief(value)} was given; {cure}.")
    return np.array(found, dtype=float)


def _is_number(value: Any, kind: Any) -> bool:
    """Whether this is a number of a kind of Python's tower, which NumPy's are in too; True and False are none."""
    return isinstance(value, kind) and not isinstance(value, bool | np.bool_)


def _as_float(value: Any) -> float | None:
    """A finite number as a float; None for all else, as a whole number beyond every float."""
    try:
        return float(value) if _is_number(value, Real) and isfinite(value) else None
    except OverflowError:
        return None


def within_floats(function: Callable[P, T]) -> Callable[P, T]:
    """Decorate a function of a network so that where numbers leave what floats hold it raises LimitError."""

    @wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            with np.errstate(over="raise", divide="raise", invalid="raise"):
                return function(*args, **kwargs)
        except ArithmeticError:
            raise LimitError(
                "variances, scales or norms are so large or so small that numbers leave what floats hold; give some "
                "nearer 1."
            ) from None

    return guarded


def check_count(what: str, count: Any) -> int:
    """Return the number of networks or samples; InputError unless it is a whole number from 1 to 10^9."""
    if not _is_number(count, Integral) or not 1 <= count <= MOST_SAMPLES:
        raise InputError(f"{brief(count)} {what} were asked for; give a whole number from 1 to {MOST_SAMPLES:,}.")
    return int(count)


def check_seed(seed: Any) -> int:
    """Return the seed; InputError unless it is a whole number from 0 to 2^63 - 1."""
    if not _is_number(seed, Integral) or not 0 <= seed < 2**63:
        raise InputError(f"the seed {brief(seed)} was given; it must be a whole number from 0 to 2^63 - 1.")
    return int(seed)


def memory_of_paths(samples: int, layers: int, inputs: int) -> int:
    """Return the bytes that paths of this size take while they are made: their numbers, and marks of the lost ones."""
    pairs = inputs * (inputs - 1) // 2
    return samples * layers * (8 * (inputs + pairs) + 2 + max(inputs, 2 * pairs))


def check_memory(samples: int, layers: int, inputs: int) -> None:
    """Raise InputError when paths of this size would not fit in the memory that is left."""
    check_room(memory_of_paths(samples, layers, inputs), words_of_paths(samples, layers, inputs), FEWER)


def words_of_paths(samples: int, layers: int, inputs: int) -> str:
    """Return what paths are of, in words."""
    return f"{samples:,} samples of {inputs} inputs at {layers} layers"


@contextmanager
def numerical(what: str) -> Iterator[None]:
    """Turn an overflow, a division by zero or a singular matrix within into a LimitError that says what failed."""
    try:
        yield
    except (ArithmeticError, np.linalg.LinAlgError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(".")
        raise LimitError(
            f"{what} could not be computed in floating point ({reason}); give inputs and variances nearer to one, or "
            "draw exact networks."
        ) from error
