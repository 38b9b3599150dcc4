"""The vector logarithm and exponential against mpmath and NumPy, over everything a double can be."""

import mpmath
import numpy as np
from numba import njit

from deeplim.simd.exponentials import exp, log
from deeplim.simd.lanes import COUNT, load, store

STATED = 4e-16 + 2**-53


@njit
def _log(values, found):
    for i in range(values.shape[0] // COUNT):
        store(found, i, log(load(values, i)))


@njit
def _exp(values, found):
    for i in range(values.shape[0] // COUNT):
        store(found, i, exp(load(values, i)))


def _of(function, values: np.ndarray) -> np.ndarray:
    padded = np.concatenate([values, np.ones(-len(values) % COUNT)])
    found = np.empty_like(padded)
    function(padded, found)
    return found[: len(values)]


def _worst(found: np.ndarray, exact: list) -> float:
    """The largest relative error."""
    return max(abs(float((mpmath.mpf(float(f)) - e) / e)) for f, e in zip(found, exact, strict=True) if e != 0)


def test_the_error_is_the_one_stated_over_the_whole_range():
    rng = np.random.default_rng(0)
    values = np.concatenate(
        [
            np.exp(rng.uniform(-708, 709, 2000)),
            1 + rng.uniform(-0.5, 1, 2000),
            1 + rng.choice([-1, 1], 2000) * 10.0 ** rng.uniform(-15, -1, 2000),
            [np.finfo(float).tiny, np.finfo(float).max, np.sqrt(0.5), np.nextafter(np.sqrt(0.5), 0), np.sqrt(2)],
        ]
    )
    exact = [mpmath.log(mpmath.mpf(float(v))) for v in values]
    assert _worst(_of(_log, values), exact) < STATED


def test_the_error_of_the_exponential_is_the_one_stated():
    rng = np.random.default_rng(1)
    values = np.concatenate([rng.uniform(-708, 709.7, 4000), rng.normal(size=2000), [0.0, -0.0, -708.0, 709.7, 1e-300]])
    exact = [mpmath.exp(mpmath.mpf(float(v))) for v in values]
    assert _worst(_of(_exp, values), exact) < STATED
    found = _of(_exp, np.array([-709.0, -np.inf, 710.0, np.inf, np.nan, 0.0]))
    assert found[:4].tolist() == [0.0, 0.0, np.inf, np.inf]
    assert np.isnan(found[4])
    assert found[5] == 1


def test_what_is_no_positive_number_is_told():
    found = _of(_log, np.array([0.0, 1.0, np.inf, np.nan, 1e-310]))
    assert found[0] == -np.inf
    assert found[1] == 0
    assert found[2] == np.inf
    assert np.isnan(found[3])
    assert found[4] == -np.inf
