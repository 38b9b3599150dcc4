"""Inputs to a network, reduced to what it sees of them at initialization: norms and correlation gaps."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from io import TextIOWrapper
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from deeplim.array_files import read_array as read_npy
from deeplim.checks import brief, check_kind, check_list
from deeplim.errors import InputError
from deeplim.files import check_name, opened
from deeplim.memory import memory_left
from deeplim.printable import printable
from deeplim.resolution import nearly_proportional, proportional, rounding_unit

MOST_INPUTS = 512
_CSV_MEMORY = 8
"""Memory that a table of text takes while it is read, as lines and as numbers, over the size of its file."""
_CLOSEST = 1e-9
_ASYMMETRY, _NEGATIVE = 1e-6, 1e-10
"""How far correlations may be from symmetric (they are then averaged) and from positive semi-definite."""


@dataclass(frozen=True, eq=False)
class Inputs:
    """m inputs, as the logarithm of their mean squares and the gaps 1 - rho of every pair.

    ``log_norm`` has shape (m,): log of |x|^2 / n_in. ``gap`` has shape (m, m), is symmetric with a zero
    diagonal and lies in (0, 2] elsewhere. Gaps rather than correlations, so that inputs at 1 - rho = 1e-12
    keep their digits.
    """

    log_norm: Float[np.ndarray, " input"]
    gap: Float[np.ndarray, "input input"]
    names: tuple[str, ...]
    source: str = "given covariance"
    images: Float[np.ndarray, "input pixel"] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Refuse what are no inputs: arrays of other types or sizes, and numbers that no inputs have."""
        for name, array, axes in (("log_norm", self.log_norm, 1), ("gap", self.gap, 2)):
            check_kind(name, array, np.ndarray, "give an array of float64, or let deeplim.gram make the inputs")
            if array.dtype != np.float64 or array.shape != (self.log_norm.size,) * axes or not array.size:
                shape = "(input,)" if axes == 1 else "(input, input)"
                raise InputError(
                    f"{name} is of type {array.dtype} and shape {array.shape}; give {shape} of float64, or let "
                    "deeplim.gram make the inputs."
                )
        if not (np.isfinite(self.log_norm).all() and (self.gap >= 0).all() and (self.gap <= 2).all()):
            raise InputError("a log norm is not finite or a gap is not from 0 to 2; let deeplim.gram make the inputs.")
        named = isinstance(self.names, tuple) and all(isinstance(name, str) for name in self.names)
        if not named or len(self.names) != self.count:
            raise InputError(f"the names are {brief(self.names)}; give a tuple of texts, one for each input.")
        if self.images is not None:
            shape = check_kind("images", self.images, np.ndarray, "give an array, one image an input, or None").shape
            if shape[:1] != (self.count,):
                raise InputError(f"images of shape {shape} were given; give one for each of {self.count} inputs.")
        check_kind("the source", self.source, str, "give text that says where the inputs come from")

    @property
    def count(self) -> int:
        """m, the number of inputs."""
        return len(self.log_norm)

    @property
    def correlation(self) -> Float[np.ndarray, "input input"]:
        """rho, shape (m, m)."""
        return 1.0 - self.gap

    @property
    def covariance(self) -> Float[np.ndarray, "input input"]:
        """V_0^{ab} = <x^a, x^b> / n_in, shape (m, m); OverflowError when a norm is beyond 1e308."""
        scale = np.exp(self.log_norm / 2)
        with np.errstate(over="ignore"):
            covariance = self.correlation * np.outer(scale, scale)
        if not np.isfinite(covariance).all():
            raise OverflowError("a mean square is beyond 1e308; use log_norm and gap, which hold it.")
        return covariance

    def pair(self, first: int, second: int) -> "Inputs":
        """Return the two inputs named by their indices, as inputs of their own."""
        check_pair((first, second), self.count)
        chosen = [first, second]
        return replace(
            self,
            log_norm=self.log_norm[chosen],
            gap=self.gap[np.ix_(chosen, chosen)],
            names=tuple(self.names[i] for i in chosen),
            images=None if self.images is None else self.images[chosen],
        )

    def __str__(self) -> str:
        source = printable(self.source)
        if self.count == 1:
            return f"one input ({source})"
        gaps = np.unique(self.gap[np.triu_indices(self.count, 1)])
        low, high = _correlation_text(gaps[-1]), _correlation_text(gaps[0])
        correlations = f"correlation {low}" if self.count == 2 else f"correlations from {low} to {high}"
        return f"{self.count} inputs at {correlations} ({source})"


