"""Paths: covariance matrices along depth, the one thing that limits, finite networks and probes all return.

A covariance matrix is held as the log of its diagonal and the log of the gap 1 - rho of each pair. That is as
many numbers as the matrix has, and unlike the matrix it loses nothing when inputs align (1 - rho = 1e-300
keeps all its digits) or when norms explode or die.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from numbers import Number
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from jaxtyping import Bool, Float, Int

from deeplim.array_files import Entry, read_archive, write_archive
from deeplim.checks import brief, check_float, check_kind, check_list
from deeplim.errors import ClockError, InputError
from deeplim.files import check_name
from deeplim.inputs import check_pair
from deeplim.modules import ENTRIES, Modules
from deeplim.path_checks import check_numbers, check_times, check_types, every, is_whole, listed

if TYPE_CHECKING:
    import xarray

Clock = Literal["layer", "layer/width", "layer/depth"]
Kind = Literal["networks", "limit"]
__all__ = ["Clock", "Kind", "Paths", "check_layers", "check_paths", "default_layers", "every", "listed"]
_SMALLEST = np.finfo(float).smallest_subnormal


@dataclass(frozen=True, eq=False)
class Paths:
    """Covariances of m inputs in each sample at each recorded layer.

    log_norm: log V^{aa}, shape (sample, layer, input). log_gap: log(1 - rho^{ab}), shape (sample, layer,
    pair), pairs in the order (0,1), (0,2), ..., (1,2), ...; minus infinity where a finite network made two
    inputs exactly parallel. time: the recorded layers on ``clock``, shape (layer,). alive: False where the sample is
    lost: some input has died (its activations are all zero, log_norm minus infinity; for good, but where BatchNorm over
    the inputs revives it) or exploded (its norm is too large for a float or, in a probed model, an entry is infinite or
    not a number: log_norm plus infinity). There log_gap is NaN, and every summary leaves the sample out and counts it.
    modules: those of a probed model that the layers are outputs of, and what else is known of them.

    Numbers are of type float64. InputError for arrays of other types or of sizes that do not fit, times that are not
    finite or stand twice, a living sample without finite norms or with a gap above 2, and widths or depths below 1.
    """

    log_norm: Float[np.ndarray, "sample layer input"]
    log_gap: Float[np.ndarray, "sample layer pair"]
    alive: Bool[np.ndarray, "sample layer"]
    time: Float[np.ndarray, " layer"]
    clock: Clock
    names: tuple[str, ...]
    source: str
    width: int | None = None
    depth: int | None = None
    deterministic: bool = False
    kind: Kind = "networks"
    modules: Modules | None = None

    def __post_init__(self) -> None:
        check_types(vars(self))
        _check_clock(self.clock)
        if not isinstance(self.kind, str) or self.kind not in get_args(Kind):
            raise InputError(f"the kind {brief(self.kind)} is not known; use one of {', '.join(get_args(Kind))}.")
        if self.log_norm.ndim != 3 or 0 in self.log_norm.shape[1:]:
            raise InputError(
                f"log norms of shape {self.log_norm.shape} were given; they need the axes (sample, layer, "
                "input), with at least one layer and one input."
            )
        samples, layers, inputs = self.log_norm.shape
        needed = (samples, layers, inputs * (inputs - 1) // 2), (samples, layers), (layers,), inputs
        given = self.log_gap.shape, self.alive.shape, self.time.shape, len(self.names)
        if given != needed:
            raise InputError(
                f"with log norms of shape {self.log_norm.shape}, log gaps, alive, time and names of sizes "
                f"{needed} are needed and {given} were given; give arrays of one ensemble."
            )
        if self.modules is not None:
            check_kind("modules", self.modules, Modules, "leave it out but for a probed model")
            self.modules.check(samples, layers)
        check_times(self.time)
        check_numbers(self.log_norm, self.log_gap, self.alive, self.source)

    @property
    def samples(self) -> int:
        """Number of networks or sample paths."""
        return self.log_norm.shape[0]

    @property
    def inputs(self) -> int:
        """m, the number of inputs."""
        return self.log_norm.shape[2]

    @property
    def layer_names(self) -> tuple[str, ...] | None:
        """The modules' names, one a layer; None where the layers are those of no real model."""
        return None if self.modules is None else self.modules.layer_names

    @property
    def log_gap_floor(self) -> Float[np.ndarray, " layer"] | None:
        """The log gap of each layer below which a real model's rounding is all there is; None where there is none."""
        return None if self.modules is None else self.modules.log_gap_floor

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """The pairs of inputs in the order of the last axis of ``log_gap``."""
        return [(i, j) for i in range(self.inputs) for j in range(i + 1, self.inputs)]

    @property
    def correlation_gap(self) -> Float[np.ndarray, "sample layer pair"]:
        """1 - rho of every pair; 0 where exactly parallel and else positive; NaN where not alive."""
        return np.where(np.isneginf(self.log_gap), 0.0, np.maximum(np.exp(self.log_gap), _SMALLEST))

    @property
    def correlation(self) -> Float[np.ndarray, "sample layer input input"]:
        """rho, shape (sample, layer, input, input); NaN where not alive."""
        rho = np.ones((*self.log_norm.shape, self.inputs))
        first, second = np.triu_indices(self.inputs, 1)
        rho[..., first, second] = rho[..., second, first] = 1.0 - np.exp(self.log_gap)
        rho[~self.alive] = np.nan
        return rho

    @property
    def covariance(self) -> Float[np.ndarray, "sample layer input input"]:
        """V, shape (sample, layer, input, input); NaN where not alive; OverflowError above 1e308."""
        with np.errstate(over="ignore", invalid="ignore"):
            scale = np.exp(self.log_norm / 2)
            covariance = self.correlation * (scale[..., :, None] * scale[..., None, :])
        if np.isinf(covariance[self.alive]).any():
            raise OverflowError("a norm is beyond 1e308; use log_norm and correlation, which hold it.")
        return covariance

    @property
    def dead(self) -> Int[np.ndarray, " layer"]:
        """How many samples are dead (some input's activations all zero) at each recorded layer."""
        return np.sum(~self.alive & ~self._exploded, axis=0)

    @property
    def exploded(self) -> Int[np.ndarray, " layer"]:
        """How many samples have exploded (some input's norm not finite, from NaN too) at each recorded layer."""
        return np.sum(self._exploded, axis=0)

    @property
    def _exploded(self) -> Bool[np.ndarray, "sample layer"]:
        return ~self.alive & np.isposinf(self.log_norm).any(axis=2)

    @property
    def aligned(self) -> Int[np.ndarray, " layer"]:
        """How many living samples have made some pair of inputs exactly parallel, at each recorded layer."""
        return np.sum(self.alive & np.isneginf(self.log_gap).any(axis=2), axis=0)

    @property
    def rounding(self) -> Bool[np.ndarray, "sample layer pair"]:
        """Where a gap is below ``log_gap_floor``, the model's rounding; exactly parallel inputs are not marked."""
        if self.log_gap_floor is None:
            return np.zeros(self.log_gap.shape, dtype=bool)
        return np.isfinite(self.log_gap) & (self.log_gap < self.log_gap_floor[:, None])

    def pair_index(self, pair: tuple[int, int]) -> int:
        """Return where a pair of inputs stands on the last axis of ``log_gap``; InputError if none does."""
        chosen = check_pair(pair, self.inputs)
        return self.pairs.index((min(chosen), max(chosen)))

    def pair(self, first: int, second: int) -> "Paths":
        """Return the paths of two of the inputs alone; a sample lost by another input stays lost, and why."""
        index = self.pair_index((first, second))
        log_norm = self.log_norm[:, :, [first, second]]
        by_another = ~self.alive & ~np.isinf(log_norm).any(axis=2)
        log_norm[by_another] = np.where(self._exploded, np.inf, -np.inf)[by_another, None]
        return replace(
            self,
            log_norm=log_norm,
            log_gap=self.log_gap[:, :, [index]],
            names=(self.names[first], self.names[second]),
        )

    def on_clock(self, clock: Clock) -> "Paths":
        """Return the same paths with depth on another clock; ClockError if width or depth is not known."""
        _check_clock(clock)
        if clock == self.clock:
            return self
        layer = self.time * _layers_per_unit(self, self.clock)
        whole = np.round(layer)  # (7 / 200) * 200 is not 7
        layer = np.where(np.isclose(layer, whole, rtol=1e-12, atol=1e-9), whole, layer)
        return replace(self, time=layer / _layers_per_unit(self, clock), clock=clock)

    def at(self, times: Sequence[float]) -> "Paths":
        """Return the paths at some of the recorded times only; InputError names the times there are."""
        asked = check_list("times", times, "give a list of recorded times")
        if not asked:
            raise InputError("no times were asked for; give at least one of the recorded times.")
        return self._layers([self._index(check_float("a time", time)) for time in asked])

    def named(self, names: Sequence[str]) -> "Paths":
        """Return the paths at the layers of these names only, in this order; InputError names the layers there are."""
        if self.layer_names is None:
            raise InputError(f"the layers of {self.source} have no names; choose them by their times, with `at`.")
        wanted = [names] if isinstance(names, str) else check_list("names", names, "give a list of layers' names")
        unknown = [name for name in wanted if not isinstance(name, str) or name not in self.layer_names]
        if unknown or not wanted:
            asked = f"the layer {brief(unknown[0])} was not recorded" if unknown else "no layers were asked for"
            raise InputError(f"{asked}; recorded are {listed(self.layer_names)}.")
        return self._layers([self.layer_names.index(name) for name in wanted])

    def _layers(self, index: list[int]) -> "Paths":
        return replace(
            self,
            log_norm=self.log_norm[:, index],
            log_gap=self.log_gap[:, index],
            alive=self.alive[:, index],
            time=self.time[index],
            modules=None if self.modules is None else self.modules.at(index),
        )

    def _index(self, time: float) -> int:
        index = int(np.argmin(np.abs(self.time - time)))
        if not np.isclose(self.time[index], time, rtol=1e-9, atol=1e-12):
            recorded = listed([f"{t:g}" for t in self.time])
            raise InputError(f"{self.clock} = {time:g} was not recorded; recorded are {recorded}.")
        return index

    def to_xarray(self) -> "xarray.Dataset":
        """Return log_norm, log_gap, correlation and alive as an xarray Dataset with labelled axes."""
        import xarray

        labels = [f"{self.names[i]}, {self.names[j]}" for i, j in self.pairs]
        by_layer = {"layer_name": self.layer_names, "log_gap_floor": self.log_gap_floor}
        extra = {name: ("layer", list(values)) for name, values in by_layer.items() if values is not None}
        return xarray.Dataset(
            {
                "log_norm": (("sample", "layer", "input"), self.log_norm),
                "log_gap": (("sample", "layer", "pair"), self.log_gap),
                "correlation": (("sample", "layer", "pair"), 1.0 - np.exp(self.log_gap)),
                "alive": (("sample", "layer"), self.alive),
            },
            coords={"layer": self.time, "input": list(self.names), "pair": labels} | extra,
            attrs={"clock": self.clock, "source": self.source} | self._sizes,
        )

    def save(self, path: str | Path) -> None:
        """Write the paths to one compressed .npz file for ``Paths.load``, layers by their time; InputError if not."""
        if (np.diff(self.time) < 0).any():
            self._layers(np.argsort(self.time).tolist()).save(path)
            return
        own = {name: value for name, value in vars(self).items() if name != "modules" and value is not None}
        fields = {name: np.asarray(value) for name, value in own.items()}
        write_archive(path, fields | ({} if self.modules is None else self.modules.arrays()))

    @property
    def _sizes(self) -> dict[str, int]:
        sizes = {"width": self.width, "depth": self.depth}
        return {name: size for name, size in sizes.items() if size is not None}

    @classmethod
    def load(cls, path: str | Path) -> "Paths":
        """Return the paths that ``save`` wrote; InputError if the file holds none.

        The file is trusted with nothing: its arrays must be of the right types and sizes, fit in memory, be those that
        its digest was taken of, and be possible. Files written before there were digests are read without one.
        """
        chosen = check_name(path)
        try:
            fields = read_archive(chosen, _ENTRIES | ENTRIES)
            missing = [name for name in _ENTRIES if name not in fields and name not in _OPTIONAL]
            if missing:
                raise ValueError(f"it has no {', '.join(missing)}")
            own: dict[str, Any] = {
                name: _MADE.get(name, np.asarray)(fields[name]) for name in _ENTRIES if name in fields
            }
            found = cls(**own, modules=Modules.of(fields))
            if (np.diff(found.time) <= 0).any():
                raise ValueError("its times do not increase")
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split()).removesuffix(".")
            raise InputError(
                f"{path} does not hold saved paths ({reason}); write them with `save` or --output."
            ) from None
        return found


