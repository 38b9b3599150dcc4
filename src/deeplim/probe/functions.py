"""Functions of a seed and of inputs that return activations: networks in NumPy, in JAX or in anything else."""

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from deeplim.errors import InputError
from deeplim.paths import Paths, listed
from deeplim.probe.array_inputs import Arguments, copied, is_floating, read_arguments
from deeplim.probe.factories import FORWARD, seeded, stream, user_code
from deeplim.probe.layers import INPUT, Layers, NoGradients, check_chosen, chooses, source
from deeplim.probe.record import Modules, Per
from deeplim.probe.signals import Signals
from deeplim.resolution import rounding_square
from deeplim.specs import brief, counted

_WANTED = "a list of arrays, or a dict of them by name, each with an input along its first axis"


def recognises(model: object) -> bool:
    """Whether this is a function that needs two positional arguments: a seed and inputs."""
    if not callable(model):
        return False
    try:
        parameters = inspect.signature(model).parameters.values()
    except (TypeError, ValueError):  # of some that are written in C, nothing is known
        return False
    needed = [
        one
        for one in parameters
        if one.default is one.empty and one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)
    ]
    return len(needed) == 2


def probe(
    model: Any,
    inputs: Any,
    *,
    backward: bool,
    repeats: int,
    seed: int,
    per: Per,
    initialize: Any,
    modules: Modules | None,
    most: int,
) -> Paths:
    """Return the signals that a function returns; ``record`` says what the options mean."""
    if backward:
        raise NoGradients(
            "a function's activations have no gradients to follow; give a model, or return the gradients as "
            "activations and record them."
        )
    if initialize is not None:
        raise InputError("initialize= draws the weights of a model's copies, and a function was given; leave it out.")
    arguments = read_arguments(inputs, most)
    given = _given(inputs, arguments)
    layers = Layers(Signals(repeats), arguments, per, most)
    name = getattr(model, "__name__", type(model).__name__)
    for repeat in range(repeats):
        word = int(stream(seed, repeat).generate_state(1)[0])
        with seeded(seed, repeat, FORWARD):
            arrays = _by_name(model, _called(model, word, copied(given), arguments))
        _add(arrays, layers, arguments, modules)
        if layers.bare:
            shapes = listed([f"{name} of shape {array.shape}" for name, array in arrays.items()], 3) or "nothing"
            raise InputError(f"{brief(model)} returned {shapes} for {layers.those}; it must return {_WANTED}.")
        layers.finish()
    told = source(
        f"function {name}", counted(repeats, "seed"), backward=False, taken=arguments.taken, left_out=layers.left_out
    )
    return layers.signals.paths(told, layers.names)


def _called(model: Any, word: int, given: Any, arguments: Arguments) -> Any:
    with user_code(
        lambda reason: (
            f"{brief(model)} could not be called with a seed and inputs of shape {arguments.shapes} "
            f"({reason}); give a function of these two."
        )
    ):
        return model(word, given)


def _given(inputs: Any, arguments: Arguments) -> Any:
    """The inputs as they were given, but batches and lists as the arrays that were made of them."""
    if not arguments.taken and not isinstance(inputs, list):
        return inputs
    return arguments.args[0] if arguments.args else arguments.kwargs


def _by_name(model: Any, activations: Any) -> dict[str, np.ndarray]:
    """Activations as arrays by name, or by their place where they have none."""
    if isinstance(activations, str | bytes) or hasattr(activations, "__array__"):
        named = None
    else:
        with user_code(lambda reason: f"{brief(model)} failed ({reason}); it must return {_WANTED}."):
            named = _named(activations)
    if named is None:
        raise InputError(
            f"{brief(model)} returned an object of type {type(activations).__name__}; it must return {_WANTED}."
        )
    arrays = {name: _array(model, name, value) for name, value in named.items()}
    for name, array in arrays.items():
        if array.dtype.kind not in "biuf" and not is_floating(array.dtype):
            raise InputError(f"{brief(model)} returned {name} of type {array.dtype}; it must return {_WANTED}.")
    return arrays


def _named(activations: Any) -> dict[str, Any] | None:
    """Activations by name or place, as whatever gives them one after another makes them; None of what gives none."""
    if isinstance(activations, Mapping):
        return {str(name): value for name, value in activations.items()}
    if isinstance(activations, Iterable):
        return {str(place): value for place, value in enumerate(activations)}
    return None


def _array(model: Any, name: str, value: Any) -> np.ndarray:
    with user_code(lambda reason: f"{brief(model)} returned {name} as no array ({reason}); it must return {_WANTED}."):
        return np.asarray(value)


def _add(arrays: dict[str, np.ndarray], layers: Layers, arguments: Arguments, modules: Modules | None) -> None:
    """Add the inputs and the chosen activations as layers."""
    wanted = _chosen(arrays, modules)
    first = {} if arguments.first is None else {INPUT: arguments.arrays[arguments.first]}
    rounding, before = 0.0, 1
    for name, array in (first | arrays).items():
        if name != INPUT:
            rounding += rounding_square(rounding_unit(array.dtype), before)
        before = max(array.size // max(array.shape[0], 1), 1) if array.ndim else 1  # at most so many are summed
        if (name == INPUT or name in wanted) and layers.fits(name, array.shape):
            layers.add(name, widened(array), rounding)


def _chosen(arrays: dict[str, np.ndarray], modules: Modules | None) -> set[str]:
    if modules is None:
        return set(arrays)
    if callable(modules):
        found = {name for name, array in arrays.items() if chooses(modules, name, array)}
        check_chosen(modules, found or not arrays)
        return found
    wanted = {modules} if isinstance(modules, str) else set(modules)
    unknown = sorted(str(name) for name in wanted - set(arrays))
    if unknown:
        raise InputError(f"the function has no activations {brief(unknown[0])}; it has {listed(list(arrays))}.")
    return wanted


def rounding_unit(dtype: np.dtype) -> float:
    """Half the distance from 1 to the next number of a type; 0 for whole numbers."""
    if not is_floating(dtype):
        return 0.0
    if dtype.kind == "f":
        return float(np.finfo(dtype).eps) / 2
    from ml_dtypes import finfo  # a type of its own is its own, so it is there

    return float(finfo(dtype).eps) / 2


def widened(array: np.ndarray) -> np.ndarray:
    """Return an array in single or double precision."""
    return (
        array
        if array.dtype in (np.float32, np.float64)
        else array.astype(np.float32 if array.dtype.itemsize < 4 else float)
    )
