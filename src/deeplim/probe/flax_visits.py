"""What leaves each module of a Flax model, linen or NNX, met as it leaves; the user's model is never touched.

A linen module is run under an interceptor. The modules of an NNX model are those of a copy, and get a subclass of
their own whose call tells what it returns.
"""

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen, nnx
from flax.core import DenyList

from deeplim.errors import InputError
from deeplim.paths import listed
from deeplim.probe.layers import INPUT, ROOT, check_chosen, chooses
from deeplim.probe.record import Modules
from deeplim.resolution import rounding_square
from deeplim.specs import brief

Key = tuple[str, int]
"""A module's name, and which of its runs it is."""
_VISITS: ContextVar["Visits"] = ContextVar("visits")


class Output(NamedTuple):
    """What left a module: its name and run, the array, and the gap that the rounding of all layers so far has made."""

    key: Key
    array: jax.Array
    rounding: float


def _products(module: Any) -> int:
    """How many products a number that leaves a module is the sum of, as its own weights tell; a table is not summed."""
    if isinstance(module, nnx.Module):
        own = {name: value[...] for name, value in vars(module).items() if isinstance(value, nnx.Param)}
    else:
        scope = getattr(module, "scope", None)
        own = {} if scope is None else dict(scope.variables().get("params", {}))
    shapes = [np.shape(value) for name, value in own.items() if name != "embedding" and hasattr(value, "shape")]
    return max((prod(shape[:-1]) for shape in shapes if len(shape) > 1), default=1)


