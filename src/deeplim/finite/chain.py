"""Exact finite networks: ensembles of MLPs and ResNets at initialization, drawn without their weight matrices."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, cast

import numpy as np
from jaxtyping import Float

from deeplim.activations import Elementwise, Shaped
from deeplim.architecture import MLP, Network, ResNet
from deeplim.checks import check_count, check_memory, check_seed
from deeplim.finite.start import scale_free, start
from deeplim.inputs import Inputs, check_inputs, check_reference
from deeplim.loading import load_function
from deeplim.normalization import check_normalization
from deeplim.parallel import in_threads
from deeplim.paths import Paths, check_layers
from deeplim.simd.streams import stream_states
from deeplim.smoothness import normalised, normalised_scalar

BATCH = 256
"""Networks handed to a thread at a time; it changes no number."""
SINGLE_UP_TO_INPUTS, SINGLE_FROM_WIDTH = 2, 64
"""Rows of activations given by slopes are in single precision for up to two inputs, from this width on, in kernels of
their own that keep a row in registers. Narrower networks really do make inputs exactly parallel, by having one active
neuron, and the differences of several inputs become nearly dependent: both take double precision to tell."""
_EXPLODED = 20.0
"""log V from which an input that has vanished beside another is put down to the other's explosion."""
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

    The law is that of the network with its weight matrices, to rounding: for up to two inputs, activations given by
    slopes, widths of 64 and more and no normalization (or RMSNorm after the activation of an MLP), rows are in single
    precision and their sums in double; all is in double precision otherwise. Network i of a seed is always the same
    one, whatever the number of networks, threads or recorded layers. 1 - rho keeps its relative precision however small
    it is. With more than two inputs, all are followed through their differences to input 0, and two that are more than
    1e9 times closer to each other than to it are refused: put one of them first. For a function of yours, and in a
    normalized ResNet, a gap below 1e-14 times the squared relative difference of the two norms counts as parallel. An
    input that rmsnorm or layernorm leaves 0 / 0 is dead, and so is its network. ``progress`` is called with the number
    of networks in each finished batch. InputError for counts, seeds, layers out of range, and batchnorm over one input.
    """
    check_inputs(inputs)
    check_normalization(network, inputs)
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
    """Return how the network's layers are computed: 'slopes', 'compiled by Numba' or 'vectorised NumPy'."""
    if _row_by_row(network):
        return "vectorised NumPy"
    return "slopes" if network.homogeneous else "compiled by Numba"


def compiled_function(network: Network) -> Callable[[float], float] | None:
    """Return phi of the network as a scalar function compiled by Numba; None for slopes, or when it cannot be."""
    activation = network.activation
    if isinstance(activation, Elementwise):
        return _compiled(activation, 1.0)
    if isinstance(activation, Shaped):
        return _compiled(activation, activation.scale(network.width, network.depth))
    return None


@lru_cache(maxsize=32)
def _compiled(activation: Elementwise | Shaped, s: float) -> Callable[[float], float] | None:
    from numba import njit

    function = load_function(activation.function)
    if isinstance(activation, Shaped):
        shown, plain = normalised(function)[0], cast(Any, normalised_scalar(function))
    else:
        shown, plain = function, getattr(function, "scalar", function)
    at = np.linspace(-3.0, 3.0, 25)
    try:
        inner: Any = njit(plain) if hasattr(plain, "__code__") else plain
        scalar: Any = njit(lambda x: s * float(inner(x / s)))
        same = np.allclose([scalar(x) for x in at], s * shown(at / s), rtol=1e-12, atol=1e-14)
    except Exception:  # Numba refuses a function in as many ways as it has passes; any of them means NumPy
        return None
    return scalar if same else None


def _runner(network: Network, inputs: Inputs, layers: np.ndarray) -> Callable[..., None]:
    """A function that fills norms and gaps with networks first, first + 1, ... of a seed."""
    if _row_by_row(network):
        from deeplim.finite.rowwise import run_rows

        return lambda seed, first, norms, gaps: run_rows(network, inputs, layers, seed, first, norms, gaps)
    if _only_norms_change(network):
        return _with_unit_norms(_fused_runner(network, inputs, layers))
    if network.normalization != "none":
        return _normalized_runner(network, inputs, layers)
    return _fused_runner(network, inputs, layers)


def _row_by_row(network: Network) -> bool:
    """Whether NumPy computes the network: the fused kernels know only slopes and functions that Numba compiles."""
    return not (network.homogeneous or compiled_function(network) is not None)


