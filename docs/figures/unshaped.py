"""Unshaped ReLU networks: the gap 1 - rho along depth, and how slowly the limit is approached as the width grows."""

import numpy as np
from marks import BLUE, GREEN, ORANGE, Axis, Band, Curve, Points, drawn, main

import deeplim as dl
from deeplim.drawing import Chart, plus_minus

START = 0.3


def gap_along_depth(quick: bool) -> Chart:
    """Return log10(1 - rho) along depth at width 200, over the limit's quantiles."""
    network, inputs = dl.MLP(width=200, depth=200), dl.gram(correlation=START)
    networks, layers = (100 if quick else 8000), list(range(0, 201, 100 if quick else 5))
    exact = dl.simulate(network, inputs, networks=networks, seed=15, layers=layers)
    limit = dl.limits.find(network)[0]
    time = np.array(layers) / 200
    laws = [dl.limits.law(limit, inputs, layer=layer) for layer in layers[1:]]
    lines = [
        Curve(
            "unshaped SDE: 5%, median, 95%",
            ORANGE,
            time[1:],
            np.log10([law.gap_quantile(q) for law in laws]),
            dashed=q != 0.5,
        )
        for q in (0.05, 0.5, 0.95)
    ]
    values = exact.log_gap[:, :, 0] / np.log(10)
    last, said = values[:, -1], laws[-1]
    told = [
        f"Width 200, depth 200, from ρ = {START}. At t = 1 the median of 1 − ρ is {10 ** np.median(last):.3g} in the "
        f"networks and {said.gap_quantile(0.5):.3g} in the limit; the lines start at ρ = {START} too."
    ]
    return drawn(
        [Band(f"exact networks ({networks:,}): 5–95%, 25–75%, median", BLUE, time, values), *lines],
        Axis("t = layer/width", 0, 1),
        Axis("log10 of the gap 1 − ρ", -5, 0),
        "Unshaped ReLU: inputs align",
        told,
    )


def ratio_against_width(quick: bool) -> Chart:
    """Return the mean of R = 1/(n sqrt(1 - rho)) at t = 1 against the width, with both starts of the limit."""
    networks, inputs = (100 if quick else 20_000), dl.gram(correlation=START)
    widths = np.array([50, 100, 200, 400, 800][: 2 if quick else 5])
    mean, error, begun = [], [], []
    for width in widths:
        network = dl.MLP(width=int(width), depth=int(width))
        exact = dl.simulate(network, inputs, networks=networks // (2 if width > 400 else 1), seed=16, layers=[width])
        ratio = np.exp(-exact.log_gap[:, 0, 0] / 2) / width
        ratio = ratio[np.isfinite(ratio)]
        mean.append(ratio.mean())
        error.append(ratio.std(ddof=1) / len(ratio) ** 0.5)
        begun.append(_mean_ratio(1 / (width * (1 - START) ** 0.5)))
    both = ", ".join(f"{n}: {plus_minus(m, e)}" for n, m, e in zip(widths, mean, error, strict=True))
    infinity = np.full(len(widths), _mean_ratio(0.0))
    return drawn(
        [
            Points("exact networks, ± two standard errors", BLUE, widths, np.array(mean), np.array(error)),
            Curve(f"limit started at ρ = {START}", GREEN, widths, np.array(begun)),
            Curve(f"limit with its singular start: {infinity[0]:.4f}", ORANGE, widths, infinity, dashed=True),
        ],
        Axis("width n = depth (neurons)", 45, 900, log=True, ticks=(50, 100, 200, 400, 800)),
        Axis("mean of 1/(n √(1 − ρ)) at t = 1", 0.4, 0.8),
        "Unshaped ReLU: the limit is approached slowly",
        [f"Mean by width: {both}."],
    )


def _mean_ratio(start: float) -> float:
    """E R at t = 1 for ReLU, kappa = 1/pi and A = 2."""
    return float(start * np.exp(2) + np.sqrt(2) / (3 * np.pi) * np.expm1(2) / 2)


def figures(quick: bool) -> dict[str, Chart]:
    """Return the gap along depth, and the mean ratio against the width."""
    return {"unshaped": gap_along_depth(quick), "unshaped_width": ratio_against_width(quick)}


if __name__ == "__main__":
    main(figures)
