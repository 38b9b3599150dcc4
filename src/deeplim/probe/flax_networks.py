"""The networks that a probe of a Flax model looks at: a linen module's, an NNX factory's, or a model and copies."""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen, nnx

from deeplim.errors import InputError
from deeplim.probe.array_inputs import Arguments, check_bits
from deeplim.probe.factories import FORWARD, WEIGHTS, build, seeded, stream, user_code
from deeplim.probe.flax_visits import Visits, init_linen, is_floating, run_linen, run_nnx
from deeplim.probe.layers import own_and_copies
from deeplim.probe.redraws import FIRST, SAMPLE, alike, signs_of
from deeplim.specs import brief

Initialize = Callable[[Any], Any]


@dataclass(frozen=True)
class Network:
    """One network: what it is called, its parameters, and how it runs."""

    kind: str
    parameters: Any
    run: Callable[[Visits, Any, Any], Any]


def networks(
    model: Any, arguments: Arguments, repeats: int, seed: int, initialize: Initialize | None
) -> Iterator[tuple[int, Network]]:
    """Yield the networks one after another; InputError for models that cannot be made, copied or initialized."""
    for repeat in range(repeats):
        if isinstance(model, nnx.Module):
            network = _of_nnx(model if repeat == 0 else _drawn(model, seed, repeat, initialize))
        else:
            network = _made(model, arguments, seed, repeat, initialize)
        _check_parameters(network.parameters)
        yield repeat, network


def told(model: Any, repeats: int, initialize: Initialize | None, *, redrawn: bool) -> str:
    """Return where the networks' weights come from, in words; redrawn: whether a copy has other parameters."""
    if not isinstance(model, nnx.Module):
        return f"{repeats} made by {'its own initializers' if isinstance(model, linen.Module) else 'a factory'}"
    return own_and_copies(repeats, anew=initialize is not None, changed=redrawn)


def key(seed: int, repeat: int, purpose: int) -> jax.Array:
    """Return a JAX random key of one repeat and purpose."""
    return jax.random.key(int(stream(seed, repeat, purpose).generate_state(1)[0]))


def precise(parameters: Any, array: Any) -> Any:
    """Return an array for JAX, a floating one in the precision of the parameters where all share one."""
    if not isinstance(array, np.ndarray):
        return array
    kinds = {leaf.dtype for leaf in jax.tree_util.tree_leaves(parameters) if is_floating(leaf)}
    check_bits(array.dtype)
    made = jnp.asarray(array.astype(array.dtype.newbyteorder("="), copy=False))
    return made.astype(kinds.pop()) if is_floating(made) and len(kinds) == 1 else made


def _made(model: Any, arguments: Arguments, seed: int, repeat: int, initialize: Initialize | None) -> Network:
    """A network of a linen module, or of whatever a factory makes."""
    if isinstance(model, linen.Module):
        return _of_linen(model, arguments, seed, repeat, initialize)
    with seeded(seed, repeat):
        made = build(_with_rngs(model, int(stream(seed, repeat).generate_state(1)[0])))
    if isinstance(made, linen.Module):
        return _of_linen(made, arguments, seed, repeat, initialize)
    if initialize is not None:
        raise InputError("initialize= draws the weights of a model's copies, and a factory was given; leave it out.")
    if not isinstance(made, nnx.Module):
        raise InputError(
            f"the factory returned an object of type {type(made).__name__}; give a function that returns a Flax "
            "module, and takes rngs for one of NNX."
        )
    if not takes_rngs(model):
        raise InputError(
            "the factory of an NNX module takes no rngs, so that it would make one network again and again; give "
            "lambda rngs: Model(..., rngs=rngs)."
        )
    return _of_nnx(made)


def takes_rngs(factory: Any) -> bool:
    """Whether a callable has a parameter called rngs, as a class of NNX modules and its factories have."""
    # The metaclass of NNX modules hides the signature of their classes.
    made_by = cast(Any, factory).__init__ if isinstance(factory, type) else factory
    try:
        return "rngs" in inspect.signature(made_by).parameters
    except (TypeError, ValueError):
        return False


def _with_rngs(factory: Any, word: int) -> Callable[[], Any]:
    return (lambda: factory(rngs=nnx.Rngs(word))) if takes_rngs(factory) else factory


def _of_nnx(model: nnx.Module) -> Network:
    parameters = nnx.state(model, nnx.Param)
    return Network(type(model).__name__, parameters, lambda visits, args, kwargs: run_nnx(model, visits, args, kwargs))


