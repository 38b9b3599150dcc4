"""Narrow networks and the moment chain: the gap of ReLU networks, and the correlation of tanh networks."""

import numpy as np
from marks import BLUE, GREEN, ORANGE, Axis, Band, Curve, drawn, main, mean_points

import deeplim as dl
from deeplim.drawing import Chart
from deeplim.limits.moment_chain import MomentChain

START = 0.3


def narrow_relu(quick: bool) -> Chart:
    """Return log10(1 - rho) along depth at width 32: exact networks, the moment chain, the unshaped SDE."""
    network, inputs = dl.MLP(width=32, depth=32), dl.gram(correlation=START)
    networks = 200 if quick else 40_000
    layers = list(range(0, 33, 16 if quick else 2))
    exact = dl.simulate(network, inputs, networks=networks, seed=17, layers=layers)
    chain = MomentChain(network).sample(inputs, samples=networks, seed=18, layers=layers)
    found = np.quantile(chain.log_gap[:, :, 0], [0.05, 0.5, 0.95], axis=0) / np.log(10)
    lines = [Curve("moment chain: 5%, median, 95%", ORANGE, np.array(layers), y, k != 1) for k, y in enumerate(found)]
    limit = dl.limits.named("unshaped", network)
    medians = [np.log10(dl.limits.law(limit, inputs, layer=layer).gap_quantile(0.5)) for layer in layers[1:]]
    values = exact.log_gap[:, :, 0] / np.log(10)
    values = np.where(np.isfinite(values), values, np.nan)
    lost = int((~np.isfinite(values[:, -1])).sum())
    told = f"Width 32, depth 32, from ρ = {START}; {lost} of {networks:,} networks are dead or exactly aligned."
    return drawn(
        [
            Band(f"exact networks ({networks:,}): 5–95%, 25–75%, median", BLUE, np.array(layers), values),
            *lines,
            Curve("unshaped SDE: median", GREEN, np.array(layers[1:]), np.array(medians), dashed=True),
        ],
        Axis("layer", 0, 32),
        Axis("log10 of the gap 1 − ρ", -4, 0),
        "Unshaped ReLU at width 32",
        [told],
    )


def narrow_tanh(quick: bool) -> Chart:
    """Return the mean correlation along depth at width 32 of unshaped tanh, which has no differential equation."""
    network = dl.MLP(width=32, depth=32, activation=dl.Elementwise(function="tanh"))
    inputs, networks = dl.gram(correlation=0.8), (200 if quick else 20_000)
    layers = list(range(0, 33, 16 if quick else 2))
    exact = dl.simulate(network, inputs, networks=networks, seed=19, layers=layers)
    chain = MomentChain(network).sample(inputs, samples=networks, seed=20, layers=layers)
    wide = dl.limits.named("infinite-width", network).sample(inputs, layers=layers)
    places = np.array(layers)
    return drawn(
        [
            mean_points("exact networks, ± two standard errors", BLUE, places, exact.correlation[:, :, 0, 1]),
            Curve("moment chain", ORANGE, places, chain.correlation[:, :, 0, 1].mean(axis=0)),
            Curve("infinite width", GREEN, places, wide.correlation[0, :, 0, 1], dashed=True),
        ],
        Axis("layer", 0, 32),
        Axis("mean correlation ρ", 0, 1),
        "Unshaped tanh at width 32",
        [f"Width 32, depth 32, from ρ = 0.8; {networks:,} networks and as many paths."],
    )


def figures(quick: bool) -> dict[str, Chart]:
    """Return both networks' figures."""
    return {"moments_relu": narrow_relu(quick), "moments_tanh": narrow_tanh(quick)}


if __name__ == "__main__":
    main(figures)
