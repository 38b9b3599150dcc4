"""The covariance ODE under its two networks: a ResNet and a shaped MLP of the same width and depth."""

import numpy as np
from marks import BLUE, GREEN, ORANGE, Axis, Band, Curve, drawn, main, moments_told

import deeplim as dl
from deeplim.architecture import Network
from deeplim.drawing import Chart

START, WIDTH, DEPTH = 0.3, 400, 40


def along_depth(network: Network, title: str, quick: bool) -> Chart:
    """Return the correlation along depth over the ODE, and over the infinite-width recursion of this depth."""
    inputs, networks = dl.gram(correlation=START), (100 if quick else 8000)
    layers = list(range(0, DEPTH + 1, 20 if quick else 2))
    exact = dl.simulate(network, inputs, networks=networks, seed=21, layers=layers)
    ode, wide = (dl.limits.named(name, network).sample(inputs, layers=layers) for name in ("ode", "infinite-width"))
    rho, place = exact.correlation[:, :, 0, 1], np.array(layers) / DEPTH
    told = [
        f"Width {WIDTH}, depth {DEPTH}, from ρ = {START}. At the last layer the networks have "
        f"{moments_told(rho[:, -1])}; the ODE is at {ode.correlation[0, -1, 0, 1]:.4f}, "
        f"infinite width at {wide.correlation[0, -1, 0, 1]:.4f}."
    ]
    return drawn(
        [
            Band(f"exact networks ({networks:,}): 5–95%, 25–75%, median", BLUE, place, rho),
            Curve("covariance ODE", ORANGE, place, ode.correlation[0, :, 0, 1]),
            Curve(f"infinite width at depth {DEPTH}", GREEN, place, wide.correlation[0, :, 0, 1], dashed=True),
        ],
        Axis("s = layer/depth", 0, 1),
        Axis("correlation ρ", 0, 1),
        title,
        told,
    )


def figures(quick: bool) -> dict[str, Chart]:
    """Return the ResNet's figure and the shaped MLP's."""
    shaped = dl.ShapedReLU(c_plus=0, c_minus=-(2**0.5), rate="depth")
    return {
        "ode_resnet": along_depth(dl.ResNet(width=WIDTH, depth=DEPTH), "ResNet, branch depth^(−1/2)", quick),
        "ode_mlp": along_depth(dl.MLP(width=WIDTH, depth=DEPTH, activation=shaped), "MLP shaped at rate depth", quick),
    }


if __name__ == "__main__":
    main(figures)