def check_paths(paths: object, what: str = "paths") -> Paths:
    """Return ``Paths``; InputError for anything else."""
    return check_kind(what, paths, Paths, "give deeplim.Paths, as simulate and predict return them")


def _check_clock(clock: object) -> None:
    if not isinstance(clock, str) or clock not in get_args(Clock):
        raise ClockError(f"the clock {brief(clock)} is not known; use one of {', '.join(get_args(Clock))}.")


def _words(array: np.ndarray) -> tuple[str, ...]:
    return tuple(str(word) for word in array)


_ENTRIES = {
    "log_norm": Entry("f", 3),
    "log_gap": Entry("f", 3),
    "alive": Entry("b", 2),
    "time": Entry("f", 1),
    "clock": Entry("U"),
    "names": Entry("U", 1),
    "source": Entry("U"),
    "deterministic": Entry("b"),
    "kind": Entry("U"),
    "width": Entry("i"),
    "depth": Entry("i"),
}
"""What a file of paths holds, beside what is known of the modules."""
_OPTIONAL = ("width", "depth")
_MADE: dict[str, Callable[[np.ndarray], Any]] = {
    "clock": str,
    "names": _words,
    "source": str,
    "deterministic": bool,
    "kind": str,
    "width": int,
    "depth": int,
}
"""What makes a field of an array, where it is none."""


