"""Smooth functions of tensors that shaping starts from: the named ones, and a user's with its value and slope at 0.

All are plain functions or modules that TorchScript compiles; the normalised ones, (phi(x) - phi(0)) / phi'(0), are
written so that nothing cancels near 0.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from deeplim.errors import SpecError
from deeplim.loading import check_elementwise
from deeplim.smoothness import normalisation
from deeplim.specs import brief

Function = Callable[[Tensor], Tensor]


def plain(function: str | Function) -> Any:
    """Return the function that a word names, or the user's; SpecError for another word or one with parameters."""
    return _NAMED[_known(function)] if isinstance(function, str) else _fixed(function)


def normalised(function: str | Function) -> Any:
    """Return (phi(x) - phi(0)) / phi'(0) as a function of tensors; SpecError as ``plain``, or when phi'(0) = 0."""
    return _NORMALISED[_known(function)] if isinstance(function, str) else _Normalised(_fixed(function))


def name_of(function: Any) -> str:
    """Return the word or the function's own name."""
    return function if isinstance(function, str) else str(getattr(function, "__name__", type(function).__name__))


def _known(name: str) -> str:
    if name not in _NAMED:
        raise SpecError(f"the function {brief(name)} is not known; give {', '.join(_NAMED)} or a function of tensors.")
    return name


def _fixed(function: Any) -> Any:
    if not callable(function):
        raise SpecError(f"the function {brief(function)} was given; give a word or a function of tensors.")
    if isinstance(function, nn.Module) and any(True for _ in (*function.parameters(), *function.buffers())):
        raise SpecError(
            f"{name_of(function)} has parameters or buffers, which can change afterwards; give a fixed function."
        )
    return function


class _Normalised(nn.Module):
    """(phi(x) - phi(0)) / phi'(0) of a user's function; near 0 a polynomial, where the difference would cancel."""

    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function = function
        twin = _on_arrays(function)
        check_elementwise(name_of(function), twin)
        normal = normalisation(twin)
        self.value, self.slope, self.reach = normal.value, normal.slope, normal.reach
        self.highest_first = list(normal.series[::-1])

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised function of x."""
        outside = (self.function(x) - self.value) / self.slope
        if self.value == 0.0:  # nothing is subtracted then
            return outside
        inside = x.clamp(-self.reach, self.reach)
        total = torch.zeros_like(x)
        for coefficient in self.highest_first:
            total = coefficient + inside * total
        return torch.where(x.abs() < self.reach, inside * total, outside)


def _on_arrays(function: Function) -> Callable[[np.ndarray], np.ndarray]:
    """The same function from NumPy array to NumPy array, in double precision."""

    def twin(x: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            value: Any = function(torch.tensor(x, dtype=torch.float64))
        return value.numpy() if isinstance(value, Tensor) else value

    twin.__name__ = name_of(function)
    return twin


def _softplus(x: Tensor) -> Tensor:
    # Past 40, log(1 + exp(-x)) is less than a rounding of x in double precision too.
    return functional.softplus(x, threshold=40.0)


def _gelu(x: Tensor) -> Tensor:
    # erfc keeps its digits as x falls, where 1 + erf would cancel.
    return 0.5 * x * torch.erfc(-0.7071067811865476 * x)


def _normalised_erf(x: Tensor) -> Tensor:
    return 0.8862269254527580 * torch.erf(x)  # sqrt(pi) / 2


def _normalised_logistic(x: Tensor) -> Tensor:
    return 2 * torch.tanh(0.5 * x)  # 4 (logistic(x) - 1/2)


def _normalised_softplus(x: Tensor) -> Tensor:
    # 2 (log(1 + exp(x)) - log 2), without cancellation near 0 or overflow far out.
    near = 2 * torch.log1p(0.5 * torch.expm1(x.clamp(max=40.0)))
    return torch.where(x > 40.0, 2 * (x - 0.6931471805599453), near)


def _normalised_silu(x: Tensor) -> Tensor:
    return 2 * functional.silu(x)


def _normalised_gelu(x: Tensor) -> Tensor:
    return 2 * _gelu(x)


_NAMED: dict[str, Function] = {
    "tanh": torch.tanh,
    "sin": torch.sin,
    "erf": torch.erf,
    "logistic": torch.sigmoid,
    "softplus": _softplus,
    "silu": functional.silu,
    "gelu": _gelu,
}
_NORMALISED: dict[str, Function] = {
    "tanh": torch.tanh,
    "sin": torch.sin,
    "erf": _normalised_erf,
    "logistic": _normalised_logistic,
    "softplus": _normalised_softplus,
    "silu": _normalised_silu,
    "gelu": _normalised_gelu,
}
