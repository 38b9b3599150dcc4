"""Shaped activations and scaled residual branches as PyTorch modules, without parameters or buffers of their own.

Their constants are attributes: a state dict neither gains nor loses a key when a model takes them up. In half
precision (float16, bfloat16) the activations compute in float32 and round once.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from deeplim.checks import brief, check_flag, check_kind, check_real, check_whole
from deeplim.errors import SpecError
from deeplim.torch.functions import Function, name_of, normalised, plain

_MOST = 2**31 - 1
"""Features that a layer may have: more are no layer's."""


class ShapedReLU(nn.Module):
    """phi(x) = s_plus max(x, 0) + s_minus min(x, 0): an activation of two slopes; at 0 its derivative is s_minus.

    ``ShapedReLU.at_rate(c_plus, c_minus, rate)`` has s_± = 1 + c_± / sqrt(rate), the rate a width or a depth. SpecError
    unless both slopes are finite.
    """

    def __init__(self, s_plus: float, s_minus: float) -> None:
        super().__init__()
        self.s_plus = _finite("s_plus", s_plus)
        self.s_minus = _finite("s_minus", s_minus)

    @classmethod
    def at_rate(cls, c_plus: float, c_minus: float, rate: float, *, exponent: float = 0.5) -> "ShapedReLU":
        """Return the activation with s_± = 1 + c_± / rate^exponent (Li & Nica 2023); the rate is a width or a depth."""
        root = _finite("rate", rate, positive=True) ** _finite("exponent", exponent)
        return cls(1 + _finite("c_plus", c_plus) / root, 1 + _finite("c_minus", c_minus) / root)

    def forward(self, x: Tensor) -> Tensor:
        """Return phi(x), of the shape and type of x."""
        if self.s_plus == 1.0:  # then PyTorch has it in one kernel
            return functional.leaky_relu(x, self.s_minus)
        return torch.where(x > 0, self.s_plus * x, self.s_minus * x)

    def extra_repr(self) -> str:
        """Return the slopes as text."""
        return f"s_plus={self.s_plus:.6g}, s_minus={self.s_minus:.6g}"


class ShapedActivation(nn.Module):
    """phi_s(x) = s phi(x / s), s the scale, with phi normalised to phi(0) = 0, phi'(0) = 1 (Li, Nica & Roy 2022).

    ``function`` is one of tanh, sin, erf, logistic, softplus, silu, gelu, or any smooth elementwise function of
    tensors, whose value and slope at 0 are then computed; the values are those of ``deeplim.Shaped``. Nothing cancels
    as x / s vanishes. SpecError for another name, a function with parameters or that is not smooth at 0 or has
    slope 0 there, and a scale that is not positive and finite. name: what to call the function, where its own name
    does not say.
    """

    def __init__(self, function: str | Function, scale: float, *, name: str | None = None) -> None:
        super().__init__()
        self.function = _named(name, function)
        self.scale = _finite("scale", scale, positive=True)
        self.normalised = normalised(function)

    def forward(self, x: Tensor) -> Tensor:
        """Return phi_s(x), of the shape and type of x."""
        wide = x.float() if x.dtype == torch.float16 or x.dtype == torch.bfloat16 else x
        return (self.scale * self.normalised(wide / self.scale)).to(x.dtype)

    def extra_repr(self) -> str:
        """Return the function and its scale as text."""
        return f"{self.function}, scale={self.scale:.6g}"


class TransformedActivation(nn.Module):
    """phihat(x) = output_scale (phi(input_scale x + input_shift) + output_shift).

    The form that Deep Kernel Shaping (Martens et al. 2021) and Tailored Activation Transformations (Zhang, Botev &
    Martens 2022) give an activation. ``function`` is one of tanh, sin, erf, logistic, softplus, silu, gelu, or any
    function of tensors without parameters. SpecError for another name, and a constant that is not finite.
    """

    def __init__(
        self,
        function: str | Function,
        *,
        input_scale: float = 1.0,
        input_shift: float = 0.0,
        output_scale: float = 1.0,
        output_shift: float = 0.0,
        name: str | None = None,
    ) -> None:
        super().__init__()
        self.function = _named(name, function)
        self.plain = plain(function)
        self.input_scale = _finite("input_scale", input_scale)
        self.input_shift = _finite("input_shift", input_shift)
        self.output_scale = _finite("output_scale", output_scale)
        self.output_shift = _finite("output_shift", output_shift)

    def forward(self, x: Tensor) -> Tensor:
        """Return phihat(x), of the shape and type of x."""
        wide = x.float() if x.dtype == torch.float16 or x.dtype == torch.bfloat16 else x
        inner = self.plain(self.input_scale * wide + self.input_shift)
        return (self.output_scale * (inner + self.output_shift)).to(x.dtype)

    def extra_repr(self) -> str:
        """Return the function and its four constants as text."""
        inside = f"input_scale={self.input_scale:.6g}, input_shift={self.input_shift:.6g}"
        return f"{self.function}, {inside}, output_scale={self.output_scale:.6g}, output_shift={self.output_shift:.6g}"


