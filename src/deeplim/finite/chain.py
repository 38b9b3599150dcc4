"""Exact finite networks: ensembles of MLPs and ResNets at initialization, drawn without their weight matrices."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float

from deeplim.activations import Elementwise, load_function
from deeplim.architecture import MLP, Network
from deeplim.checks import check_count, check_memory, check_seed
from deeplim.finite.start import start
from deeplim.finite.streams import stream_states
from deeplim.inputs import Inputs, check_inputs, check_reference
from deeplim.parallel import in_threads
from deeplim.paths import Paths, check_layers

BATCH = 256
"""Networks handed to a thread at a time; it changes no number."""
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
    progress: Progress | None = None,
) -> Paths:
    """Return the covariances of networks first, first + 1, ... of a seed, ``networks`` of them, at the chosen layers.

    The law is that of the network with its weight matrices, to rounding: for up to two inputs,
    activations given by slopes and widths of 64 and more, rows are in single precision and their sums in double; all is
    in double precision otherwise. Network i of a seed is always the same one, whatever the number of networks, threads
    or recorded layers. 1 - rho keeps its relative precision however small it is. With more than two inputs, all are
    followed through their differences to input 0, and two that are more than 1e9 times closer to each other than to
    it are refused: put one of them first. For a function of yours, which cannot be divided by norms, a gap below
    1e-14 times the squared relative difference of the two norms counts as parallel. ``progress`` is called with the
    number of networks in each finished batch.
    InputError for counts, seeds or layers out of range.
    """
    check_inputs(inputs)
    networks, seed = check_count("networks", networks), check_seed(seed)
    chosen = np.array(check_layers(layers, network.depth), dtype=np.int64)
    check_reference(inputs)
    check_memory(networks, len(chosen), inputs.count)
    pairs = inputs.count * (inputs.count - 1) // 2
    norms = np.empty((networks, len(chosen), inputs.count))
    gaps = np.empty((networks, len(chosen), pairs))
    run = _runner(network, inputs, chosen)

    def batch(begin: int) -> int:
        part = slice(begin, min(begin + BATCH, networks))
        run(seed, first + begin, norms[part], gaps[part])
        return part.stop - part.start

    for finished in in_threads(batch, range(0, networks, BATCH), threads):
        if progress is not None:
            progress(finished)
    if isinstance(network, MLP) and chosen[0] == 0:
        norms[:, 0], gaps[:, 0] = inputs.log_norm, np.log(inputs.gap[np.triu_indices(inputs.count, 1)])
    return _as_paths(network, inputs, chosen, norms, gaps)


def how_computed(network: Network) -> str:
    """Return how the network's activation is computed: 'slopes', 'compiled by Numba' or 'vectorised NumPy'."""
    if not isinstance(network.activation, Elementwise):
        return "slopes"
    return "vectorised NumPy" if compiled_function(network.activation) is None else "compiled by Numba"


@lru_cache(maxsize=32)
def compiled_function(activation: Elementwise) -> Callable[[float], float] | None:
    """Return the activation compiled to a scalar function by Numba, or None when it cannot be or then disagrees."""
    from numba import njit

    function = load_function(activation.function)
    at = np.linspace(-3.0, 3.0, 25)
    try:
        plain: Any = njit(function) if hasattr(function, "__code__") else function
        scalar: Any = njit(lambda x: float(plain(x)))
        same = np.allclose([scalar(x) for x in at], function(at), rtol=1e-12, atol=1e-14)
    except Exception:  # Numba refuses a function in as many ways as it has passes; any of them means NumPy
        return None
    return scalar if same else None


def _runner(network: Network, inputs: Inputs, layers: np.ndarray) -> Callable[..., None]:
    """A function that fills norms and gaps with networks first, first + 1, ... of a seed."""
    if isinstance(network.activation, Elementwise) and compiled_function(network.activation) is None:
        from deeplim.finite.rowwise import run_rows

        return lambda seed, first, norms, gaps: run_rows(network, inputs, layers, seed, first, norms, gaps)
    return _fused_runner(network, inputs, layers)


def _fused_runner(network: Network, inputs: Inputs, layers: np.ndarray) -> Callable[..., None]:
    from deeplim.finite.kernel import SINGLE_FROM_WIDTH, SINGLE_UP_TO_INPUTS, compile_kernels, workspace
    from deeplim.finite.lanes import COUNT

    homogeneous = network.homogeneous
    single = homogeneous and network.width >= SINGLE_FROM_WIDTH and inputs.count <= SINGLE_UP_TO_INPUTS
    precision = np.float32 if single else np.float64
    # Slopes, and a ResNet's scales, are divided by their sizes, so that no row leaves single precision's range.
    steepest = max(map(abs, network.slopes)) if homogeneous else 1.0
    slopes = tuple(precision(slope / steepest) for slope in (network.slopes if homogeneous else (0.0, 0.0)))
    gain = network.gain * steepest**2 / network.width
    skip, branch = (0.0, 1.0) if isinstance(network, MLP) else (network.skip, network.branch_scale)
    largest = max(abs(skip), abs(branch)) if homogeneous else 1.0
    phi = compiled_function(network.activation) if isinstance(network.activation, Elementwise) else None
    mlp, resnet = compile_kernels(inputs.count if single else 0, single, phi)
    begin = start(inputs, unit_norm=homogeneous)
    kept = 0 if isinstance(network, MLP) else network.width

    def run(seed: int, first: int, norms: np.ndarray, gaps: np.ndarray) -> None:
        states = stream_states(seed, first, -(-len(norms) // COUNT) * COUNT)
        room = workspace(inputs.count, kept, precision)
        arguments = (states, network.width, int(layers[-1]), gain, slopes, begin, room, layers, norms, gaps)
        if isinstance(network, MLP):
            mlp(*arguments)
        else:
            resnet(*arguments, skip / largest, branch / largest)
            norms += 2 * np.log(largest) * layers[:, None]

    return run


def _as_paths(
    network: Network,
    inputs: Inputs,
    layers: np.ndarray,
    norms: Float[np.ndarray, "network layer input"],
    gaps: Float[np.ndarray, "network layer pair"],
) -> Paths:
    alive = np.isfinite(norms).all(axis=2) & ~np.isnan(gaps).any(axis=2)
    gaps[~alive] = np.nan
    return Paths(
        log_norm=norms,
        log_gap=gaps,
        alive=alive,
        time=layers.astype(float),
        clock="layer",
        names=inputs.names,
        source=f"exact networks: {network}",
        width=network.width,
        depth=network.depth,
    )
