"""TAT and Deep Kernel Shaping: their conditions, closed forms, and the constants of DeepMind's own implementation.

tests/reference/tat.json is the work of make_tat.py beside it, by the package dks; it meets conditions to 1e-8.
"""

import json
from functools import lru_cache
from math import acos, pi, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from laws import SIGMAS, z_of_means, z_of_variances
from tiers import quick

import deeplim as dl
from deeplim.activations import Elementwise, Transformed, parse_activation
from deeplim.architecture import NORM_PRESERVING, Network
from deeplim.errors import InputError, LimitError, SpecError
from deeplim.finite.runners import how_computed
from deeplim.finite.weights import sample_weights
from deeplim.gaussian import mean_square, slope_kernel_strength
from deeplim.limits.flow import flow_clock
from deeplim.shaping.infinite_width import branch_share, conditions, dks, largest_correlation, slope_of, tat, tat_slope

ROWS: list[dict[str, Any]] = json.loads((Path(__file__).parent / "reference" / "tat.json").read_text())
SLOPES = [row for row in ROWS if row["function"] == "leaky_relu"]
SMOOTH = [row for row in ROWS if row["function"] != "leaky_relu" and (row["depth"] in (10, 1000) or row["share"] < 1)]
GRID = np.linspace(-4, 4, 81)


def network_of(row: dict[str, Any], function: str | None = None) -> Network:
    given = {"width": 1, "depth": row["depth"]}
    if function is not None:
        given["activation"] = Elementwise(function=function)
    return (
        dl.MLP(**given) if row["share"] == 1 else dl.ResNet(**given, skip=NORM_PRESERVING, branch=row["share"] ** 0.5)
    )


def named(row: dict[str, Any]) -> str:
    return "-".join(str(row[key]) for key in ("function", "method", "depth", "share"))


@pytest.mark.parametrize("row", SLOPES, ids=named)
def test_tat_slopes_are_those_of_the_published_implementation(row):
    if row["constants"] is None:
        with pytest.raises(LimitError, match="even with ReLU"):
            tat_slope(network_of(row))
        return
    assert tat_slope(network_of(row)) == pytest.approx(row["constants"]["negative_slope"], abs=1e-6)


@lru_cache
def made(method: str, function: str, depth: int, share: float) -> Transformed:
    network = network_of({"depth": depth, "share": share}, function)
    return tat(network) if method == "TAT" else dks(network)


@pytest.mark.parametrize("row", quick(*SMOOTH[::4], of=SMOOTH), ids=named)
def test_smooth_activations_are_those_of_the_published_implementation(row):
    # Up to the signs that no condition sees: of the argument, and, for a function odd about a point, of the result.
    given = Transformed(function=row["function"], **row["constants"]).at(1, 1)
    found = made(*(row[key] for key in ("method", "function", "depth", "share"))).at(1, 1)
    apart = [np.abs(sign * given(side * GRID) - found(GRID)).max() for sign in (1, -1) for side in (1, -1)]
    assert min(apart) < 1e-6


@pytest.mark.parametrize("row", quick(*SMOOTH[::4], of=SMOOTH), ids=named)
def test_conditions_hold_to_twelve_digits(row):
    method, depth, share = row["method"], row["depth"], row["share"]
    held = conditions(made(method, row["function"], depth, share).at(1, 1))
    assert held.q == pytest.approx(1, abs=1e-12)
    assert held.q_slope == pytest.approx(1, abs=1e-12)
    if method == "TAT":
        assert held.c_slope == pytest.approx(1, abs=1e-12)
        assert held.c_curvature * depth * share == pytest.approx(0.3, abs=1e-12)
    else:
        assert held.c_at_0 == pytest.approx(0, abs=1e-12)
        assert (1 + share * (held.c_slope - 1)) ** depth == pytest.approx(1.5, abs=1e-12)


