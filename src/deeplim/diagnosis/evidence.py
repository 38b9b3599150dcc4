"""What the rules look at: signals forward and backward, the exact chain beside them, what was read off the model."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np
from jaxtyping import Bool, Float

from deeplim.architecture import Network
from deeplim.diagnosis.estimates import Interval, decades, gaps, median, spread
from deeplim.diagnosis.thresholds import Thresholds
from deeplim.paths import Paths

FEWEST_FEATURES = 8
"""Features below which a layer's correlations are nearly signs, whatever the network."""
FEWEST_FOR_SPREAD = 8
"""Initializations below which no spread is judged: its error is above a quarter of it."""
INPUT = "input"
"""The name of the layer that floating inputs themselves are."""


class Weights(Protocol):
    """What is known of one layer's weights, as ``deeplim.probe.read_architecture`` records it."""

    name: str
    fan_in: int
    fan_out: int
    variance: float
    standard_error: float


@dataclass(frozen=True, eq=False)
class Evidence:
    """Everything a rule may look at.

    measured: the forward signal, layer by layer; the chain's own states where an architecture was read. layers: a name
    for each. predicted: exact networks of that architecture at the same layers. backward: the backward signal.
    recorded: every module's output, which is ``measured`` itself where no architecture was read. weights: what was read
    of each layer's weights. normalized: whether modules of the model normalize. chain: whether the layers are alike,
    states of one chain. branches: the modules whose outputs are added to a residual stream. linears: how many modules
    are linear maps. zeroed: those of the branches that are multiplied by 0 before. convolutional: whether some
    linear maps are convolutions. sequences: how
    many samples of the paths, one after the other, share their weights. independent: whether the initializations are,
    as copies of one model drawn again from its own entries are not. non_gaussian: 1/fan_in of each layer whose weights
    or biases are not Gaussian, 0 of the others, the first layer first. units: the median number of units that a linear
    map of the model makes; None where it is not known.
    """

    measured: Paths
    layers: tuple[str, ...]
    recorded: Paths
    recorded_layers: tuple[str, ...]
    thresholds: Thresholds = field(default_factory=Thresholds)
    predicted: Paths | None = None
    network: Network | None = None
    backward: Paths | None = None
    backward_layers: tuple[str, ...] = ()
    weights: Sequence[Weights] = ()
    normalized: bool = False
    chain: bool = False
    branches: Sequence[str] = ()
    zeroed: Sequence[str] = ()
    linears: int = 0
    convolutional: bool = False
    sequences: int = 1
    independent: bool = True
    non_gaussian: Sequence[float] = ()
    units: int | None = None

    @cached_property
    def log_gap(self) -> Float[np.ndarray, "sample layer"]:
        """log(1 - rho) of each sample's median pair."""
        return gaps(self.measured, self.sequences)

    @cached_property
    def log10_norm(self) -> Float[np.ndarray, "sample layer"]:
        """log10 of the mean square of each sample's median input."""
        return decades(self.measured, self.sequences)

    @cached_property
    def begin(self) -> int:
        """The first layer that tells the inputs apart: before it they have no direction, or not one of their own.

        An input of zeros has none, and the output of a position embedding is the same for all inputs.
        """
        if self.chain:
            return 0
        told = [np.isfinite(self.gap_at(layer).value) for layer in range(len(self.layers))]
        return int(np.argmax(told))

    @cached_property
    def end(self) -> int:
        """The last layer that is judged: where the stream ends, before a readout that is narrow or begins at zero.

        It is as wide as half of the layers are, for few features have correlations of their own. Where only branches
        are, the readout must do.
        """
        if self.chain:
            return len(self.layers) - 1
        inside, wide = self.inside_branches, np.flatnonzero(self._wide & ~self._unread)
        last = int(wide[-1]) if len(wide) else len(self.layers) - 1
        if not inside[last]:
            return last
        after = [at for at in range(last + 1, len(self.layers)) if not inside[at] and self._several[at]]
        before = np.flatnonzero(self._wide[:last] & ~inside[:last])
        return after[-1] if after else int(before[-1]) if len(before) else last

    @property
    def wide_end(self) -> bool:
        """Whether the last layer that is judged is as wide as half of the others are."""
        return self.chain or bool(self._wide[self.end])

    @cached_property
    def inside_branches(self) -> Bool[np.ndarray, " layer"]:
        """The layers that are residual branches or inside one: what they give is added to a stream."""
        return np.array([is_inside(name, self.branches) for name in self.layers], dtype=bool)

    @cached_property
    def _unread(self) -> Bool[np.ndarray, " layer"]:
        """The last layer, where it alone is zero whatever the input: a readout that begins at zero."""
        zero = np.isneginf(self.measured.log_norm)
        found = np.zeros(len(self.layers), dtype=bool)
        found[-1] = len(found) > 1 and zero[:, -1].all() and not zero[:, -2].any()
        return found

    @cached_property
    def _several(self) -> Bool[np.ndarray, " layer"]:
        """The layers of two features or more: of one every two inputs are parallel."""
        features = features_of(self.measured)
        return np.ones(len(self.layers), dtype=bool) if features is None else np.asarray(features > 1)

    @cached_property
    def zero_inputs(self) -> Bool[np.ndarray, "sample input"]:
        """Which inputs are all zero as they are given: they have no direction, and a norm only by biases."""
        found = np.zeros((self.recorded.samples, self.recorded.inputs), dtype=bool)
        return np.asarray(np.isneginf(self.recorded.log_norm[:, 0])) if self.recorded_layers[0] == INPUT else found

    @cached_property
    def parallel_inputs(self) -> Bool[np.ndarray, "sample pair"]:
        """Which pairs are exactly parallel where layers begin to tell inputs apart, in every initialization.

        Of two inputs of zeros too, which biases alone move.
        """
        first, second = np.triu_indices(self.measured.inputs, 1)
        parallel = np.isneginf(self.measured.log_gap[:, self.begin])
        parallel |= self.zero_inputs[:, first] & self.zero_inputs[:, second]
        always = parallel.reshape(self.initializations, self.sequences, parallel.shape[1]).all(axis=0)
        return np.tile(always, (self.initializations, 1))

    @cached_property
    def _wide(self) -> Bool[np.ndarray, " layer"]:
        """The layers that are as wide as half of the others are."""
        features = features_of(self.measured)
        if features is None:
            return np.ones(len(self.layers), dtype=bool)
        return np.asarray(features >= max(np.median(features) / 2, min(FEWEST_FEATURES, features.max())))

    @property
    def initializations(self) -> int:
        """How many independent networks were measured."""
        return self.measured.samples // self.sequences

    @property
    def width(self) -> int | None:
        """The width: the chain's, else the units of a linear map, else of a recorded module; None where not known."""
        if self.network is not None or self.units is not None:
            return self.units if self.network is None else self.network.width
        widths = features_of(self.measured)
        return self.measured.width if widths is None else int(np.median(widths))

    @property
    def random(self) -> bool:
        """Whether there are initializations enough to speak of a spread."""
        return not self.measured.deterministic and self.initializations >= FEWEST_FOR_SPREAD

    @cached_property
    def depth(self) -> int:
        """The number of layers: the network's, else of blocks that are alike, else of linear maps, else of modules.

        Blocks are the depth where most layers are inside some: two layers of one name among others are no blocks.
        """
        if self.network is not None:
            return self.network.depth
        if self.chain:
            return max(len(self.layers) - 1, 1)
        wide = self._wide
        parts = [part for part in streams(self.layers) if not self.layers[part[0]].isdigit()]
        longest = max(parts, key=lambda part: sum(bool(wide[at]) for at in part), default=[])
        blocks = sum(bool(wide[at]) for at in longest)
        if blocks < 2:
            return self.linears or len(self.layers)
        return blocks if _mostly_blocks(self.layers, longest) else max(blocks, self.linears)

    def gap_at(self, layer: int) -> Interval:
        """Return the median of log(1 - rho) at a layer."""
        return median(self.log_gap[:, layer])

    def norm_at(self, layer: int) -> Interval:
        """Return the median of log10 of the mean square at a layer."""
        return median(self.log10_norm[:, layer])

    def spread_at(self, layer: int) -> Interval:
        """Return the standard deviation over initializations of log10 of the mean square at a layer."""
        return spread(self.measured, layer, self.sequences)

    def predicted_gap(self, layer: int) -> float | None:
        """Return the exact chain's median of log(1 - rho) at a layer; None where there is none."""
        return None if self.predicted is None else median(gaps(self.predicted)[:, layer]).value

    def predicted_norm(self, layer: int) -> float | None:
        """Return the exact chain's median of log10 of the mean square; None where there is none."""
        return None if self.predicted is None else median(decades(self.predicted)[:, layer]).value

    def predicted_spread(self, layer: int) -> float | None:
        """Return the exact chain's standard deviation of log10 of the mean square; None where there is none."""
        return None if self.predicted is None else spread(self.predicted, layer).value


