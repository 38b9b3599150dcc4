"""The infinite-width recursion over exact wide networks: where two inputs go by their activation."""

import numpy as np
from marks import BLUE, GREEN, ORANGE, PURPLE, Axis, Curve, Mark, drawn, main, mean_points

import deeplim as dl
from deeplim.architecture import Network
from deeplim.drawing import Chart

START, WIDTH, DEPTH = 0.3, 1000, 40
NETWORKS: dict[str, tuple[Network, str]] = {
    "ReLU: to 1, like 1/layer²": (dl.MLP(width=WIDTH, depth=DEPTH), BLUE),
    "ResNet, ReLU, branch 1/√40: the ODE's curve": (dl.ResNet(width=WIDTH, depth=DEPTH), GREEN),
    "tanh: to 0, geometrically": (dl.MLP(width=WIDTH, depth=DEPTH, activation=dl.Elementwise(function="tanh")), ORANGE),
    "ReLU, LayerNorm after it: to 0, geometrically": (
        dl.MLP(width=WIDTH, depth=DEPTH, normalization="layernorm", placement="after-activation"),
        PURPLE,
    ),
}


def figures(quick: bool) -> dict[str, Chart]:
    """Return the mean correlation along depth."""
    networks, layers = (20 if quick else 200), list(range(0, DEPTH + 1, 20 if quick else 4))
    inputs, place = dl.gram(correlation=START), np.array(layers)
    marks: list[Mark] = []
    for name, (network, colour) in list(NETWORKS.items())[:: 3 if quick else 1]:
        wide = dl.limits.named("infinite-width", network).sample(inputs, layers=range(DEPTH + 1))
        exact = dl.simulate(network, inputs, networks=networks, seed=22, layers=layers)
        marks.append(Curve(name, colour, wide.time, wide.correlation[0, :, 0, 1]))
        marks.append(mean_points(name, colour, place, exact.correlation[:, :, 0, 1]))
    told = [
        f"Points: means of {networks} exact networks of width {WIDTH:,}, ± two standard errors. Lines: the recursion."
    ]
    return {
        "infinite_width": drawn(
            marks, Axis("layer", 0, DEPTH), Axis("mean correlation ρ", -0.05, 1), "Infinite width, layer by layer", told
        )
    }


if __name__ == "__main__":
    main(figures)
