"""The coordinate check of muP, with its band over initializations: how the size of coordinates follows the width."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np

from deeplim.checks import MOST_SAMPLES, brief, check_callable, check_count, check_seed, check_whole
from deeplim.diagnosis.powers import Power, check_sizes, fit_power
from deeplim.diagnosis.thresholds import Thresholds, check_thresholds
from deeplim.errors import InputError
from deeplim.modules import joined_modules
from deeplim.paths import Paths
from deeplim.probe.array_inputs import held_batches
from deeplim.probe.factories import build, seeded, user_code
from deeplim.probe.record import record
from deeplim.probe.world import undisturbed
from deeplim.specs import counted
from deeplim.tables import text_table

Verdict = Literal["O(1) in width", "grows with width", "shrinks with width", "undecided"]
_DEFAULTS = Thresholds()


@dataclass(frozen=True)
class Coordinates:
    """One module's outputs along a sweep of widths, after a number of steps.

    absolute, root_mean_square: the mean over initializations at each width. band: the standard deviation over
    initializations of the natural log of the first, at each width. power: the p of absolute = width^p and its
    interval; rms_power that of the second. expected: the largest size of p that counts as O(1).
    """

    module: str
    step: int
    widths: tuple[int, ...]
    absolute: tuple[float, ...]
    root_mean_square: tuple[float, ...]
    band: tuple[float, ...]
    power: Power
    rms_power: Power
    expected: float
    verdict: Verdict


@dataclass(frozen=True)
class CoordinateCheck:
    """What ``coordinate_check`` found: print it for a table, a line for each module and step."""

    modules: tuple[Coordinates, ...]
    repeats: int
    steps: int

    @property
    def failing(self) -> tuple[Coordinates, ...]:
        """The modules whose coordinates grow with the width: a wider network would need other learning rates."""
        return tuple(one for one in self.modules if one.verdict == "grows with width")

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain Python values."""
        return asdict(self)

    def __str__(self) -> str:
        widths = self.modules[0].widths
        head = ["step", "module", *(f"n = {width}" for width in widths), "power", "rms power", "verdict"]
        lines = []
        for one in self.modules:
            sizes = [f"{a:.3g} ± {100 * b:.0f}%" for a, b in zip(one.absolute, one.band, strict=True)]
            powers = [f"{p.value:+.2f} ± {p.reach:.2f}" for p in (one.power, one.rms_power)]
            lines.append([str(one.step), one.module, *sizes, *powers, one.verdict])
        after = f" and after {'each of ' * (self.steps > 1)}{counted(self.steps, 'step')}" if self.steps else ""
        told = f"mean absolute coordinates at initialization{after}, {self.repeats} initializations"
        title = f"{told}; powers ± half their 95% intervals"
        return f"{title}\n{text_table(head, lines)}"


def coordinate_check(
    factory_of_width: Callable[[int], Any],
    inputs: Any,
    *,
    widths: Sequence[int],
    repeats: int = 8,
    seed: int = 0,
    step: Callable[[Any], object] | None = None,
    steps: int = 0,
    modules: Sequence[str] | Callable[[str, Any], bool] | None = None,
    thresholds: Thresholds = _DEFAULTS,
) -> CoordinateCheck:
    """Return how the mean absolute coordinate of every module's output follows the width, and whether it is O(1).

    factory_of_width(width) returns a new model; ``repeats`` of them are made at each width, under seeds of their own,
    and the power of the width is fitted with its 95% interval over them. Without ``step`` this is at initialization
    only. step(model) trains a model by one step, in place, with an optimizer and a loss of your own; with it the sizes
    after 0, 1, ..., ``steps`` steps are told, which is what shows whether learning rates transfer (Yang et al. 2022,
    Tensor Programs V, appendix D.1). A verdict is "O(1) in width" when the whole interval is below
    ``thresholds.slope`` in size, "undecided" when it leaves that open. InputError for sizes that are no widths,
    and with what a step raises.
    """
    check_callable("factory_of_width", factory_of_width, "give a function of a width that returns a model")
    sizes, repeats, seed = check_sizes("widths", widths), check_count("repeats", repeats), check_seed(seed)
    if repeats < 2:
        raise InputError(f"repeats={repeats} was given; a band over initializations takes two or more.")
    steps = _checked_steps(step, steps)
    check_thresholds(thresholds)
    with undisturbed(factory_of_width, inputs, step, modules):
        inputs, recorded = held_batches(inputs), []
        for width in sizes:
            train = None if step is None else partial(_train, step, width)
            recorded.append(_record(partial(factory_of_width, width), inputs, repeats, seed, train, steps, modules))
    found = []
    for at in range(steps + 1):
        taken = [one[at] for one in recorded]
        names = [name for name in _names(taken[0]) if all(name in _names(paths) for paths in taken)]
        if not names:
            raise InputError("no module runs at every width; let the factory give modules the same names.")
        found += [_coordinates(name, at, sizes, [paths.named([name]) for paths in taken], thresholds) for name in names]
    return CoordinateCheck(tuple(found), repeats, steps)


