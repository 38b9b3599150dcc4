"""The verbs: simulate exact networks, summarise very many of them, predict from a limit."""

from collections.abc import Callable, Sequence

from deeplim.architecture import Network
from deeplim.checks import check_progress, check_seed, memory_of_paths
from deeplim.finite.chain import Drawing, prepare, sample
from deeplim.finite.runners import Precision
from deeplim.inputs import Inputs
from deeplim.limits.base import AbstractLimit, check_limit
from deeplim.memory import threads_with_room
from deeplim.parallel import thread_count
from deeplim.paths import Paths
from deeplim.summary import Summary, part, summarize_blocks
from deeplim.tally import block_size, memory_of_counting

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
    is long); see docs/gpu.md. Every thread has room of its own, width x inputs x 128 bytes for a ResNet and for most
    normalized networks; where memory has none for all, fewer are used (``deeplim.plan`` says how many). InputError for
    counts, seeds, layers, threads or a precision out of range, for cuda where it cannot run, and for what does not fit
    into the memory that is left to the process.
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
    the cache, on fewer threads where memory has no room for all. InputError for counts, seeds, layers, pairs or threads
    out of range, and where one thread does not fit into the memory that is left to the process.
    """
    check_progress(progress)
    drawing = prepare(network, inputs, layers, precision, device, networks)
    seed, recorded = check_seed(seed), len(drawing.layers)
    threads = threads_to_summarize(drawing, networks, threads)

    def draw(begin: int, end: int) -> Paths:
        return drawing.paths(end - begin, begin, seed)

    drawn = _ahead(draw, networks) if drawing.where == "cuda" else draw
    return summarize_blocks(drawn, networks, recorded, inputs.count, pair, threads=threads, progress=progress)


def threads_to_summarize(drawing: Drawing, networks: int, threads: int | None) -> int:
    """Return how many threads are used of those asked for; InputError where memory has no room for one of them."""
    block = block_size(networks, len(drawing.layers), drawing.inputs.count)
    wanted = 1 if drawing.where == "cuda" else thread_count(threads)
    room = memory_of_summary(drawing, networks)
    return threads_with_room(wanted, -(-networks // block), *room, f"summaries of {drawing}", drawing.cure)


def memory_of_summary(drawing: Drawing, networks: int) -> tuple[int, int]:
    """Return the bytes that each thread takes which draws and counts networks, and those taken beside the threads."""
    layers, inputs = len(drawing.layers), drawing.inputs.count
    block = block_size(networks, layers, inputs)
    each, beside = memory_of_counting(block, layers)
    held = min(AHEAD, networks) if drawing.where == "cuda" else 0
    return each + drawing.memory + memory_of_paths(block + held, layers, inputs), beside


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
    return check_limit(limit).sample(inputs, samples=samples, seed=seed, layers=layers)