def streams(names: Sequence[str], *, one: bool = False) -> list[list[int]]:
    """Return the layers that play one part along depth: those whose names differ only in where along depth they are.

    Norms along depth are compared within one part, for a block's output and its attention's differ in size as they
    should. The numbers of a name say where, but for that of a module without any inside, in a module with a number or
    beside blocks: in ``blocks.3.0`` it is the place in the block. A module that runs again and again is a part of its
    own; in a numbered block of which the rest does not, its second run is one. ``one`` puts all layers into one: those
    of a chain.

    >>> streams(["embed", "h.0.attn", "h.0.mlp", "h.1.attn", "h.1.mlp"])
    [[0], [1, 3], [2, 4]]
    >>> streams(["0.0", "0.1", "0", "1.0", "1.1", "1"])
    [[0, 3], [1, 4], [2, 5]]
    >>> streams(["0", "1.0", "1", "2.0", "2", "3"])
    [[0], [1, 3], [2, 4], [5]]
    >>> streams(["b", "b#2", "b#3"]), streams(["h.0.relu", "h.0.relu#2", "h.1.relu", "h.1.relu#2"])
    ([[0, 1, 2]], [[0, 2], [1, 3]])
    """
    if one:
        return [list(range(len(names)))]
    containers = _containers(names)
    blocks, again = {_starred(name) for name in containers}, _running_again(names)
    parts: dict[str, list[int]] = {}
    for at, name in enumerate(names):
        module = name.partition("#")[0]
        head, dot, leaf = name.rpartition(".")
        part = _starred(module)
        if head in again:
            part = _starred(head) + dot + leaf.partition("#")[0]
        elif module not in containers and (re.search(r"\d", head) or part in blocks):
            part = _starred(head) + dot + leaf
        parts.setdefault(part, []).append(at)
    return list(parts.values())


