"""The norm under smooth shaping: it settles for a small scale a, and dies for a large one."""

import numpy as np
from marks import BLUE, Axis, Band, drawn, main, quantile_curves

import deeplim as dl
from deeplim.drawing import Chart

WIDTH, DEPTH = 100, 300


def norm_along_depth(a: float, told: str, quick: bool) -> Chart:
    """Return log V of one input along depth, under tanh shaped at the scale a sqrt(width)."""
    network = dl.MLP(width=WIDTH, depth=DEPTH, activation=dl.Shaped(function="tanh", a=a))
    networks, layers = (100 if quick else 3000), list(range(0, DEPTH + 1, 150 if quick else 10))
    inputs = dl.gram(correlation=0.3).pair(0, 1)
    exact = dl.simulate(network, inputs, networks=networks, seed=12, layers=layers)
    limit = dl.limits.find(network)[0]
    name = f"exact networks ({networks:,}): 5–95%, 25–75%, median"
    band = Band(name, BLUE, np.array(layers) / WIDTH, exact.log_norm[:, :, 0])
    lines = quantile_curves(limit, inputs, layers, "smooth SDE: 5%, median, 95%", observable="log_norm")
    beta = limit.parameters["beta"]
    return drawn(
        [band, *lines],
        Axis("t = layer/width", 0, DEPTH / WIDTH),
        Axis("log V (natural log of the mean square)", -7, 2),
        f"Shaped tanh, a = {a:g}: {told}",
        [f"Width {WIDTH}, depth {DEPTH}, V = 1 at the input, β = −{-beta:.3g}. No sampling in the limit."],
    )


def figures(quick: bool) -> dict[str, Chart]:
    """Return the norm along depth at a scale below sqrt(2), and at one above."""
    return {
        "smooth_sde_settles": norm_along_depth(0.8, "the norm settles", quick),
        "smooth_sde_dies": norm_along_depth(2.0, "the norm dies", quick),
    }


if __name__ == "__main__":
    main(figures)
