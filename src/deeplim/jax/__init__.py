"""JAX functions for a model of your own: shaped activations, scaled residual sums, weights drawn at a network's scale.

Pure functions of arrays, for ``jit``, ``vmap`` and ``grad``, whatever library the model is written in.
"""

try:
    from deeplim.jax.activations import activation, shaped, shaped_relu, transformed
    from deeplim.jax.parameters import Drawn, initialize
    from deeplim.jax.residual import scaled_residual
except ModuleNotFoundError as error:
    if error.name != "jax":
        raise
    raise ModuleNotFoundError(
        "deeplim.jax needs JAX; install it with pip install 'deeplim[jax]'.", name="jax"
    ) from None

__all__ = ["Drawn", "activation", "initialize", "scaled_residual", "shaped", "shaped_relu", "transformed"]
