"""Networks as frozen, validated specs with a JSON round trip: the MLP and the fully connected ResNet."""

import re
from math import isclose, isfinite, sqrt
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, TypeAdapter, ValidationError, field_validator

from deeplim.activations import LARGEST_SIZE, Activation, ReLU, Smooth, gain, slopes_of
from deeplim.checks import check_flag, kind_of
from deeplim.errors import InputError, SpecError
from deeplim.loading import Function
from deeplim.specs import Spec, number, one_sentence, reading

Size = Annotated[int, Field(ge=1, le=LARGEST_SIZE, description="a whole number from 1 to 10,000,000")]
Normalization = Literal["none", "rmsnorm", "layernorm", "batchnorm"]
Placement = Literal["before-activation", "after-activation", "before-sum", "after-sum"]
NORM_PRESERVING = "norm-preserving"
_SAME = 1e-9
"""Weight variances this close to the critical one are it: what is left moves a norm by that much a layer."""
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_SCALE = re.compile(rf"(?P<factor>{_NUMBER})\s*/\s*(?:sqrt\(\s*depth\s*\)|depth\s*\^\s*(?P<exponent>{_NUMBER}))")
_ACTIVATION = (
    "ReLU(), LeakyReLU(slope=0.2), ShapedReLU(), Shaped(function='tanh', a=1.2), Transformed(function='tanh') or "
    "Elementwise(function='package.module:function'), "
    "in JSON an object of kind 'relu', 'leaky', 'shaped-relu', 'shaped', 'transformed' or 'function'"
)
_WRITTEN = """an object such as {"kind": "mlp", "width": 64, "depth": 20} or one of kind "resnet\""""


class _Network(Spec):
    """What both networks have: sizes, an activation, a normalization in its place, variances of parameters."""

    width: Size
    depth: Size
    activation: Activation = Field(default=ReLU(), description=_ACTIVATION)
    normalization: Normalization = Field(
        default="none", description="'none', 'rmsnorm', 'layernorm' (over the neurons) or 'batchnorm' (over the inputs)"
    )
    placement: Placement = Field(
        default="before-activation",
        description="'before-activation', 'after-activation', or in a ResNet also 'before-sum' or 'after-sum'",
    )
    weight_variance: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="a finite number above 0, the variance of a weight times its fan-in, or None"
    )
    bias_variance: float = Field(default=0.0, ge=0, description="a finite number, 0 or more")

    def model_post_init(self, context: object) -> None:
        """Refuse an activation that no weights can be scaled to at this width and depth."""
        gain(self.activation, self.width, self.depth)
        if self.normalization == "layernorm" and self.width == 1:
            raise SpecError("layernorm leaves nothing of a single neuron; give a width of 2 or more.")

    @property
    def gain(self) -> float:
        """sigma_w^2, the variance of a weight times the width: ``weight_variance``, or where None the critical one."""
        return self.critical_gain if self.weight_variance is None else self.weight_variance

    @property
    def critical_gain(self) -> float:
        """c = 1 / E phi(g)^2, which keeps unit norms at one on average; 1 where a normalization follows phi."""
        if self.normalization != "none" and self.placement == "after-activation":
            return 1.0
        return gain(self.activation, self.width, self.depth)

    @property
    def gain_ratio(self) -> float:
        """sigma_w^2 / c, by which a layer multiplies unit norms on average; exactly 1 for critical weights."""
        ratio = self.gain / self.critical_gain
        return 1.0 if isclose(ratio, 1.0, rel_tol=_SAME) else ratio

    @property
    def critical(self) -> bool:
        """Whether weights have the critical variance and there are no biases."""
        return self.gain_ratio == 1 and self.bias_variance == 0

    @property
    def homogeneous(self) -> bool:
        """Whether phi(a x) = a phi(x) for a > 0: the activation is two slopes."""
        return slopes_of(self.activation, self.width, self.depth) is not None

    @property
    def slopes(self) -> tuple[float, float]:
        """(s_+, s_-) at this width and depth; SpecError when the activation is not two slopes."""
        slopes = slopes_of(self.activation, self.width, self.depth)
        if slopes is None:
            raise SpecError(f"{self.activation} is not given by two slopes; relu, leaky and shaped-relu are.")
        return slopes

    @property
    def function(self) -> Function:
        """phi at this width and depth, array to array; SpecError when the activation is given by slopes."""
        if isinstance(self.activation, Smooth):
            return self.activation.at(self.width, self.depth)
        raise SpecError(f"{self.activation} is given by two slopes; see network.slopes.")

    @property
    def phi(self) -> Function:
        """phi at this width and depth, array to array, whether or not it is given by slopes."""
        if isinstance(self.activation, Smooth):
            return self.function
        s_plus, s_minus = self.slopes
        return lambda x: s_plus * np.maximum(x, 0.0) + s_minus * np.minimum(x, 0.0)

    @property
    def aspect(self) -> float:
        """depth / width, the clock of the proportional regime; up to a factor, the variance of log norms."""
        return self.depth / self.width

    @property
    def _words(self) -> str:
        """Normalization and variances, where they are given."""
        place = self.placement.replace("-", " the ", 1)
        words = "" if self.normalization == "none" else f"{self.normalization} {place}, "
        words += "" if self.weight_variance is None else f"weight variance {self.weight_variance:.6g}, "
        return words + (f"bias variance {self.bias_variance:.6g}, " if self.bias_variance else "")


