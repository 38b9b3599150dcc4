"""Smooth activations of Lanes and their differences: against mpmath, and in single precision against their twin."""

import re

import mpmath
import numpy as np
import pytest
from numba import njit
from test_functions import EXACT
from vectors import KINDS, apply

from deeplim import functions
from deeplim.simd.lanes import COUNT, inline, load, store
from deeplim.simd.smooth import SMOOTH, difference, rise, shaped_difference, shaped_value, value
from deeplim.smoothness import normalised

ERROR = {"single": 3e-7, "double": 1.5e-15}
"""As the module states."""
SLOPE = {
    "tanh": lambda z: np.cosh(z) ** -2,
    "sin": np.cos,
    "erf": lambda z: 2 / np.sqrt(np.pi) * np.exp(-z * z),
    "logistic": lambda z: 1 / (2 * np.cosh(z / 2)) ** 2,
    "softplus": functions.logistic,
    "silu": lambda z: functions.logistic(z) * (1 + z * functions.logistic(-z)),
    "gelu": lambda z: functions.erf(z / np.sqrt(2)) / 2 + 0.5 + z * np.exp(-z * z / 2) / np.sqrt(2 * np.pi),
}
TAILS = {"tanh": 60, "erf": 60, "logistic": 60, "softplus": 60, "silu": 60}
MONOTONE = ("tanh", "logistic", "softplus")
names = pytest.mark.parametrize("name", SMOOTH)
kinds = pytest.mark.parametrize("kind", KINDS)


