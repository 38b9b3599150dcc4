"""What may be varied to shape a network: one number x from 0, where the network is linear or nothing but its skip, to
1.

Each kind of variation says which network x is, and what a person calls it: the negative slope 1 - x, the scale a of a
smooth activation s phi(x / s) at s = 1 / x, the branch a / sqrt(depth) = x, the curvature x^2 of a TAT activation.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import sqrt
from typing import Literal, get_args

from deeplim.activations import LeakyReLU, Shaped, Transformed
from deeplim.architecture import MLP, Network, ResNet
from deeplim.checks import check_word
from deeplim.errors import SpecError
from deeplim.shaping.infinite_width import base_of, branch_share, check_kept_norms
from deeplim.shaping.transformation import TAT, solve

Vary = Literal["slope", "scale", "branch", "curvature"]
_LINEAR = LeakyReLU(slope=1.0)
_LEAST = 1e-5
"""Nonlinearity below which a smooth activation is the identity to all digits that matter."""


@dataclass(frozen=True)
class AbstractVariation(ABC):
    """A family of networks on [0, 1], the one at 0 the most linear."""

    network: Network
    word: Vary
    symbol: str

    @abstractmethod
    def at(self, x: float) -> Network:
        """Return the network at a nonlinearity; LimitError where there is none."""

    @abstractmethod
    def value(self, x: float) -> float:
        """Return what a person calls the network at x: its slope, scale (infinite at 0), branch or curvature."""

    def with_activation(self, activation: LeakyReLU | Shaped | Transformed) -> Network:
        """Return the network with an activation, its weights critical and its biases zero: all that shaping sets."""
        return self.network.model_copy(update=critical() | {"activation": activation})


def critical() -> dict[str, object]:
    """Return the fields of a network that make its weights critical and its biases zero."""
    return {"weight_variance": None, "bias_variance": 0.0}


class _Slope(AbstractVariation):
    def at(self, x: float) -> Network:
        return self.with_activation(LeakyReLU(slope=self.value(x)))

    def value(self, x: float) -> float:
        return round(1 - x, 15)


class _Scale(AbstractVariation):
    def at(self, x: float) -> Network:
        if x < _LEAST:
            return self.with_activation(_LINEAR)
        given = self.network.activation
        shaped = given if isinstance(given, Shaped) else Shaped(function=base_of(self.network).function)
        return self.with_activation(shaped.model_copy(update={"a": self.value(x)}))

    def value(self, x: float) -> float:
        if x < _LEAST:
            return float("inf")
        given = self.network.activation
        unit = (given if isinstance(given, Shaped) else Shaped(function="tanh")).model_copy(update={"a": 1.0})
        return 1 / (x * unit.scale(self.network.width, self.network.depth))


class _Branch(AbstractVariation):
    def at(self, x: float) -> Network:
        return self.network.model_copy(update=critical() | {"branch": f"{self.value(x)!r}/sqrt(depth)"})

    def value(self, x: float) -> float:
        return x * sqrt(self.network.depth)


class _Curvature(AbstractVariation):
    def at(self, x: float) -> Network:
        if x < _LEAST:
            return self.with_activation(_LINEAR)
        return self.with_activation(solve(base_of(self.network), TAT, x * x))

    def value(self, x: float) -> float:
        return x * x * max(self.network.depth * branch_share(self.network), 1.0)


def variation(network: Network, vary: str | None = None) -> AbstractVariation:
    """Return what is varied: by default the slope, the scale or, of a transformed activation, the curvature.

    SpecError for a word that there is not, and where the network has nothing of the kind to vary.
    """
    if vary is not None:
        check_word("vary", vary, get_args(Vary), error=SpecError)
    smooth = not network.homogeneous
    if vary is None:
        vary = "slope" if not smooth else "curvature" if isinstance(network.activation, Transformed) else "scale"
    if vary == "slope":
        if smooth:
            raise SpecError(f"vary = 'slope' was given for {network.activation}, a smooth function; vary its scale.")
        return _Slope(network, "slope", "negative slope")
    if vary == "branch":
        if isinstance(network, MLP):
            raise SpecError(f"vary = 'branch' was given for an {network}; give a ResNet, or vary the slope.")
        _check_skip(network)
        return _Branch(network, "branch", "branch a/sqrt(depth), a")
    if vary == "scale":
        base_of(network)
        return _Scale(network, "scale", "scale a")
    base_of(network)
    check_kept_norms(network)
    return _Curvature(network, "curvature", "curvature C_f''(1)")


def _check_skip(network: ResNet) -> None:
    if network.skip == 0:
        raise SpecError(f"{network} has no skip, and its branch is all there is; give it a skip or vary its slope.")