def _correlation_text(gap: float) -> str:
    """A correlation as text; one too near to 1 for four digits by its distance to 1."""
    return f"1 - {gap:.3g}" if gap < 1e-3 else f"{1 - gap:.4g}"


def check_inputs(inputs: object) -> Inputs:
    """Return ``Inputs``; InputError for anything else: an array becomes some by ``gram``."""
    if not isinstance(inputs, Inputs):
        raise InputError(f"inputs of type {type(inputs).__name__} were given; wrap an array in deeplim.gram(x).")
    return inputs


def check_reference(inputs: "Inputs") -> None:
    """Raise InputError when two inputs are so much closer to each other than to input 0 that their gap would be lost.

    All inputs are followed through their differences to input 0; a gap keeps 16 digits less its ratio to theirs.
    """
    if inputs.count < 3:
        return
    to_first = inputs.gap[0, 1:]
    ratio = inputs.gap[1:, 1:] / np.minimum(to_first[:, None], to_first)
    np.fill_diagonal(ratio, np.inf)
    if ratio.min() < _CLOSEST:
        a, b = np.argwhere(ratio == ratio.min())[0] + 1
        raise InputError(
            f"{inputs.names[a]} and {inputs.names[b]} are {1 / ratio.min():.1g} times closer to each other than to "
            f"{inputs.names[0]}, more than the 1e9 that can be resolved; put one of them first, or follow the pair."
        )


def check_pair(pair: object, count: int) -> tuple[int, int]:
    """Return a pair of indices; InputError unless it names two different inputs of the ``count`` there are."""
    if count < 2:
        raise InputError("there is one input, and a correlation needs two; give at least two inputs.")
    found = check_list("the pair", pair, f"give two indices from 0 to {count - 1}")
    if len(found) != 2 or not all(_names_one(index, count) for index in found) or found[0] == found[1]:
        given = ",".join(brief(index, 25) for index in found[:3]) + (",..." if len(found) > 3 else "")
        raise InputError(f"the pair {given} does not name two different inputs; use 0 to {count - 1}.")
    return int(found[0]), int(found[1])


def check_first(pair: object, count: int) -> int:
    """Return the first of a pair, of which the second need not exist; InputError unless it names an input."""
    [first, *_] = check_list("the pair", pair, f"give two indices from 0 to {count - 1}") or [None]
    if not _names_one(first, count):
        raise InputError(f"there is no input {brief(first)}; use 0 to {count - 1}.")
    return int(first)


def _names_one(index: object, count: int) -> bool:
    return isinstance(index, int | np.integer) and not isinstance(index, bool) and 0 <= int(index) < count


def gram(
    x: ArrayLike | None = None,
    *,
    correlation: float | None = None,
    gap: float | None = None,
    covariance: ArrayLike | None = None,
    names: Sequence[str] | None = None,
) -> Inputs:
    """Return inputs, from exactly one of: an array of them, a correlation or gap of two, a covariance matrix.

    ``x`` has one input a row; its covariance is <x^a, x^b> / n_in. ``correlation`` and ``gap`` (= 1 -
    correlation, for two inputs closer than 1e-8) describe two inputs of unit mean square. InputError when an
    input is zero, when two inputs have correlation 1 (no network could tell them apart), or when a matrix is
    not positive semi-definite.

    >>> gram(correlation=0.3).covariance
    array([[1. , 0.3],
           [0.3, 1. ]])
    """
    if sum(value is not None for value in (x, correlation, gap, covariance)) != 1:
        raise InputError("give exactly one of: an array of inputs, correlation=, gap=, covariance=.")
    if x is not None:
        rows = _numbers(x, "the array of inputs")
        return _from_rows(rows, names, "array", rounding_unit(np.asarray(x).dtype))
    if covariance is not None:
        return _from_covariance(_numbers(covariance, "the covariance"), names)
    if correlation is not None:
        rho = _one_number(correlation, "a correlation")
        if not -1 <= rho < 1:
            raise InputError(f"a correlation of {rho} was given; it must be at least -1 and below 1.")
        between, source = 1.0 - rho, "given correlation"
    else:
        between, source = _one_number(gap, "a gap 1 - rho"), "given gap"
        if not 0 < between <= 2:
            raise InputError(f"a gap 1 - rho of {between} was given; it must be above 0 and at most 2.")
    return Inputs(np.zeros(2), np.array([[0.0, between], [between, 0.0]]), _names(names, 2), source)


