"""Logarithms and exponentials of sixteen numbers at a time, against NumPy's."""

import numpy as np
from numba import njit

from deeplim.simd.double import exp, log
from deeplim.simd.lanes import COUNT, load, store


@njit
def _apply(x, logs, exponentials):
    for i in range(x.shape[0] // COUNT):
        store(logs, i, log(load(x, i)))
        store(exponentials, i, exp(load(logs, i)))


def test_logarithms_and_exponentials_match_numpy_over_their_range():
    rng = np.random.default_rng(0)
    edges = np.array([1e-37, np.sqrt(0.5), np.nextafter(np.sqrt(0.5), 0), 1.0, np.nextafter(1, 2), np.sqrt(2), 2, 1e37])
    x = np.concatenate(
        [edges, np.exp(rng.uniform(-85, 85, COUNT * 2000)), np.exp(rng.normal(0, 0.1, COUNT * 2000 - 8))]
    )
    logs, exponentials = np.empty(len(x)), np.empty(len(x))
    _apply(x, logs, exponentials)
    exact = np.log(x)
    assert np.abs(logs - exact).max() < 3e-14
    near = np.abs(exact) < 1
    assert (np.abs(logs - exact)[near] <= 1e-15 * np.abs(exact[near]) + 3e-16).all()
    assert np.abs(exponentials / x - 1).max() < 1e-13
    _apply(np.full(COUNT, 1e-42), logs[:COUNT], exponentials[:COUNT])
    assert abs(logs[0] - np.log(1e-42)) > 1, "beyond the range it must fail, or the range is stated wrong"
