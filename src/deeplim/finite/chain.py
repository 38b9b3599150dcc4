"""Exact finite networks: ensembles of MLPs and ResNets at initialization, drawn without their weight matrices."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Bool, Float, Int

from deeplim.architecture import MLP, Network, check_network
from deeplim.checks import check_count, check_memory, check_progress, check_seed, memory_of_paths
from deeplim.finite import device as devices
from deeplim.finite.runners import Precision, Run, runner
from deeplim.inputs import Inputs, check_inputs, check_reference
from deeplim.memory import threads_with_room
from deeplim.normalization import check_normalization
from deeplim.parallel import in_threads, thread_count
from deeplim.paths import Paths, check_layers, every

BATCH = 256
"""Networks handed to a thread at a time; it changes no number."""
_EXPLODED = 20.0
"""log V from which an input that has vanished beside another is put down to the other's explosion."""
_MARKED = 1024
"""Networks looked at for lost ones at a time, so that doing so takes next to no memory."""
Progress = Callable[[int], object]


def sample(
    network: Network,
    inputs: Inputs,
    *,
    networks: int = 1000,
    first: int = 0,
    seed: int = 0,
    layers: Sequence[int] | None = None,
    threads: int | None = None,
    precision: Precision = "auto",
    device: str = "cpu",
    progress: Progress | None = None,
) -> Paths:
    """Return the covariances of networks first, first + 1, ... of a seed, ``networks`` of them, at the chosen layers.

    The law is that of the network with its weight matrices, to rounding. precision: "auto" for rows in single precision
    and their sums in double where that is sound (up to two inputs, widths of 64 and more, no normalization, slopes or a
    named smooth activation; networks it does not suit are drawn again in double precision), "double" for double
    precision throughout. Network i of a seed is always the same one, whatever the number of networks, threads or
    recorded layers. 1 - rho keeps its relative precision however small it is. With more than two inputs, all are
    followed through their differences to input 0, and two that are more than 1e9 times closer to each other than to it
    are refused: put one of them first. For a function of yours, and in a normalized ResNet, a gap below 1e-14 times
    the squared relative difference of the two norms counts as parallel. An input that rmsnorm or layernorm leaves 0 / 0
    is dead, and so is its network. ``progress`` is called with the number of networks in each finished batch.
    device: 'cpu', 'cuda' (an NVIDIA GPU) or 'auto' (a GPU where there is one and the run is long), the same law each.
    Where memory has no room for what every thread takes, fewer are used. InputError for counts, seeds or layers out of
    range, an unknown precision, batchnorm over one input, no device, and what does not fit into the memory left.
    """
    check_progress(progress)
    drawing = prepare(network, inputs, layers, precision, device, networks)
    return drawing.paths(networks, first, check_seed(seed), threads_to_sample(drawing, networks, threads), progress)