def test_conditions_are_those_of_a_cubic_in_closed_form():
    # x^3 = sqrt(6) he_3 + 3 he_1: Q(q) = 15 q^3, C(c) = (9 c + 6 c^3) / 15.
    found = conditions(lambda x: x**3)
    assert found == pytest.approx((0, 27 / 15, 36 / 15, 15, 45), abs=1e-11)


def test_conditions_are_derivatives_of_mean_squares():
    phi = made("DKS", "tanh", 10, 1.0).at(1, 1)
    step = 1e-4
    slope = (mean_square(phi, 1 + step) - mean_square(phi, 1 - step)) / (2 * step)
    assert slope == pytest.approx(1, abs=1e-7)


def test_the_slope_inverts_the_strength():
    for alpha in np.linspace(0, 1, 21):
        assert slope_of(slope_kernel_strength(1.0, alpha)) == pytest.approx(alpha, abs=1e-9)
    for kappa in np.geomspace(1e-12, 1 / pi, 20):
        assert slope_kernel_strength(1.0, slope_of(kappa)) == pytest.approx(kappa, rel=1e-9)


@pytest.mark.parametrize("depth", [30, 400])
def test_the_final_correlation_is_eta_by_the_formula_of_the_paper(depth):
    alpha, c = tat_slope(dl.MLP(width=1, depth=depth)), 0.0
    for _ in range(depth):
        ramp = (sqrt(1 - c * c) + (pi - acos(c)) * c) / pi
        c = ((1 - alpha) ** 2 * ramp + 2 * alpha * c) / (1 + alpha**2)
    assert c == pytest.approx(0.9, abs=1e-12)


def test_a_residual_block_averages_with_the_skip_by_weights_of_any_size():
    # skip 2, branch 1: the block is the one of branch sqrt(1/5), norm-preserving.
    scaled = dl.ResNet(width=1, depth=200, skip=2.0, branch=1.0)
    kept = dl.ResNet(width=1, depth=200, skip=NORM_PRESERVING, branch=sqrt(1 / 5))
    assert branch_share(scaled) == pytest.approx(0.2)
    assert tat_slope(scaled) == pytest.approx(tat_slope(kept), abs=1e-12)
    limit = dl.limits.named("infinite-width", scaled.model_copy(update={"activation": dl.LeakyReLU(slope=0.25)}))
    gap = limit.sample(dl.gram(correlation=0.0), layers=[200]).correlation_gap[0, 0, 0]
    assert largest_correlation(scaled, slope_kernel_strength(1.0, 0.25), 0.0) == pytest.approx(1 - gap, abs=1e-13)


def test_deep_slopes_follow_the_flow_of_nuhat():
    # (1 - alpha)^2 depth / (2 pi) tends to the time from 0 to eta; what is left is 1 - alpha of it, and its square.
    time = float(np.subtract(*flow_clock(np.array([0.1, 1.0]))))
    apart = [abs((1 - tat_slope(dl.MLP(width=1, depth=d))) ** 2 * d / (2 * pi) / time - 1) for d in (500, 2000)]
    delta = sqrt(2 * pi * time / 500)
    assert apart[0] < 2 * delta
    assert apart[1] / apart[0] == pytest.approx(1 / 2, abs=delta / 2)


@pytest.mark.parametrize("find", [tat, dks])
def test_what_has_no_solution_or_no_meaning_is_refused(find):
    with pytest.raises(SpecError, match="slopes"):
        find(dl.MLP(width=1, depth=10))
    with pytest.raises(LimitError, match="norm-preserving"):
        find(dl.ResNet(width=1, depth=10, activation=Elementwise(function="tanh")))
    with pytest.raises(LimitError, match="rmsnorm"):
        find(dl.MLP(width=1, depth=10, activation=Elementwise(function="tanh"), normalization="rmsnorm"))
    with pytest.raises(InputError, match="finite number above"):
        find(
            dl.MLP(width=1, depth=10, activation=Elementwise(function="tanh")), **{"tau" if find is tat else "zeta": 0}
        )
    with pytest.raises(SpecError, match="Hermite"):
        find(dl.MLP(width=1, depth=10, activation=Elementwise(function="numpy:sign")))


