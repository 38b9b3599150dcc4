"""Exact shaped ReLU networks and their covariance SDE: the correlation along depth, and its law at the end."""

import numpy as np
from marks import BLUE, ORANGE, Axis, Band, Columns, Curve, drawn, main, moments_told, quantile_curves

import deeplim as dl
from deeplim.drawing import Chart

START = 0.3
NETWORK = dl.MLP(width=200, depth=200, activation=dl.ShapedReLU(c_plus=0, c_minus=-1))


def figures(quick: bool) -> dict[str, Chart]:
    """Return the correlation along depth, and its law at the last layer."""
    networks, inputs = (200 if quick else 20_000), dl.gram(correlation=START)
    layers = list(range(0, 201, 100 if quick else 5))
    exact = dl.simulate(NETWORK, inputs, networks=networks, seed=11, layers=layers)
    rho, limit = exact.correlation[:, :, 0, 1], dl.limits.find(NETWORK)[0]
    band = Band(f"exact networks ({networks:,}): 5–95%, 25–75%, median", BLUE, np.array(layers) / 200, rho)
    lines = quantile_curves(limit, inputs, layers, "covariance SDE: 5%, median, 95%")
    end = dl.limits.law(limit, inputs)
    told = [
        f"Width 200, depth 200, γ = {limit.parameters['gamma']:.4f}, from ρ = {START}. At t = 1 the networks have "
        f"{moments_told(rho[:, -1])}; the SDE has mean {end.mean:.4f}, standard deviation {end.std:.4f}."
    ]
    bars = Columns(f"exact networks ({networks:,}), ± one standard error", BLUE, rho[:, -1], np.linspace(-1, 1, 41))
    places = np.linspace(-0.999, 0.999, 400)
    density = Curve("covariance SDE: density", ORANGE, places, np.interp(places, end.values, end.pdf))
    correlation = Axis("correlation ρ", -1, 1)
    return {
        "sde": drawn(
            [band, *lines], Axis("t = layer/width", 0, 1), correlation, "Shaped ReLU: the correlation along depth", told
        ),
        "sde_law": drawn(
            [bars, density], correlation, Axis("density (per ρ)", 0, 3.5), "Shaped ReLU: the law at t = 1", told
        ),
    }


if __name__ == "__main__":
    main(figures)
