"""A density's answers: moments, probabilities and quantiles, in the natural variable, and gaps without cancellation."""

import numpy as np
import pytest
from refusals import refused_as_input
from scipy.special import ndtr, ndtri
from scipy.stats import gamma

from deeplim.limits.density import CORRELATION, LINE, LOG_NORM, RATIO, Density, Variable, normal_density
from deeplim.limits.laws import stationary_norm_density
from deeplim.limits.ratio_law import unshaped_correlation

VARIABLES = [LINE, CORRELATION, LOG_NORM, RATIO, unshaped_correlation(100)]
POINTS = np.array([-4.0, -1.3, 0.01, 0.9, 7.0])


@pytest.mark.parametrize("variable", VARIABLES, ids=lambda variable: variable.name)
def test_a_variable_its_inverse_and_its_slope_agree(variable: Variable):
    step = 1e-5
    for x in POINTS:
        rounding = 4e-16 / float(variable.slope(np.array(x)))
        assert variable.at(float(variable.value(np.array(x)))) == pytest.approx(x, rel=1e-9, abs=1e-12 + rounding)
        slope = (variable.value(np.array(x + step)) - variable.value(np.array(x - step))) / (2 * step)
        assert variable.slope(np.array(x)) == pytest.approx(slope, rel=1e-6, abs=1e-10)


@pytest.mark.parametrize("variable", [CORRELATION, unshaped_correlation(100)])
def test_a_gap_and_its_correlation_make_one_and_come_back(variable: Variable):
    assert variable.gap is not None
    for x in POINTS:
        gap = variable.gap(np.array(x))
        assert gap + variable.value(np.array(x)) == pytest.approx(1, abs=1e-15)
        assert variable.at_gap(float(gap)) == pytest.approx(x, rel=1e-9, abs=1e-12)
    for tiny in (1e-12, 1e-200):
        assert float(variable.gap(np.array(variable.at_gap(tiny)))) == pytest.approx(tiny, rel=1e-12)


def test_the_unshaped_gap_is_that_of_the_ratio():
    gap = unshaped_correlation(50).gap
    assert gap is not None
    assert gap(np.log([0.02, 0.5, 7.0])) == pytest.approx([1, 1 / 625, 1 / 350**2], rel=1e-12)
    assert gap(np.log([0.004])) == pytest.approx([2 - 0.04], rel=1e-12)


@pytest.mark.parametrize(("mean", "variance"), [(0.0, 1.0), (3.0, 1e-6), (-40.0, 90.0)])
def test_a_normal_law_answers_as_it_must(mean: float, variance: float):
    density, deviation = normal_density(mean, variance), np.sqrt(variance)
    assert density.mass.sum() == pytest.approx(1, abs=1e-12)
    assert density.mean == pytest.approx(mean, abs=1e-12 * deviation + 1e-14)
    assert density.std == pytest.approx(deviation, rel=1e-12)
    assert density.moment(2) == pytest.approx(mean**2 + variance, rel=1e-12)
    assert density.expect(np.cos) == pytest.approx(np.cos(mean) * np.exp(-variance / 2), abs=1e-12)
    for z in (-9.0, -3.3, -0.017, 0.0, 1.7, 9.0):
        assert density.cdf(mean + deviation * z) == pytest.approx(ndtr(z), rel=1e-8)
        assert density.tail(mean + deviation * z) == pytest.approx(ndtr(-z), rel=1e-8)
    for q in (1e-12, 0.05, 0.5, 0.731, 1 - 1e-9):
        assert (density.quantile(q) - mean) / deviation == pytest.approx(ndtri(q), abs=1e-7)
    assert density.cdf(mean - 99 * deviation) == density.tail(mean + 99 * deviation) == 0
    assert density.cdf(mean + 99 * deviation) == pytest.approx(1, abs=1e-13)