def triples(kind: str, count: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """z and h of many sizes; and r, half of them tiny, half of order one."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=count) * np.exp(rng.uniform(-4, 2.5, count))
    h = rng.normal(size=count) * np.exp(rng.uniform(-1, 1, count))
    r = 10.0 ** np.where(np.arange(count) % 2, rng.uniform(-30, 0, count), rng.uniform(-1.5, 1, count))
    return tuple(x.astype(KINDS[kind]) for x in (z, h, r))


def exact_difference(name: str, z: np.ndarray, h: np.ndarray, r: np.ndarray) -> np.ndarray:
    phi = EXACT[name]
    with mpmath.workdps(100):
        rows = [[mpmath.mpf(float(x)) for x in row] for row in zip(z, h, r, strict=True)]
        return np.array([float((phi(x + size * y) - phi(x)) / size) for x, y, size in rows])


def allowance(name: str, kind: str, z: np.ndarray, h: np.ndarray, r: np.ndarray) -> np.ndarray:
    """The bound that the module states for a difference."""
    z, h, r = (np.abs(x.astype(float)) for x in (z, h, r))
    return ERROR[kind] * h * (1 + z + r * h if name == "sin" else 1)


@names
@kinds
def test_values_have_the_digits_stated(name: str, kind: str) -> None:
    z = np.concatenate([triples(kind, 400)[0], np.linspace(-60, 60, 121, dtype=KINDS[kind])])
    tiny = 10.0 ** np.linspace(-30, -1, 30)
    z = np.concatenate([z, tiny, -tiny]).astype(KINDS[kind])
    wide = z.astype(float)
    with mpmath.workdps(60):
        points = [mpmath.mpf(float(x)) for x in z]
        exact = [EXACT[name](x) for x in points]
        risen = np.array([float(y - EXACT[name](mpmath.mpf(0))) for y in exact])
        off = np.array([float(abs(float(f) - y)) for f, y in zip(apply(SMOOTH[name][0], z), exact, strict=True)])
    values = np.abs(np.array(exact, dtype=float))
    assert np.all(off <= ERROR[kind] * np.maximum(values, np.minimum(np.abs(wide), 1)))
    if name in TAILS:
        assert np.all(off <= ERROR[kind] * values)
    off = np.abs(apply(SMOOTH[name][1], z) - risen)
    assert np.all(off <= ERROR[kind] * np.maximum(np.abs(risen), np.minimum(np.abs(wide), 1)))


@names
@kinds
def test_differences_have_the_digits_stated(name: str, kind: str) -> None:
    z, h, r = triples(kind, 300)
    found, exact = apply(SMOOTH[name][2], z, h, r, 1 / r), exact_difference(name, z, h, r)
    off = np.abs(found - exact)
    assert np.all(off <= allowance(name, kind, z, h, r))
    if name in MONOTONE:
        nearest = np.minimum(np.abs(z), np.abs(z + r * h))
        assert np.all(off <= ERROR[kind] * (1 + nearest) * np.abs(exact))


@names
def test_single_precision_on_many_points(name: str) -> None:
    value_of, _, difference_of = SMOOTH[name]
    z = np.linspace(-30, 30, 200_001, dtype=np.float32)
    exact = getattr(functions, name)(z.astype(float))
    off = np.abs(apply(value_of, z) - exact)
    assert np.all(off <= 3e-7 * np.maximum(np.abs(exact), np.minimum(np.abs(z), 1)))
    z, h, r = triples("single", 200_000, seed=2)
    wide = [x.astype(float) for x in (z, h, r)]
    twin = apply(difference_of, *wide, 1 / wide[2])
    off = np.abs(apply(difference_of, z, h, r, 1 / r) - twin)
    assert np.all(off <= allowance(name, "single", z, h, r))


@names
@kinds
def test_a_vanishing_difference_is_the_derivative(name: str, kind: str) -> None:
    z, h, _ = triples(kind, 1000)
    exact = SLOPE[name](z.astype(float)) * h
    for r, inverse in ((0.0, 1e30), (0.0, 0.0), (1e-38, 1e30)):
        found = apply(SMOOTH[name][2], z, h, np.full_like(z, r), np.full_like(z, inverse))
        assert np.all(np.abs(found - exact) <= 3 * allowance(name, kind, z, h, 0 * z))
    assert np.all(apply(SMOOTH[name][2], z, 0 * h, 1 + 0 * z, 1 + 0 * z) == 0)


@names
@kinds
def test_from_the_other_end_it_is_the_opposite(name: str, kind: str) -> None:
    rng = np.random.default_rng(3)
    # z + r h has no rounding.
    z, h = (rng.integers(-(2**9), 2**9, 2000).astype(KINDS[kind]) / 64 for _ in range(2))
    for size in (2.0**-8, 2.0**-3, 0.5, 2.0):
        r, inverse = np.full_like(z, size), np.full_like(z, 1 / size)
        there = apply(SMOOTH[name][2], z, h, r, inverse)
        back = apply(SMOOTH[name][2], z + r * h, -h, r, inverse)
        assert np.all(np.abs(there + back) <= 2 * allowance(name, kind, z, h, r))


@pytest.mark.parametrize("name", sorted(set(SMOOTH) - {"sin"}))
@kinds
def test_from_far_to_far_it_is_the_asymptote(name: str, kind: str) -> None:
    rng = np.random.default_rng(6)
    z = (rng.choice([-1, 1], 1000) * 10.0 ** rng.uniform(5, 29, 1000)).astype(KINDS[kind])
    ratio = rng.choice([-1e4, -3, -2, -1 - 2.0**-6, -0.5, 1e-4, 1], 1000)
    step = name in ("tanh", "erf", "logistic")
    height = 1 if name == "logistic" else 2
    for size in (np.ones_like(z), np.sqrt(np.abs(z))):
        r, h = (np.abs(ratio * z) / size).astype(z.dtype), size * np.sign(ratio * z).astype(z.dtype)
        wide = [x.astype(float) for x in (z, h, r)]
        w = wide[0] + wide[2] * wide[1]
        crosses = w * wide[0] < 0
        risen = np.sign(h) * height if step else np.maximum(w, 0) - np.maximum(wide[0], 0)
        exact = np.where(crosses, risen / wide[2], 0 if step else np.where(z > 0, h, 0))
        found = apply(SMOOTH[name][2], z, h, r, 1 / r)
        assert np.all(np.abs(found - exact) <= ERROR[kind] * np.abs(h))


@names
@kinds
def test_zeros_extremes_and_nan(name: str, kind: str) -> None:
    largest = 1e30 if kind == "single" else 1e300
    ends = [0.0, 1e-44, 1e-38, 1e-20, 1.0, 44.0, 87.5, 90.0, 750.0, 1e4, 1e10, largest]
    z, h, r = (x.ravel() for x in np.meshgrid([*ends, *np.negative(ends)], [-3.0, -1e-20, 0.0, 1e4], [0, 1e-30, 1, 99]))
    z, h, r = (x.astype(KINDS[kind]) for x in (z, h, r))
    inverse = 1 / np.maximum(r, KINDS[kind](1e-30))
    found, values = apply(SMOOTH[name][2], z, h, r, inverse), apply(SMOOTH[name][0], z)
    assert np.isfinite(found).all()
    assert np.isfinite(values).all()
    # No slope is steeper than 1.2, to rounding; the sine's rounding grows with its argument.
    assert np.all(np.abs(found) <= 1.2 * np.abs(h) if name != "sin" else np.abs(found) <= 1.001 * np.abs(h))
    if functions.__dict__[name](np.zeros(1))[0] == 0:
        zeros = apply(SMOOTH[name][0], np.array([0.0, -0.0], dtype=KINDS[kind]))
        assert np.all(zeros == 0)
        assert list(np.signbit(zeros)) == [False, name != "sin" or kind == "double"]
    one, nan = np.ones(4, dtype=KINDS[kind]), np.full(4, np.nan, dtype=KINDS[kind])
    assert np.isnan(apply(SMOOTH[name][0], nan)).all()
    assert np.isnan(apply(SMOOTH[name][1], nan)).all()
    assert np.isnan(apply(SMOOTH[name][2], nan, one, one, one)).all()
    assert np.isnan(apply(SMOOTH[name][2], one, nan, one, one)).all()


def _shaped(name):
    def shaped(z, h, r, inverse_r, s, inverse_s, inverse_slope, values, differences):
        for i in range(len(z) // COUNT):
            start = load(z, i)
            store(values, i, shaped_value(name, start, s, inverse_s, inverse_slope))
            step, size, inverse = load(h, i), load(r, i), load(inverse_r, i)
            change = shaped_difference(name, start, step, size, inverse, s, inverse_s, inverse_slope)
            store(differences, i, change)

    return njit(shaped)


@names
@kinds
def test_shaped_functions(name: str, kind: str) -> None:
    phi, _ = normalised(getattr(functions, name))
    slope = float(SLOPE[name](np.zeros(1))[0])
    z, h, r = triples(kind, 96, seed=4)
    shaped = _shaped(name)
    for s in (0.7, 30.0, 1e4):
        values, differences = np.empty_like(z), np.empty_like(z)
        shaped(z, h, r, 1 / r, s, 1 / s, 1 / slope, values, differences)
        wide = [x.astype(float) for x in (z, h, r)]
        assert values == pytest.approx(s * phi(wide[0] / s), rel=1e4 * ERROR[kind], abs=10 * ERROR[kind] * s)
        # phi(0 + z / s) - phi(0), over 1 / s
        exact = exact_difference(name, 0 * wide[0], wide[0], 0 * wide[0] + 1 / s) / slope
        size = np.maximum(np.abs(exact), np.minimum(np.abs(wide[0]), s) / slope)
        # The sine has no tails where the rounding of z / s no longer matters.
        rounding = np.finfo(KINDS[kind]).eps * np.abs(wide[0]) * (name == "sin")
        assert np.all(np.abs(values - exact) <= 2 * ERROR[kind] * size + rounding)
        exact = exact_difference(name, wide[0] / s, wide[1], wide[2] / s) / slope
        bound = allowance(name, kind, z / KINDS[kind](s), h, r / KINDS[kind](s)) / slope
        assert np.all(np.abs(differences - exact) <= 2 * bound)


@names
def test_names_choose_what_is_compiled(name: str) -> None:
    z, h, r = triples("single", 160)
    given = inline(lambda z, h, r, t: difference(name, z, h, r, t) + value(name, z) + rise(name, z))
    summed = sum(apply(function, z) for function in SMOOTH[name][:2])
    found = apply(given, z, h, r, 1 / r)
    assert np.allclose(found, apply(SMOOTH[name][2], z, h, r, 1 / r) + summed, rtol=1e-6, atol=1e-6)
    for function in (value, rise):
        with pytest.raises(NotImplementedError, match="Numba"):
            function(name, z)
    with pytest.raises(NotImplementedError, match="Numba"):
        difference(name, z, h, r, 1 / r)


@names
@kinds
def test_the_machine_code_calls_nothing_and_takes_no_lane_apart(name: str, kind: str) -> None:
    z, h, r = triples(kind, 16)
    pair = njit(_pair(*SMOOTH[name]))
    pair(z, h, r, 1 / r, z.copy(), z.copy())
    (code,), (assembly,) = pair.inspect_llvm().values(), pair.inspect_asm().values()
    element = "float" if kind == "single" else "double"
    vectors = re.findall(rf"= (?:tail call|\w+)[^\n]*<16 x {element}>[^\n]*", code)
    work = [line for line in vectors if not re.match("= (load|bitcast)", line)]
    assert 40 < len(work) < 220
    if (name, kind) == ("tanh", "single"):
        assert len(work) < 80  # seventy instructions where each has one of its own
    assert not re.search(rf"f(add|sub|mul|div)[a-z ]* {element} |(extract|insert)element", code)
    assert not re.search(r"\b(tanh|exp|exp2|expm1|log|log1p|sin|cos|erf|erfc|pow)[fl]?\b", assembly)


def _pair(value_of, _, difference_of):
    def pair(z, h, r, inverse, values, differences):
        for i in range(len(z) // COUNT):
            start = load(z, i)
            store(values, i, value_of(start))
            store(differences, i, difference_of(start, load(h, i), load(r, i), load(inverse, i)))

    return pair


@names
def test_the_plain_difference_is_seen_to_fail(name: str) -> None:
    # The control: values in single precision subtracted over a millionth.
    z, h, _ = triples("single", 300)
    r = np.full_like(z, 1e-6)
    plain = (apply(SMOOTH[name][0], z + r * h) - apply(SMOOTH[name][0], z)) / r
    exact = exact_difference(name, z, h, r)
    assert np.mean(np.abs(plain - exact) > allowance(name, "single", z, h, r)) > 0.5
