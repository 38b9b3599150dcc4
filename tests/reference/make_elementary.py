"""Make the coefficients of deeplim.simd.elementary: interpolation at Chebyshev nodes in fifty digits, by mpmath.

Interpolants at those nodes are within a small factor of the best approximations. Where a leading coefficient is 1 it
is kept so, which makes the function exact as its argument vanishes. Run it to print them all.
"""

from collections.abc import Callable

import mpmath
import numpy as np

Function = Callable[[mpmath.mpf], mpmath.mpf]
DIGITS = 50


def nodes(low: mpmath.mpf, high: mpmath.mpf, count: int) -> list[mpmath.mpf]:
    """Return the Chebyshev nodes of an interval."""
    turns = [mpmath.cos(mpmath.pi * (2 * i + 1) / (2 * count)) for i in range(count)]
    return [(low + high) / 2 + (high - low) / 2 * turn for turn in turns]


def interpolant(function: Function, low: float, high: float, above: int, below: int = 0) -> tuple[list, list]:
    """Return P and Q, Q(0) = 1, of degrees ``above`` and ``below`` such that P / Q meets the function at the nodes."""
    points = nodes(mpmath.mpf(low), mpmath.mpf(high), above + below + 1)
    rows, values = [], [function(x) for x in points]
    for x, value in zip(points, values, strict=True):
        rows.append([x**j for j in range(above + 1)] + [-value * x**j for j in range(1, below + 1)])
    found = list(mpmath.lu_solve(mpmath.matrix(rows), mpmath.matrix(values)))
    return found[: above + 1], [mpmath.mpf(1), *found[above + 1 :]]


def exponential(f: mpmath.mpf) -> mpmath.mpf:
    """((e^f - 1) / f - 1) / f."""
    return (mpmath.expm1(f) / f - 1) / f if abs(f) > 1e-20 else mpmath.mpf(1) / 2


def logarithm(v: mpmath.mpf) -> mpmath.mpf:
    """2 atanh(u) / u of v = u^2."""
    u = mpmath.sqrt(v)
    return 2 * mpmath.atanh(u) / u


def sine(v: mpmath.mpf) -> mpmath.mpf:
    """(sin(f) / f - 1) / f^2 of v = f^2."""
    f = mpmath.sqrt(v)
    return (mpmath.sin(f) / f - 1) / v


def bell(x: mpmath.mpf) -> mpmath.mpf:
    """(1 - e^(x^2) erfc(x)) / x."""
    return (1 - mpmath.exp(x * x) * mpmath.erfc(x)) / x


def coefficients() -> dict[str, list[tuple[float, ...]]]:
    """Return, by name, the coefficients in single and in double precision, lowest degree first."""
    third = mpmath.mpf(1) / 9
    ranges = {
        "EXPONENTIAL": [(exponential, -0.35, 0.35, 4), (exponential, -0.35, 0.35, 9)],
        "LOGARITHM": [(logarithm, 0, third, 4), (logarithm, 0, third, 9)],
        "SINE": [(sine, 0, 2.56, 3), (sine, 0, 2.56, 7)],
        "BELL": [(bell, 0, 4, 4, 5), (bell, 0, 6, 9, 10)],
    }
    found: dict[str, list[tuple[float, ...]]] = {}
    with mpmath.workdps(DIGITS):
        for name, both in ranges.items():
            for arguments, kind in zip(both, (np.float32, np.float64), strict=True):
                above, below = interpolant(*arguments)
                leading = {"EXPONENTIAL": [1], "SINE": [1]}.get(name, [])
                tables = {name: [*leading, *above], f"{name}_BELOW": below if len(below) > 1 else []}
                for key, table in tables.items():
                    if table:
                        found.setdefault(key, []).append(tuple(float(kind(float(c))) for c in table))
    return found


def shown(table: tuple[float, ...], kind: type) -> str:
    """Return the numbers in as few digits as tell them apart."""
    return ", ".join(repr(float(str(kind(c)))) for c in table)


if __name__ == "__main__":
    for name, (single, double) in coefficients().items():
        print(f"{name}\n  ({shown(single, np.float32)})\n  ({shown(double, np.float64)})")
