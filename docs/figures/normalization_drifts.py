"""The four drifts of normalized shaped networks, and the noise's own, against the correlation."""

import numpy as np
from marks import BLUE, GREEN, ORANGE, PURPLE, Axis, Curve, Points, drawn, main

from deeplim.drawing import INK, Chart
from deeplim.limits.laws import centred_relu_drift, centred_smooth_drift, shaped_relu_drift, shaped_smooth_drift

DRIFTS = {
    "γ nuhat(ρ): shaped ReLU, RMSNorm": (shaped_relu_drift(1.0), 1.0, BLUE),
    "γ (nuhat(ρ) − 1 + ρ): shaped ReLU, LayerNorm after it": (centred_relu_drift(1.0), 0.0, ORANGE),
    "p (1 − ρ)(1 − 2ρ): smooth, RMSNorm": (shaped_smooth_drift(1.0), 0.5, GREEN),
    "−2p ρ (1 − ρ): smooth, LayerNorm after it": (centred_smooth_drift(1.0), 0.0, PURPLE),
}


def figures(quick: bool) -> dict[str, Chart]:
    """Return the drifts at gamma = p = 1."""
    gap = np.linspace(2, 0, 21 if quick else 201)
    marks: list[Curve | Points] = []
    for name, (drift, zero, colour) in DRIFTS.items():
        marks.append(Curve(name, colour, 1 - gap, drift(gap)))
        marks.append(Points(name, colour, np.array([zero]), np.zeros(1), np.zeros(1)))
    noise = Curve("−ρ(1 − ρ²)/2: what the noise adds", INK, 1 - gap, -(1 - gap) * gap * (2 - gap) / 2, dashed=True)
    x, y = Axis("correlation ρ", -1, 1), Axis("drift dρ/dt (per layer/width)", -1, 2)
    told = ["Drawn at γ = 1 and p = 1. Points: the correlation that each is drawn to."]
    return {"normalization_drifts": drawn([*marks, noise], x, y, "What normalization leaves of the drift", told)}


if __name__ == "__main__":
    main(figures)
