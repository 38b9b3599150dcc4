"""Spectra and effective rank against closed forms, at both ends and where inputs are very close."""

import numpy as np
import pytest
from test_observables import paths_of

from deeplim import spectra
from deeplim.activations import ReLU, ShapedReLU
from deeplim.architecture import MLP
from deeplim.finite import chain
from deeplim.inputs import gram
from deeplim.limits.covariance_sde import CovarianceSDE


def equal(gap: float, inputs: int):
    pairs = inputs * (inputs - 1) // 2
    return paths_of(np.full((1, 1, pairs), np.log(gap)), np.zeros((1, 1, inputs)))


@pytest.mark.parametrize("gap", [1.0, 0.3, 2e-5, 5e-6, 1e-12, 1e-40])
def test_inputs_at_equal_angles_have_the_spectrum_of_their_closed_form(gap: float):
    found = spectra.spectrum(equal(gap, 4))[0, 0]
    np.testing.assert_allclose(found, [1 - 3 * gap / 4, gap / 4, gap / 4, gap / 4], rtol=1e-9)


def test_a_pair_of_other_norms_has_the_eigenvalues_of_its_two_by_two_matrix():
    v, w, rho = 1.0, 4.0, 0.25
    paths = paths_of(np.log([[[1 - rho]]]), np.log([[[v, w]]]) + 600.0)
    root = np.sqrt(((v - w) / 2) ** 2 + rho**2 * v * w)
    np.testing.assert_allclose(spectra.spectrum(paths)[0, 0], ((v + w) / 2 + np.array([root, -root])) / (v + w))


def test_close_inputs_of_other_norms_keep_their_small_eigenvalue():
    # det / trace of a 2 x 2 covariance: v w (1 - rho^2) / (v + w) / (v + w), to first order in the gap
    v, w, gap = 1.0, 4.0, 1e-18
    paths = paths_of(np.log([[[gap]]]), np.log([[[v, w]]]))
    assert spectra.spectrum(paths)[0, 0, 1] == pytest.approx(v * w * 2 * gap / (v + w) ** 2, rel=1e-9)


def test_effective_rank_goes_from_one_to_the_number_of_inputs():
    assert spectra.effective_rank(equal(1.0, 5))[0, 0] == pytest.approx(5)
    assert spectra.participation_ratio(equal(1.0, 5))[0, 0] == pytest.approx(5)
    assert spectra.effective_rank(equal(1e-30, 5))[0, 0] == pytest.approx(1)
    one = paths_of(np.zeros((1, 1, 0)), np.zeros((1, 1, 1)))
    assert spectra.effective_rank(one)[0, 0] == 1


def test_lost_samples_have_no_spectrum():
    paths = paths_of(np.array([[[np.nan]]]), np.array([[[-np.inf, 0.0]]]), alive=np.array([[False]]))
    assert np.isnan(spectra.effective_rank(paths)).all()
    assert spectra.describe_spectrum(paths)["effective_rank"]["mean"] == [None]


def test_unshaped_networks_lose_their_rank_and_shaped_ones_keep_it_as_their_limit_does():
    inputs = gram(covariance=np.full((6, 6), 0.2) + 0.8 * np.eye(6))
    size = {"width": 100, "depth": 100}
    lost = chain.sample(MLP(**size, activation=ReLU()), inputs, networks=200, seed=1, layers=[100])
    kept = chain.sample(MLP(**size, activation=ShapedReLU(c_minus=-0.5)), inputs, networks=2000, seed=2, layers=[100])
    limit = CovarianceSDE(MLP(**size, activation=ShapedReLU(c_minus=-0.5))).sample(
        inputs, samples=2000, seed=3, layers=[100]
    )
    assert spectra.effective_rank(lost).mean() < 1.1
    ranks = [spectra.effective_rank(paths)[:, 0] for paths in (kept, limit)]
    error = np.hypot(*(rank.std() / np.sqrt(len(rank)) for rank in ranks))
    assert abs(ranks[0].mean() - ranks[1].mean()) < 5 * error + 0.05
    assert ranks[1].mean() > 1.5
