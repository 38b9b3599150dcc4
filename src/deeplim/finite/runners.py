"""Which code draws a network's layers: kernels for one or two inputs, the kernel for all, or NumPy row by row."""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

import numpy as np

from deeplim.activations import Elementwise, Shaped, Smooth, Transformed
from deeplim.architecture import MLP, Network, ResNet
from deeplim.checks import brief
from deeplim.differences import parts_norms
from deeplim.errors import InputError
from deeplim.finite.start import divides_norms, scale_free, start
from deeplim.inputs import Inputs
from deeplim.loading import load_function
from deeplim.parallel import stop_flag
from deeplim.simd.streams import stream_states
from deeplim.smoothness import normalised, normalised_scalar

if TYPE_CHECKING:
    from deeplim.finite.rows import Form

Precision = Literal["auto", "double"]
Run = Callable[[int, int, np.ndarray, np.ndarray], None]
"""Fills norms (network, layer, input) and gaps (network, layer, pair) with networks first, first + 1, ... of a seed."""


class Runner(NamedTuple):
    """What draws networks of a seed, and the bytes that each thread at it takes beside what it fills."""

    run: Run
    memory: int


SINGLE_UP_TO_INPUTS, SINGLE_FROM_WIDTH = 2, 64
"""Rows are in single precision for up to two inputs, from this width on, where they stay in registers. Narrower
networks really do make inputs exactly parallel, by having one active neuron, and the differences of several inputs
become nearly dependent: both take double precision to tell."""
_COARSE = 1e-4
"""Gaps below this part of the squared relative difference of two norms are drawn again in double precision."""


def runner(network: Network, inputs: Inputs, layers: np.ndarray, precision: Precision) -> Runner:
    """Return what draws networks of a seed; InputError for a precision that there is not."""
    if not isinstance(precision, str) or precision not in ("auto", "double"):
        raise InputError(f"the precision {brief(precision)} was asked for; choose 'auto' or 'double'.")
    if row_by_row(network):
        from deeplim.finite.rowwise import memory_of_rows, run_rows

        return Runner(partial(run_rows, network, inputs, layers), memory_of_rows(network, inputs))
    if network.normalization != "none" and not only_norms_change(network):
        return _normalized(network, inputs, layers)
    single = precision == "auto" and network.width >= SINGLE_FROM_WIDTH and inputs.count <= SINGLE_UP_TO_INPUTS
    few = inputs.count == 1 or (inputs.count == 2 and single)
    if isinstance(network, MLP) and divides_norms(network) and few:
        found = _specialised(network, inputs, layers)
    else:
        single = single and (network.homogeneous or _named(network) is not None)
        found = _fused(network, inputs, layers, single)
        if single and not divides_norms(network):
            precise = _fused(network, inputs, layers, False)
            found = Runner(_again_where_coarse(found.run, precise.run), max(found.memory, precise.memory))
    return found._replace(run=with_norms_of(network, found.run)) if network.normalization == "rmsnorm" else found


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
    if isinstance(activation, Elementwise | Transformed):
        return _compiled(activation, 1.0)
    if isinstance(activation, Shaped):
        return _compiled(activation, activation.scale(network.width, network.depth))
    return None


@lru_cache(maxsize=32)
def _compiled(activation: Smooth, s: float) -> Callable[[float], float] | None:
    from numba import njit

    function = load_function(activation.function)
    if isinstance(activation, Shaped):
        shown, plain = normalised(function)[0], cast(Any, normalised_scalar(function))
    else:
        shown, plain = function, getattr(function, "scalar", function)
    scale, shift, size, offset = activation.constants if isinstance(activation, Transformed) else (1 / s, 0.0, s, 0.0)
    at = np.linspace(-3.0, 3.0, 25)
    try:
        inner: Any = njit(plain) if hasattr(plain, "__code__") else plain
        scalar: Any = njit(lambda x: size * (float(inner(scale * x + shift)) + offset))
        told = size * (shown(scale * at + shift) + offset)
        same = np.allclose([scalar(x) for x in at], told, rtol=1e-12, atol=1e-14)
    except Exception:  # Numba refuses a function in as many ways as it has passes; any of them means NumPy
        return None
    return scalar if same else None


