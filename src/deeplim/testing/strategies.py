"""What deeplim's functions take, as Hypothesis strategies: right values, small ones, and values of the wrong kind."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from hypothesis import assume, reject
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from deeplim.activations import (
    NAMED_FUNCTIONS,
    Elementwise,
    Homogeneous,
    LeakyReLU,
    ReLU,
    Shaped,
    ShapedReLU,
    Smooth,
    Transformed,
)
from deeplim.architecture import MLP, NORM_PRESERVING, Network, ResNet
from deeplim.errors import DeeplimError
from deeplim.inputs import Inputs, gram
from deeplim.limits.base import AbstractLimit
from deeplim.limits.catalogue import find
from deeplim.paths import Clock, Paths
from deeplim.summary import Summary

WIDEST, DEEPEST = 32, 8
"""Neurons and layers of the networks that are made."""
_WORDS = tuple(sorted(NAMED_FUNCTIONS))


_POWERS = (-323, -300, -160, -30, -8, 8, 30, 160, 300, 308)


def _number(low: float, high: float, wild: bool = False) -> SearchStrategy[float]:
    """Numbers of a range, and where they are wild now and then one of any size."""
    usual = st.floats(low, high, allow_subnormal=False)
    ends = st.sampled_from([sign * float(f"1e{power}") for power in _POWERS for sign in ((1, -1) if low < 0 else (1,))])
    return st.one_of(usual, usual, usual, ends) if wild else usual


@st.composite
def _made(draw: DrawFn, kind: Callable[..., Any], **parts: SearchStrategy[Any]) -> Any:
    """Make something of parts, but for parts that deeplim refuses together."""
    try:
        return kind(**{name: draw(part) for name, part in parts.items()})
    except DeeplimError:
        reject()


def activations(*, functions: Sequence[str] = _WORDS, wild: bool = False) -> SearchStrategy[Homogeneous | Smooth]:
    """Return activations of every kind with their parameters; the smooth ones of these functions, by their words.

    Each smooth function is compiled for each kernel that draws networks with it, for seconds, once on a machine.
    Without any only those given by two slopes are made. ``wild``: parameters of any size too.
    """
    rate, exponent = st.sampled_from(["width", "depth"]), st.sampled_from([0.0, 0.5, 1.0])
    two = [
        st.just(ReLU()),
        _made(LeakyReLU, slope=_number(-1, 1, wild)),
        _made(ShapedReLU, c_plus=_number(-2, 2, wild), c_minus=_number(-2, 2, wild), rate=rate, exponent=exponent),
    ]
    if not functions:
        return st.one_of(two)
    named = st.sampled_from(list(functions))
    smooth = [
        _made(Elementwise, function=named),
        _made(Shaped, function=named, a=_number(0.1, 5, wild), rate=rate, exponent=exponent),
        _made(
            Transformed,
            function=named,
            input_scale=_number(0.1, 2, wild),
            input_shift=_number(-1, 1, wild),
            output_scale=_number(0.1, 2, wild),
            output_shift=_number(-1, 1, wild),
        ),
    ]
    return st.one_of(two + smooth)


def networks(
    activations: SearchStrategy[Homogeneous | Smooth] | None = None,
    *,
    widest: int = WIDEST,
    deepest: int = DEEPEST,
    wild: bool = False,
) -> SearchStrategy[Network]:
    """Return MLPs and ResNets up to a width and depth: every activation, normalization, placement and variance.

    ``wild``: variances and scales of any size too.
    """
    phi = _any_activation() if activations is None else activations
    shared: dict[str, SearchStrategy[Any]] = {
        "width": st.integers(1, widest),
        "depth": st.integers(1, deepest),
        "activation": phi,
        "normalization": st.sampled_from(["none", "none", "none", "rmsnorm", "layernorm", "batchnorm"]),
        "weight_variance": st.none() | _number(0.1, 4, wild),
        "bias_variance": st.just(0.0) | _number(0, 1, wild),
    }
    early = ["before-activation", "after-activation"]
    scales = st.sampled_from(["1/sqrt(depth)", "0.5/sqrt(depth)", "1/depth^0.7"]) | _number(-1, 1, wild)
    return st.one_of(
        _made(MLP, placement=st.sampled_from(early), **shared),
        _made(
            ResNet,
            placement=st.sampled_from([*early, "before-sum", "after-sum"]),
            skip=st.sampled_from([1.0, NORM_PRESERVING]) | _number(-1, 1, wild),
            branch=scales,
            **shared,
        ),
    )


def _any_activation() -> SearchStrategy[Homogeneous | Smooth]:
    return activations()


def inputs(*, most: int = 4, wild: bool = False) -> SearchStrategy[Inputs]:
    """Return inputs: pairs at a correlation or a gap down to 1e-12, and up to ``most`` rows of any size.

    ``wild``: gaps down to 1e-300, and norms as large and as small as floats hold.
    """
    return st.one_of(
        _made(gram, correlation=_number(-1, 0.999)),
        _made(gram, gap=_number(-300 if wild else -12, 0.3).map(lambda power: 10.0**power)),
        _made(gram, x=_tables(most, 300 if wild else 6)),
    )


@st.composite
def _tables(draw: DrawFn, most: int, power: int) -> np.ndarray:
    """Rows of normal numbers of every size, some of them near to the first."""
    rows, columns = draw(st.integers(1, most)), draw(st.integers(1, 6))
    x = np.random.default_rng(draw(st.integers(0, 2**32))).standard_normal((rows, columns))
    if draw(st.booleans()):
        x[1:] = x[0] + 10.0 ** draw(_number(-7, 0)) * x[1:]
    return np.asarray(x * 10.0 ** draw(_number(-power, power)))


@st.composite
def paths(draw: DrawFn, *, most_samples: int = 8, most_inputs: int = 3) -> Paths:
    """Return paths of every shape up to a size: samples that are alive, dead, exploded and with parallel inputs."""
    samples, layers, m = draw(st.integers(0, most_samples)), draw(st.integers(1, 4)), draw(st.integers(1, most_inputs))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    log_norm = draw(st.sampled_from([0.0, 1.0, 300.0])) * rng.standard_normal((samples, layers, m))
    log_gap = np.log(2.0) - draw(st.sampled_from([0.1, 1.0, 500.0])) * rng.exponential(
        size=(samples, layers, m * (m - 1) // 2)
    )
    log_gap[rng.random(log_gap.shape) < draw(st.sampled_from([0.0, 0.3]))] = -np.inf
    alive = rng.random((samples, layers)) >= draw(st.sampled_from([0.0, 0.3, 1.0]))
    log_norm[~alive, 0] = np.where(rng.random((~alive).sum()) < 0.5, -np.inf, np.inf)
    log_gap[~alive] = np.nan
    clock: Clock = draw(st.sampled_from(["layer", "layer/width", "layer/depth"]))
    return Paths(
        log_norm=log_norm,
        log_gap=log_gap,
        alive=alive,
        time=np.arange(layers) * (1.0 if clock == "layer" else 0.25),
        clock=clock,
        names=tuple(draw(st.text(max_size=3)) for _ in range(m)),
        source=draw(st.sampled_from(["made", "<b>&amp;</b>", ""])),
        width=draw(st.none() | st.just(8)),
        depth=draw(st.none() | st.just(4)),
        deterministic=samples == 1 and draw(st.booleans()),
        kind=draw(st.sampled_from(["networks", "limit"])),
    )


def summaries() -> SearchStrategy[Summary]:
    """Return summaries, those of ``paths``."""
    return paths().map(Summary.of)


@st.composite
def limits(draw: DrawFn, of: SearchStrategy[Network] | None = None) -> AbstractLimit:
    """Return limits of networks, any one that describes one."""
    found = find(draw(networks() if of is None else of))
    assume(found)
    return draw(st.sampled_from(found))


def layers(depth: int) -> SearchStrategy[list[int] | int | None]:
    """Return what may be recorded of a network of a depth: None for a choice, one layer, or a list of layers."""
    return st.none() | st.integers(0, depth) | st.lists(st.integers(0, depth), min_size=1, max_size=4)


class Unshown:
    """An object that has no text."""

    def __repr__(self) -> str:
        raise RuntimeError("this object has no text")


_WRONG: tuple[Callable[[], Any], ...] = (
    lambda: None,
    lambda: True,
    lambda: -1,
    lambda: 0,
    lambda: 3,
    lambda: 10**400,
    lambda: -(10**5000),
    lambda: 2.5,
    lambda: Fraction(1, 3),
    lambda: float("nan"),
    lambda: float("inf"),
    lambda: 1j,
    lambda: "",
    lambda: "x",
    lambda: "\ud800\0",
    lambda: b"x",
    lambda: [],
    lambda: [[1.0], [1.0, 2.0]],
    lambda: ["a", None],
    lambda: (0, 0),
    lambda: (0, 1, 2),
    lambda: {},
    lambda: {"a": 1},
    lambda: {1},
    object,
    Unshown,
    lambda: int,
    lambda: lambda: 3,
    lambda: slice(1),
    lambda: iter([0, 1]),
    lambda: np.ones(3),
    lambda: np.zeros(0),
    lambda: np.array(2.5),
    lambda: np.full((2, 2), np.nan),
    lambda: np.array(["x"], dtype=object),
    lambda: np.array(["2020-01-01"], dtype="M8[D]"),
    lambda: np.float32(0.5),
    lambda: np.int8(2),
)


def wrong_values() -> SearchStrategy[Any]:
    """Return values of every kind, most of which are wrong wherever they are given; made anew each time."""
    return st.sampled_from(_WRONG).map(lambda make: make())
