"""Which code draws a network's layers: kernels for one or two inputs, the kernel for all, or NumPy row by row."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal, cast

import numpy as np

from deeplim.activations import Elementwise, Shaped
from deeplim.architecture import MLP, Network, ResNet
from deeplim.errors import InputError
from deeplim.finite.start import scale_free, start
from deeplim.inputs import Inputs
from deeplim.loading import load_function
from deeplim.simd.streams import stream_states
from deeplim.smoothness import normalised, normalised_scalar

Precision = Literal["auto", "double"]
Run = Callable[[int, int, np.ndarray, np.ndarray], None]
"""Fills norms (network, layer, input) and gaps (network, layer, pair) with networks first, first + 1, ... of a seed."""
SINGLE_UP_TO_INPUTS, SINGLE_FROM_WIDTH = 2, 64
"""Rows are in single precision for up to two inputs, from this width on, where they stay in registers. Narrower
networks really do make inputs exactly parallel, by having one active neuron, and the differences of several inputs
become nearly dependent: both take double precision to tell."""
_COARSE = 1e-4
"""Gaps below this part of the squared relative difference of two norms are drawn again in double precision."""


def runner(network: Network, inputs: Inputs, layers: np.ndarray, precision: Precision) -> Run:
    """Return what draws networks of a seed; InputError for a precision that there is not."""
    if precision not in ("auto", "double"):
        raise InputError(f"the precision {precision!r} was asked for; choose 'auto' or 'double'.")
    if row_by_row(network):
        from deeplim.finite.rowwise import run_rows

        return lambda seed, first, norms, gaps: run_rows(network, inputs, layers, seed, first, norms, gaps)
    if network.normalization != "none" and not only_norms_change(network):
        return _normalized(network, inputs, layers)
    single = precision == "auto" and network.width >= SINGLE_FROM_WIDTH and inputs.count <= SINGLE_UP_TO_INPUTS
    if isinstance(network, MLP) and network.homogeneous and (inputs.count == 1 or (inputs.count == 2 and single)):
        run = _specialised(network, inputs, layers)
    else:
        single = single and (network.homogeneous or _named(network) is not None)
        run = _fused(network, inputs, layers, single)
        if single and not network.homogeneous:
            run = _again_where_coarse(run, _fused(network, inputs, layers, False))
    return with_unit_norms(run) if network.normalization == "rmsnorm" else run


def how_computed(network: Network) -> str:
    """Return how layers are computed: 'slopes', 'vector code', 'compiled by Numba' or 'vectorised NumPy'."""
    if row_by_row(network):
        return "vectorised NumPy"
    if network.homogeneous:
        return "slopes"
    return "compiled by Numba" if _named(network) is None else "vector code"


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


def _named(network: Network) -> str | None:
    """The name of the network's smooth activation, if vector code has been written for it."""
    activation = network.activation
    return activation.vector_name if isinstance(activation, Elementwise | Shaped) else None


def row_by_row(network: Network) -> bool:
    """Whether NumPy computes the network: kernels know slopes, named functions, and those that Numba compiles."""
    return not network.homogeneous and _named(network) is None and compiled_function(network) is None


def only_norms_change(network: Network) -> bool:
    """Whether the network is the one without normalization but for its norms, which are 1.

    RMSNorm divides each input by a number, and a positively homogeneous MLP hands that number on. Before the activation
    the correlations are the same too, but V^{aa} = (c/n) |phi(z/sigma)|^2 is random and not among what the kernel sums.
    """
    return (
        isinstance(network, MLP)
        and network.homogeneous
        and (network.normalization, network.placement) == ("rmsnorm", "after-activation")
    )


def with_unit_norms(run: Run) -> Run:
    """Return the same, the log norm of every living input then set to 0."""

    def run_and_forget(seed: int, first: int, norms: np.ndarray, gaps: np.ndarray) -> None:
        run(seed, first, norms, gaps)
        norms[~np.isneginf(norms)] = 0.0

    return run_and_forget


def _again_where_coarse(run: Run, precise: Run) -> Run:
    """Draw networks again in double precision that left single precision's range, or its digits.

    Norms that differ hide a gap: what single precision knows of |z^a - z^b|^2 to 1e-7 has the difference of the norms
    in it. The random numbers are the same, so a network does not depend on those beside it.
    """

    def run_and_repeat(seed: int, first: int, norms: np.ndarray, gaps: np.ndarray) -> None:
        run(seed, first, norms, gaps)
        with np.errstate(invalid="ignore", over="ignore"):
            coarse = ~np.isfinite(norms).all(axis=(1, 2))
            if gaps.shape[2]:
                apart = np.square(np.diff(norms, axis=2) / 2)
                coarse |= ~(gaps > np.log(_COARSE * apart + 1e-300)).all(axis=(1, 2))
        if 8 * coarse.sum() > len(coarse):
            again = np.empty_like(norms), np.empty_like(gaps)
            precise(seed, first, *again)
            norms[coarse], gaps[coarse] = again[0][coarse], again[1][coarse]
            return
        for i in np.flatnonzero(coarse):
            precise(seed, first + int(i), norms[i : i + 1], gaps[i : i + 1])

    return run_and_repeat