def _named(network: Network) -> str | None:
    """The name of the network's smooth activation, if vector code has been written for it."""
    activation = network.activation
    return activation.vector_name if isinstance(activation, Smooth) else None


def row_by_row(network: Network) -> bool:
    """Whether NumPy computes the network: kernels know slopes, named functions, and those that Numba compiles."""
    return not network.homogeneous and _named(network) is None and compiled_function(network) is None


def only_norms_change(network: Network) -> bool:
    """Whether the network is the one without normalization but for its norms, which are all the same.

    RMSNorm divides each input by a number, and a positively homogeneous MLP hands that number on. Before the activation
    the correlations are the same too, but V^{aa} = (c/n) |phi(z/sigma)|^2 is random and not among what the kernel sums.
    """
    return (
        isinstance(network, MLP)
        and divides_norms(network)
        and (network.normalization, network.placement) == ("rmsnorm", "after-activation")
    )


def with_norms_of(network: Network, run: Run) -> Run:
    """Return the same, the log norm of every living input then set to what it is after rmsnorm and weights."""

    def run_and_forget(seed: int, first: int, norms: np.ndarray, gaps: np.ndarray) -> None:
        run(seed, first, norms, gaps)
        norms[~np.isneginf(norms)] = np.log(network.gain_ratio)

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


