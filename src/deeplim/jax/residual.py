"""The sum at the end of a residual block, with its two scales."""

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from deeplim.jax.precision import widened


def scaled_residual(x: ArrayLike, branch: ArrayLike, scale: ArrayLike, skip: ArrayLike = 1.0) -> Array:
    """Return skip x + scale branch, in the type of x: the scales are applied in at least float32.

    ``x`` enters the block and ``branch`` is what its layers made of it, an array of the same shape. A scale of
    depth^(-1/2) gives residual networks a limit (Li & Nica 2023); a skip of sqrt(1 - scale^2) keeps the norm.
    """
    wide, own = widened(x)
    other = jnp.asarray(branch).astype(wide.dtype)
    return (jnp.asarray(skip, wide.dtype) * wide + jnp.asarray(scale, wide.dtype) * other).astype(own)
