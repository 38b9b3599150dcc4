"""Networks as frozen, validated specs with a JSON round trip: the MLP and the fully connected ResNet."""

import re
from math import isfinite, sqrt
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError, field_validator

from deeplim.activations import Activation, Elementwise, ReLU, Spec, gain, number, one_sentence
from deeplim.errors import SpecError

Size = Annotated[int, Field(ge=1, le=10_000_000, description="a whole number from 1 to 10,000,000")]
Scale = Annotated[float, Field(description="a finite number")]
_SCALE = re.compile(r"(?P<factor>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*/\s*sqrt\(\s*depth\s*\)")
_ACTIVATION = (
    "ReLU(), LeakyReLU(slope=0.2), ShapedReLU() or Elementwise(function='package.module:function'), "
    "in JSON an object of kind 'relu', 'leaky', 'shaped-relu' or 'function'"
)
_WRITTEN = """an object such as {"kind": "mlp", "width": 64, "depth": 20} or one of kind "resnet\""""


class _Network(Spec):
    """What both networks have: a width, a depth and an activation."""

    width: Size
    depth: Size
    activation: Activation = Field(default=ReLU(), description=_ACTIVATION)

    def model_post_init(self, context: object) -> None:
        """Refuse an activation that no weights can be scaled to at this width and depth."""
        gain(self.activation, self.width, self.depth)

    @property
    def gain(self) -> float:
        """c = 1 / E phi(g)^2, the variance of a weight times the width."""
        return gain(self.activation, self.width, self.depth)

    @property
    def homogeneous(self) -> bool:
        """Whether phi(a x) = a phi(x) for a > 0: the activation is given by two slopes."""
        return not isinstance(self.activation, Elementwise)

    @property
    def slopes(self) -> tuple[float, float]:
        """(s_+, s_-) at this width and depth; SpecError when the activation is not given by slopes."""
        if isinstance(self.activation, Elementwise):
            raise SpecError(f"{self.activation} is not given by two slopes; relu, leaky and shaped-relu are.")
        return self.activation.slopes(self.width, self.depth)

    @property
    def aspect(self) -> float:
        """depth / width, the clock of the proportional regime; up to a factor, the variance of log norms."""
        return self.depth / self.width


class MLP(_Network):
    """A fully connected network with ``depth`` hidden layers of ``width`` neurons, at initialization.

    z_1 = W_in x / sqrt(n_in), z_{l+1} = sqrt(c / n) W_l phi(z_l), all weights iid N(0, 1), 1/c = E phi(g)^2.
    Its state at layer l is V_l = (c/n) <phi(z_l), phi(z_l)>; V_0 is the Gram matrix of the inputs.
    """

    kind: Literal["mlp"] = "mlp"

    def __str__(self) -> str:
        return f"MLP, {self.activation}, width {self.width}, depth {self.depth}"


class ResNet(_Network):
    """A fully connected residual network with ``depth`` blocks of ``width`` neurons, at initialization.

    z_0 = W_in x / sqrt(n_in), z_{l+1} = skip z_l + branch sqrt(c / n) W_l phi(z_l), all weights iid N(0, 1).
    Its state at layer l is V_l = <z_l, z_l> / n; V_0 is random, with the Gram matrix of the inputs as its
    mean. ``branch`` is a number or ``"a/sqrt(depth)"``; ``"1/sqrt(depth)"`` is the network of Li & Nica 2023.
    """

    kind: Literal["resnet"] = "resnet"
    skip: Scale = 1.0
    branch: float | str = Field(
        default="1/sqrt(depth)", description="a finite number, or 'a/sqrt(depth)' with a finite number a"
    )

    @field_validator("branch", mode="before")
    @classmethod
    def _check_branch(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        try:
            return float(value)
        except ValueError:
            pass
        match = _SCALE.fullmatch(value.strip())
        if not match or not isfinite(float(match["factor"])):
            raise ValueError
        return f"{match['factor']}/sqrt(depth)"

    def model_post_init(self, context: object) -> None:
        """Refuse a network that passes nothing on."""
        super().model_post_init(context)
        if self.skip == 0 and self.branch_scale == 0:
            raise SpecError("skip = 0 and branch = 0 pass nothing on; give one of them another value.")

    @property
    def branch_factor(self) -> float | None:
        """a, when the branch scale is a / sqrt(depth); None when it is a plain number."""
        match = _SCALE.fullmatch(self.branch) if isinstance(self.branch, str) else None
        return float(match["factor"]) if match else None

    @property
    def branch_scale(self) -> float:
        """The number that multiplies the residual branch at this depth."""
        factor = self.branch_factor
        return float(self.branch) if factor is None else factor / sqrt(self.depth)

    def __str__(self) -> str:
        skip = "" if self.skip == 1 else f"skip {number(self.skip)}, "
        branch = self.branch if isinstance(self.branch, str) else number(self.branch)
        return f"ResNet, {self.activation}, {skip}branch {branch}, width {self.width}, depth {self.depth}"


Network = MLP | ResNet
_NETWORK: TypeAdapter[Network] = TypeAdapter(Annotated[MLP | ResNet, Field(discriminator="kind")])


def read_network(text: str) -> Network:
    """Return the network that ``to_json`` wrote; SpecError if the text does not describe one.

    >>> read_network('{"kind": "mlp", "width": 64, "depth": 20}')
    MLP(width=64, depth=20, activation=ReLU(kind='relu'), kind='mlp')
    """
    try:
        return _NETWORK.validate_json(text)
    except ValidationError as error:
        raise SpecError(one_sentence(error, whole=_WRITTEN)) from None
