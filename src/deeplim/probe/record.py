"""The probe's two verbs: signals forward and gradients backward, through a model of whichever framework is loaded."""

import sys
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, Literal, Protocol, cast, get_args

import numpy as np

from deeplim.checks import (
    check_callable,
    check_count,
    check_kind,
    check_list,
    check_seed,
    check_whole,
    check_word,
)
from deeplim.errors import InputError
from deeplim.inputs import MOST_INPUTS
from deeplim.paths import Paths, listed
from deeplim.probe.factories import build, seeded
from deeplim.probe.world import undisturbed
from deeplim.specs import counted

Per = Literal["input", "token"]
Modules = Sequence[str] | Callable[[str, Any], bool]

ENGINES = {"torch": "deeplim.probe.torch_models", "flax": "deeplim.probe.jax_models"}
"""For each framework, by the name of its package, the module that probes its models; imported when one is given."""


WANTED = (
    "a PyTorch or Flax module, a function without arguments that returns one (of rngs, for NNX), or a function of a "
    "seed and inputs that returns activations"
)


class RoundingWarning(UserWarning):
    """Gaps so small that they are the rounding of the model's own arithmetic."""


class Engine(Protocol):
    """What a framework's module offers."""

    def recognises(self, model: object) -> bool:
        """Whether this is one of the framework's models, or a class of them."""

    def probe(self, model: Any, inputs: Any, *, backward: bool, **options: Any) -> Paths:
        """Return the signals, or with ``backward`` the gradients."""


def record(
    model: Any,
    inputs: Any,
    *,
    repeats: int = 32,
    seed: int = 0,
    per: Per = "input",
    initialize: Callable[[Any], object] | None = None,
    modules: Modules | None = None,
    most: int = 64,
) -> Paths:
    """Return the covariances of the inputs at every module of a real model, over its random initializations.

    V^{ab} = <z^a, z^b> / n, z^a the output for input a of a module with n numbers an input (for images, channels and
    positions together). On the clock "layer": layers in the order in which modules finish, named by ``layer_names``,
    the second run of a module "name#2", floating inputs first as "input". An output that has been recorded already, by
    the module inside or as another view, is not recorded again.

    model: a factory, called once a repeat under a seed of its own, or a model. Of a model the first sample is its own
    weights; for each other one every parameter of a copy is drawn again from its own entries but zeros, shuffled and,
    where their mean is zero, with random signs: as good as new where they are independent, identically distributed and
    symmetric (and wrong where they are not, as in orthogonal weights), unless ``initialize(copy)`` draws them. A Flax
    linen module draws its own weights under a key of each repeat, changed by ``initialize(variables)``; a factory of
    NNX modules takes rngs. Or model is function(seed, inputs), in whatever library, which draws a network by a whole
    number and returns a list or dict of activations.
    inputs: an array, a tensor or lists of numbers, a dict of keyword arguments, a tuple of positional ones, or a loader
    or other iterable of batches, of which the first ``most`` inputs are taken, and x of (x, y).
    per: "input", or "token", where the positions of a sequence are the inputs and sequences are further samples; of
    longer sequences than ``most``, every second token, or every third and so on, is followed.
    modules: names of the modules to record, or a function of name and module that says which.

    Complex numbers are taken as two real ones each. An output with an infinity or a NaN has exploded. Modules whose
    output is not a row of numbers for each input are left out, and named in ``Paths.source``.

    Normalization layers use the statistics of the batch, as in training, and there is no dropout. The model is left as
    it was, whatever it writes, and so are random numbers and settings; threads take turns. Gaps below
    ``log_gap_floor`` are announced by a RoundingWarning.
    InputError for inputs that the model does not take, parameters or inputs that are not finite, modules that do not
    run in every repeat, and whatever the model raises, but a KeyboardInterrupt.
    """
    options = checked_options(repeats, seed, per, most, modules, initialize)
    return _announced(_probed(model, inputs, options, backward=False))


def record_gradients(
    model: Any,
    inputs: Any,
    *,
    repeats: int = 32,
    seed: int = 0,
    per: Per = "input",
    initialize: Callable[[Any], object] | None = None,
    modules: Modules | None = None,
    most: int = 64,
) -> Paths:
    """Return the covariances of backward signals: gradients of a random function of the output at every module.

    The function is <u, y^a> summed over inputs a, y the model's output and u Gaussian with unit mean square, the same
    for all inputs and another in every repeat; the gradient of an input at a module is with respect to that module's
    output. Layers, repeats and arguments are those of ``record``. A layer that the output does not depend on has zero
    gradient, and is lost. Batch normalization mixes inputs: the gradient at input a is then that of the sum.
    No parameter's .grad is touched. InputError as in ``record``.
    """
    options = checked_options(repeats, seed, per, most, modules, initialize)
    return _probed(model, inputs, options, backward=True)


def _probed(model: Any, inputs: Any, options: dict[str, Any], *, backward: bool) -> Paths:
    with undisturbed(model, inputs, options["initialize"], options["modules"]):
        return _engine(model).probe(model, inputs, backward=backward, **options)


def checked_options(repeats: Any, seed: Any, per: Any, most: Any, modules: Any, initialize: Any) -> dict[str, Any]:
    """Return the options of a probe; InputError for one of the wrong kind or out of range."""
    cure = "give a function that draws the weights of a model"
    return {
        "repeats": check_count("repeats", repeats),
        "seed": check_seed(seed),
        "per": check_word("per", per, get_args(Per)),
        "most": check_whole("most", most, 1, MOST_INPUTS),
        "modules": _checked_modules(modules),
        "initialize": check_callable("initialize", initialize, cure, optional=True),
    }


def _checked_modules(modules: Any) -> Any:
    if modules is None or callable(modules) or isinstance(modules, str):
        return modules
    cure = "give names, or a function of a name and a module"
    names = check_list("modules", modules, cure)
    if not names:
        raise InputError("modules= names no module; give at least one, or leave it out for all.")
    return tuple(check_kind("a module's name", name, str, cure) for name in names)


def _engine(model: Any) -> Engine:
    """The module for a model: that of the loaded framework it belongs to, or for a factory the only one loaded."""
    loaded = [import_module(place) for framework, place in ENGINES.items() if framework in sys.modules]
    for engine in loaded:
        if engine.recognises(model):
            return engine
    functions = cast(Engine, import_module("deeplim.probe.functions"))
    if functions.recognises(model):
        return functions
    if not callable(model):
        raise InputError(f"an object of type {type(model).__name__} was given to probe; give {WANTED}.")
    if len(loaded) == 1:
        return loaded[0]
    with seeded(0, 0):  # what it makes tells the framework, which may have been loaded just now
        made = build(model)
    if not any(import_module(ENGINES[name]).recognises(made) for name in ENGINES.keys() & sys.modules):
        raise InputError(f"the factory returned an object of type {type(made).__name__}; give {WANTED}.")
    return _engine(made)


def _announced(paths: Paths) -> Paths:
    below = paths.rounding
    if below.any():
        layers = [paths.layer_names[i] for i in np.flatnonzero(below.any(axis=(0, 2)))] if paths.layer_names else []
        warnings.warn(
            f"the model's arithmetic does not resolve {below.sum():,} of {counted(below.size, 'gap')} "
            f"(layer{'s' * (len(layers) > 1)} {listed(layers, 3)}), where the numbers are its rounding rather than "
            "signal (see log_gap_floor); probe it in double precision, by model.double() in PyTorch or enable_x64 in "
            "JAX, to see further.",
            RoundingWarning,
            stacklevel=3,
        )
    return paths