def _checked_steps(step: Any, steps: Any) -> int:
    check_callable("step", step, "give a function that trains the model it is given by one step", optional=True)
    found = check_whole("steps", steps, 0, MOST_SAMPLES)
    if (step is None) != (found == 0):
        given = f"steps={brief(steps)} was given with{'out' * (step is None)} a step"
        raise InputError(f"{given}; give both step= and steps=, a whole number.")
    return found


def _train(step: Callable[[Any], object], width: int, model: Any) -> None:
    with user_code(
        lambda reason: (
            f"step={brief(step)} failed at width {width} ({reason}); give one that trains a model of any width."
        )
    ):
        step(model)


def _names(paths: Paths) -> tuple[str, ...]:
    return tuple(name for name in paths.layer_names or () if name != "input")


def _record(
    factory: Callable[[], Any],
    inputs: Any,
    repeats: int,
    seed: int,
    step: Callable[[Any], object] | None,
    steps: int,
    modules: Any,
) -> list[Paths]:
    """The signals after each number of steps, those of one model after the other where it is trained."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # gaps below the rounding of floats play no part here
        if step is None:
            return [record(factory, inputs, repeats=repeats, seed=seed, modules=modules)]
        taken: list[list[Paths]] = [[] for _ in range(steps + 1)]
        for repeat in range(repeats):
            with seeded(seed, repeat):
                model = build(factory)
                for at in range(steps + 1):
                    taken[at].append(record(model, inputs, repeats=1, seed=seed, modules=modules))
                    if at < steps:
                        step(model)
        return [joined(paths) for paths in taken]


def joined(parts: Sequence[Paths]) -> Paths:
    """Return samples of the same layers, made one after the other, as one."""
    return replace(
        parts[0],
        log_norm=np.concatenate([paths.log_norm for paths in parts]),
        log_gap=np.concatenate([paths.log_gap for paths in parts]),
        alive=np.concatenate([paths.alive for paths in parts]),
        modules=joined_modules([paths.modules for paths in parts if paths.modules is not None]),
    )


def _coordinates(
    name: str, step: int, widths: Sequence[int], recorded: Sequence[Paths], thresholds: Thresholds
) -> Coordinates:
    with np.errstate(divide="ignore"):
        known = [paths.modules.absolute for paths in recorded if paths.modules is not None]
        absolute = [_finite(np.log(values[:, 0])) for values in known if values is not None]
    squares = [_finite(_log_mean(paths.log_norm[:, 0]) / 2) for paths in recorded]
    power, rms_power = fit_power(widths, absolute), fit_power(widths, squares)
    return Coordinates(
        module=name,
        step=step,
        widths=tuple(widths),
        absolute=tuple(float(np.exp(values).mean()) if len(values) else 0.0 for values in absolute),
        root_mean_square=tuple(float(np.exp(values).mean()) if len(values) else 0.0 for values in squares),
        band=tuple(float(values.std(ddof=1)) if len(values) > 1 else 0.0 for values in absolute),
        power=power,
        rms_power=rms_power,
        expected=thresholds.slope,
        verdict=_verdict(power, thresholds.slope),
    )


def _finite(values: np.ndarray) -> np.ndarray:
    """Without the initializations in which the module's output is all zero, or not finite."""
    return np.asarray(values[np.isfinite(values)])


def _log_mean(logs: np.ndarray) -> np.ndarray:
    """log of the mean over inputs of what the logs are of."""
    with np.errstate(invalid="ignore"):
        return np.asarray(np.logaddexp.reduce(logs, axis=1) - np.log(logs.shape[1]))


def _verdict(power: Power, allowed: float) -> Verdict:
    if not np.isfinite(power.value):
        return "undecided"
    if -allowed <= power.low and power.high <= allowed:
        return "O(1) in width"
    if power.low > allowed:
        return "grows with width"
    return "shrinks with width" if power.high < -allowed else "undecided"