@dataclass(frozen=True)
class Drawing:
    """How networks are drawn, all that was asked for having been checked; memory: bytes that each thread at it takes,
    beside what it draws.
    """

    network: Network
    inputs: Inputs
    layers: Int[np.ndarray, " layer"]
    where: str
    run: Run
    at_a_time: int
    memory: int
    cure: ClassVar[str] = "make the network narrower, or ask for fewer networks, layers or inputs"

    def __str__(self) -> str:
        return f"{self.network} with {self.inputs.count} inputs at {len(self.layers)} layers"

    def paths(
        self, networks: int, first: int, seed: int, threads: int | None = 1, progress: Progress | None = None
    ) -> Paths:
        """Return networks first, first + 1, ... of a seed."""
        norms, gaps = self._fill((networks, len(self.layers)), first, seed, threads, progress)
        if isinstance(self.network, MLP) and self.layers[0] == 0:
            log_gap = np.log(self.inputs.gap[np.triu_indices(self.inputs.count, 1)])
            norms[:, 0], gaps[:, 0] = self.inputs.log_norm, log_gap
        return _as_paths(self.network, self.inputs, self.layers, norms, gaps, self.where)

    def _fill(
        self, shape: tuple[int, int], first: int, seed: int, threads: int | None, progress: Progress | None
    ) -> tuple[Float[np.ndarray, "network layer input"], Float[np.ndarray, "network layer pair"]]:
        inputs, size = self.inputs.count, self.at_a_time
        norms, gaps = np.empty((*shape, inputs)), np.empty((*shape, inputs * (inputs - 1) // 2))

        def batch(begin: int) -> int:
            part = slice(begin, min(begin + size, shape[0]))
            self.run(seed, first + begin, norms[part], gaps[part])
            return part.stop - part.start

        for finished in in_threads(batch, range(0, shape[0], size), threads):
            if progress is not None:
                progress(finished)
        return norms, gaps


def threads_to_sample(drawing: Drawing, networks: int, threads: int | None) -> int:
    """Return how many threads are used of those asked for; InputError where memory has no room for one and the paths.

    One is where a GPU does the work.
    """
    size = networks, len(drawing.layers), drawing.inputs.count
    check_memory(*size)
    wanted, pieces = thread_count(threads), -(-networks // drawing.at_a_time)
    room = drawing.memory, memory_of_paths(*size)
    found = threads_with_room(wanted, pieces, *room, f"{networks:,} of {drawing}", drawing.cure)
    return 1 if drawing.where == "cuda" else found


def prepare(
    network: Network,
    inputs: Inputs,
    layers: Sequence[int] | None,
    precision: Precision,
    device: str,
    networks: int,
) -> Drawing:
    """Return how so many networks are drawn; InputError for what ``sample`` refuses of these arguments."""
    check_network(network)
    check_inputs(inputs)
    check_normalization(network, inputs)
    networks = check_count("networks", networks)
    chosen = np.array(check_layers(layers, network.depth), dtype=np.int64)
    check_reference(inputs)
    where = devices.choose(device, network, inputs, networks)
    if where == "cuda":
        run, size = devices.cuda_runner(network, inputs, chosen, precision)
        return Drawing(network, inputs, chosen, where, run, size, 0)
    found = runner(network, inputs, chosen, precision)
    return Drawing(network, inputs, chosen, where, found.run, BATCH, found.memory)


def _as_paths(
    network: Network,
    inputs: Inputs,
    layers: np.ndarray,
    norms: Float[np.ndarray, "network layer input"],
    gaps: Float[np.ndarray, "network layer pair"],
    where: str,
) -> Paths:
    alive = np.empty(norms.shape[:2], dtype=bool)
    for begin in range(0, len(norms), _MARKED):
        part = slice(begin, begin + _MARKED)
        alive[part] = _mark_lost(norms[part], gaps[part])
    return Paths(
        log_norm=norms,
        log_gap=gaps,
        alive=alive,
        time=layers.astype(float),
        clock="layer",
        names=inputs.names,
        source=f"exact networks{'' if where == 'cpu' else f' on {where}'}: {network}",
        width=network.width,
        depth=network.depth,
    )


def _mark_lost(
    norms: Float[np.ndarray, "network layer input"], gaps: Float[np.ndarray, "network layer pair"]
) -> Bool[np.ndarray, "network layer"]:
    """Mark lost networks in norms and gaps, and return which are alive.

    Differences to input 0 no longer hold an input beside another whose norm has exploded: the explosion lost it.
    """
    alive = every(np.isfinite(norms)) & every(~np.isnan(gaps))
    if not alive.all():
        rows = norms[~alive]
        largest = rows.max(axis=1, keepdims=True)
        hidden = np.isneginf(rows).any(axis=1, keepdims=True) & (largest > _EXPLODED)
        rows[hidden & (rows == largest)] = np.inf
        norms[~alive], gaps[~alive] = rows, np.nan
    return alive
