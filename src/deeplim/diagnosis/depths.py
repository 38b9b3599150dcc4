"""The exponent of a residual branch: by which power of the depth a model scales what its blocks add."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from deeplim.architecture import MLP, ResNet
from deeplim.checks import brief, check_callable, check_count, check_kind, check_list, check_seed
from deeplim.diagnosis.evidence import streams
from deeplim.diagnosis.powers import Power, check_sizes, fit_power
from deeplim.errors import InputError
from deeplim.probe.array_inputs import held_batches
from deeplim.probe.factories import build, seeded, user_code
from deeplim.probe.world import undisturbed
from deeplim.specs import counted

Stream = Callable[[Any], Sequence[str]]
_CERTAIN = 0.1
_TOO_MUCH = 3.0


@dataclass(frozen=True)
class BranchExponent:
    """What ``branch_exponent`` found: the alpha of branches that add depth^(-alpha), with its 95% interval.

    depths, scales: the depths and, at each, the geometric mean over initializations of |r| / |z_0|, what the first
    block adds to the stream, z_1 = s z_0 + r. streams: the modules between which it was measured.
    """

    alpha: Power
    depths: tuple[int, ...]
    scales: tuple[float, ...]
    streams: tuple[tuple[str, str], ...]

    @property
    def verdict(self) -> str:
        """What the exponent means for deep networks, in one sentence."""
        low, high = self.alpha.low, self.alpha.high
        if high < 0.5 - _CERTAIN:
            return "below 1/2: the norm grows with the depth, without bound."
        if low > 0.5 + _CERTAIN:
            return "above 1/2: the covariance freezes with the depth, and blocks add less and less."
        if low > 0.5 - _CERTAIN and high < 0.5 + _CERTAIN:
            return "1/2: the covariance has a limit in depth (Li & Nica 2023), and rates transfer (Yang et al. 2023)."
        return "not told apart from 1/2: more repeats or a wider range of depths would."

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain Python values."""
        return asdict(self) | {"verdict": self.verdict}

    def __str__(self) -> str:
        sizes = ", ".join(f"{scale:.3g} at {depth}" for depth, scale in zip(self.depths, self.scales, strict=True))
        alpha = f"alpha = {self.alpha.value:.3f} (95%: {self.alpha.low:.3f} to {self.alpha.high:.3f})"
        return f"{alpha}, {self.verdict}\na block adds {sizes}"


def branch_exponent(
    factory_of_depth: Callable[[int], Any],
    inputs: Any,
    *,
    depths: Sequence[int],
    repeats: int = 16,
    seed: int = 0,
    stream: Stream | None = None,
) -> BranchExponent:
    """Return the exponent alpha of a PyTorch model's residual branches, fitted over depths, with its 95% interval.

    factory_of_depth(depth) returns a new model. What its first block adds, |r| / |z_0| with z_1 = s z_0 + r and r
    across z_0, is measured in ``repeats`` initializations at each depth, and its logarithm fitted against that of the
    depth: there the stream and the branch are as they were made, whether or not a norm grows or a normalization resets
    it later, and whatever factor s the skip has, as sqrt(1 - branch^2). The seeds are the same at every depth: blocks
    that are then made alike differ by their scales alone, and the interval is wider than it must be. stream(model)
    names the modules that the stream z_0, z_1, ... leaves, in order; without it, the model's sums are followed back
    from its output, and they are modules of its stream that are alike but for a number, as blocks.0 and blocks.1, else
    the sums themselves, under the names that ``deeplim.probe.observable`` gives those in code. Branches that are zero
    at initialization have no exponent. InputError where no stream is found or a block adds nothing.
    """
    check_callable("factory_of_depth", factory_of_depth, "give a function of a depth that returns a model")
    check_callable("stream", stream, "give a function of a model that names modules", optional=True)
    sizes, repeats, seed = check_sizes("depths", depths), check_count("repeats", repeats), check_seed(seed)
    if repeats < 2:
        raise InputError(f"repeats={repeats} was given; an interval over initializations takes two or more.")
    with undisturbed(factory_of_depth, inputs, stream):
        inputs = held_batches(inputs)
        found = [_added(partial(factory_of_depth, depth), inputs, depth, repeats, seed, stream) for depth in sizes]
    logs, places = zip(*found, strict=True)
    scales = tuple(float(np.exp(values.mean())) for values in logs)
    return BranchExponent(-fit_power(sizes, logs), tuple(sizes), scales, places)


