"""The weights and biases of a JAX model, drawn again at the scale of a network whose signals are understood."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from deeplim.architecture import MLP, ResNet
from deeplim.errors import InputError
from deeplim.probe.factories import user_code
from deeplim.specs import brief, kind_of

_LAYOUT = "Flax's layout is wanted: leaves named 'kernel' of shape (..., fan-in, fan-out) and 'bias' beside them"
_WRAPPERS = ("value", "raw_value")
"""Names that a library puts below a parameter's own: those of a variable's content."""


@dataclass(frozen=True)
class Drawn:
    """One parameter that was drawn again: its name, its shape, the variance of an entry, and a kernel's fan-in."""

    name: str
    shape: tuple[int, ...]
    variance: float
    fan_in: int | None = None

    def __str__(self) -> str:
        how = f"entries of variance {self.variance:.4g}" if self.variance > 0 else "zero"
        return f"{self.name} {self.shape}: {how}" + (f", fan-in {self.fan_in}" if self.fan_in else "")


def initialize(
    parameters: Any, network: Any, key: Array, *, only: Callable[[str], bool] | None = None
) -> tuple[Any, list[Drawn]]:
    """Return a pytree of parameters with kernels and biases drawn again, and the list of what was drawn.

    ``parameters`` are laid out as Flax does, linen (a dictionary) or NNX (``nnx.state(model, nnx.Param)``): a leaf
    named kernel has the shape (fan-in, fan-out), a convolution's (..., in, out), and a bias stands beside it. Kernels
    become Gaussian of mean 0 and variance gain / fan-in, biases Gaussian of the network's bias variance; all else, such
    as embeddings, and the scale and bias of a normalization, is handed back as it is. ``network`` is a ``dl.MLP`` or
    ``dl.ResNet``, or whatever has one as its ``network``. ``key`` is a JAX random key; ``vmap`` maps over keys.
    ``only`` is asked with a kernel's name, such as "params/Dense_0/kernel", and leaves it and its bias alone by
    answering False: for a first kernel or a head that is scaled otherwise.

    InputError when ``key`` is no key, when there is no kernel to draw, or one that is no floating numbers or whose
    fan-in its shape and its bias do not tell, and for what ``only`` raises.
    """
    gain, bias_variance = _variances(network)
    _check_drawing(key, only)
    if isinstance(parameters, Iterator):
        raise InputError(f"{kind_of(parameters)} was given for the parameters, which ends; {_LAYOUT}.")
    leaves, structure = jax.tree_util.tree_flatten_with_path(parameters)
    places = [_place(path) for path, _ in leaves]
    shapes = {place: np.shape(leaf) for place, (_, leaf) in zip(places, leaves, strict=True)}
    drawn: list[Drawn] = []
    made = []
    for index, (place, (_, leaf)) in enumerate(zip(places, leaves, strict=True)):
        kernel = (*place[:-1], "kernel")
        if not (place[-1:] in (("kernel",), ("bias",)) and kernel in shapes and _chosen(only, "/".join(kernel))):
            made.append(leaf)
            continue
        fan_in = _fan_in(place[:-1], shapes) if place == kernel else None
        variance = bias_variance if fan_in is None else gain / fan_in
        _check_floating("/".join(place), leaf)
        drawn.append(Drawn("/".join(place), shapes[place], variance, fan_in))
        made.append(_gaussian(jax.random.fold_in(key, index), leaf, variance))
    if not any(one.fan_in for one in drawn):
        raise InputError(f"no kernel was found to draw again; {_LAYOUT}.")
    return jax.tree_util.tree_unflatten(structure, made), drawn


def _variances(network: Any) -> tuple[float, float]:
    """The variance of a weight times its fan-in, and that of a bias."""
    found = getattr(network, "network", network)
    if not isinstance(found, MLP | ResNet):
        raise InputError(
            f"{brief(network)} was given; give a dl.MLP or dl.ResNet, or a shaping that has found one as its network."
        )
    return found.gain, found.bias_variance


def _check_drawing(key: Any, only: Any) -> None:
    try:
        jax.random.fold_in(key, 0)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"key={brief(key)} was given; give one JAX random key, such as jax.random.key(0).") from None
    if not (only is None or callable(only)):
        raise InputError(
            f"only={brief(only)} was given; give a function of a kernel's name that says whether to draw it."
        )


def _chosen(only: Callable[[str], bool] | None, kernel: str) -> bool:
    if only is None:
        return True
    with user_code(lambda reason: f"only={brief(only)} failed for {kernel} ({reason}); give a function of a name."):
        return bool(only(kernel))


def _check_floating(name: str, leaf: Any) -> None:
    kind = getattr(leaf, "dtype", None)
    if kind is None or not jnp.issubdtype(kind, jnp.floating):
        told = kind_of(leaf) if kind is None else f"an array of type {kind}"
        raise InputError(f"the parameter {name} is {told}; give floating numbers, or leave it out through only=.")


def _place(path: tuple[Any, ...]) -> tuple[str, ...]:
    """Where a leaf is, in words: the keys, attributes and indices that lead to it."""
    words = [str(getattr(step, "key", getattr(step, "name", getattr(step, "idx", step)))) for step in path]
    return tuple(words[:-1] if words and words[-1] in _WRAPPERS else words)


def _fan_in(parent: tuple[str, ...], shapes: dict[tuple[str, ...], tuple[int, ...]]) -> int:
    """How many numbers each output is a sum over: all axes of the kernel but those that its bias has, or the last."""
    kernel = shapes[(*parent, "kernel")]
    bias = shapes.get((*parent, "bias"), kernel[-1:])
    if len(kernel) < 2 or not 0 < len(bias) < len(kernel) or kernel[-len(bias) :] != bias or 0 in kernel:
        raise InputError(
            f"the kernel {'/'.join(parent)} of shape {kernel} has a bias of shape {bias}, which does not tell its "
            f"fan-in; {_LAYOUT}, or leave it out through only=."
        )
    return prod(kernel[: -len(bias)])


def _gaussian(key: Array, leaf: Any, variance: float) -> Array:
    """Normal numbers of a variance in the shape and type of a parameter; drawn in at least float32."""
    own = jnp.asarray(leaf).dtype
    if variance == 0:
        return jnp.zeros(jnp.shape(leaf), own)
    wide = jnp.promote_types(own, jnp.float32)
    return (jax.random.normal(key, jnp.shape(leaf), wide) * jnp.asarray(variance**0.5, wide)).astype(own)