def read_inputs(path: str | Path) -> Inputs:
    """Return the inputs in a file (.npy, or .csv with one input a row), or the bundled ``digits``.

    A .csv file has numbers with commas between them and may begin with one line of column names. An array of
    more than two dimensions, such as images, is read as one input for each index of the first. InputError
    when the file is missing, is not a table of numbers, or holds no input.
    """
    path = check_name(path)
    if str(path) == "digits":
        return digits()
    table = read_array(path)
    if table.ndim > 2 and table.size:
        table = table.reshape(len(table), -1)
    return _from_rows(table, None, Path(path).name)


def read_array(path: str | Path) -> np.ndarray:
    """Return the numbers in a file (.npy or .csv), or the pixels of the bundled ``digits``, one input an index.

    InputError when the file is missing or is not a table of numbers, as in ``read_inputs``.
    """
    path = check_name(path)
    if str(path) == "digits":
        images = digits().images
        assert images is not None  # they are what it is made of
        return images
    readers: dict[str, Callable[[Path], np.ndarray]] = {".npy": read_npy, ".csv": _read_csv}
    if path.suffix.lower() not in readers:
        raise InputError(f"the inputs {str(path)!r} are not a .npy or .csv file; give one, or 'digits'.")
    try:
        table = readers[path.suffix.lower()](path)
    except (OSError, ValueError, MemoryError) as error:
        raise InputError(
            f"the inputs in {path} could not be read ({_on_one_line(error)}); give a table, one input a row."
        ) from None
    return _numbers(table, f"the table in {path}")


def _read_csv(path: Path) -> np.ndarray:
    with opened(path) as file:
        left, size = memory_left(), os.fstat(file.fileno()).st_size
        if left is not None and _CSV_MEMORY * size > left:
            raise ValueError(f"it has {size / 2**30:.1f} GiB of text, which takes more memory than is free")
        text = TextIOWrapper(file, encoding="utf-8-sig")
        lines = [line for line in text if line.strip() and not line.lstrip().startswith("#")]
    header = [cell.strip(' "\n') for cell in lines[0].split(",")] if lines else []
    if not any(_is_number(cell) for cell in header):
        if "" in header:
            raise ValueError("a column has no name; save the table without row labels")
        lines = lines[1:]
    if not lines:
        raise ValueError("it holds no numbers")
    return np.loadtxt(lines, delimiter=",", ndmin=2)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def digits() -> Inputs:
    """Return the ten bundled handwritten digits, one 8 x 8 image a class, as pixels from 0 to 16.

    From the Optical Recognition of Handwritten Digits data (E. Alpaydin and C. Kaynak, 1998, UCI Machine
    Learning Repository, doi 10.24432/C50P49, CC BY 4.0).
    """
    with resources.files("deeplim.data").joinpath("digits.csv").open() as file:
        images = np.loadtxt(file, delimiter=",")
    inputs = _from_rows(images, [f"digit {i}" for i in range(10)], "handwritten digits")
    return replace(inputs, images=images)


def _numbers(values: object, what: str) -> np.ndarray:
    """Values as an array of floats; InputError when they are not real numbers in a rectangle."""
    try:
        array = np.asarray(values)
        reason = f"it is of type {array.dtype}"
        if array.dtype.kind in "biuf":
            with np.errstate(over="ignore"):
                return array.astype(float)
    except (ValueError, TypeError, RuntimeError) as error:  # rows of several lengths, or a tensor on a GPU
        reason = _on_one_line(error)
    raise InputError(f"{what} cannot be read as real numbers ({reason}); give real numbers.")


def _on_one_line(error: Exception) -> str:
    return " ".join(str(error).split()).removesuffix(".")


def _one_number(value: object, what: str) -> float:
    array = _numbers(value, what)
    if array.size != 1:
        raise InputError(f"{what} of shape {array.shape} was given; give one number.")
    return float(array.item())


def _names(names: Sequence[str] | None, count: int) -> tuple[str, ...]:
    if count > MOST_INPUTS:
        raise InputError(f"{count} inputs were given; at most {MOST_INPUTS} at a time are followed exactly.")
    if names is None:
        return tuple(f"input {i}" for i in range(count))
    listed = list(names) if isinstance(names, str) else names  # letters
    given = check_list("names", listed, "give a list of text, one name for each input")
    if len(given) != count:
        raise InputError(f"{len(given)} names were given for {count} inputs; give one each.")
    return tuple(str(check_kind("a name", name, (str, int, np.integer), "give text")) for name in given)


