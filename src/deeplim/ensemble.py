"""The verbs: simulate exact networks, summarise very many of them, predict from a limit."""

from collections.abc import Callable, Sequence
from typing import Any

from deeplim.architecture import Network
from deeplim.checks import check_count, check_seed
from deeplim.errors import InputError
from deeplim.finite.chain import sample
from deeplim.finite.device import choose
from deeplim.finite.runners import Precision
from deeplim.inputs import Inputs, check_inputs
from deeplim.limits.base import AbstractLimit
from deeplim.paths import Paths, check_layers
from deeplim.specs import kind_of
from deeplim.summary import Summary, part, summarize_blocks

AHEAD = 65_536
"""Networks that a GPU draws at a time for a summary; it changes no number."""


def simulate(
    network: Network,
    inputs: Inputs,
    *,
    networks: int = 1000,
    seed: int = 0,
    layers: Sequence[int] | None = None,
    threads: int | None = None,
    precision: Precision = "auto",
    device: str = "cpu",
    progress: Callable[[int], object] | None = None,
) -> Paths:
    """Return the covariances of ``networks`` independent exact networks at initialization, on the clock "layer".

    The law is that of the network with its weight matrices; none is formed, so the cost is networks x depth x width x
    inputs^2 (see ``deeplim.finite.kernel``). Network i of a seed is always the same one, whatever the threads or the
    number of networks. layers: which to record, from 0 (the inputs) to the depth; 41 evenly spaced ones by default.
    precision: "auto", or "double" for double precision throughout, which takes longer (``deeplim.finite.chain.sample``
    says where "auto" is single). device: 'cpu', 'cuda' (an NVIDIA GPU) or 'auto' (a GPU where there is one and the run
    is long); see docs/gpu.md. InputError for counts, seeds, layers, threads or a precision out of range, and for cuda
    where it cannot run.
    """
    return sample(
        network,
        inputs,
        networks=networks,
        seed=seed,
        layers=layers,
        threads=threads,
        precision=precision,
        device=device,
        progress=progress,
    )


def summarize(
    network: Network,
    inputs: Inputs,
    *,
    networks: int,
    seed: int = 0,
    layers: Sequence[int] | None = None,
    pair: tuple[int, int] = (0, 1),
    threads: int | None = None,
    precision: Precision = "auto",
    device: str = "cpu",
    progress: Callable[[int], object] | None = None,
) -> Summary:
    """Return counts, moments and histograms over exact networks, in memory that does not grow with their number.

    The networks are those of ``simulate`` with the same seed, and the summary is that of their paths, bit for bit: see
    ``Summary`` for what it holds and how accurately. Each thread draws a block of networks and counts it while it is in
    the cache. InputError for counts, seeds, layers, pairs or threads out of range.
    """
    check_inputs(inputs)
    networks, seed = check_count("networks", networks), check_seed(seed)
    device = choose(device, network, inputs, networks)  # of the whole run, not of each part
    recorded = check_layers(layers, network.depth)

    def draw(begin: int, end: int) -> Paths:
        some = end - begin
        chosen: dict[str, Any] = {"precision": precision, "device": device}
        return sample(network, inputs, networks=some, first=begin, seed=seed, layers=recorded, threads=1, **chosen)

    drawn, workers = (_ahead(draw, networks), 1) if device == "cuda" else (draw, threads)
    return summarize_blocks(drawn, networks, len(recorded), inputs.count, pair, threads=workers, progress=progress)


def _ahead(draw: Callable[[int, int], Paths], networks: int) -> Callable[[int, int], Paths]:
    """The same out of paths drawn many networks at a time, which a GPU needs; for one thread and blocks in order."""
    first = 0
    held: Paths | None = None

    def from_held(begin: int, end: int) -> Paths:
        nonlocal first, held
        if held is None or end > first + held.samples:
            first, held = begin, draw(begin, max(end, min(begin + AHEAD, networks)))
        return part(held, begin - first, end - first)

    return from_held


def predict(
    limit: AbstractLimit,
    inputs: Inputs,
    *,
    samples: int = 10_000,
    seed: int = 0,
    layers: Sequence[int] | None = None,
) -> Paths:
    """Return sample paths of a limit (``deeplim.limits.find`` gives those of a network) at the network's layers.

    A deterministic limit gives one path. Path i of a seed is the same however many are asked for. The moment chain's is
    also the same whatever layers are recorded; a diffusion is stepped from one recorded layer to the next, so that with
    others its paths, and which of them explode, are others of the same law. InputError for counts or layers out of
    range, or for more inputs than the limit describes.
    """
    if not isinstance(limit, AbstractLimit):
        raise InputError(f"{kind_of(limit)} was given; choose one of deeplim.limits.find(network).")
    return limit.sample(inputs, samples=samples, seed=seed, layers=layers)
