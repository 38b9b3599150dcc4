"""Powers of a width or depth: their intervals beside Welch's, and how often they hold."""

from math import log, log2, sqrt

import numpy as np
import pytest
from laws import SIGMAS
from scipy.stats import ttest_ind
from tiers import quick

from deeplim.diagnosis import BranchExponent
from deeplim.diagnosis.powers import Power, fit_power

RUNS = 10_000
SIZES = [32, 64, 128, 256]


def test_the_power_between_two_sizes_has_welchs_interval():
    rng = np.random.default_rng(41)
    small, large = rng.standard_normal(5), 2 + 3 * rng.standard_normal(9)
    found = fit_power([10, 40], [small, large])
    welch = ttest_ind(large, small, equal_var=False).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((welch.low / log(4), welch.high / log(4)))
    assert found.value == pytest.approx((large.mean() - small.mean()) / log(4))
    assert -found == Power(-found.value, found.error, -found.high, -found.low)


def test_a_power_without_chance_is_known_and_one_of_single_values_is_not():
    exact = fit_power(SIZES, [np.full(3, -0.75 * log2(size)) for size in SIZES])
    assert (exact.low, exact.high) == pytest.approx((-0.75 / log(2),) * 2)
    assert np.isnan(fit_power([8, 16], [np.zeros(3), np.zeros(1)]).value)
    assert np.isnan(fit_power([8, 16], [np.zeros(3), np.zeros(0)]).high)


@pytest.mark.parametrize("repeats", quick(2, of=[2, 4, 16]))
@pytest.mark.parametrize("power", [0.0, -1.0])
def test_the_interval_of_a_power_holds_as_often_as_it_says(repeats: int, power: float):
    # variances the same at every width, or inverse to it, as those of norms are
    deviations = np.array(SIZES, dtype=float)[:, None] ** (power / 2)
    draws = deviations * np.random.default_rng(42).standard_normal((RUNS, len(SIZES), repeats))
    found = [fit_power(SIZES, run + 0.5 * np.log(SIZES)[:, None]) for run in draws]
    held = np.mean([one.low <= 0.5 <= one.high for one in found])
    error = SIGMAS * sqrt(0.95 * 0.05 / RUNS)
    # Satterthwaite's degrees of freedom are few by design: 95.7% and 97.2% are held with two repeats, of 10^5 runs
    assert held > 0.94 - error
    assert held < 0.98 + error
    two_errors = np.mean([abs(one.value - 0.5) <= 2 * one.error for one in found])
    if repeats == 2:  # the control, which is what was once told
        assert two_errors < 0.94 - error


def test_verdicts_rest_on_the_interval():
    wide, narrow = (
        BranchExponent(Power(0.5, 0.03, 0.5 - reach, 0.5 + reach), (4, 8), (0.5, 0.35), (("0", "1"),) * 2)
        for reach in (0.12, 0.06)
    )
    assert wide.verdict.startswith("not told apart")
    assert narrow.verdict.startswith("1/2")
    assert "alpha = 0.500 (95%: 0.380 to 0.620)" in str(wide)