def test_etas_out_of_order_are_refused():
    for eta, start, told in ((0.5, 0.6, "start < eta"), (1.0, 0.0, "eta=1.0 was"), (0.9, -1.0, "start=-1.0 was")):
        with pytest.raises(InputError, match=told):
            tat_slope(dl.MLP(width=1, depth=10), eta=eta, start=start)


def test_transformed_is_read_and_written():
    phi = Transformed(function="tanh", input_scale=0.5, input_shift=0.4, output_scale=2, output_shift=-0.4)
    network = dl.MLP(width=8, depth=4, activation=phi)
    assert dl.read_network(network.to_json()) == network
    assert parse_activation(str(phi)) == phi
    assert network.function(np.array([1.0])) == pytest.approx(2 * (np.tanh(0.9) - 0.4))


def affine_tanh(x: np.ndarray) -> np.ndarray:
    """2.5 (tanh(0.8 x + 0.3) - 0.2)."""
    return 2.5 * (np.tanh(0.8 * x + 0.3) - 0.2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "precision"),
    [(dl.MLP(width=64, depth=6), "auto"), (dl.ResNet(width=64, depth=6), "double")],
    ids=str,
)
def test_transformed_networks_are_those_of_the_function_written_out(network, precision):
    # The same random numbers in vector code and in the compiled function, to single precision's digits.
    phi = Transformed(function="tanh", input_scale=0.8, input_shift=0.3, output_scale=2.5, output_shift=-0.2)
    mirrored = phi.model_copy(
        update={"input_scale": -0.8, "input_shift": -0.3, "output_scale": -2.5, "output_shift": 0.2}
    )
    inputs = dl.gram(correlation=0.3)
    written = network.model_copy(update={"activation": Elementwise(function=f"{__name__}:affine_tanh")})
    expected = dl.simulate(written, inputs, networks=32, seed=3, layers=[6], precision="double")
    for activation in (phi, mirrored):
        found = dl.simulate(
            network.model_copy(update={"activation": activation}),
            inputs,
            networks=32,
            seed=3,
            layers=[6],
            precision=precision,
        )
        tolerance = 1e-4 if precision == "auto" else 1e-8
        np.testing.assert_allclose(found.log_norm, expected.log_norm, atol=tolerance)
        np.testing.assert_allclose(found.log_gap, expected.log_gap, atol=10 * tolerance)


def test_exact_networks_with_a_transformed_activation_have_the_law_of_their_matrices():
    network = dl.MLP(width=20, depth=10, activation=made("DKS", "tanh", 10, 1.0))
    assert how_computed(network) == "vector code"
    inputs = dl.gram(correlation=0.3)
    drawn = dl.simulate(network, inputs, networks=4000, seed=5, layers=[10])
    slow = sample_weights(network, inputs, networks=2000, seed=6, layers=[10])
    other = dl.simulate(
        network.model_copy(update={"activation": dl.ReLU()}), inputs, networks=4000, seed=5, layers=[10]
    )
    for of in (lambda p: p.correlation[:, 0, 0, 1], lambda p: p.log_norm[:, 0, 0]):
        assert z_of_means(of(drawn), of(slow)) < SIGMAS
        assert z_of_variances(of(drawn), of(slow)) < SIGMAS
    assert z_of_means(other.correlation[:, 0, 0, 1], slow.correlation[:, 0, 0, 1]) > SIGMAS


def test_a_function_of_yours_is_transformed_too():
    phi = Transformed(function="numpy:arctan", input_scale=0.5, output_scale=3)
    network = dl.MLP(width=8, depth=3, activation=phi)
    assert how_computed(network) in ("compiled by Numba", "vectorised NumPy")
    assert dl.simulate(network, dl.gram(correlation=0.3), networks=8).alive.all()
    with pytest.raises(SpecError, match="input_scale = 0"):
        Transformed(function="tanh", input_scale=0)
