"""Claims are measured with code that does not use what they claim."""

import ast
from pathlib import Path

import numpy as np
import pytest

from deeplim import claims
from deeplim.activations import LeakyReLU, ReLU, ShapedReLU
from deeplim.architecture import MLP
from deeplim.claims.draws import (
    ONE,
    covariances,
    half_square_differences,
    log_norms,
    networks_at,
    weights_at,
)
from deeplim.claims.measures import difference, mean_of, part_of, std_of
from deeplim.claims.quadrature import follow, gap_after, leaky
from deeplim.ensemble import simulate
from deeplim.finite import runners
from deeplim.gaussian import nuhat, slope_kernel_strength
from deeplim.inputs import gram

PAIR = gram(correlation=0.3)
FOLDER = Path(claims.__file__).parent


def test_networks_are_drawn_in_one_place():
    drawing = {"simulate", "sample", "sample_weights", "summarize", "runner"}
    for path in FOLDER.glob("*.py"):
        taken = {
            alias.name
            for node in ast.walk(ast.parse(path.read_text("utf-8")))
            if isinstance(node, ast.ImportFrom)
            and (node.module or "").startswith(("deeplim.ensemble", "deeplim.finite"))
            for alias in node.names
        }
        assert (taken & drawing == set()) == (path.name != "draws.py"), path.name


@pytest.mark.parametrize("activation", [ReLU(), LeakyReLU(slope=0.3), ShapedReLU()], ids=str)
@pytest.mark.parametrize("width", [8, 100])
def test_code_that_knows_the_laws_of_layers_is_not_used(monkeypatch, width: int, activation):
    def refuse(*_: object) -> None:
        raise AssertionError("chi-square variables, or active neurons alone")

    monkeypatch.setattr(runners, "_specialised", refuse)
    network = MLP(width=width, depth=3, activation=activation)
    for inputs in (ONE, PAIR):
        assert networks_at(network, inputs, networks=4, seed=0).samples == 4
    with pytest.raises(AssertionError, match="chi-square"):
        simulate(network, ONE, networks=4)


def test_rmsnorm_is_not_drawn_as_the_network_without_it(monkeypatch):
    def refuse(*_: object) -> None:
        raise AssertionError("norms alone are changed")

    monkeypatch.setattr(runners, "with_norms_of", refuse)
    normed = MLP(width=16, depth=2, activation=ShapedReLU(), normalization="rmsnorm")
    assert networks_at(normed, PAIR, networks=4, seed=0).samples == 4
    with pytest.raises(AssertionError, match="norms alone"):
        networks_at(normed.model_copy(update={"placement": "after-activation"}), PAIR, networks=4, seed=0)


@pytest.mark.parametrize("of", [mean_of, std_of])
def test_one_input_is_the_first_of_two_and_has_the_law_of_networks_with_weights(of):
    # Two numbers, each off by chance once in two million times (5 sigma); a width 15% greater is told apart.
    network, wider = MLP(width=20, depth=10), MLP(width=23, depth=10)
    rows, weights, others = (
        of(log_norms(draw(one, ONE, networks=20_000, seed=3)))
        for draw, one in ((networks_at, network), (weights_at, network), (networks_at, wider))
    )
    apart = difference(rows, weights)
    assert abs(apart.value) < 5 * apart.error
    wrong = difference(others, weights)
    assert abs(wrong.value) > 5 * wrong.error


def test_half_square_differences_are_those_of_the_covariance():
    paths = networks_at(MLP(width=30, depth=2), PAIR, networks=50, seed=1)
    norms = np.exp(paths.log_norm[:, -1])
    assert half_square_differences(paths) == pytest.approx(norms.mean(axis=1) - covariances(paths), rel=1e-10)


def test_what_is_not_seen_has_an_error_too():
    assert part_of(0, 98).value == 0.0
    assert part_of(0, 98).error == pytest.approx(np.sqrt(0.01 * 0.99 / 100))
    assert part_of(49, 98).value == 0.5


@pytest.mark.parametrize("slope", [0.0, 0.4, 0.99, -1.0])
@pytest.mark.parametrize("gap", [1e-8, 1e-3, 0.7, 1.0, 1.7, 1.999])
def test_quadrature_of_a_layer_gives_its_closed_form(slope: float, gap: float):
    kappa = slope_kernel_strength(1.0, slope)
    assert gap_after(leaky(slope), gap) == pytest.approx(gap - kappa * float(nuhat(gap)), rel=1e-10)


def test_layers_are_followed_from_the_first():
    gaps = follow(leaky(0.0), 0.7, 3)
    assert len(gaps) == 4
    assert gaps[0] == 0.7
    assert gaps[2] == gap_after(leaky(0.0), gaps[1])