def _layers_per_unit(paths: Paths, clock: Clock) -> float:
    """How many layers one unit of a clock is; ClockError if the paths do not know."""
    sizes = {"layer": 1, "layer/width": paths.width, "layer/depth": paths.depth}
    size = sizes[clock]
    if size is None:
        raise ClockError(
            f"the paths of {paths.source} are on the clock {paths.clock} and belong to no one network, "
            f"so they cannot be put on {clock}; compare paths on one clock."
        )
    return float(size)


def default_layers(depth: int) -> list[int]:
    """Return the layers recorded when none are asked for: all of up to 40, else 41 evenly spaced ones."""
    return sorted({round(layer) for layer in np.linspace(0, depth, min(depth, 40) + 1)})


def check_layers(layers: Sequence[int] | None, depth: int) -> list[int]:
    """Return the layers to record, increasing; InputError unless whole and from 0 to the depth."""
    if layers is None:
        return default_layers(depth)
    rule = f"give whole numbers from 0 to the depth, {depth}"
    # one number is a list of one
    asked: list[Any] = [layers] if isinstance(layers, Number) else check_list("layers", layers, rule)
    if not asked:
        raise InputError(f"no layers were asked for; {rule}.")
    for layer in asked:
        if not is_whole(layer) or not 0 <= layer <= depth:
            raise InputError(f"the layer {brief(layer)} was asked for; {rule}.")
    return sorted({int(layer) for layer in asked})
