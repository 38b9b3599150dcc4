"""How far inputs align in exact networks of width = depth = 200: shaped for infinite width, and for their own width."""

import numpy as np
from marks import BLUE, GREEN, ORANGE, Axis, Curve, drawn, main

import deeplim as dl
from deeplim.drawing import Chart

NETWORK = dl.MLP(width=200, depth=200)
TARGET = dl.Target(correlation=0.9, quantile=0.75)


def figures(quick: bool) -> dict[str, Chart]:
    """Return the law of the final correlation with either slope, and the bound."""
    networks = 200 if quick else 20_000
    found = dl.shape(NETWORK, TARGET, networks=networks // 2)
    places, marks = np.linspace(-1, 1, 401), []
    answers = (
        ("TAT's slope", BLUE, found.infinite_width_network, found.infinite_width_value),
        ("the slope for this width", GREEN, found.network, found.value),
    )
    for name, colour, network, slope in answers:
        rho = dl.simulate(network, TARGET.inputs, networks=networks, seed=7, layers=[200]).correlation[:, 0, 0, 1]
        share = np.searchsorted(np.sort(rho), places, side="right") / networks
        kept = 100 * np.mean(rho <= TARGET.correlation)
        marks.append(Curve(f"{name}, {slope:.4f}: {kept:.1f}% keep the bound", colour, places, share))
    bound = np.full(2, TARGET.correlation)
    marks.append(Curve("the target: 75% at 0.9 or below", ORANGE, bound, np.array([0.0, 1.0]), dashed=True))
    level = np.full(2, TARGET.quantile)
    marks.append(Curve("the target: 75% at 0.9 or below", ORANGE, np.array([-1.0, 1.0]), level, dashed=True))
    told = [
        f"Leaky ReLU MLPs of width 200 and depth 200 from ρ = 0, {networks:,} exact networks each. With TAT's slope "
        "all networks of infinite width end at ρ = 0.9."
    ]
    law = drawn(
        marks,
        Axis("final correlation ρ", -1, 1),
        Axis("share of networks that end at ρ or below", 0, 1),
        "One bound, and the slopes for two widths",
        told,
    )
    return {"shaping": law}


if __name__ == "__main__":
    main(figures)
