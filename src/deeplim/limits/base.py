"""What every limit is: a network it is bound to, a clock, an equation, a source, and paths it can sample."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
from jaxtyping import Float

from deeplim.architecture import Network
from deeplim.checks import check_count, check_memory, check_seed
from deeplim.errors import InputError, LimitError
from deeplim.inputs import Inputs, check_inputs
from deeplim.paths import Clock, Paths, check_layers


@dataclass(frozen=True)
class AbstractLimit(ABC):
    """A limit law bound to one network; making one for a network it does not describe raises LimitError.

    name: the word that names it on the command line and in JSON. equation: LaTeX. statement: one plain sentence.
    accuracy: how the network's law approaches it, in one sentence. source: paper and equation.
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

    def __post_init__(self) -> None:
        reason = self.why_not(self.network)
        if reason is not None:
            raise LimitError(f"the limit {self.name!r} does not describe this network: {reason}")

    @staticmethod
    @abstractmethod
    def why_not(network: Network) -> str | None:
        """Return None when the limit describes the network, else one sentence that says why it does not."""

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

        InputError for layers beyond the depth, a sample count below 1, or more inputs than the limit describes.
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
        return self._sample(inputs, time, samples, seed)

    def _paths(
        self,
        log_norm: np.ndarray,
        log_gap: np.ndarray,
        time: np.ndarray,
        inputs: Inputs,
        alive: np.ndarray | None = None,
    ) -> Paths:
        return Paths(
            log_norm=log_norm,
            log_gap=log_gap,
            alive=np.ones(log_norm.shape[:2], dtype=bool) if alive is None else alive,
            time=time,
            clock=self.clock,
            names=inputs.names,
            source=f"{self.name} limit of {self.network}",
            width=self.network.width,
            depth=self.network.depth,
            deterministic=self.deterministic,
            kind="limit",
        )