def _running_again(names: Sequence[str]) -> set[str]:
    """The modules all of whose layers run more than once: blocks that run again and again.

    A numbered one takes two layers to tell: an activation alone may be called twice in each of many blocks.
    """
    told, heads = set(names), dict[str, set[str]]()
    for name in names:
        heads.setdefault(name.partition("#")[0].rpartition(".")[0], set()).add(name.partition("#")[0])
    several = {head: inside for head, inside in heads.items() if len(inside) > 1 or not re.search(r"\d", head)}
    return {head for head, inside in several.items() if head and all(f"{module}#2" in told for module in inside)}


def _containers(names: Sequence[str]) -> set[str]:
    """The modules that other layers are inside."""
    return {name[:at] for name in names for at in range(len(name)) if name[at] == "."}


def _mostly_blocks(names: Sequence[str], part: Sequence[int]) -> bool:
    """Whether half of the layers are inside a part's blocks, or inside others that are alike and hold layers."""
    containers = _containers(names)
    blocks = {_block(names[at], containers) for at in part}
    for other in streams(names):
        several = {_block(names[at], containers) for at in other}
        blocks |= {block for block in several if len(several) > 1 and block in containers}
    return 2 * sum(is_inside(name, sorted(blocks)) for name in names) >= len(names)


def _block(name: str, containers: set[str]) -> str:
    """The innermost numbered module that a layer is inside, or is where it holds others; else its own module."""
    module = name.partition("#")[0]
    steps = module.split(".")
    holds = len(steps) if module in containers else len(steps) - 1
    numbered = [at for at in range(holds) if re.search(r"\d", steps[at])]
    return ".".join(steps[: numbered[-1] + 1]) if numbered else module


def is_inside(name: str, modules: Sequence[str]) -> bool:
    """Return whether a layer is the output of one of some modules, or of a module inside one."""
    return any(f"{name.partition('#')[0]}.".startswith(f"{module}.") for module in modules)


def _starred(name: str) -> str:
    return re.sub(r"\d+", "*", name)


def main_stream(names: Sequence[str], branches: Sequence[str] = ()) -> list[int]:
    """Return the longest part; of several as long the outermost, and of these the last: what blocks pass on.

    A part of layers of residual ``branches`` is none, for blocks add it to what they pass on.
    """
    parts = [[at for at in part if not is_inside(names[at], branches)] for part in streams(names)]
    return max(parts, key=lambda part: (len(part), *((-names[part[0]].count("."), part[-1]) if part else ())))


def change_along(values: Float[np.ndarray, "sample layer"], stream: Sequence[int]) -> Float[np.ndarray, " sample"]:
    """Return each sample's change from the first layer of a stream to its last.

    The slope of Theil and Sen (the median of those between any two layers) times the length: one odd layer, as a last
    one of another scale, or ones that alternate, as linear maps and activations do, leave it as it is. Of two layers it
    is their difference. NaN where a layer is not alive.
    """
    seen = values[:, list(stream)]
    if len(stream) < 5:
        return np.asarray(seen[:, -1] - seen[:, 0])
    first, second = np.triu_indices(len(stream), 1)
    with np.errstate(invalid="ignore"):
        slopes = (seen[:, second] - seen[:, first]) / (second - first)
    return np.asarray(np.median(slopes, axis=1) * (len(stream) - 1))


def features_of(paths: Paths) -> np.ndarray | None:
    """Return how many numbers an input has in each layer; None where the layers are those of no real model."""
    return None if paths.modules is None else paths.modules.features
