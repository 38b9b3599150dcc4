"""Shaped networks with RMSNorm and LayerNorm, and their SDEs; also writes the table of docs/normalization.md."""

from dataclasses import dataclass

import numpy as np
from marks import (
    BLUE,
    GREEN,
    HERE,
    ORANGE,
    PURPLE,
    Axis,
    Curve,
    Points,
    arguments,
    drawn,
    mean_points,
    moments_told,
    written,
)

import deeplim as dl
from deeplim.drawing import Chart, save

START, WIDTH, DEPTH, SEED = 0.3, 128, 128, 23
RELU = dl.ShapedReLU(c_plus=0, c_minus=-2)
SILU, TANH = (dl.Shaped(function=function, a=0.6) for function in ("silu", "tanh"))
BEFORE, AFTER = "before-activation", "after-activation"
DRAWN = {
    (RELU, "rmsnorm", AFTER): ("shaped ReLU, RMSNorm: drawn to 1", BLUE),
    (SILU, "rmsnorm", AFTER): ("shaped SiLU, RMSNorm: drawn to 1/2", GREEN),
    (SILU, "layernorm", AFTER): ("shaped SiLU, LayerNorm after it: drawn to 0", PURPLE),
    (RELU, "layernorm", AFTER): ("shaped ReLU, LayerNorm after it: drawn to 0", ORANGE),
}
OTHERS = [(RELU, "layernorm", BEFORE), (SILU, "layernorm", BEFORE), (TANH, "layernorm", AFTER)]


@dataclass(frozen=True, eq=False)
class Run:
    """A network's correlations (network, layer), and its limit's mean and standard deviation by layer."""

    network: dl.MLP
    rho: np.ndarray
    mean: np.ndarray
    std: np.ndarray


def run(case: tuple[object, str, str], layers: list[int], quick: bool) -> Run:
    """Return exact networks of a case and the limit's law."""
    activation, normalization, placement = case
    network = dl.MLP(width=WIDTH, depth=DEPTH, activation=activation, normalization=normalization, placement=placement)
    inputs, limit = dl.gram(correlation=START), dl.limits.find(network)[0]
    exact = dl.simulate(network, inputs, networks=50 if quick else 2000, seed=SEED, layers=layers)
    laws = [dl.limits.law(limit, inputs, layer=layer) for layer in layers]
    mean, std = (np.array([getattr(law, name) for law in laws]) for name in ("mean", "std"))
    return Run(network, exact.correlation[:, :, 0, 1], mean, std)


def along_depth(runs: dict[object, Run], layers: list[int]) -> Chart:
    """Return the mean correlation along depth of the four laws."""
    marks: list[Curve | Points] = []
    for case, (name, colour) in DRAWN.items():
        found, time = runs[case], np.array(layers) / WIDTH
        marks.append(Curve(name, colour, np.append(0, time), np.append(START, found.mean)))
        marks.append(mean_points(name, colour, time, found.rho))
    networks = len(found.rho)
    told = [
        f"Width {WIDTH}, depth {DEPTH}, from ρ = {START}; c− = −2 and a = 0.6. Points: means of {networks:,} exact "
        "networks, ± two standard errors. Lines: the SDE, without sampling."
    ]
    x, y = Axis("t = layer/width", 0, DEPTH / WIDTH), Axis("mean correlation ρ", 0.1, 0.7)
    return drawn(marks, x, y, "Normalization moves what attracts a shaped network", told)


def table(runs: dict[object, Run]) -> str:
    """Return networks and limits at the last layer, in Markdown."""
    rows = ["| activation | normalization | networks: ρ | SDE: mean, standard deviation |", "| --- | --- | --- | --- |"]
    for found in runs.values():
        network = found.network
        where = f"{network.normalization} {network.placement.replace('-', ' the ')}"
        said = f"{found.mean[-1]:.4f}, {found.std[-1]:.4f}"
        rows.append(f"| {network.activation} | {where} | {moments_told(found.rho[:, -1])} | {said} |")
    return "\n".join(rows)


def main() -> None:
    """Run all, draw and write."""
    given = arguments()
    layers = [64, 128] if given.quick else list(range(8, DEPTH + 1, 8))
    runs: dict[object, Run] = {case: run(case, layers, given.quick) for case in [*DRAWN, *OTHERS]}
    save(along_depth(runs, layers), given.output / "normalized_sde.svg")
    if given.output == HERE and not given.quick:
        written(HERE.parent / "normalization.md", "sde-table", table(runs))


if __name__ == "__main__":
    main()
