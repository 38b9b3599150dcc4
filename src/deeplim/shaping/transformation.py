"""The four constants of output_scale (f(input_scale x + input_shift) + output_shift) that meet a method's conditions.

Both methods leave two numbers free, input_scale and input_shift: output_scale makes Q(1) = 1, output_shift is in closed
form. Of these two the scale sets the strength, how nonlinear the result is, and the shift then makes Q'(1) = 1.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import exp, log, sqrt
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from deeplim.activations import Elementwise, Transformed
from deeplim.errors import LimitError, SpecError
from deeplim.hermite import expand
from deeplim.loading import Function

Coefficients = Float[np.ndarray, " order"]
_LEAST, _FIRST, _MOST, _STRIDE = log(1e-5), log(0.1), log(8.0), log(2.0)
"""Logarithms of the least scale, the first tried and the largest, and the steps in which one is bracketed."""
_STEP, _STEPS = 0.1, 40
"""Shifts are looked through from 0 outwards, up to 4 either way."""
_EXACT, _ROUGH = 1e-15, 1e-2
"""Tolerances of log(scale): of a root, and of its sign alone."""
_MET = 1e-9
"""A change of sign where a condition is not met to this is a pole, not a root."""


class AbstractMethod(ABC):
    """A method's conditions on Hermite coefficients a_k of f(input_scale x + input_shift), of which a_0 is free."""

    title: str
    signs: tuple[float, ...]
    """The signs that a_0 may have, relative to a_2."""

    @abstractmethod
    def mean(self, a: Coefficients, sign: float) -> float:
        """Return what a_0 must be, given the others."""

    @abstractmethod
    def strength(self, a: Coefficients) -> float:
        """Return the number that the method sets; it grows with the input scale."""

    @abstractmethod
    def unmet(self, a: Coefficients) -> float:
        """Return (Q'(1) - 1) / strength."""


class _TAT(AbstractMethod):
    """C'(1) = 1 and a given C''(1)."""

    title = "TAT"
    signs = (1.0, -1.0)

    def mean(self, a: Coefficients, sign: float) -> float:
        # C'(1) = 1 is sum_k k a_k^2 = sum_k a_k^2, and so a_0^2 = sum_{k >= 2} (k - 1) a_k^2.
        return sign * sqrt(float(np.arange(1, len(a) - 1) @ a[2:] ** 2)) * (1.0 if a[2] >= 0 else -1.0)

    def strength(self, a: Coefficients) -> float:
        k = np.arange(len(a))
        return float((k * (k - 1)) @ a**2 / (a @ a))

    def unmet(self, a: Coefficients) -> float:
        return next_but_one(a) / float(a @ a) / self.strength(a)


class _DKS(AbstractMethod):
    """C(0) = 0 and a given C'(1) - 1."""

    title = "Deep Kernel Shaping"
    signs = (1.0,)

    def mean(self, a: Coefficients, sign: float) -> float:
        return 0.0

    def strength(self, a: Coefficients) -> float:
        # C'(1) - 1 = sum_k (k - 1) a_k^2 / sum_k a_k^2: no difference of nearly equal numbers.
        return float(np.arange(1, len(a) - 1) @ a[2:] ** 2 / (a @ a))

    def unmet(self, a: Coefficients) -> float:
        return next_but_one(a) / float(a @ a) / self.strength(a) + 1


TAT, DKS = _TAT(), _DKS()


def next_but_one(a: Coefficients) -> float:
    """Return sum_k sqrt((k + 1)(k + 2)) a_k a_{k+2}."""
    k = np.arange(len(a) - 2)
    return float(np.sqrt((k + 1.0) * (k + 2.0)) @ (a[:-2] * a[2:]))


def not_smooth(name: str) -> SpecError:
    """Return the error for a function without a Hermite series."""
    return SpecError(
        f"{name} has no Hermite series that converges, as one with kinks or a steep step has none; give a smooth "
        "function, or shape a kinked one by its negative slope."
    )


@lru_cache(maxsize=256)
def solve(base: Elementwise, method: AbstractMethod, strength: float) -> Transformed:
    """Return the function between the affine maps that meet a method's conditions at a strength.

    Of several solutions it is the one whose input_shift is nearest 0, the positive one of two. LimitError where there
    is none with an input shift from -4 to 4 and an input scale from 1e-5 to 8.
    """
    function = base.load()
    if not expand(function, np.full(1, 0.1))[1].all():
        raise not_smooth(base.name)
    families = [_Family(function, method, sign, side, strength) for sign in method.signs for side in (1.0, -1.0)]
    for roots in zip(*(family.roots() for family in families), strict=True):
        nearest = min(range(len(families)), key=lambda i: (round(roots[i].shift, 9), -families[i].side))
        if roots[nearest].shift < np.inf:
            return families[nearest].activation(base, roots[nearest])
    raise LimitError(
        f"{method.title} finds no constants for {base.name} at a strength of {strength:.3g} a layer; ask for less, or "
        "for a network with more layers."
    )


