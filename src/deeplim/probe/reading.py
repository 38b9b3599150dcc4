"""The architecture read off a real model: which deeplim network it is at initialization, or why it is none."""

from dataclasses import dataclass, field, replace
from math import sqrt
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from deeplim.architecture import MLP, Network
from deeplim.checks import check_seed
from deeplim.errors import InputError
from deeplim.inputs import Inputs, gram
from deeplim.modules import Modules
from deeplim.paths import Paths, listed
from deeplim.probe.world import undisturbed
from deeplim.specs import kind_of


class LayerWeights(NamedTuple):
    """What is known of one layer's weights and biases.

    variance: that of a weight times ``fan_in``, constants that multiply it included, with its ``standard_error``;
    bias_variance: the biases' mean square. law, bias_law: 'gaussian' or 'uniform' by the
    kurtosis, 'orthogonal', 'zero', or 'other'.
    """

    name: str
    fan_in: int
    fan_out: int
    variance: float
    standard_error: float
    bias_variance: float
    bias_error: float
    law: str
    bias_law: str


class State(NamedTuple):
    """Where a state of the chain is recorded: the layer, and modules whose output is ``factor`` times its rows."""

    layer: int
    modules: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Reading:
    """A model's architecture: the network it is at initialization, or in ``why_not`` one sentence why it is none.

    layers: the modules whose outputs are the chain's layers. weights: the first layer's, then the hidden ones'.
    linears, activations, normalizations, branches: the modules that do this, where modules do; convolutions are linears
    too, and zeroed branches are multiplied by 0 before they are added. width: the network's, or else the median number
    of units that linear maps make, channels of convolutions, the lower of two; None without any. Of a model that is no
    network there are these, without activations, and branches where inputs were given. functional: whether some layers
    are computed by Python code, and are modules only of ``deeplim.probe.observable(model)``. notes: what else is worth
    knowing, a sentence each.
    """

    network: Network | None
    why_not: str | None = None
    layers: tuple[str, ...] = ()
    weights: tuple[LayerWeights, ...] = ()
    linears: tuple[str, ...] = ()
    convolutions: tuple[str, ...] = ()
    activations: tuple[str, ...] = ()
    normalizations: tuple[str, ...] = ()
    branches: tuple[str, ...] = ()
    zeroed: tuple[str, ...] = ()
    width: int | None = None
    functional: bool = False
    notes: tuple[str, ...] = ()
    states: tuple[State, ...] = field(default=(), repr=False)
    first_weight_variance: float = 0.0
    first_bias_variance: float = 0.0

    def inputs(self, x: Any) -> Inputs:
        """Return inputs whose Gram matrix is the covariance of the first preactivation.

        V^{ab} = w <x^a, x^b>/n_in + b, with w the variance of the first layer's weights times n_in and b that of its
        biases. x: an array or tensor, one input for each index of its first axis. InputError when no network was read,
        or x has another size.
        """
        self._check()
        try:
            rows = np.asarray(x.detach().cpu() if hasattr(x, "detach") else x, dtype=float)
        except (TypeError, ValueError, OverflowError):
            raise InputError(f"{kind_of(x)} was given for inputs; give an array, one input a row.") from None
        rows = rows.reshape(len(rows), -1) if rows.ndim > 1 else rows
        n_in = self.weights[0].fan_in
        if rows.ndim != 2 or rows.shape[1] != n_in:
            raise InputError(f"inputs of shape {np.shape(x)} were given; {self.weights[0].name} takes rows of {n_in}.")
        scaled = rows * sqrt(self.first_weight_variance / n_in)
        bias = np.full((len(rows), 1), sqrt(self.first_bias_variance))
        return gram(np.concatenate([scaled, bias], axis=1) * sqrt(n_in + 1))

    def overlay(self, paths: Paths) -> Paths:
        """Return recorded paths as the chain's states V_l, on the clock "layer", at the layers whose modules are there.

        MLP: V_l = sigma_w^2 <h_l, h_l>/n + sigma_b^2 with h_l what the next Linear layer is given; ResNet:
        <z_l, z_l>/n. InputError when no network was read or none of its layers is among the paths' modules.
        """
        network = self._check()
        if not isinstance(paths, Paths):
            raise InputError(f"{kind_of(paths)} was given for recorded paths; give those of probe.record.")
        at: dict[str, int] = {name: i for i, name in enumerate(paths.layer_names or ())}
        found = [(state.layer, self._recorded(state, at)) for state in self.states]
        kept = [(layer, place) for layer, place in found if place is not None]
        if not kept:
            of = "deeplim.probe.observable(model)" if self.functional else "the model that was read"
            raise InputError(f"none of the layers {listed(self.layers, 3)} is among the recorded modules; record {of}.")
        index = [at[name] for _, (name, _) in kept]
        factors = np.array([factor for _, (_, factor) in kept])
        log_norm, log_gap = paths.log_norm[:, index] - 2 * np.log(np.abs(factors))[:, None], paths.log_gap[:, index]
        alive = paths.alive[:, index]
        if isinstance(network, MLP):
            log_norm, log_gap = handed_on(log_norm, log_gap, network.gain, network.bias_variance)
        return replace(
            paths,
            log_norm=log_norm,
            log_gap=np.where(alive[..., None], log_gap, np.nan),
            alive=alive,
            time=np.array([float(layer) for layer, _ in kept]),
            clock="layer",
            source=f"{paths.source}, as {network}",
            width=network.width,
            depth=network.depth,
            modules=Modules(tuple(name for _, (name, _) in kept)),
        )

    def _check(self) -> Network:
        if self.network is None:
            raise InputError(f"no deeplim network describes the model: {self.why_not}")
        return self.network

    @staticmethod
    def _recorded(state: State, at: dict[str, int]) -> tuple[str, float] | None:
        return next(((name, factor) for name, factor in state.modules if name in at), None)


