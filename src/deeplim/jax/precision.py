"""The precision in which shaped functions compute, and the type they return."""

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from deeplim.errors import InputError


def widened(x: ArrayLike) -> tuple[Array, jnp.dtype]:
    """Return x in at least float32, and the type a result goes back to: x's own, or JAX's float for whole numbers.

    A slope such as 1 - 1/sqrt(width) or a difference phi(x) - phi(0) would lose its digits in float16 and bfloat16.
    InputError for complex numbers.
    """
    x = jnp.asarray(x)
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        raise InputError(f"an array of type {x.dtype} was given; give real numbers.")
    own = x.dtype if jnp.issubdtype(x.dtype, jnp.floating) else jnp.result_type(float)
    return x.astype(jnp.promote_types(own, jnp.float32)), own
