"""Unshaped networks with and without LayerNorm: how fast two inputs reach the correlation that attracts them."""

import numpy as np
from marks import BLUE, GREEN, ORANGE, PURPLE, Axis, Curve, Mark, drawn, main, mean_points

import deeplim as dl
from deeplim.drawing import Chart
from deeplim.limits.kernels import fixed_points

START, WIDTH, DEPTH = 0.9, 1000, 40
GELU = dl.Elementwise(function="gelu")
CASES = [
    (dl.ReLU(), "rmsnorm", "ReLU, RMSNorm", BLUE),
    (GELU, "rmsnorm", "GELU, RMSNorm", PURPLE),
    (GELU, "layernorm", "GELU, LayerNorm after it", GREEN),
    (dl.ReLU(), "layernorm", "ReLU, LayerNorm after it", ORANGE),
]


def figures(quick: bool) -> dict[str, Chart]:
    """Return the distance of the correlation to what attracts it, along depth."""
    inputs, networks, layers = dl.gram(correlation=START), (10 if quick else 100), list(range(0, DEPTH + 1, 4))
    marks: list[Mark] = []
    for activation, normalization, title, colour in CASES:
        network = dl.MLP(
            width=WIDTH, depth=DEPTH, activation=activation, normalization=normalization, placement="after-activation"
        )
        [stable] = [point for point in fixed_points(network) if point.stable]
        wide = dl.limits.named("infinite-width", network).sample(inputs, layers=range(DEPTH + 1))
        away = np.abs(wide.correlation[0, :, 0, 1] - stable.correlation)
        away = wide.correlation_gap[0, :, 0] if stable.correlation == 1 else away
        end = "like 9π²/(2 layer²)" if stable.correlation == 1 else f"by {stable.slope:.3f} a layer"
        name = f"{title}: to {round(stable.correlation, 3) + 0:g} {end}"
        marks.append(Curve(name, colour, wide.time, np.where(away > 1e-3, away, np.nan)))
        exact = dl.simulate(network, inputs, networks=networks, seed=24, layers=layers).correlation[:, :, 0, 1]
        # The sign is that of infinite width; below 1/40 the fluctuations of order n^(-1/2) are what is left.
        seen = mean_points(name, colour, np.array(layers), np.abs(exact.mean(axis=0) - stable.correlation) + 0 * exact)
        error = exact.std(axis=0) / networks**0.5
        keep = seen.y > 0.025
        marks.append(type(seen)(name, colour, seen.x[keep], seen.y[keep], error[keep]))
    told = [
        f"From ρ = {START}. Lines: infinite width. Points: means of {networks} exact networks of width {WIDTH:,}, ± "
        "two standard errors, down to 0.025, where fluctuations of order n^(−1/2) begin."
    ]
    x, y = Axis("layer", 0, DEPTH), Axis("|ρ − attracting point|", 1e-3, 1, log=True, ticks=(1e-3, 1e-2, 1e-1, 1))
    return {"normalization_unshaped": drawn(marks, x, y, "Unshaped: LayerNorm sets the target and the pace", told)}


if __name__ == "__main__":
    main(figures)