def _only_norms_change(network: Network) -> bool:
    """Whether the network is the one without normalization but for its norms, which are 1.

    RMSNorm divides each input by a number, and a positively homogeneous MLP hands that number on. Before the activation
    the correlations are the same too, but V^{aa} = (c/n) |phi(z/sigma)|^2 is random and not among what the kernel sums.
    """
    return (
        isinstance(network, MLP)
        and network.homogeneous
        and (network.normalization, network.placement) == ("rmsnorm", "after-activation")
    )


def _with_unit_norms(run: Callable[..., None]) -> Callable[..., None]:
    def with_unit_norms(seed: int, first: int, norms: np.ndarray, gaps: np.ndarray) -> None:
        run(seed, first, norms, gaps)
        norms[~np.isneginf(norms)] = 0.0

    return with_unit_norms


def _fused_runner(network: Network, inputs: Inputs, layers: np.ndarray) -> Callable[..., None]:
    if _specialised(network, inputs):
        return _specialised_runner(network, inputs, layers)
    from deeplim.finite.kernel import compile_kernels, workspace
    from deeplim.simd.lanes import COUNT

    homogeneous = network.homogeneous
    single = homogeneous and network.width >= SINGLE_FROM_WIDTH and inputs.count <= SINGLE_UP_TO_INPUTS
    precision = np.float32 if single else np.float64
    # Slopes, and a ResNet's scales, are divided by their sizes, so that no row leaves single precision's range.
    steepest = max(map(abs, network.slopes)) if homogeneous else 1.0
    slopes = tuple(precision(slope / steepest) for slope in (network.slopes if homogeneous else (0.0, 0.0)))
    gain = network.gain * steepest**2 / network.width
    skip, branch = (0.0, 1.0) if isinstance(network, MLP) else (network.skip_scale, network.branch_scale)
    largest = max(abs(skip), abs(branch)) if homogeneous else 1.0
    phi = compiled_function(network)
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


def _normalized_runner(network: Network, inputs: Inputs, layers: np.ndarray) -> Callable[..., None]:
    from deeplim.finite.normalized import compile_kernel, kinds, scales, workspace
    from deeplim.simd.lanes import COUNT

    residual = isinstance(network, ResNet)
    slopes = network.slopes if network.homogeneous else (0.0, 0.0)
    begin = start(inputs, unit_norm=scale_free(network))
    kernel = compile_kernel(compiled_function(network))
    places, over_neurons = kinds(network), network.normalization != "batchnorm"

    def run(seed: int, first: int, norms: np.ndarray, gaps: np.ndarray) -> None:
        states = stream_states(seed, first, -(-len(norms) // COUNT) * COUNT)
        layer, room = workspace(inputs.count, network.width, residual=residual, over_neurons=over_neurons)
        arguments = (states, network.width, network.gain, slopes, begin, layer, room, layers, norms, gaps)
        kernel(*arguments, places, residual, *scales(network))

    return run


def _specialised(network: Network, inputs: Inputs) -> bool:
    """Whether one of the kernels for one or two inputs of an MLP given by slopes serves."""
    if not (isinstance(network, MLP) and network.homogeneous):
        return False
    return inputs.count == 1 or (inputs.count == 2 and network.width >= SINGLE_FROM_WIDTH)


def _specialised_runner(network: Network, inputs: Inputs, layers: np.ndarray) -> Callable[..., None]:
    from deeplim.finite import one_input, pair
    from deeplim.simd.lanes import COUNT

    kernel, room, precision = (
        (one_input.one_input_mlp, one_input.room, np.float64)
        if inputs.count == 1
        else (pair.pair_mlp, pair.room, np.float32)
    )
    # Slopes are divided by the steepest, so that no row leaves single precision's range.
    steepest = max(map(abs, network.slopes))
    slopes = tuple(precision(slope / steepest) for slope in network.slopes)
    scale = network.gain * steepest**2 / network.width
    begin = start(inputs, unit_norm=True)

    def run(seed: int, first: int, norms: np.ndarray, gaps: np.ndarray) -> None:
        states = stream_states(seed, first, -(-len(norms) // COUNT) * COUNT)
        kernel(states, network.width, int(layers[-1]), scale, slopes, begin, room(), layers, norms, gaps)

    return run


def _as_paths(
    network: Network,
    inputs: Inputs,
    layers: np.ndarray,
    norms: Float[np.ndarray, "network layer input"],
    gaps: Float[np.ndarray, "network layer pair"],
) -> Paths:
    # Differences to input 0 no longer hold an input beside another whose norm has exploded: the explosion lost it.
    largest = norms.max(axis=2, keepdims=True)
    lost = np.isneginf(norms).any(axis=2, keepdims=True) & (largest > _EXPLODED)
    norms[lost & (norms == largest)] = np.inf
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
