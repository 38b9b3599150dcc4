"""What every limit is: a network it is bound to, a clock, an equation, a source, and paths it can sample."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
from jaxtyping import Float

from deeplim.architecture import MLP, Network, check_network
from deeplim.checks import check_count, check_kind, check_memory, check_seed, numerical
from deeplim.errors import InputError, LimitError
from deeplim.inputs import Inputs, check_inputs
from deeplim.paths import Clock, Paths, check_layers, every


def norm_shift(network: Network, layers: Float[np.ndarray, " layer"]) -> Float[np.ndarray, " layer"] | None:
    """Return what the network's weights add to every log norm at these layers, over those of the critical variance.

    None where its variances change more than that. Slopes hand a factor on: sigma_w^2 / c in every layer of an MLP. A
    normalization divides it out again, but for that of the last layer.
    """
    each = float(np.log(network.gain_ratio))
    if network.critical:
        return np.zeros(len(layers))
    if network.bias_variance > 0 or not isinstance(network, MLP) or network.normalization == "batchnorm":
        return None
    if network.normalization == "none":
        return each * layers if network.homogeneous else None
    divided = network.homogeneous or network.placement == "before-activation"
    return each * (layers > 0) if divided else None


def _of_critical_networks(network: Network) -> str:
    """Why a limit of critical networks does not describe this one."""
    what = f"a bias variance of {network.bias_variance:g}"
    if network.bias_variance == 0:
        what = f"a weight variance of {network.gain:.6g}, where {network.critical_gain:.6g} is critical,"
    return (
        f"it is derived for critical weights without biases, and {what} moves norms and correlations in every layer; "
        "the infinite-width recursion, the moment chain of an MLP and exact networks follow them."
    )


@dataclass(frozen=True)
class AbstractLimit(ABC):
    """A limit law bound to one network; making one for a network it does not describe raises LimitError.

    name: the word that names it on the command line and in JSON. equation: LaTeX. statement: one plain sentence.
    accuracy: how the network's law approaches it, in one sentence. source: paper and equation. any_variances: whether
    it follows any weight and bias variances itself; else it is one of critical networks, and describes those others
    whose log norms are shifted and whose correlations have the same law (``norm_shift``).
    """

    network: Network

    name: ClassVar[str]
    title: ClassVar[str]
    clock: ClassVar[Clock]
    equation: ClassVar[str]
    statement: ClassVar[str]
    accuracy: ClassVar[str]
    source: ClassVar[str]
    deterministic: ClassVar[bool]
    most_inputs: ClassVar[int | None] = None
    any_variances: ClassVar[bool] = False

    def __post_init__(self) -> None:
        reason = self.why_not(self.network)
        if reason is not None:
            raise LimitError(f"the limit {self.name!r} does not describe this network: {reason}")

    @classmethod
    @final
    def why_not(cls, network: Network) -> str | None:
        """Return None when the limit describes the network, else one sentence that says why it does not."""
        reason = cls._why_not(check_network(network))
        if reason is None and not cls.any_variances and norm_shift(network, np.ones(1)) is None:
            return _of_critical_networks(network)
        return reason

    @staticmethod
    @abstractmethod
    def _why_not(network: Network) -> str | None:
        """The same for a network of the critical weight variance without biases."""

    @property
    @abstractmethod
    def parameters(self) -> dict[str, float]:
        """The limit's parameters at this network, by the names that stand in its equation."""

    @property
    def advice(self) -> str | None:
        """What a user should know of this network before trusting its depth, in one sentence; None when nothing."""
        return None

    @abstractmethod
    def _sample(self, inputs: Inputs, time: Float[np.ndarray, " layer"], samples: int, seed: int) -> Paths:
        """Return the paths at increasing times on the limit's clock; arguments are already checked."""

    @property
    @final
    def layers_per_unit(self) -> int:
        """How many layers of the network one unit of the limit's clock is."""
        return {"layer": 1, "layer/width": self.network.width, "layer/depth": self.network.depth}[self.clock]

    @final
    def sample(
        self, inputs: Inputs, *, samples: int = 10_000, seed: int = 0, layers: Sequence[int] | None = None
    ) -> Paths:
        """Return sample paths of the limit at the network's layers (one path when the limit is deterministic).

        Path i of a seed is the same however many are asked for; see ``deeplim.predict`` for other recorded layers.
        InputError for layers beyond the depth, a sample count below 1, or more inputs than the limit describes.
        LimitError where it cannot be computed for these inputs.
        """
        check_inputs(inputs)
        samples, seed = check_count("samples", samples), check_seed(seed)
        chosen = check_layers(layers, self.network.depth)
        if self.most_inputs is not None and inputs.count > self.most_inputs:
            raise InputError(
                f"the limit {self.name!r} describes {self.most_inputs} inputs at a time and {inputs.count} were given; "
                "choose a pair with inputs.pair(i, j)."
            )
        time = np.asarray(chosen, dtype=float) / self.layers_per_unit
        samples = 1 if self.deterministic else samples
        check_memory(samples, len(chosen), inputs.count)
        with numerical(f"the limit {self.name!r} of {self.network}"):
            return self._sample(inputs, time, samples, seed)

    def _paths(
        self,
        log_norm: np.ndarray,
        log_gap: np.ndarray,
        time: np.ndarray,
        inputs: Inputs,
        alive: np.ndarray | None = None,
    ) -> Paths:
        alive = np.ones(log_norm.shape[:2], dtype=bool) if alive is None else alive
        if not (every(np.isfinite(log_norm)) & every(~np.isnan(log_gap)) | ~alive).all():
            raise LimitError(
                f"the limit {self.name!r} of {self.network} leaves every float from these inputs; give inputs of norms "
                "nearer to one, or draw exact networks."
            )
        shift = None if self.any_variances else norm_shift(self.network, np.round(time * self.layers_per_unit))
        return Paths(
            log_norm=log_norm if shift is None else log_norm + shift[:, None],
            log_gap=log_gap,
            alive=alive,
            time=time,
            clock=self.clock,
            names=inputs.names,
            source=f"{self.name} limit of {self.network}",
            width=self.network.width,
            depth=self.network.depth,
            deterministic=self.deterministic,
            kind="limit",
        )


def check_limit(limit: object) -> AbstractLimit:
    """Return a limit; InputError for anything else."""
    return check_kind("a limit", limit, AbstractLimit, "choose one of deeplim.limits.find(network)")