def _of_linen(
    module: linen.Module, arguments: Arguments, seed: int, repeat: int, initialize: Initialize | None
) -> Network:
    args, kwargs = (jax.tree.map(lambda a: precise(None, a), part) for part in (arguments.args, arguments.kwargs))
    with user_code(
        lambda reason: (
            f"the module could not be initialized on the inputs, of shape {arguments.shapes} ({reason}); "
            "give inputs that it takes."
        )
    ):
        variables = init_linen(module, key(seed, repeat, WEIGHTS), args, kwargs)
    if initialize is not None:
        variables = _initialized(initialize, variables, seed, repeat)
    forward = key(seed, repeat, FORWARD)
    return Network(
        type(module).__name__,
        variables.get("params", {}),
        lambda visits, args, kwargs: run_linen(module, variables, visits, forward, args, kwargs),
    )


def _initialized(initialize: Initialize, variables: Any, seed: int, repeat: int) -> Any:
    """The variables of a linen module that ``initialize`` makes of those it drew itself."""
    with user_code(lambda reason: f"initialize={brief(initialize)} failed ({reason})."), seeded(seed, repeat):
        made = initialize(variables)
    if jax.tree.structure(made) != jax.tree.structure(variables):
        raise InputError(
            f"initialize={brief(initialize)} returned no variables of the module; it must return those it is given, "
            "with other values."
        )
    _check_changed(initialize, variables, made)
    return made


def _drawn(model: nnx.Module, seed: int, repeat: int, initialize: Initialize | None) -> nnx.Module:
    """A copy of a model whose parameters are drawn again from their own entries, or drawn by ``initialize``."""
    copy = _cloned(model)
    if initialize is None:
        rng = np.random.default_rng(stream(seed, repeat))
        leaves, structure = jax.tree.flatten(nnx.state(copy, nnx.Param))
        drawn: list[jax.Array] = []
        for place, first in enumerate(alike(leaves, _looks, _equal)):
            drawn.append(_redrawn(leaves[place], rng) if first == place else drawn[first])
        nnx.update(copy, jax.tree.unflatten(structure, drawn))
        return copy
    with user_code(lambda reason: f"initialize={brief(initialize)} failed ({reason})."), seeded(seed, repeat):
        initialize(copy)
    _check_changed(initialize, nnx.state(model, nnx.Param), nnx.state(copy, nnx.Param))
    return copy


def _cloned(model: nnx.Module) -> nnx.Module:
    with user_code(lambda reason: f"the model cannot be copied ({reason}); give a function of rngs that makes it."):
        return nnx.clone(model)


def _redrawn(leaf: jax.Array, rng: np.random.Generator) -> jax.Array:
    """An array drawn again from its own entries (see ``redraws``)."""
    entries = np.array(leaf).ravel()
    moving = entries != 0
    numbers = rng.permutation(entries[moving])
    if is_floating(leaf) and entries.itemsize > 1:
        wide = numbers[:SAMPLE].astype(complex if jnp.iscomplexobj(leaf) else float)
        signs = signs_of(wide.view(float).reshape(len(wide), 2 if jnp.iscomplexobj(leaf) else 1), len(numbers), rng)
        numbers = numbers if signs is None else numbers * signs.astype(entries.dtype)
    entries[moving] = numbers
    return jnp.asarray(entries.reshape(leaf.shape))


def _looks(leaf: jax.Array) -> tuple[object, ...]:
    return leaf.dtype, leaf.shape, np.asarray(leaf).ravel()[:FIRST].tobytes()


def _equal(one: Any, other: Any) -> bool:
    return np.array_equal(np.asarray(one), np.asarray(other))


def changed(before: Any, after: Any) -> bool:
    """Return whether parameters of one structure differ in any number."""
    return not all(map(_equal, jax.tree.leaves(before), jax.tree.leaves(after)))


def _check_changed(initialize: Initialize, before: Any, after: Any) -> None:
    if not changed(before, after):
        raise InputError(
            f"initialize={brief(initialize)} changed no parameter; it is called with the whole model: an NNX copy that "
            "it changes, or a linen module's variables, of which it returns others."
        )


def _check_parameters(parameters: Any) -> None:
    """Raise InputError for a parameter with a NaN or an infinity."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(parameters):
        if is_floating(leaf) and not bool(jnp.isfinite(leaf).all()):
            words = [str(getattr(step, "key", getattr(step, "name", step))) for step in path]
            name = ".".join(word for word in words if word != "value")
            raise InputError(f"the parameter {name} contains a NaN or an infinity; initialize it first.")
