"""Shaped and affinely transformed activations for JAX.

Slopes, differences and scales are applied in at least float32 and the result is of the input's type: in bfloat16 a
slope of 1 - 1/sqrt(width) would be rounded to three digits, and phi(x) - phi(0) would cancel.
"""

from collections.abc import Callable, Hashable
from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from deeplim import functions
from deeplim.activations import Shaped, Smooth, Transformed
from deeplim.architecture import MLP, ResNet
from deeplim.errors import SpecError
from deeplim.jax.precision import beside, check_constant, widened
from deeplim.loading import check_elementwise
from deeplim.smoothness import Normalisation, normalisation
from deeplim.specs import brief

Function = Callable[[Array], Array]
NAMED: dict[str, Function] = {
    "tanh": jnp.tanh,
    "sin": jnp.sin,
    "erf": jax.scipy.special.erf,
    "logistic": jax.nn.sigmoid,
    "softplus": jax.nn.softplus,
    "silu": jax.nn.silu,
    "gelu": partial(jax.nn.gelu, approximate=False),
}
"""The functions that a word names, the same as on the command line."""


def shaped_relu(x: ArrayLike, s_plus: ArrayLike, s_minus: ArrayLike) -> Array:
    """Return s_+ max(x, 0) + s_- min(x, 0), elementwise, in the type of x; the derivative at 0 is s_-.

    ``dl.ShapedReLU(...).slopes(width, depth)`` gives the slopes (Li, Nica & Roy 2022). InputError for an x that is no
    real numbers, SpecError for slopes that are not finite.
    """
    check_constant("s_plus", s_plus)
    check_constant("s_minus", s_minus)
    wide, own = widened(x)
    plus, minus = beside("s_plus", s_plus, wide), beside("s_minus", s_minus, wide)
    return (jnp.where(wide > 0, plus, minus) * wide).astype(own)


def shaped(function: str | Function, scale: ArrayLike) -> Function:
    """Return the elementwise function x -> s phi(x / s), after phi(0) = 0 and phi'(0) = 1: that of ``dl.Shaped``.

    ``function`` is tanh, sin, erf, logistic, softplus, silu, gelu, or a JAX function, elementwise. ``scale`` is s,
    positive; s = a sqrt(width) is the shaping of Li, Nica & Roy 2022. The function keeps its relative precision as x
    vanishes, where phi(x) - phi(0) would cancel. SpecError for an unknown word, for a function that is not smooth at 0
    or has no slope there, and for a scale that is not positive.
    """
    phi, normal = _found(function)
    check_constant("scale", scale, positive=True)

    def phi_s(x: ArrayLike) -> Array:
        wide, own = widened(x)
        s = beside("scale", scale, wide)
        return (s * _normalised(phi, normal, wide / s)).astype(own)

    return phi_s


def transformed(
    function: str | Function,
    *,
    input_scale: ArrayLike = 1.0,
    input_shift: ArrayLike = 0.0,
    output_scale: ArrayLike = 1.0,
    output_shift: ArrayLike = 0.0,
) -> Function:
    """Return the elementwise function x -> output_scale (phi(input_scale x + input_shift) + output_shift).

    The form of Deep Kernel Shaping (Martens et al. 2021) and of Tailored Activation Transformations (Zhang, Botev &
    Martens 2022), whose conditions give the four numbers. ``function`` is as for ``shaped``, but need not be smooth;
    SpecError for an unknown word, and for numbers that are not finite.
    """
    phi = _callable(function)
    constants = {
        "input_scale": input_scale,
        "input_shift": input_shift,
        "output_scale": output_scale,
        "output_shift": output_shift,
    }
    for what, constant in constants.items():
        check_constant(what, constant)

    def phi_hat(x: ArrayLike) -> Array:
        wide, own = widened(x)
        scale, shift, size, offset = (beside(what, constant, wide) for what, constant in constants.items())
        return (size * (phi(scale * wide + shift) + offset)).astype(own)

    return phi_hat


def activation(network: MLP | ResNet) -> Function:
    """Return a network's activation at its width and depth as a JAX function.

    SpecError for what is no network, and when its activation is a NumPy function of your own, which JAX cannot trace:
    give its JAX twin to ``shaped``.
    """
    if not isinstance(network, MLP | ResNet):
        raise SpecError(f"{brief(network)} was given for a network; give a dl.MLP or dl.ResNet.")
    kind = network.activation
    if not isinstance(kind, Smooth):
        s_plus, s_minus = network.slopes
        return partial(shaped_relu, s_plus=s_plus, s_minus=s_minus)
    if kind.vector_name is None:
        raise SpecError(
            f"{kind} is a NumPy function, which JAX cannot trace; write it with jax.numpy, and give that to "
            "deeplim.jax.shaped if it is to be shaped."
        )
    if isinstance(kind, Shaped):
        return shaped(kind.vector_name, kind.scale(network.width, network.depth))
    if isinstance(kind, Transformed):
        scale, shift, size, offset = kind.constants
        return transformed(
            kind.vector_name, input_scale=scale, input_shift=shift, output_scale=size, output_shift=offset
        )
    return transformed(kind.vector_name)  # by nothing: the function itself, in the input's type


def _callable(function: str | Function) -> Function:
    if callable(function):
        return function
    if not isinstance(function, str) or function not in NAMED:
        raise SpecError(f"the function {brief(function)} is not known; use {', '.join(NAMED)}, or a JAX function.")
    return NAMED[function]


def _found(function: str | Function) -> tuple[Function, Normalisation]:
    """The JAX function, and what normalises it at 0, computed in double precision."""
    phi = _callable(function)
    if not isinstance(function, str):
        twin = (_in_double if isinstance(function, Hashable) else _in_double.__wrapped__)(function)
        check_elementwise(twin.__name__, twin)
        return phi, normalisation(twin)
    return phi, normalisation(getattr(functions, function))


@lru_cache(maxsize=64)
def _in_double(function: Function) -> Callable[[np.ndarray], np.ndarray]:
    """A JAX function as one of NumPy arrays in double precision, whatever JAX is set to or tracing."""

    def phi(x: np.ndarray) -> np.ndarray:
        with jax.enable_x64(True), jax.ensure_compile_time_eval():
            return np.asarray(function(jnp.asarray(x)))

    phi.__name__ = str(getattr(function, "__name__", type(function).__name__))
    return phi


def _normalised(phi: Function, normal: Normalisation, x: Array) -> Array:
    """(phi(x) - phi(0)) / phi'(0), near 0 by its series."""
    near = jnp.abs(x) < normal.reach
    inside = jnp.where(near, x, 0.0)
    total = jnp.full_like(inside, normal.series[-1])
    for coefficient in normal.series[-2::-1]:
        total = coefficient + inside * total
    return jnp.where(near, inside * total, (phi(x) - normal.value) / normal.slope)
