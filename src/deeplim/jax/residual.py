"""The sum at the end of a residual block, with its two scales."""

from jax import Array
from jax.typing import ArrayLike

from deeplim.errors import InputError
from deeplim.jax.precision import beside, check_constant, widened


def scaled_residual(x: ArrayLike, branch: ArrayLike, scale: ArrayLike, skip: ArrayLike = 1.0) -> Array:
    """Return skip x + scale branch, in the type of x: the scales are applied in at least float32.

    ``x`` enters the block and ``branch`` is what its layers made of it, an array of the same shape. A scale of
    depth^(-1/2) gives residual networks a limit (Li & Nica 2023); a skip of sqrt(1 - scale^2) keeps the norm.
    InputError for arrays that are no numbers or of two shapes, SpecError for scales that are not finite.
    """
    check_constant("scale", scale)
    check_constant("skip", skip)
    wide, own = widened(x)
    other = widened(branch, "branch")[0].astype(wide.dtype)
    if other.shape != wide.shape:
        raise InputError(
            f"a branch of shape {other.shape} was given for x of shape {wide.shape}; give one of its shape."
        )
    return (beside("skip", skip, wide) * wide + beside("scale", scale, wide) * other).astype(own)
