"""Shaped ResNets with a branch of fixed size, and the SDE that they share with the MLP at another speed."""

import numpy as np
from marks import (
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    Axis,
    Band,
    Curve,
    Mark,
    drawn,
    main,
    mean_points,
    moments_told,
    quantile_curves,
)

import deeplim as dl
from deeplim.drawing import Chart

START, WIDTH, DEPTH = 0.3, 100, 200
ACTIVATION = dl.ShapedReLU(c_plus=0, c_minus=-2)


def resnet(branch: float) -> dl.ResNet:
    """Return the norm-preserving ResNet with this branch; 1 is the MLP."""
    return dl.ResNet(width=WIDTH, depth=DEPTH, activation=ACTIVATION, branch=branch, skip="norm-preserving")


def one_branch(quick: bool) -> Chart:
    """Return the correlation along depth at branch 1/2."""
    network, inputs = resnet(0.5), dl.gram(correlation=START)
    networks, layers = (100 if quick else 8000), list(range(0, DEPTH + 1, 100 if quick else 5))
    exact = dl.simulate(network, inputs, networks=networks, seed=13, layers=layers)
    limit, rho = dl.limits.find(network)[0], exact.correlation[:, :, 0, 1]
    found, end = limit.parameters, dl.limits.law(limit, inputs)
    told = [
        f"Width {WIDTH}, depth {DEPTH}, branch 0.5, skip √0.75, from ρ = {START}; noise g²(2 − g²) = "
        f"{found['noise']:.4f}. At t = 2 the networks have {moments_told(rho[:, -1])}; the SDE has mean "
        f"{end.mean:.4f}, standard deviation {end.std:.4f}."
    ]
    band = Band(f"exact networks ({networks:,}): 5–95%, 25–75%, median", BLUE, np.array(layers) / WIDTH, rho)
    lines = quantile_curves(limit, inputs, layers, "shaped ResNet SDE: 5%, median, 95%")
    x, y = Axis("t = layer/width", 0, DEPTH / WIDTH), Axis("correlation ρ", -1, 1)
    return drawn([band, *lines], x, y, "A shaped ResNet: the correlation along depth", told)


def several_branches(quick: bool) -> Chart:
    """Return the standard deviation of the correlation along depth, for branches of several sizes."""
    networks, inputs, layers = (100 if quick else 4000), dl.gram(correlation=START), list(range(20, DEPTH + 1, 20))
    marks: list[Mark] = []
    for branch, colour in ((1.0, PURPLE), (0.7, GREEN), (0.5, BLUE), (0.3, ORANGE)):
        network = resnet(branch)
        limit = dl.limits.find(network)[0]
        exact = dl.simulate(network, inputs, networks=networks, seed=14, layers=layers)
        rho = exact.correlation[:, :, 0, 1]
        # The spread as a mean: of squared distances from the mean, and its root by the delta method.
        square = mean_points("", colour, np.array(layers) / WIDTH, (rho - rho.mean(axis=0)) ** 2)
        std = np.sqrt(square.y)
        name = f"branch {branch:g}, share g² = {limit.parameters['share']:.2f}"
        laws = [dl.limits.law(limit, inputs, layer=layer) for layer in layers]
        marks.append(Curve(name, colour, square.x, np.array([law.std for law in laws])))
        marks.append(type(square)(name, colour, square.x, std, square.error / (2 * std)))
    told = [f"Points: {networks:,} exact networks each, ± two standard errors. Lines: the SDE, without sampling."]
    x, y = Axis("t = layer/width", 0, DEPTH / WIDTH), Axis("standard deviation of ρ", 0, 0.8)
    return drawn(marks, x, y, "Smaller branches are slower diffusions", told)


def figures(quick: bool) -> dict[str, Chart]:
    """Return the correlation along depth, and its spread for several branches."""
    return {"resnet_sde": one_branch(quick), "resnet_sde_branches": several_branches(quick)}


if __name__ == "__main__":
    main(figures)