def handed_on(
    log_norm: Float[np.ndarray, "sample layer input"],
    log_gap: Float[np.ndarray, "sample layer pair"],
    weight_variance: float,
    bias_variance: float,
) -> tuple[Float[np.ndarray, "sample layer input"], Float[np.ndarray, "sample layer pair"]]:
    """Return the log norms and log gaps of s G + b for a covariance G, without cancellation.

    With A, B the variances of a pair in s G, P^2 = (A + b)(B + b) and Q = sqrt(A B) + b:
    1 - rho' = (P - Q + sqrt(A B)(1 - rho)) / P, and P - Q = b (sqrt A - sqrt B)^2 / (P + Q).
    """
    log_norm = log_norm + np.log(weight_variance)
    if bias_variance == 0:
        return log_norm, log_gap
    first, second = np.triu_indices(log_norm.shape[2], 1)
    # Everything over b, so that nothing overflows but what is infinite.
    size = np.exp((log_norm - np.log(bias_variance)) / 2)
    a, b = size[..., first], size[..., second]
    p, q = np.sqrt((1 + a * a) * (1 + b * b)), 1 + a * b
    with np.errstate(divide="ignore", invalid="ignore"):
        gap = ((a - b) ** 2 / (p + q) + a * b * np.exp(log_gap)) / p
        return np.log(bias_variance) + np.log1p(size * size), np.log(gap)


def read_architecture(model_or_factory: Any, *, inputs: Any = None, seed: int = 0) -> Reading:
    """Return the deeplim network that a PyTorch model is at initialization, or in one sentence why none describes it.

    The model runs once, in evaluation mode, on a batch of its own inputs or else of two random rows, and the functions
    of tensors that it calls are followed, in whatever module or Python code. Variances are read off the weights: of the
    model, or of some draws of a factory, called under seeds from ``seed`` on. They are exact values (the critical one,
    PyTorch's default, LeCun's, He's) where the weights agree with one to four standard errors. InputError for what is
    neither a model nor a factory of one.
    """
    seed = check_seed(seed)
    with undisturbed(model_or_factory, inputs):
        return _read(model_or_factory, inputs, seed)


def _read(model_or_factory: Any, inputs: Any, seed: int) -> Reading:
    from deeplim.probe.chain_parts import NotDescribed
    from deeplim.probe.description import describe
    from deeplim.probe.initializations import plain
    from deeplim.probe.torch_anatomy import anatomy
    from deeplim.probe.torch_reading import models_of, read_parts

    try:
        return describe(read_parts(model_or_factory, inputs, seed))
    except NotDescribed as reason:
        model = plain(next(models_of(model_or_factory, seed)))
        return Reading(None, str(reason), **anatomy(model, inputs)._asdict())
