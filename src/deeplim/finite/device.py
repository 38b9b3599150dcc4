"""Where exact networks are drawn: what a GPU can do, whether one is here, whether it pays, and its launches."""

import warnings
from collections.abc import Callable
from functools import lru_cache
from importlib.util import find_spec
from typing import Any, Literal, NamedTuple

import numpy as np

from deeplim.architecture import MLP, Network
from deeplim.checks import brief
from deeplim.differences import parts_norms
from deeplim.errors import InputError
from deeplim.finite.runners import (
    SINGLE_FROM_WIDTH,
    SINGLE_UP_TO_INPUTS,
    Precision,
    Run,
    compiled_function,
    only_norms_change,
    scaled_slopes,
    scales_of,
    with_norms_of,
)
from deeplim.finite.start import divides_norms, start
from deeplim.inputs import Inputs
from deeplim.simd.streams import stream_states

MOST_INPUTS = 16
"""The kernels are compiled for their number of inputs, m, and hold some 3 m^2 numbers a network."""
BLOCK = 64
"""Threads in a block, and LAUNCH networks in a launch; they change no number."""
LAUNCH = 2**18
_MOST_BYTES = 2**30
_PAYS_FROM = 1e11
"""Normals from which ``auto`` takes a GPU: a minute of one core, more than the compiler takes. Not measured yet."""
_INSTALL = 'run pip install "deeplim[cuda]"'
_OTHERWISE = "or choose device cpu"


class Recipe(NamedTuple):
    """What a kernel is told of a network.

    phi: the activation as a compiled scalar function; None for slopes. single: rows in single precision. scale: the
    gain over the width; bias: the variance of biases. divided: whether inputs are divided by their norms. Slopes are
    divided by the steeper, and the scales are those of ``Scales``, so that no row leaves single precision's range.
    """

    phi: Callable[[float], float] | None
    single: bool
    divided: bool
    slopes: tuple[Any, ...]
    scale: float
    bias: float
    skip: float
    branch: float
    log_factor: float


def recipe_of(network: Network, inputs: int, precision: Precision = "auto") -> Recipe:
    """Return what a kernel is told of a network with so many inputs."""
    divided, rows = divides_norms(network), network.width >= SINGLE_FROM_WIDTH and inputs <= SINGLE_UP_TO_INPUTS
    single = divided and rows and precision == "auto"
    kind = np.float32 if single else np.float64
    slopes, steepest = scaled_slopes(network, kind) if network.homogeneous else ((kind(0), kind(0)), 1.0)
    gain, skip, branch, log_factor = scales_of(network)
    return Recipe(
        phi=compiled_function(network),
        single=single,
        divided=divided,
        slopes=slopes,
        scale=gain * steepest**2 / network.width,
        bias=network.bias_variance,
        skip=skip,
        branch=branch,
        log_factor=log_factor,
    )


def why_not(network: Network, inputs: Inputs) -> str | None:
    """Return why the GPU's kernels cannot draw a network, in one sentence; None when they can."""
    normalized = network.normalization != "none" and not only_norms_change(network)
    if normalized or not (network.homogeneous or compiled_function(network)):
        what = "it is normalized" if normalized else "its activation cannot be compiled"
        return f"the kernels for cuda do not draw {network}, because {what}; choose device cpu."
    if inputs.count > MOST_INPUTS:
        return f"the kernels for cuda take up to {MOST_INPUTS} inputs and {inputs.count} were given; choose device cpu."
    needed = _bytes(network, inputs.count, 1)
    if needed > _MOST_BYTES:
        return (
            f"the kernels for cuda take up to {_MOST_BYTES / 2**30:g} GiB a network and the rows of {network} with "
            f"{inputs.count} inputs are {needed / 2**30:.1f}; choose device cpu."
        )
    return None


@lru_cache(maxsize=1)
def missing() -> str | None:
    """Return what keeps CUDA from running on this machine and the cure, in one sentence; None when nothing does."""
    if find_spec("numba_cuda") is None:
        return f"device cuda needs the package numba-cuda, which is not installed; {_INSTALL}, {_OTHERWISE}."
    try:
        from numba import cuda

        available, error = cuda.is_available(), cuda.cuda_error()
    except Exception as failure:  # an incomplete installation fails in its own way
        available, error = False, f"{type(failure).__name__}: {failure}"
    if available:
        return None
    if error is None:
        return f"device cuda needs NVIDIA's compiler library NVVM, which was not found; {_INSTALL}, {_OTHERWISE}."
    reason = " ".join(str(error).split()).partition(". ")[0].rstrip(".:")
    return f"device cuda needs an NVIDIA GPU and its driver ({reason}); install the driver, {_OTHERWISE}."


