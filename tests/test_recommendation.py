"""Every network is recommended a rung that applies, with a sentence; the rule's corners are measured ones."""

import re

import pytest

from deeplim import limits
from deeplim.activations import Elementwise, Shaped, ShapedReLU
from deeplim.architecture import MLP, Network, ResNet
from deeplim.limits.moment_chain import MomentChain
from deeplim.limits.recommendation import recommend

CASES: list[tuple[Network, str, str]] = [
    (MLP(width=32, depth=32), "moments", "unshaped SDE may be off"),
    (MLP(width=512, depth=512), "moments", "unshaped SDE is within"),
    (MLP(width=1024, depth=32), "moments", "unshaped SDE may be off"),
    (MLP(width=32, depth=128, activation=ShapedReLU()), "moments", "covariance SDE may be off"),
    (MLP(width=128, depth=128, activation=ShapedReLU()), "moments", "covariance SDE is within"),
    (MLP(width=64, depth=64, activation=Elementwise(function="tanh")), "moments", "wherever it was measured"),
    (MLP(width=100, depth=200, activation=Shaped(function="tanh", a=1)), "moments", "wherever it was measured"),
    (MLP(width=100, depth=200, activation=Shaped(function="silu", a=0.7)), "exact", "norms are unstable"),
    (MLP(width=64, depth=64, activation=Elementwise(function="gelu")), "exact", "norms are unstable"),
    (MLP(width=8, depth=64), "exact", "width 8"),
    (MLP(width=64, depth=64, normalization="rmsnorm"), "exact", "affordable"),
    (ResNet(width=100, depth=50), "exact", "affordable"),
    (ResNet(width=10_000, depth=1000), "", "neurons are slow to draw|no limit that applies"),
]


@pytest.mark.parametrize(("network", "rung", "words"), CASES, ids=lambda case: str(case)[:60])
def test_the_rung_applies_and_the_sentence_says_why(network: Network, rung: str, words: str):
    name, sentence = recommend(network)
    assert name == (rung or name)
    assert re.search(words, sentence)
    assert re.fullmatch(r"[a-z][^\n]{20,300}[^.]\.", sentence)
    assert name in {"exact", MomentChain.name} or limits.named(name, network).name == name
