"""Elementary functions of Lanes against mpmath, and on dense grids in single precision against NumPy and SciPy."""

import mpmath
import numpy as np
import pytest
from reference.make_elementary import coefficients
from scipy import special
from vectors import KINDS, apply

from deeplim.simd import elementary
from deeplim.simd.elementary import cosine, decay, error_functions, log_slope, loss_rate, sine, sine_rate
from deeplim.simd.lanes import inline

ERROR = {"single": 3e-7, "double": 1e-15}
"""As the module states."""
kinds = pytest.mark.parametrize("kind", KINDS)
rng = np.random.default_rng(5)
SIZES = np.concatenate([[0.0], np.geomspace(1e-30, 80, 200), rng.uniform(0, 80, 100)])
RATES = 10.0 ** np.concatenate([rng.uniform(-30, 1, 200), rng.uniform(-1.5, 1, 100)])
SLOPES = rng.normal(size=len(RATES))


@inline
def falling(x):
    """exp(-|x|)."""
    return decay(x)[0]


@inline
def falling_less_one(x):
    """exp(-|x|) - 1."""
    return decay(x)[1]


@inline
def erf_size(x):
    """erf(|x|)."""
    return error_functions(x)[0]


@inline
def erfc_size(x):
    """erfc(|x|)."""
    return error_functions(x)[1]


def relative(found: np.ndarray, exact: object, *arrays: np.ndarray) -> float:
    """The largest relative error, against a function of numbers of mpmath."""
    worst = 0.0
    with mpmath.workdps(60):
        for value, *at in zip(found, *arrays, strict=True):
            right = exact(*(mpmath.mpf(float(x)) for x in at))
            worst = max(worst, float(abs(mpmath.mpf(float(value)) - right) / abs(right)) if right else abs(value))
    return worst


def test_the_coefficients_are_those_that_the_script_makes() -> None:
    for name, tables in coefficients().items():
        for found, expected, kind in zip(getattr(elementary, name), tables, KINDS.values(), strict=True):
            assert [kind(c) for c in found] == [kind(c) for c in expected], name


@kinds
def test_decay(kind: str) -> None:
    x = np.concatenate([SIZES, -SIZES]).astype(KINDS[kind])
    assert relative(apply(falling, x), lambda x: mpmath.exp(-abs(x)), x) < ERROR[kind]
    assert relative(apply(falling_less_one, x), lambda x: mpmath.expm1(-abs(x)), x) < ERROR[kind]
    far = np.array([100.0, 1e30], dtype=KINDS[kind]) if kind == "single" else np.array([710.0, 1e300])
    assert np.all(apply(falling, far) < 10.0 * np.finfo(KINDS[kind]).tiny)
    assert np.all(apply(falling_less_one, far) == -1)


@kinds
def test_loss_rate(kind: str) -> None:
    h, r = SLOPES.astype(KINDS[kind]), RATES.astype(KINDS[kind])
    exact = lambda h, r: -mpmath.sign(h) * mpmath.expm1(-abs(r * h)) / r  # noqa: E731
    assert relative(apply(loss_rate, h, r, 1 / r), exact, h, r) < ERROR[kind]
    assert np.array_equal(apply(loss_rate, h, 0 * r, 1 + 0 * r), h)


@kinds
def test_log_slope(kind: str) -> None:
    d = rng.uniform(1, 2, 400).astype(KINDS[kind])
    n = (d * np.concatenate([rng.uniform(-0.5, 1, 200), [-0.5, 1.0], 10.0 ** rng.uniform(-30, 0, 198)])).astype(d.dtype)
    assert relative(apply(log_slope, n, d), lambda n, d: mpmath.log1p(n / d) / n, n, d) < ERROR[kind]


@kinds
def test_sine_and_cosine(kind: str) -> None:
    x = np.concatenate([rng.uniform(-1e5, 1e5, 4000), rng.uniform(-10, 10, 4000), np.arange(-20, 21) * np.pi / 2])
    x = x.astype(KINDS[kind])
    with mpmath.workdps(40):
        turned = [mpmath.mpf(float(angle)) for angle in x]
        for function, exact in ((sine, mpmath.sin), (cosine, mpmath.cos)):
            right = np.array([float(exact(angle)) for angle in turned])
            assert np.abs(apply(function, x).astype(float) - right).max() < ERROR[kind]
    small = SIZES[SIZES < 1.5].astype(KINDS[kind])
    assert relative(apply(sine, small), mpmath.sin, small) < ERROR[kind]
    beyond = np.array([1e7, -1e9, 1e20, -1e38], dtype=KINDS[kind])
    assert np.all(np.abs([apply(sine, beyond), apply(cosine, beyond)]) <= 1)


@kinds
def test_sine_rate(kind: str) -> None:
    h, r = SLOPES.astype(KINDS[kind]), RATES.astype(KINDS[kind])
    found = apply(sine_rate, h, r, 1 / r)
    with mpmath.workdps(60):
        exact = [mpmath.sin(mpmath.mpf(float(a)) * float(b)) / float(b) for a, b in zip(h, r, strict=True)]
    # The size of r h times its rounding is what the sine of it is off.
    assert np.all(np.abs(found - np.array(exact, dtype=float)) <= ERROR[kind] * np.abs(h))
    assert np.array_equal(apply(sine_rate, h, 0 * r, 1 + 0 * r), h)


@kinds
def test_error_functions(kind: str) -> None:
    x = np.concatenate([SIZES, rng.uniform(0, 6, 200)]).astype(KINDS[kind])
    assert relative(apply(erf_size, x), mpmath.erf, x) < ERROR[kind]
    found, exact = apply(erfc_size, x), special.erfc(x.astype(float))
    assert np.abs(found - exact).max() < ERROR[kind]


def test_single_precision_on_dense_grids() -> None:
    x = np.linspace(0, 20, 100_001, dtype=np.float32)
    wide = x.astype(float)
    for function, exact in (
        (falling, np.exp(-wide)),
        (falling_less_one, np.expm1(-wide)),
        (erf_size, special.erf(wide)),
    ):
        found = apply(function, x).astype(float)
        assert np.all(np.abs(found - exact) <= 3e-7 * np.abs(exact))
    assert np.abs(apply(sine, x) - np.sin(wide)).max() < 3e-7
    assert np.abs(apply(cosine, x) - np.cos(wide)).max() < 3e-7


@kinds
@pytest.mark.parametrize("function", [falling, falling_less_one, sine, cosine, erf_size, erfc_size])
def test_finite_stays_finite_and_nan_stays(kind: str, function: object) -> None:
    largest = np.finfo(KINDS[kind]).max
    least = np.finfo(KINDS[kind]).smallest_subnormal
    x = np.array([0.0, -0.0, least, -least, 88.0, -104.0, 750.0, largest, -largest], dtype=KINDS[kind])
    assert np.isfinite(apply(function, x)).all()
    assert np.isnan(apply(function, np.full(3, np.nan, dtype=KINDS[kind]))).all()


def test_a_wrong_digit_is_seen() -> None:
    # The control: an exponential off by one part in a million.
    x = SIZES.astype(np.float32)
    assert relative(apply(falling, x) * np.float32(1 + 1e-6), lambda x: mpmath.exp(-x), x) > ERROR["single"]
