"""Signals and gradients of Flax models, network after network."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen, nnx

from deeplim.errors import InputError
from deeplim.paths import Paths
from deeplim.probe.array_inputs import Arguments, read_arguments
from deeplim.probe.factories import COTANGENT, FORWARD, reason, seeded, stream, user_code
from deeplim.probe.flax_networks import Initialize, Network, changed, networks, precise, takes_rngs, told
from deeplim.probe.flax_visits import Key, Output, Visits, first_floating
from deeplim.probe.functions import widened
from deeplim.probe.layers import INPUT, ROOT, Layers, failed_backward, source, without_gradients
from deeplim.probe.record import Modules, Per
from deeplim.probe.signals import Signals


def recognises(model: object) -> bool:
    """Whether this is a Flax module, linen or NNX, a class of them, or a factory that takes rngs."""
    kinds = (linen.Module, nnx.Module)
    if isinstance(model, type):
        return issubclass(model, kinds)
    return isinstance(model, kinds) or (callable(model) and takes_rngs(model))


def probe(
    model: Any,
    inputs: Any,
    *,
    backward: bool,
    repeats: int,
    seed: int,
    per: Per,
    initialize: Initialize | None,
    modules: Modules | None,
    most: int,
) -> Paths:
    """Return the signals of a model's networks, or their gradients; ``record`` says what the options mean."""
    arguments = read_arguments(inputs, most)
    layers = Layers(Signals(repeats), arguments, per, most)
    kind, redrawn = "module", False
    own = nnx.state(model, nnx.Param) if isinstance(model, nnx.Module) else None
    for repeat, network in networks(model, arguments, repeats, seed, initialize):
        kind = network.kind
        redrawn = redrawn or (own is not None and repeat > 0 and changed(own, network.parameters))
        run = Run(network, arguments, modules)
        with seeded(seed, repeat, FORWARD):
            last, outputs = run.recorded(layers)
            if backward:
                cotangent = np.random.default_rng(stream(seed, repeat, COTANGENT))
                run.add_gradients(layers, outputs, _checked(last, layers), cotangent)
            else:
                for output in outputs:
                    layers.add(output.key[0], widened(np.asarray(output.array)), output.rounding)
        layers.finish()
    how = told(model, repeats, initialize, redrawn=redrawn)
    words = source(kind, how, backward=backward, taken=arguments.taken, left_out=layers.left_out)
    return layers.signals.paths(words, layers.names, backward=backward)


class Run:
    """One network on the inputs, run once for its signals and again for its gradients."""

    def __init__(self, network: Network, arguments: Arguments, modules: Modules | None) -> None:
        self._network = network
        self._arguments = arguments
        self._modules = modules
        self._args = [precise(network.parameters, value) for value in arguments.args]
        self._kwargs = {name: precise(network.parameters, value) for name, value in arguments.kwargs.items()}

    def recorded(self, layers: Layers) -> tuple[Any, list[Output]]:
        """Return the network's output, and those of its modules that are signals of the inputs."""
        visits = Visits(self._modules)
        last = self._through(visits)
        visits.check_names()
        for name in visits.empty:
            layers.skip(name)
        seen = {output.key[0] for output in visits.outputs}
        for name in visits.hidden:
            if name not in seen:
                layers.hide(name)
        return last, [output for output in visits.outputs if layers.fits(output.key[0], output.array.shape)]

    def add_gradients(self, layers: Layers, outputs: list[Output], last: jax.Array, rng: np.random.Generator) -> None:
        """Add the gradients of the outputs: those with respect to zeros that are added to them."""
        zeros = {output.key: jnp.zeros_like(output.array) for output in outputs}

        def outcome(added: dict[Key, jax.Array]) -> Any:
            return first_floating(self._through(Visits(None, added)))

        with user_code(failed_backward):
            _, backwards = jax.vjp(outcome, zeros)
            [gradients] = backwards(jnp.asarray(layers.cotangent(last.shape, rng)).astype(last.dtype))
        # The forward pass's rounding, and that of the way back.
        total = 2 * max((output.rounding for output in outputs), default=0.0)
        for output in outputs:
            layers.add(output.key[0], widened(np.asarray(gradients[output.key])), total - output.rounding)

    def _through(self, visits: Visits) -> Any:
        """The network's output; InputError with what it raised, and in which module."""
        args, kwargs = list(self._args), dict(self._kwargs)
        first = self._arguments.first
        if first is not None and first in kwargs:
            kwargs[first] = visits.leave(INPUT, None, kwargs[first])
        elif first is not None:
            args[int(first)] = visits.leave(INPUT, None, args[int(first)])
        try:
            return self._network.run(visits, args, kwargs)
        except (InputError, KeyboardInterrupt):
            raise
        except BaseException as error:
            where = f"in its module {visits.running[-1]}: " if visits.running and visits.running[-1] != ROOT else ""
            raise InputError(
                f"the model could not run the inputs, of shape {self._arguments.shapes} ({where}{reason(error)}); give "
                "inputs that it takes."
            ) from error


def _checked(last: Any, layers: Layers) -> jax.Array:
    found = first_floating(last)
    if found is None or not layers.apart(found.shape):
        raise without_gradients()
    return found