class MLP(_Network):
    """A fully connected network with ``depth`` hidden layers of ``width`` neurons, at initialization.

    z_1 = W_in x / sqrt(n_in), z_{l+1} = W_l h_l / sqrt(n) + sigma_b b_l, h_l = sigma_w phi(z_l), all weights and biases
    iid N(0, 1). ``weight_variance`` is sigma_w^2, the variance of a weight times its fan-in; None is the critical one,
    c = 1 / E phi(g)^2. ``bias_variance`` is sigma_b^2. Its state at layer l is V_l = <h_l, h_l> / n + sigma_b^2, the
    covariance of the entries of z_{l+1}; V_0, that of z_1, is the Gram matrix of the inputs. A ``normalization`` N
    makes it h = sigma_w phi(N(z)) before the activation and h = sigma_w N(phi(z)) after it, with c = 1.
    """

    kind: Literal["mlp"] = "mlp"

    def model_post_init(self, context: object) -> None:
        """Refuse a place that only a residual network has."""
        super().model_post_init(context)
        if self.placement in ("before-sum", "after-sum"):
            raise SpecError(
                f"placement = {self.placement!r} belongs to a residual sum, which an MLP does not have; "
                "choose 'before-activation' or 'after-activation'."
            )

    def __str__(self) -> str:
        return f"MLP, {self.activation}, {self._words}width {self.width}, depth {self.depth}"