def _added(
    factory: Callable[[], Any], inputs: Any, depth: int, repeats: int, seed: int, stream: Stream | None
) -> tuple[np.ndarray, tuple[str, str]]:
    """The log of what the first block adds in each initialization, and the modules between which it does."""
    from deeplim.probe.torch_increments import first_increment

    with seeded(seed, 0):
        model = build(factory)
    names = _named(stream, model) if stream is not None else _stream(model, inputs)
    if len(names) < 2:
        raise InputError(
            f"at depth {depth} the stream leaves {counted(len(names), 'module')}; name two or more, by stream=."
        )
    shown = factory if stream is not None else _showing(names[:2], factory, model, inputs)
    logs = first_increment(shown, inputs, names[:2], repeats=repeats, seed=seed)
    _check_increment(logs, depth, (names[0], names[1]))
    return logs, (names[0], names[1])


def _named(stream: Stream, model: Any) -> list[str]:
    """What a function given as ``stream`` names."""
    cure = "give a function of a model that returns names of its modules"
    with user_code(lambda reason: f"stream={brief(stream)} failed ({reason}); {cure}."):
        names = stream(model)
    found = check_list(f"what stream={brief(stream)} returned", names, cure)
    return [check_kind("a name of the stream", name, str, cure) for name in found]


def _showing(names: Sequence[str], factory: Callable[[], Any], model: Any, inputs: Any) -> Callable[[], Any]:
    """A factory of models that have modules of these names: ``factory`` itself where the model it makes has them."""
    from deeplim.probe.torch_points import observable

    own = {name for name, _ in model.named_modules()}
    has_all = all(name.partition("#")[0] in own for name in names)
    return factory if has_all else observable(factory, inputs=inputs)


def _check_increment(logs: np.ndarray, depth: int, place: tuple[str, str]) -> None:
    between = f"between {place[0]} and {place[1]} at depth {depth}"
    if np.isneginf(logs).any():
        raise InputError(
            f"the block {between} adds nothing to a multiple of its input; branches that begin at zero have no "
            "exponent to measure."
        )
    if np.median(logs) > np.log(_TOO_MUCH):
        raise InputError(
            f"what is added {between} is {np.exp(np.median(logs)):.3g} times what was there; name the modules that the "
            "residual stream itself leaves, by stream=."
        )


def _stream(model: Any, inputs: Any) -> list[str]:
    """What leaves the stream, by the architecture that is read, by blocks that are alike, or by the sums themselves."""
    from deeplim.probe.reading import read_architecture
    from deeplim.probe.torch_streams import residual_stream

    reading = read_architecture(model, inputs=inputs)
    if isinstance(reading.network, MLP):
        raise InputError(f"the model is an {reading.network}; it has no residual branches and no exponent.")
    if isinstance(reading.network, ResNet):
        named = [state.modules[0] for state in reading.states if state.modules]
        if len(named) > 1 and all(factor == 1 for _, factor in named[:2]):
            return [name for name, _ in named]
    found = residual_stream(model, inputs)
    names = found.modules
    blocks = [part for part in streams(names) if len(part) > 1]
    if blocks:
        # the outermost modules that repeat are whole blocks: what is inside one has a longer name
        outermost = min(blocks, key=lambda part: (names[part[0]].count("."), -len(part)))
        return [names[at] for at in outermost]
    if len(found.states) < 2:
        raise InputError(
            "no sums of a signal and what is computed from it were found along the model; name the modules that its "
            "residual stream leaves, by stream=."
        )
    return list(found.states)