class Visits:
    """One run of a network: the outputs of the chosen modules, in the order in which they finish.

    An output that is the very array that another chosen module let go is that module's, and left out. ``added``: arrays
    to add to outputs, by their keys; with them, nothing is chosen or kept.
    """

    def __init__(self, modules: Modules | None, added: Mapping[Key, jax.Array] | None = None) -> None:
        self.outputs: list[Output] = []
        self.hidden: list[str] = []
        self.empty: list[str] = []  # what has no floating numbers
        self.running: list[str] = []
        self._modules = modules
        self._any = False  # whether a function has chosen any
        self._added = added
        self._runs: dict[str, int] = {}
        self._kept: set[int] = set()  # their outputs are held, so that no other array has these addresses
        self._rounding = 0.0

    @property
    def always(self) -> bool:
        """Whether modules were chosen by name, and are then recorded whatever they return."""
        return self._modules is not None and not callable(self._modules)

    def call(self, name: str, module: Any, function: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Any:
        """Run a module as the probe does and return what leaves it, with what is to be added."""
        self.running.append(name)
        output = self.leave(name, module, _plainly(module, function, args, kwargs))
        self.running.pop()
        return output

    def leave(self, name: str, module: Any, output: Any) -> Any:
        """Meet an output; return it, with what is to be added."""
        self._runs[name] = self._runs.get(name, 0) + 1
        key = name, self._runs[name]
        leaves, structure = jax.tree_util.tree_flatten(output)
        at = next((i for i, leaf in enumerate(leaves) if is_floating(leaf)), None)
        if at is None:
            if self._added is None and self._wants(name, module):
                self.empty.append(name)
            return output
        if self._added is not None:
            if key in self._added:
                leaves[at] = leaves[at] + self._added[key]
            return jax.tree_util.tree_unflatten(structure, leaves)
        self._keep(key, module, leaves[at])
        return output

    def _keep(self, key: Key, module: Any, array: jax.Array) -> None:
        name = key[0]
        if isinstance(array, jax.core.Tracer):
            self.hidden.append(name)
            return
        new = id(array) not in self._kept
        if new and name != INPUT:
            self._rounding += rounding_square(float(jnp.finfo(array.dtype).eps) / 2, _products(module))
        if name == INPUT or (self._wants(name, module) and (new or self.always)):
            self._kept.add(id(array))
            self.outputs.append(Output(key, array, self._rounding))

    def _wants(self, name: str, module: Any) -> bool:
        if self._modules is None:
            return True
        if callable(self._modules):
            chosen = chooses(self._modules, name, module)
            self._any |= chosen
            return chosen
        return name in ([self._modules] if isinstance(self._modules, str) else self._modules)

    def check_names(self) -> None:
        """Raise InputError when no module was chosen, or when one by name did not run where it can be seen."""
        check_chosen(self._modules, self._any or self.hidden)
        if self._modules is None or callable(self._modules):
            return
        for name in {self._modules} if isinstance(self._modules, str) else self._modules:
            if name in self.hidden:
                raise InputError(
                    f"the module {name} runs inside a transformation such as jit, remat or scan, where its output "
                    "cannot be seen; choose modules outside, or probe the model without it."
                )
            if name not in self._runs:
                ran = [other for other in self._runs if other not in (INPUT, ROOT)]
                raise InputError(f"the model ran no module {brief(name)}; it ran {listed(ran)}.")


def is_floating(leaf: Any) -> bool:
    """Whether this is an array of floating numbers."""
    return isinstance(leaf, jax.Array) and bool(jnp.issubdtype(leaf.dtype, jnp.floating))


def first_floating(output: Any) -> jax.Array | None:
    """Return the first floating array of an output, looking into its parts."""
    return next((leaf for leaf in jax.tree_util.tree_leaves(output) if is_floating(leaf)), None)


def _plainly(module: Any, function: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Any:
    """What a module returns without dropout, batch normalization by the statistics of the batch."""
    if isinstance(module, linen.Dropout | nnx.Dropout):
        return args[0] if args else next(iter(kwargs.values()))
    if isinstance(module, linen.BatchNorm | nnx.BatchNorm):
        args, kwargs = args[:1], kwargs | {"use_running_average": False}
        if isinstance(module, linen.BatchNorm):  # a copy bound to this run, which refuses to be told twice
            object.__setattr__(module, "use_running_average", None)
    return function(*args, **kwargs)


def init_linen(module: linen.Module, key: jax.Array, args: Any, kwargs: Any) -> Any:
    """Return variables that a linen module draws for itself under a key."""

    def intercept(function: Callable[..., Any], args: Any, kwargs: dict[str, Any], context: Any) -> Any:
        # Dropout would take time, and ask for random numbers of its own.
        return args[0] if isinstance(context.module, linen.Dropout) and args else function(*args, **kwargs)

    with linen.intercept_methods(intercept):
        return module.init(key, *args, **kwargs)


def run_linen(module: linen.Module, variables: Any, visits: Visits, key: jax.Array, args: Any, kwargs: Any) -> Any:
    """Return a linen module's output for variables; random numbers that it asks for come from the key."""

    def intercept(function: Callable[..., Any], args: Any, kwargs: dict[str, Any], context: Any) -> Any:
        if context.method_name != "__call__":
            return function(*args, **kwargs)
        return visits.call(".".join(context.module.path) or ROOT, context.module, function, args, kwargs)

    with linen.intercept_methods(intercept):
        output, _ = module.apply(variables, *args, rngs={"params": key}, mutable=DenyList("params"), **kwargs)
    return output


def run_nnx(model: nnx.Module, visits: Visits, args: Any, kwargs: Any) -> Any:
    """Return the output of a copy of an NNX model."""
    copy = nnx.clone(model)
    copy.eval()
    for path, module in nnx.iter_modules(copy):
        if callable(module):
            # The module's own checks of what it is given are not for its class.
            object.__setattr__(module, "__class__", _telling(cast(Any, type(module))))
            object.__setattr__(module, _NAME, ".".join(map(str, path)) or ROOT)
    token = _VISITS.set(visits)
    try:
        return copy(*args, **kwargs)
    finally:
        _VISITS.reset(token)


_NAME = "_deeplim_name"


@lru_cache(maxsize=1024)
def _telling(kind: Any) -> type:
    """A subclass of an NNX module that tells a run's visits what its call returns."""

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        function = kind.__call__.__get__(self)
        name = getattr(self, _NAME, None)  # a copy that a transformation has made has none
        return function(*args, **kwargs) if name is None else _VISITS.get().call(name, self, function, args, kwargs)

    return type(kind)(kind.__name__, (kind,), {"__call__": call, "__module__": kind.__module__})