def test_a_law_can_be_read_in_another_variable_of_its_point():
    density = normal_density(0.2, 0.5, variable=RATIO)
    for power in (-2, -1, 1, 2, 3):
        assert density.moment(power) == pytest.approx(np.exp(0.2 * power + 0.25 * power**2), rel=1e-10)
    as_log = density.read_as(LOG_NORM)
    assert as_log.mean == pytest.approx(0.2, abs=1e-13)
    assert as_log.quantile(0.3) == pytest.approx(np.log(density.quantile(0.3)), abs=1e-13)
    assert (density.pdf[:-1] * np.diff(density.values)).sum() == pytest.approx(1, abs=0.02)


def test_what_is_next_to_one_keeps_its_digits():
    """u ~ N(30, 1): the gap is 2 e^(-2u) to all digits, and rho is 1."""
    density = normal_density(30.0, 1.0, variable=CORRELATION)
    assert density.mean == pytest.approx(1, abs=1e-15)
    assert density.mean_gap == pytest.approx(2 * np.exp(-60 + 2), rel=1e-10)
    assert density.std == pytest.approx(2 * np.exp(-60 + 2) * np.sqrt(np.expm1(4)), rel=1e-8)
    assert density.tail_gap(2 * np.exp(-60)) == pytest.approx(0.5, abs=1e-12)
    assert density.tail_gap(2 * np.exp(-66)) == pytest.approx(ndtr(-3), rel=1e-9)
    assert density.gap_quantile(ndtr(2.0)) == pytest.approx(2 * np.exp(-64), rel=1e-9)
    assert (density.gap > 0).all()


def test_lost_mass_counts_as_beyond_the_end_it_left_by():
    whole = normal_density(0.0, 1.0)
    density = Density(whole.x, 0.7 * whole.density, LINE, lost_below=0.1, lost_above=0.2)
    assert density.lost == pytest.approx(0.3)
    assert density.cdf(0.0) == pytest.approx(0.1 + 0.35, abs=1e-13)
    assert density.tail(0.0) == pytest.approx(0.2 + 0.35, abs=1e-13)
    assert density.quantile(0.45) == pytest.approx(0, abs=1e-12)
    assert density.std == pytest.approx(1, rel=1e-12), "of what is left"
    for q in (0.05, 0.85):
        assert "left for infinity" in refused_as_input(lambda q=q: density.quantile(q))


@pytest.mark.parametrize("beta", [-1.1, -3.0, -80.0])
def test_the_stationary_norm_is_a_gamma_variable(beta: float):
    density = stationary_norm_density(beta)
    exact = gamma(-beta - 1, scale=-1 / beta)
    assert density.mass.sum() == pytest.approx(1, abs=1e-12)
    assert density.expect(np.exp) == pytest.approx(exact.mean(), rel=1e-11)
    assert density.expect(lambda x: np.exp(2 * x)) == pytest.approx(exact.moment(2), rel=1e-11)
    for q in (0.01, 0.5, 0.99):
        assert density.quantile(q) == pytest.approx(np.log(exact.ppf(q)), rel=1e-8)


def test_the_stationary_norm_at_beta_minus_3_has_mean_two_thirds_and_variance_two_ninths():
    density = stationary_norm_density(-3.0)
    mean = density.expect(np.exp)
    assert mean == pytest.approx(2 / 3, rel=1e-12)
    assert density.expect(lambda x: np.exp(2 * x)) - mean**2 == pytest.approx(2 / 9, rel=1e-12)


def test_what_cannot_be_is_refused():
    rho, line = normal_density(0.0, 1.0, variable=CORRELATION), normal_density(0.0, 1.0)
    for refused in (
        lambda: rho.tail(1.0),
        lambda: rho.cdf(-1.5),
        lambda: rho.tail_gap(0.0),
        lambda: rho.tail_gap(2.0),
        lambda: rho.quantile(0.0),
        lambda: rho.quantile(1.0),
        lambda: line.tail_gap(0.1),
        lambda: line.gap,
        lambda: line.gap_quantile(0.1),
        lambda: line.tail(np.nan),
        lambda: line.expect(lambda x: np.where(x > 1, np.nan, x)),
        lambda: normal_density(0.0, 0.0),
        lambda: normal_density(np.nan, 1.0),
        lambda: stationary_norm_density(-1.0),
        lambda: stationary_norm_density(-1.0001),
    ):
        refused_as_input(refused)
