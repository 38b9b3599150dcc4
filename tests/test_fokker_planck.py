"""The Fokker-Planck solver: conservation, closed forms, its own error estimate, explosions, and composition in time."""

import mpmath
import numpy as np
import pytest
from refusals import refused_as_input
from scipy.special import gammainc

from deeplim.errors import LimitError
from deeplim.limits.birth_death import POLE, RESIDUE, rates
from deeplim.limits.density import Density, normal_density
from deeplim.limits.fokker_planck import diffusion_density


def normal_at(x: np.ndarray, mean: float, variance: float) -> np.ndarray:
    return np.exp(-((x - mean) ** 2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)


def distance(density: Density, exact: np.ndarray) -> float:
    return float(np.abs(density.density - exact).sum() * density.spacing)


def one_sided(x: np.ndarray) -> np.ndarray:
    """The drift of log V under smooth shaping with beta = 1, which explodes upwards."""
    return np.expm1(x) - 1


def double_well(x: np.ndarray) -> np.ndarray:
    return 2 * x - x**3


CASES = {
    "still": (np.zeros_like, 1.0, 0.3, 1.0),
    "pushed hard against little noise": (np.ones_like, 0.01, 0.0, 3.0),
    "warm": (np.tanh, 1.0, 0.4, 2.0),
    "spring": (lambda x: -3 * x, 2.0, 5.0, 0.5),
    "fleeing": (lambda x: 1.5 * x, 0.5, 0.1, 1.0),
    "double well": (double_well, 1.0, 0.1, 4.0),
    "exploding": (one_sided, 2.0, 0.0, 0.5),
}


def solved(name: str, **options: float) -> Density:
    drift, noise, start, time = CASES[name]
    return diffusion_density(drift, noise=noise, start=start, time=time, **options)


def test_the_rational_approximation_is_pade_s():
    with mpmath.workdps(50):
        numerator, denominator = mpmath.pade(mpmath.taylor(mpmath.exp, 0, 11), 5, 6)
        top, bottom = numerator[::-1], denominator[::-1]
        slope = [(6 - k) * value for k, value in enumerate(bottom[:-1])]
        for pole, residue in zip(POLE, RESIDUE, strict=True):
            root = mpmath.findroot(lambda z: mpmath.polyval(bottom, z), mpmath.mpc(pole))
            assert abs(root - mpmath.mpc(pole)) < 2e-15 * abs(root)
            exact = mpmath.polyval(top, root) / mpmath.polyval(slope, root)
            assert abs(exact - mpmath.mpc(residue)) < 4e-16 * abs(exact)
    assert len(set(POLE)) == 3
    assert (POLE.imag > 0).all()


@pytest.mark.parametrize("spacing", [0.01, 0.3, 3.0])
def test_the_chain_is_stationary_where_the_diffusion_is(spacing: float):
    """Detailed balance with exp(2 x / noise) for a constant drift of 1, at any spacing; rates are never negative."""
    x = spacing * np.arange(20)
    up, down = rates(x, np.ones_like, 0.5)
    assert np.log(up / down) == pytest.approx(np.full(21, 2 * spacing), rel=1e-12)
    assert up - down == pytest.approx(np.full(21, 1 / spacing), rel=1e-12), "the drift over the spacing"


@pytest.mark.parametrize("name", CASES)
def test_no_probability_is_lost_or_negative(name: str):
    density = solved(name)
    assert density.density.min() >= 0
    assert density.mass.sum() + density.lost == pytest.approx(1, abs=1e-12)
    assert density.cdf(1e9) + density.tail(1e9) == pytest.approx(1, abs=1e-12)
    assert (density.lost > 0) == (name == "exploding")
    assert density.lost_below == 0
    assert density.mass[0] < 1e-20, "the grid ends beyond the law"


@pytest.mark.parametrize("name", CASES)
def test_the_estimated_error_is_no_smaller_than_the_true_one(name: str):
    rough, fine = solved(name, tolerance=1e-5), solved(name, tolerance=2e-9)
    assert rough.error <= 1e-5
    assert distance(rough, fine.at_points(rough.x)) + abs(rough.lost - fine.lost) <= rough.error + fine.error


@pytest.mark.parametrize("name", CASES)
def test_a_rough_law_answers_as_precisely_as_it_says(name: str):
    rough, fine = solved(name, tolerance=1e-5), solved(name)
    assert len(rough.x) <= len(fine.x), "a coarser grid, or what is the tolerance for"
    for point in np.linspace(fine.x[0], fine.x[-1], 203)[1:-1]:
        assert abs(rough.cdf(point) - fine.cdf(point)) < rough.error + 1e-6


@pytest.mark.parametrize("time", [1e-3, 0.7, 50.0])
def test_an_even_drift_of_one_sign_is_a_normal(time: float):
    density = diffusion_density(lambda x: np.full_like(x, -0.8), noise=1.7, start=0.2, time=time)
    assert distance(density, normal_at(density.x, 0.2 - 0.8 * time, 1.7 * time)) < 1e-9


@pytest.mark.parametrize(("rate", "time"), [(3.0, 0.5), (3.0, 20.0), (-1.5, 1.0)])
def test_a_spring_gives_the_ornstein_uhlenbeck_law(rate: float, time: float):
    density = diffusion_density(lambda x: -rate * x, noise=2.0, start=1.3, time=time)
    exact = normal_at(density.x, 1.3 * np.exp(-rate * time), -np.expm1(-2 * rate * time) / rate)
    assert distance(density, exact) < 1e-9


@pytest.mark.parametrize("time", [0.01, 1.0, 10.0])
def test_the_drift_tanh_has_its_closed_form_far_into_the_tails(time: float):
    """cosh is harmonic for it up to e^(t/2): p = cosh(x) / cosh(start) e^(-t/2) times the normal density (Benes)."""
    density = diffusion_density(np.tanh, noise=1.0, start=0.4, time=time)
    x = density.x
    exact = np.cosh(x) / np.cosh(0.4) * np.exp(-time / 2) * normal_at(x, 0.4, time)
    assert distance(density, exact) < 1e-9
    seen = exact > 1e-12 * exact.max()
    assert density.density[seen] == pytest.approx(exact[seen], rel=1e-3)


def test_a_slightly_wrong_drift_is_told_apart():
    density = diffusion_density(lambda x: np.tanh(1.0001 * x), noise=1.0, start=0.4, time=1.0)
    exact = np.cosh(density.x) / np.cosh(0.4) * np.exp(-0.5) * normal_at(density.x, 0.4, 1.0)
    assert distance(density, exact) > 1e-5


def test_a_mirror_image_is_one():
    plain, mirrored = solved("exploding"), diffusion_density(lambda x: -one_sided(-x), noise=2.0, start=0.0, time=0.5)
    assert mirrored.lost_below == pytest.approx(plain.lost_above, abs=1e-11)
    assert mirrored.lost_above == 0
    assert mirrored.tail(0.3) == pytest.approx(plain.cdf(-0.3), abs=1e-10)


@pytest.mark.parametrize("name", ["warm", "double well", "exploding"])
def test_two_halves_of_the_time_make_the_whole(name: str):
    drift, noise, start, time = CASES[name]
    halfway = diffusion_density(drift, noise=noise, start=start, time=time / 2)
    twice = diffusion_density(drift, noise=noise, start=halfway, time=time / 2)
    whole = solved(name)
    assert distance(twice, whole.at_points(twice.x)) < 3e-8, "three solutions, each good to 1e-8"
    assert twice.lost == pytest.approx(whole.lost, abs=1e-8)


def test_a_broad_start_is_the_mixture_it_stands_for():
    density = diffusion_density(np.zeros_like, noise=1.0, start=normal_density(0.5, 0.3), time=2.0)
    assert distance(density, normal_at(density.x, 0.5, 2.3)) < 1e-9


@pytest.mark.parametrize(("beta", "norm", "published"), [(1.0, 1.0, 0.264), (4.0, 0.7, 0.152), (0.3, 2.0, None)])
def test_in_the_end_the_lost_mass_is_the_probability_of_explosion(beta: float, norm: float, published: float | None):
    density = diffusion_density(lambda x: beta * np.expm1(x) - 1, noise=2.0, start=np.log(norm), time=60 / (1 + beta))
    assert density.lost == pytest.approx(gammainc(beta + 1, beta * norm), abs=1e-8)
    if published is not None:
        assert density.lost == pytest.approx(published, abs=5e-4)


@pytest.mark.parametrize("time", [0.1, 0.5, 2.0])
def test_the_time_of_explosion_has_the_law_of_its_dual(time: float):
    """1/V is linear: V explodes by t when int_0^t exp(sqrt(2) B_s - (beta + 1) s) ds exceeds 1 / (beta V_0).

    That functional has the law at t of dY = [1 - beta Y] dt + sqrt(2) Y dB from Y_0 = 0, here from Y_0 = 1e-9.
    """
    beta = 1.0
    exploded = diffusion_density(lambda x: beta * np.expm1(x) - 1, noise=2.0, start=0.0, time=time).lost
    # Out of so fast a start no grid is fine enough for the estimate to be as small as the error is.
    functional = diffusion_density(
        lambda y: np.exp(-y) - beta - 1, noise=2.0, start=np.log(1e-9), time=time, tolerance=1e-6
    )
    assert exploded == pytest.approx(functional.tail(-np.log(beta)), abs=2e-8)


def test_what_cannot_be_is_refused():
    for words in ({"time": 0.0}, {"noise": -1.0}, {"start": np.nan}, {"time": np.inf}):
        refused_as_input(
            lambda words=words: diffusion_density(np.tanh, **({"noise": 1.0, "start": 0.0, "time": 1.0} | words))
        )


def test_what_cannot_be_solved_is_said():
    with pytest.raises(LimitError, match="not finite at"):
        diffusion_density(lambda x: np.where(x < 2, 0.0, np.nan), noise=1.0, start=0.0, time=1.0)
    with pytest.raises(LimitError, match="without noise"):
        diffusion_density(np.ones_like, noise=1e-6, start=0.0, time=1.0)