class ScaledResidual(nn.Module):
    """skip x + scale branch(x): a residual block whose branch and skip connection are scaled.

    With scale = a / sqrt(depth) the covariance has an ODE as its limit (Li & Nica 2023). SpecError for a branch that is
    no module, and a scale or skip that is not finite.
    """

    def __init__(self, branch: nn.Module, scale: float, skip: float = 1.0) -> None:
        super().__init__()
        self.branch = check_kind("a residual branch", branch, nn.Module, "give a torch.nn.Module", error=SpecError)
        self.scale = _finite("scale", scale)
        self.skip = _finite("skip", skip)

    def forward(self, x: Tensor) -> Tensor:
        """Return skip x + scale branch(x)."""
        skipped = x if self.skip == 1.0 else self.skip * x
        return torch.add(skipped, self.branch(x), alpha=self.scale)

    def extra_repr(self) -> str:
        """Return the two scales as text."""
        return f"scale={self.scale:.6g}, skip={self.skip:.6g}"


class ScaledLinear(nn.Linear):
    """scale (W x + b): a linear layer times a fixed number, with the parameters and the state-dict keys of nn.Linear.

    ``ScaledLinear.of(linear, scale)`` shares the parameters of another layer. As the last layer of a residual branch it
    scales the branch where the sum x + branch(x) stands in code. SpecError for a scale that is not finite.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        scale: float,
    ) -> None:
        sizes = (check_whole(name, size, 0, _MOST, error=SpecError) for name, size in _sizes(in_features, out_features))
        super().__init__(*sizes, check_flag("bias", bias, error=SpecError), *_placed(device, dtype))
        self.scale = _finite("scale", scale)

    @classmethod
    def of(cls, linear: nn.Linear, scale: float) -> "ScaledLinear":
        """Return a layer that shares the parameters of ``linear``."""
        check_kind("a linear layer", linear, nn.Linear, "give a torch.nn.Linear", error=SpecError)
        made = cls(linear.in_features, linear.out_features, linear.bias is not None, device="meta", scale=scale)
        made.weight, made.bias = linear.weight, linear.bias
        return made

    def forward(self, x: Tensor) -> Tensor:
        """Return scale (W x + b)."""
        return self.scale * functional.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        """Return the sizes and the scale as text."""
        return f"{super().extra_repr()}, scale={self.scale:.6g}"


def _finite(what: str, value: float, *, positive: bool = False) -> float:
    return check_real(what, value, above=0 if positive else None, error=SpecError)


def _named(name: str | None, function: Any) -> str:
    """What to call a function."""
    text = check_kind("a name", name, (str, type(None)), "give text, or None for the function's own", error=SpecError)
    return text or name_of(function)


def _sizes(in_features: Any, out_features: Any) -> tuple[tuple[str, Any], ...]:
    return ("in_features", in_features), ("out_features", out_features)


def _placed(device: Any, dtype: Any) -> tuple[torch.device | None, torch.dtype | None]:
    """A device and a type; SpecError for what PyTorch takes for none, and for a device that is not here."""
    kinds = (torch.dtype, type(None))
    check_kind("dtype", dtype, kinds, "give a type of PyTorch, as torch.float32", error=SpecError)
    try:
        placed = None if device is None else torch.device(device)
        torch.empty(0, device=placed)
    except (AssertionError, RuntimeError, TypeError, ValueError):  # the first where PyTorch was built without CUDA
        cure = "give a device of PyTorch that is here, as 'cpu', or 'cuda:0' with a GPU"
        raise SpecError(f"device={brief(device)} was given; {cure}.") from None
    return placed, dtype