def _specialised(network: MLP, inputs: Inputs, layers: np.ndarray) -> Runner:
    """One or two inputs of an MLP given by slopes, by kernels of their own."""
    from deeplim.finite import one_input, pair
    from deeplim.simd.lanes import COUNT

    kernel, room, precision = (
        (one_input.one_input_mlp, one_input.room, np.float64)
        if inputs.count == 1
        else (pair.pair_mlp, pair.room, np.float32)
    )
    slopes, steepest = scaled_slopes(network, precision)
    scale = scales_of(network).gain * steepest**2 / network.width
    begin, log_factor = start(inputs, unit_norm=True), scales_of(network).log_factor

    def run(seed: int, first: int, norms: np.ndarray, gaps: np.ndarray) -> None:
        states = stream_states(seed, first, -(-len(norms) // COUNT) * COUNT)
        kernel(states, network.width, int(layers[-1]), scale, slopes, begin, room(), layers, norms, gaps, stop_flag())
        norms += log_factor * layers[:, None]

    return Runner(run, sum(part.nbytes for part in room()))


def scaled_slopes(network: Network, precision: type) -> tuple[tuple[Any, ...], float]:
    """Slopes divided by the steepest, so that no row leaves single precision's range, and the steepest."""
    steepest = max(map(abs, network.slopes))
    return tuple(precision(slope / steepest) for slope in network.slopes), steepest


def _activation(network: Network, precision: type) -> tuple[Any, "Form", tuple[Any, ...], float]:
    """What ``compile_kernels`` takes for phi and form, the parameters its kernels take, and a factor left out."""
    if network.homogeneous:
        slopes, steepest = scaled_slopes(network, precision)
        return None, "plain", slopes, steepest
    activation, name = cast(Smooth, network.activation), _named(network)
    if name is None or isinstance(activation, Elementwise):
        return name or compiled_function(network), "plain", (precision(0.0),), 1.0
    if isinstance(activation, Transformed):
        reach = abs(activation.input_scale)
        at_zero = float(activation.at(network.width, network.depth)(np.zeros(1))[0])
        numbers: tuple[float, ...] = (*activation.constants, reach, 1 / reach, at_zero)
        return name, "transformed", tuple(map(precision, numbers)), 1.0
    s, slope = activation.scale(network.width, network.depth), activation.slope
    return name, "shaped", tuple(precision(value) for value in (s, 1 / s, 1 / slope)), 1.0


def _normalized(network: Network, inputs: Inputs, layers: np.ndarray) -> Runner:
    from deeplim.finite.normalized_kernel import compile_kernel, kinds, scales
    from deeplim.finite.normalized_room import workspace, workspace_bytes
    from deeplim.simd.lanes import COUNT

    residual = isinstance(network, ResNet)
    phi, form, parameters, _ = _activation(network, np.float64)
    # Not divided by the steepest: behind a normalization nothing would bring that factor back.
    parameters = network.slopes if network.homogeneous else parameters
    begin = start(inputs, unit_norm=scale_free(network))
    kernel = compile_kernel(phi, form)
    places = kinds(network)
    # Before the activation of a ResNet, a normalization is of the rows that are kept, and no others are stored.
    stored = network.normalization != "batchnorm" and not (residual and network.placement == "before-activation")
    shape = {"residual": residual, "stored": stored}

    def run(seed: int, first: int, norms: np.ndarray, gaps: np.ndarray) -> None:
        states = stream_states(seed, first, -(-len(norms) // COUNT) * COUNT)
        layer, room = workspace(inputs.count, network.width, **shape)
        numbers = (network.width, network.gain, network.bias_variance)
        kernel(
            states,
            *numbers,
            parameters,
            begin,
            layer,
            room,
            layers,
            norms,
            gaps,
            places,
            residual,
            *scales(network),
            stop_flag(),
        )

    return Runner(run, workspace_bytes(inputs.count, network.width, **shape))


class Scales(NamedTuple):
    """The scales that a kernel runs with: gain, skip and branch, and what they take from log norms in every layer.

    Slopes without biases run at the critical gain: what that leaves out grows every norm alike, and is added to the log
    norms of an MLP, and put into the branch of a ResNet, whose scales are divided by the larger. So no row leaves
    single precision's range, and no norm a float's.
    """

    gain: float
    skip: float
    branch: float
    log_factor: float


def scales_of(network: Network) -> Scales:
    """Return the scales that the kernels without normalization take."""
    skip, branch = (0.0, 1.0) if isinstance(network, MLP) else (network.skip_scale, network.branch_scale)
    if not divides_norms(network):
        return Scales(network.gain, skip, branch, 0.0)
    if isinstance(network, MLP):
        return Scales(network.critical_gain, skip, branch, float(np.log(network.gain_ratio)))
    branch *= float(np.sqrt(network.gain_ratio))
    largest = max(abs(skip), abs(branch))
    return Scales(network.critical_gain, skip / largest, branch / largest, 2 * float(np.log(largest)))


def _fused(network: Network, inputs: Inputs, layers: np.ndarray, single: bool) -> Runner:
    from deeplim.finite.kernel import compile_kernels, workspace, workspace_bytes
    from deeplim.simd.lanes import COUNT

    precision, divided = np.float32 if single else np.float64, divides_norms(network)
    phi, form, parameters, left_out = _activation(network, precision)
    gain, skip, branch, log_factor = scales_of(network)
    numbers = (network.width, int(layers[-1]), gain * left_out**2 / network.width, network.bias_variance)
    mlp, resnet = compile_kernels(inputs.count if single else 0, single, phi, form, divided)
    begin = start(inputs, unit_norm=divided, apart=parts_norms(network))
    kept = 0 if isinstance(network, MLP) else network.width

    def run(seed: int, first: int, norms: np.ndarray, gaps: np.ndarray) -> None:
        states = stream_states(seed, first, -(-len(norms) // COUNT) * COUNT)
        room = workspace(inputs.count, kept, precision)
        arguments = (states, *numbers, parameters, begin, room, layers, norms, gaps)
        if isinstance(network, MLP):
            mlp(*arguments, stop_flag())
        else:
            resnet(*arguments, skip, branch, stop_flag())
        norms += log_factor * layers[:, None]

    return Runner(run, workspace_bytes(inputs.count, kept, precision))