def choose(device: str, network: Network, inputs: Inputs, networks: int) -> Literal["cpu", "cuda"]:
    """Return where to draw networks; InputError for a device that is not known, or for cuda where it cannot.

    auto is cuda when this network can be drawn on a GPU, one is here, and the run is large enough to pay for the start.
    """
    if not isinstance(device, str) or device not in ("auto", "cpu", "cuda"):
        raise InputError(f"the device {brief(device)} was asked for; choose auto, cpu or cuda.")
    if device == "cpu":
        return "cpu"
    if device == "cuda":
        reason = why_not(network, inputs) or missing() or _not_compiled(network, inputs)
        if reason is not None:
            raise InputError(reason)
        return "cuda"
    pays = networks * network.width * network.depth * inputs.count >= _PAYS_FROM
    able = pays and (why_not(network, inputs) or missing() or _not_compiled(network, inputs)) is None
    return "cuda" if able else "cpu"


def cuda_runner(network: Network, inputs: Inputs, layers: np.ndarray, precision: Precision) -> tuple[Run, int]:
    """Return what draws networks of a seed in one launch, and how many at most, which bounds its memory."""
    from numba import cuda
    from numba.cuda.core.errors import NumbaPerformanceWarning

    m, recipe = inputs.count, recipe_of(network, inputs.count, precision)
    kernel = _kernel(network, m, recipe)
    begin = start(inputs, unit_norm=recipe.divided, apart=parts_norms(network))
    constants = [cuda.to_device(part) for part in (*begin, layers)]
    numbers = (network.width, int(layers[-1]), recipe.scale, recipe.bias, *recipe.slopes, recipe.skip, recipe.branch)
    kept_rows = (1, 1) if isinstance(network, MLP) else (network.width, m)

    def run(seed: int, first: int, norms: np.ndarray, gaps: np.ndarray) -> None:
        count, pairs = len(norms), gaps.shape[2]
        states = cuda.to_device(stream_states(seed, first, count))
        kept = cuda.device_array((*kept_rows, count), np.float32 if recipe.single else np.float64)
        norms_there, gaps_there = (cuda.device_array((len(layers), many, count)) for many in (m, max(pairs, 1)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NumbaPerformanceWarning)  # a few networks leave a GPU idle: no harm
            kernel[-(-count // BLOCK), BLOCK](states, *numbers, *constants, kept, norms_there, gaps_there)
        norms[:] = np.moveaxis(norms_there.copy_to_host(), 2, 0) + recipe.log_factor * layers[:, None]
        gaps[:] = np.moveaxis(gaps_there.copy_to_host(), 2, 0)[:, :, :pairs]

    wrapped = with_norms_of(network, run) if network.normalization == "rmsnorm" else run
    return wrapped, max(1, min(LAUNCH, _MOST_BYTES // _bytes(network, m, len(layers))))


def _bytes(network: Network, inputs: int, layers: int) -> int:
    """The device memory that one network takes: what is recorded of it, and a ResNet's rows."""
    kept = 0 if isinstance(network, MLP) else network.width * inputs
    return 8 * (layers * inputs * (inputs + 1) // 2 + kept)


def _kernel(network: Network, inputs: int, recipe: Recipe) -> Any:
    from deeplim.finite.cuda_kernel import compile_kernel

    return compile_kernel(inputs, recipe.single, not isinstance(network, MLP), recipe.phi, recipe.divided)


def _not_compiled(network: Network, inputs: Inputs) -> str | None:
    """Why a network's kernel does not compile, in one sentence; None when it does."""
    from deeplim.finite.cuda_kernel import signature

    try:
        recipe = recipe_of(network, inputs.count)
        kernel = _kernel(network, inputs.count, recipe)
        if hasattr(kernel, "compile"):  # the simulator has no compiler
            kernel.compile(signature(recipe.single))
    except Exception as error:  # numba-cuda refuses a function in as many ways as it has passes
        what = f"{type(error).__name__}: {error}".split("\n")[0].rstrip(".: ")
        return f"{network} could not be compiled for cuda ({what}); choose device cpu."
    return None
