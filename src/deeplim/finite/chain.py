"""Exact finite networks: ensembles of MLPs and ResNets at initialization, drawn without their weight matrices."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from jaxtyping import Bool, Float

from deeplim.architecture import MLP, Network
from deeplim.checks import check_count, check_memory, check_seed
from deeplim.finite import device as devices
from deeplim.finite.runners import Precision, runner
from deeplim.inputs import Inputs, check_inputs, check_reference
from deeplim.normalization import check_normalization
from deeplim.parallel import in_threads
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
    InputError for counts, seeds or layers out of range, an unknown precision, batchnorm over one input, and no device.
    """
    check_inputs(inputs)
    check_normalization(network, inputs)
    networks, seed = check_count("networks", networks), check_seed(seed)
    chosen = np.array(check_layers(layers, network.depth), dtype=np.int64)
    check_reference(inputs)
    check_memory(networks, len(chosen), inputs.count)
    where = devices.choose(device, network, inputs, networks)
    if where == "cuda":
        (run, size), threads = devices.cuda_runner(network, inputs, chosen, precision), 1
    else:
        run, size = runner(network, inputs, chosen, precision), BATCH
    norms, gaps = _draw(partial(run, seed), inputs, (networks, len(chosen)), first, size, threads, progress)
    if isinstance(network, MLP) and chosen[0] == 0:
        norms[:, 0], gaps[:, 0] = inputs.log_norm, np.log(inputs.gap[np.triu_indices(inputs.count, 1)])
    return _as_paths(network, inputs, chosen, norms, gaps, where)


def _draw(
    run: Callable[..., None],
    inputs: Inputs,
    shape: tuple[int, int],
    first: int,
    size: int,
    threads: int | None,
    progress: Progress | None,
) -> tuple[Float[np.ndarray, "network layer input"], Float[np.ndarray, "network layer pair"]]:
    norms = np.empty((*shape, inputs.count))
    gaps = np.empty((*shape, inputs.count * (inputs.count - 1) // 2))

    def batch(begin: int) -> int:
        part = slice(begin, min(begin + size, shape[0]))
        run(first + begin, norms[part], gaps[part])
        return part.stop - part.start

    for finished in in_threads(batch, range(0, shape[0], size), threads):
        if progress is not None:
            progress(finished)
    return norms, gaps


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
