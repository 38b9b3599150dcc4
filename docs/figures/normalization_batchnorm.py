"""BatchNorm over m inputs: every pair goes to one correlation, set by the number of inputs alone."""

import numpy as np
from marks import BLUE, ORANGE, Axis, Band, Curve, Mark, drawn, main

import deeplim as dl
from deeplim.drawing import Chart
from deeplim.gaussian import nuhat

WIDTH, DEPTH = 300, 20
COLOURS = {3: ORANGE, 10: BLUE}


def target(inputs: int) -> float:
    """Return K(-1/(m - 1)) for ReLU: the correlation of m inputs that are equally far apart and sum to zero."""
    gap = 1 + 1 / (inputs - 1)
    return 1 - gap + float(nuhat(np.array(gap))) / np.pi


def figures(quick: bool) -> dict[str, Chart]:
    """Return the correlations of all pairs of the first m digits along depth."""
    network = dl.MLP(width=WIDTH, depth=DEPTH, normalization="batchnorm", placement="before-activation")
    layers, networks = list(range(DEPTH + 1)), (4 if quick else 60)
    marks: list[Mark] = []
    digits = dl.digits().images
    assert digits is not None
    for count in COLOURS:
        exact = dl.simulate(network, dl.gram(digits[:count]), networks=networks, seed=25, layers=layers)
        pairs = 1 - np.exp(exact.log_gap)
        name = f"m = {count}: to {target(count):.4f}"
        values = pairs.transpose(0, 2, 1).reshape(-1, len(layers))
        marks.append(Band(name, COLOURS[count], np.array(layers), values))
        marks.append(Curve(name, COLOURS[count], np.array([0.0, DEPTH]), np.full(2, target(count)), dashed=True))
    told = [
        f"The first m digits, {networks} exact networks of width {WIDTH}, BatchNorm before ReLU: 5–95% and 25–75% of "
        "all pairs, and the median. Dashed: K(−1/(m−1))."
    ]
    x, y = Axis("layer", 0, DEPTH), Axis("correlation ρ of a pair", 0, 1)
    return {"normalization_batchnorm": drawn(marks, x, y, "BatchNorm: the number of inputs decides", told)}


if __name__ == "__main__":
    main(figures)