def _specialised(network: MLP, inputs: Inputs, layers: np.ndarray) -> Run:
    """One or two inputs of an MLP given by slopes, by kernels of their own."""
    from deeplim.finite import one_input, pair
    from deeplim.simd.lanes import COUNT

    kernel, room, precision = (
        (one_input.one_input_mlp, one_input.room, np.float64)
        if inputs.count == 1
        else (pair.pair_mlp, pair.room, np.float32)
    )
    slopes, steepest = scaled_slopes(network, precision)
    scale = network.gain * steepest**2 / network.width
    begin = start(inputs, unit_norm=True)

    def run(seed: int, first: int, norms: np.ndarray, gaps: np.ndarray) -> None:
        states = stream_states(seed, first, -(-len(norms) // COUNT) * COUNT)
        kernel(states, network.width, int(layers[-1]), scale, slopes, begin, room(), layers, norms, gaps)

    return run


def scaled_slopes(network: Network, precision: type) -> tuple[tuple[Any, ...], float]:
    """Slopes divided by the steepest, so that no row leaves single precision's range, and the steepest."""
    steepest = max(map(abs, network.slopes))
    return tuple(precision(slope / steepest) for slope in network.slopes), steepest


def _activation(network: Network, precision: type) -> tuple[Any, bool, tuple[Any, ...], float]:
    """What ``compile_kernels`` takes for phi and shaped, the parameters its kernels take, and a factor left out."""
    if network.homogeneous:
        slopes, steepest = scaled_slopes(network, precision)
        return None, False, slopes, steepest
    activation, name = cast(Elementwise | Shaped, network.activation), _named(network)
    if name is None or isinstance(activation, Elementwise):
        return name or compiled_function(network), False, (precision(0.0),), 1.0
    s, slope = activation.scale(network.width, network.depth), activation.slope
    return name, True, tuple(precision(value) for value in (s, 1 / s, 1 / slope)), 1.0


def _normalized(network: Network, inputs: Inputs, layers: np.ndarray) -> Run:
    from deeplim.finite.normalized_kernel import compile_kernel, kinds, scales, workspace
    from deeplim.simd.lanes import COUNT

    residual = isinstance(network, ResNet)
    phi, shaped, parameters, _ = _activation(network, np.float64)
    # Not divided by the steepest: behind a normalization nothing would bring that factor back.
    parameters = network.slopes if network.homogeneous else parameters
    begin = start(inputs, unit_norm=scale_free(network))
    kernel = compile_kernel(phi, shaped)
    places, over_neurons = kinds(network), network.normalization != "batchnorm"

    def run(seed: int, first: int, norms: np.ndarray, gaps: np.ndarray) -> None:
        states = stream_states(seed, first, -(-len(norms) // COUNT) * COUNT)
        layer, room = workspace(inputs.count, network.width, residual=residual, over_neurons=over_neurons)
        arguments = (states, network.width, network.gain, parameters, begin, layer, room, layers, norms, gaps)
        kernel(*arguments, places, residual, *scales(network))

    return run


def _fused(network: Network, inputs: Inputs, layers: np.ndarray, single: bool) -> Run:
    from deeplim.finite.kernel import compile_kernels, workspace
    from deeplim.simd.lanes import COUNT

    precision = np.float32 if single else np.float64
    phi, shaped, parameters, left_out = _activation(network, precision)
    gain = network.gain * left_out**2 / network.width
    skip, branch = (0.0, 1.0) if isinstance(network, MLP) else (network.skip_scale, network.branch_scale)
    # A ResNet's scales are divided by the larger for the same reason as slopes.
    largest = max(abs(skip), abs(branch)) if network.homogeneous else 1.0
    mlp, resnet = compile_kernels(inputs.count if single else 0, single, phi, shaped)
    begin = start(inputs, unit_norm=network.homogeneous)
    kept = 0 if isinstance(network, MLP) else network.width

    def run(seed: int, first: int, norms: np.ndarray, gaps: np.ndarray) -> None:
        states = stream_states(seed, first, -(-len(norms) // COUNT) * COUNT)
        room = workspace(inputs.count, kept, precision)
        arguments = (states, network.width, int(layers[-1]), gain, parameters, begin, room, layers, norms, gaps)
        if isinstance(network, MLP):
            mlp(*arguments)
        else:
            resnet(*arguments, skip / largest, branch / largest)
            norms += 2 * np.log(largest) * layers[:, None]

    return run