class _Expansion(NamedTuple):
    """Coefficients of f(input_scale x + input_shift) + output_shift, and that shift."""

    coefficients: Coefficients
    output_shift: float


class _Root(NamedTuple):
    """A shift, without its sign, and the logarithm of the scale there."""

    shift: float
    log_scale: float


_NOWHERE = _Root(np.inf, np.nan)


@dataclass(frozen=True)
class _Family:
    """f(exp(log_scale) x + side shift), shift >= 0, with one sign of the mean, to be given a strength."""

    function: Function
    method: AbstractMethod
    sign: float
    side: float
    target: float

    def expansions(self, log_scales: np.ndarray, shift: float) -> Iterator[_Expansion | None]:
        """Yield the expansion at each scale, its mean as the method has it; None where there is no series."""
        at = self.side * shift
        # f at the shift is taken out first: a nearly linear function is small beside it, and would lose digits to it.
        value = float(np.asarray(self.function(np.array([at])))[0])
        with np.errstate(all="ignore"):
            found, sound = expand(lambda x: self.function(x + at) - value, np.exp(log_scales))
        found = np.pad(found, ((0, 0), (0, max(4 - found.shape[1], 0))))
        for a, converged in zip(found, sound, strict=True):
            if not converged or not (a[2:] != 0).any():
                yield None
                continue
            mean = self.method.mean(a, self.sign)
            shifted, a[0] = mean - float(a[0]) - value, mean
            yield _Expansion(a, shifted)

    def excess(self, log_scale: float, shift: float) -> float:
        """log(strength / what it is to be); NaN where there is no series."""
        [found] = self.expansions(np.array([log_scale]), shift)
        return np.nan if found is None else log(self.method.strength(found.coefficients) / self.target)

    def scale_at(self, shift: float, near: float, tolerance: float) -> float:
        """The logarithm of a scale with the right strength at this shift, looked for from another; NaN if none."""
        from scipy.optimize import brentq

        low = high = near
        while not self.excess(low, shift) <= 0:
            high, low = low, low - _STRIDE
            if low < _LEAST:
                return np.nan
        while (over := self.excess(high, shift)) <= 0:
            low, high = high, high + _STRIDE
        if not (over > 0 and high <= _MOST):
            return np.nan
        return float(brentq(self.excess, low, high, args=(shift,), xtol=tolerance, rtol=1e-15))

    def unmet(self, shift: float, scale: float) -> float:
        """(Q'(1) - 1) / strength at a scale; NaN where there is none."""
        [found] = [None] if np.isnan(scale) else self.expansions(np.array([scale]), shift)
        return np.nan if found is None else self.method.unmet(found.coefficients)

    def roots(self) -> Iterator[_Root]:
        """Yield for each interval of shifts, from 0 on, where in it all conditions are met; at infinity if nowhere."""
        near, scale = 0.0, self.scale_at(0.0, _FIRST, _ROUGH)
        before = self.unmet(0.0, scale)
        for step in range(1, _STEPS + 1):
            far = step * _STEP
            scale = self.scale_at(far, _FIRST if np.isnan(scale) else scale, _ROUGH)
            here = self.unmet(far, scale)
            yield self._root(near, far, scale) if before * here <= 0 else _NOWHERE
            near, before = far, here

    def _root(self, near: float, far: float, scale: float) -> _Root:
        from scipy.optimize import brentq

        def unmet(shift: float) -> float:
            return self.unmet(shift, self.scale_at(shift, scale, _EXACT))

        try:
            shift = float(brentq(unmet, near, far, xtol=1e-15, rtol=1e-15))
        except ValueError:  # NaN somewhere between
            return _NOWHERE
        return _Root(shift, self.scale_at(shift, scale, _EXACT)) if abs(unmet(shift)) < _MET else _NOWHERE

    def activation(self, base: Elementwise, root: _Root) -> Transformed:
        """The activation at a root."""
        [found] = self.expansions(np.array([root.log_scale]), root.shift)
        assert found is not None
        return Transformed(
            function=base.function,
            input_scale=exp(root.log_scale),
            input_shift=self.side * root.shift,
            output_scale=1 / sqrt(float(found.coefficients @ found.coefficients)),
            output_shift=found.output_shift,
        )
