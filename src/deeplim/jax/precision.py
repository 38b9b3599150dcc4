"""The precision in which shaped functions compute, the type they return, and what they take for numbers."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from deeplim.checks import brief, check_real
from deeplim.errors import DeeplimError, InputError, SpecError


def widened(x: ArrayLike, what: str = "x") -> tuple[Array, jnp.dtype]:
    """Return x in at least float32, and the type a result goes back to: x's own, or JAX's float for whole numbers.

    A slope such as 1 - 1/sqrt(width) or a difference phi(x) - phi(0) would lose its digits in float16 and bfloat16.
    InputError for complex numbers, and for what are no numbers.
    """
    found = _array(what, x, InputError)
    if jnp.issubdtype(found.dtype, jnp.complexfloating):
        raise InputError(f"an array of type {found.dtype} was given for {what}; give real numbers.")
    own = found.dtype if jnp.issubdtype(found.dtype, jnp.floating) else jnp.result_type(float)
    return found.astype(jnp.promote_types(own, jnp.float32)), own


def check_constant(what: str, value: Any, *, positive: bool = False) -> None:
    """Raise SpecError unless this is a finite number, or an array, whose numbers may not be known yet."""
    if isinstance(value, int | float | np.number | np.bool_):
        check_real(what, value, above=0 if positive else None, error=SpecError)
        return
    found = None if isinstance(value, list | tuple) else _array(what, value, SpecError)
    if found is None or jnp.issubdtype(found.dtype, jnp.complexfloating):
        raise SpecError(f"{what}={brief(value)} was given; give a real number, or an array of them.")
    if isinstance(value, np.ndarray) and not np.isfinite(value).all():
        raise SpecError(f"{what}={brief(value)} was given; give finite numbers.")


def beside(what: str, value: Any, wide: Array) -> Array:
    """Return a constant in the type of an array that it stands beside; SpecError for a shape that does not fit."""
    constant = jnp.asarray(value, wide.dtype)
    try:
        np.broadcast_shapes(constant.shape, wide.shape)
    except ValueError:
        raise SpecError(
            f"{what} of shape {constant.shape} was given for x of shape {wide.shape}; give a number, or one for each."
        ) from None
    return constant


def _holds_numbers(value: Any) -> bool:
    if isinstance(value, bool | np.bool_):
        return False
    known = isinstance(value, int | float | complex | np.ndarray | np.generic | Array)
    return known or any(hasattr(type(value), name) for name in ("__jax_array__", "__array__"))


def _array(what: str, value: Any, error: type[DeeplimError]) -> Array:
    """A JAX array of what is one, can be made one, or is lists of numbers."""
    parts = jax.tree.leaves(value) if isinstance(value, list | tuple) else [value]
    try:
        if all(map(_holds_numbers, parts)):
            return jnp.asarray(value)
    except (TypeError, ValueError, OverflowError):  # of objects, lists of unequal lengths, or beyond every type
        pass
    raise error(f"{what}={brief(value)} was given; give a real number, or an array of them.")