def _from_rows(
    x: np.ndarray, given: Sequence[str] | None, source: str, unit: float = rounding_unit(np.dtype(float))
) -> Inputs:
    """Inputs from a table of doubles whose numbers are rounded by up to ``unit`` of themselves."""
    if x.ndim != 2 or not x.size:
        raise InputError(f"inputs of shape {x.shape} were given; they must be a table with one input a row.")
    names = _names(given, len(x))
    if not np.isfinite(x).all():
        raise InputError("the inputs contain a NaN or an infinity; every entry must be a finite number.")
    largest = np.abs(x).max(axis=1)
    if not largest.all():
        zero = names[int(np.argmin(largest))]
        raise InputError(f"{zero} is all zeros; drop it, its correlations are undefined.")
    # Scaling by powers of two rounds nothing, and leaves no square that could overflow.
    exponent = np.frexp(largest)[1]
    scaled = np.ldexp(x, -exponent[:, None])
    mean_square = np.mean(scaled**2, axis=1)
    log_norm = np.log(mean_square) + 2 * np.log(2) * exponent
    return _checked(Inputs(log_norm, _gaps(scaled, unit), names, source))


def _gaps(x: np.ndarray, unit: float) -> Float[np.ndarray, "input input"]:
    """1 - rho of every pair of rows, whose largest entries are from 1/2 to 1; zero where proportional."""
    direction = x / np.linalg.norm(x, axis=1, keepdims=True)
    gap = np.triu(np.clip(1.0 - direction @ direction.T, 0.0, 2.0), 1)
    for i, row in enumerate(x[:-1]):
        near = i + 1 + np.flatnonzero(gap[i, i + 1 :] < 0.5)
        gap[i, near] = _small_gaps(row, x[near])
        same = [j for j in near if gap[i, j] < nearly_proportional(unit) and proportional(row, x[j], unit)]
        gap[i, same] = 0.0
    return gap + gap.T


def _small_gaps(row: np.ndarray, rows: np.ndarray) -> Float[np.ndarray, " input"]:
    """1 - cos of the acute angles of one row to others, to nearly full precision however small the angle.

    With d = x - row, exact for neighbours, the part of x across the row is d - (d.row / row.row) row and |x|
    sin long: nothing cancels. 1 - cos = sin^2 / (1 + cos).
    """
    square = row @ row
    # A factor of two, which rounds nothing, brings neighbours on two sides of a power of two together.
    along = rows @ row / square
    rows = rows * np.exp2(-np.rint(np.log2(along)))[:, None]
    difference = rows - row
    across = difference - np.outer(difference @ row / square, row)
    squares = np.einsum("ij,ij->i", rows, rows)
    cosine = rows @ row / np.sqrt(squares * square)
    sine_square = np.einsum("ij,ij->i", across, across) / squares
    return sine_square / (1 + cosine)


def _from_covariance(v: np.ndarray, given: Sequence[str] | None) -> Inputs:
    if v.ndim != 2 or v.shape[0] != v.shape[1] or not v.size:
        raise InputError(f"a covariance of shape {v.shape} was given; it must be a square matrix.")
    names = _names(given, len(v))
    if not np.isfinite(v).all():
        raise InputError("the covariance contains a NaN or an infinity; every entry must be a finite number.")
    norm = v.diagonal()
    if norm.min() <= 0:
        smallest = names[int(np.argmin(norm))]
        raise InputError(f"the variance of {smallest} is {norm.min():g}; give a positive diagonal.")
    scale = np.sqrt(norm)
    rho = v / scale[:, None] / scale
    if np.abs(rho - rho.T).max() > _ASYMMETRY:
        raise InputError("the covariance is not symmetric; give a symmetric matrix.")
    least = np.linalg.eigvalsh((rho + rho.T) / 2).min()
    if least < -_NEGATIVE:
        raise InputError(
            f"the correlations of the covariance have an eigenvalue {least:.3g}; give a positive semi-definite matrix."
        )
    gap = np.clip(1.0 - (rho + rho.T) / 2, 0.0, 2.0)
    np.fill_diagonal(gap, 0.0)
    return _checked(Inputs(np.log(norm), gap, names, "given covariance"))


def _checked(inputs: Inputs) -> Inputs:
    same = np.argwhere(np.triu(inputs.gap <= 0, 1))
    if len(same):
        i, j = same[0]
        raise InputError(
            f"{inputs.names[i]} and {inputs.names[j]} have correlation 1, so no layer can tell them apart; drop one."
        )
    return inputs
