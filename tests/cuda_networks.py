"""The networks that the tests of the GPU's kernels draw."""

import numpy as np

from deeplim.activations import Elementwise, LeakyReLU, Shaped, ShapedReLU
from deeplim.architecture import MLP, Network, ResNet
from deeplim.inputs import Inputs, gram

SEED = 20
LAYERS = [0, 1, 3]
ONE, PAIR = gram(np.array([[1.0, 2.0]])), gram(covariance=np.array([[1.0, 0.5], [0.5, 2.0]]))
THREE, FOUR = (gram(np.random.default_rng(count).normal(size=(count, 6))) for count in (3, 4))

CASES: dict[str, tuple[Network, Inputs]] = {
    "one, single precision": (MLP(width=70, depth=3), ONE),
    "pair, single precision": (MLP(width=70, depth=3), PAIR),
    "pair, double precision": (MLP(width=12, depth=3, activation=LeakyReLU(slope=-0.5)), PAIR),
    "shaped": (MLP(width=12, depth=3, activation=ShapedReLU()), THREE),
    "four": (ResNet(width=12, depth=3, activation=ShapedReLU()), FOUR),
    "resnet of one": (ResNet(width=12, depth=3), ONE),
    "resnet, single precision": (ResNet(width=70, depth=3, skip=0.5, branch=-2.0), PAIR),
    "tanh": (MLP(width=12, depth=3, activation=Elementwise(function="tanh")), THREE),
    "resnet, shaped smooth": (ResNet(width=12, depth=3, activation=Shaped(function="silu")), THREE),
    "weight variance": (MLP(width=70, depth=3, weight_variance=1.3), PAIR),
    "resnet, weight variance": (ResNet(width=12, depth=3, weight_variance=0.7), PAIR),
    "biases": (MLP(width=12, depth=3, weight_variance=1.3, bias_variance=0.4), THREE),
    "resnet, biases": (ResNet(width=12, depth=3, weight_variance=3.0, bias_variance=0.4), THREE),
    "tanh, biases": (
        MLP(width=12, depth=3, activation=Elementwise(function="tanh"), weight_variance=2.0, bias_variance=0.1),
        PAIR,
    ),
}
"""At the layers LAYERS, to be compared with the slow twin number by number."""

LAW: dict[str, tuple[Network, Inputs, int]] = {
    "law of one": (MLP(width=6, depth=3), ONE, 800),
    "law of two": (MLP(width=6, depth=3), PAIR, 800),
    "law, shaped": (MLP(width=6, depth=3, activation=ShapedReLU()), THREE, 600),
    "law of resnets": (ResNet(width=6, depth=2), PAIR, 600),
    "law of gelu": (MLP(width=6, depth=3, activation=Elementwise(function="gelu")), PAIR, 600),
}
TINY: dict[str, tuple[Network, Inputs]] = {
    "mlp": (MLP(width=4, depth=2), PAIR),
    "resnet": (ResNet(width=4, depth=2), PAIR),
}