class ResNet(_Network):
    """A fully connected residual network with ``depth`` blocks of ``width`` neurons, at initialization.

    z_0 = W_in x / sqrt(n_in), z_{l+1} = skip z_l + branch (sigma_w W_l phi(z_l) / sqrt(n) + sigma_b b_l), all weights
    and biases iid N(0, 1), with ``weight_variance`` sigma_w^2, critical where None, and ``bias_variance`` sigma_b^2 as
    in the MLP. Its state at layer l is V_l = <z_l, z_l> / n; V_0 is random, with the Gram matrix of the inputs as its
    mean. ``branch`` is a number, ``"a/sqrt(depth)"`` or ``"a/depth^alpha"``; ``"1/sqrt(depth)"`` is the network
    of Li & Nica 2023. ``skip`` is a number, or ``"norm-preserving"`` for sqrt(1 - branch^2). A ``normalization`` N
    makes the branch W phi(N(z)) + b (before the activation), W N(phi(z)) + b (after it) or N(W phi(z) + b) (before the
    sum), or the block N(skip z + branch (W phi(z) + b)) (after the sum).
    """

    kind: Literal["resnet"] = "resnet"
    skip: float | str = Field(default=1.0, description=f"a finite number or {NORM_PRESERVING!r}")
    branch: float | str = Field(
        default="1/sqrt(depth)",
        description="a finite number, or 'a/sqrt(depth)' or 'a/depth^alpha' with finite a, alpha from 0 to 10",
    )

    @field_validator("skip", mode="before")
    @classmethod
    def _check_skip(cls, value: object) -> object:
        return value if not isinstance(value, str) or value == NORM_PRESERVING else float(value)

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
        if not match or not isfinite(float(match["factor"])) or not 0 <= float(match["exponent"] or 0) <= 10:
            raise ValueError
        power = match["exponent"]
        return f"{match['factor']}/" + ("sqrt(depth)" if power is None or float(power) == 0.5 else f"depth^{power}")

    def model_post_init(self, context: object) -> None:
        """Refuse a network that passes nothing on."""
        super().model_post_init(context)
        if self.skip == NORM_PRESERVING and abs(self.branch_scale) > 1:
            raise SpecError(
                f"a norm-preserving skip is sqrt(1 - branch^2) and branch = {self.branch} is "
                f"{self.branch_scale:g} at depth {self.depth}; give a branch from -1 to 1."
            )
        if self.skip_scale == 0 and self.branch_scale == 0:
            raise SpecError("skip = 0 and branch = 0 pass nothing on; give one of them another value.")

    @property
    def branch_factor(self) -> float | None:
        """a, when the branch scale is a / depth^alpha; None when it is a plain number."""
        match = _SCALE.fullmatch(self.branch) if isinstance(self.branch, str) else None
        return float(match["factor"]) if match else None

    @property
    def branch_exponent(self) -> float:
        """alpha, when the branch scale is a / depth^alpha: 1/2 for a / sqrt(depth), 0 for a plain number."""
        match = _SCALE.fullmatch(self.branch) if isinstance(self.branch, str) else None
        return 0.0 if match is None else float(match["exponent"] or 0.5)

    @property
    def branch_scale(self) -> float:
        """The number that multiplies the residual branch at this depth."""
        factor = self.branch_factor
        return float(self.branch) if factor is None else factor / float(self.depth) ** self.branch_exponent

    @property
    def skip_scale(self) -> float:
        """The number that multiplies the skip connection at this depth."""
        return sqrt(max(1 - self.branch_scale**2, 0.0)) if self.skip == NORM_PRESERVING else float(self.skip)

    def __str__(self) -> str:
        skip = self.skip if isinstance(self.skip, str) else f"skip {number(self.skip)}"
        branch = self.branch if isinstance(self.branch, str) else number(self.branch)
        words = ("" if self.skip == 1 else f"{skip}, ") + f"branch {branch}, {self._words}"
        return f"ResNet, {self.activation}, {words}width {self.width}, depth {self.depth}"


Network = MLP | ResNet
_NETWORK: TypeAdapter[Network] = TypeAdapter(Annotated[MLP | ResNet, Field(discriminator="kind")])


def check_network(network: object) -> Network:
    """Return a network; InputError for anything else."""
    if not isinstance(network, MLP | ResNet):
        raise InputError(f"{kind_of(network)} was given for a network; give a deeplim.MLP or deeplim.ResNet.")
    return network


def read_network(text: str, *, trust: bool = False) -> Network:
    """Return the network that ``to_json`` wrote; SpecError if the text does not describe one.

    A text may name functions of deeplim, NumPy's and SciPy's universal functions, and those that the program has used
    itself. ``trust=True`` lets it name any other, whose module is then imported, and the function called.

    >>> read_network('{"kind": "mlp", "width": 64, "depth": 20}').depth
    20
    """
    try:
        with reading(trust=check_flag("trust", trust)):
            return _NETWORK.validate_json(text)
    except ValidationError as error:
        raise SpecError(one_sentence(error, whole=_WRITTEN)) from None
