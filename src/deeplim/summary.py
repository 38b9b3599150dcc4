"""Summaries of paths: exact ones of paths in memory, mergeable ones for runs too large to hold.

Everywhere, dead samples are dropped and counted, and exactly parallel pairs (log gap minus infinity) are left
out of ``log_correlation_gap`` and counted as aligned; in the other observables they stand with rho = 1.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from jaxtyping import Float, Int

from deeplim.array_files import write_archive
from deeplim.bins import OF
from deeplim.checks import brief, check_float, check_kind
from deeplim.errors import ClockError, InputError
from deeplim.observables import Pair, Values, available
from deeplim.parallel import in_threads
from deeplim.paths import Clock, Paths, check_paths
from deeplim.summary_files import MOMENTS, OUTCOMES, read_summary
from deeplim.tables import text_table
from deeplim.tally import OBSERVED, Block, Tally, block_size

Layers = Float[np.ndarray, "*observable layer"]
Counts = Int[np.ndarray, "*observable layer"]
QUANTILES = (0.05, 0.5, 0.95)


@dataclass(frozen=True, eq=False)
class Moments:
    """Count, mean, sums of powers of the deviations from it, and extremes of each layer; mergeable.

    m2, m3, m4 are sum_i (x_i - mean)^k. Where nothing was counted the mean and sums are 0, low is plus
    infinity and high is minus infinity.
    """

    count: Counts
    mean: Layers
    m2: Layers
    m3: Layers
    m4: Layers
    low: Layers
    high: Layers

    @classmethod
    def of(cls, values: Values) -> "Moments":
        """Return the moments over samples of an array (sample, layer), of its finite entries only."""
        keep = np.isfinite(values)
        count = keep.sum(axis=0)
        # Deviations are taken from a sample of the layer: a constant then has mean x and m2 = 0 exactly.
        origin = np.zeros(values.shape[1])
        if len(values):
            first = np.take_along_axis(values, keep.argmax(axis=0)[None], axis=0)[0]
            origin = np.where(count > 0, first, 0.0)
        shifted = np.where(keep, values, origin) - origin
        shift = shifted.sum(axis=0) / np.maximum(count, 1)
        deviation = np.where(keep, shifted - shift, 0.0)
        square = deviation * deviation
        return cls(
            count,
            origin + shift,
            square.sum(axis=0),
            (square * deviation).sum(axis=0),
            (square * square).sum(axis=0),
            np.where(keep, values, np.inf).min(axis=0, initial=np.inf),
            np.where(keep, values, -np.inf).max(axis=0, initial=-np.inf),
        )

    def row(self, index: int) -> "Moments":
        """Return the moments of one observable, of those of several, (observable, layer)."""
        return type(self)(*(field[index] for field in vars(self).values()))

    def merge(self, other: "Moments") -> "Moments":
        """Return the moments of both sets of samples (Chan et al. 1979; Pebay 2008, report SAND2008-6212)."""
        a, b = self.count.astype(float), other.count.astype(float)
        n = np.maximum(a + b, 1.0)
        d = other.mean - self.mean
        m2 = self.m2 + other.m2 + d**2 * a * b / n
        m3 = self.m3 + other.m3 + d**3 * a * b * (a - b) / n**2 + 3 * d * (a * other.m2 - b * self.m2) / n
        m4 = (
            self.m4
            + other.m4
            + d**4 * a * b * (a**2 - a * b + b**2) / n**3
            + 6 * d**2 * (a**2 * other.m2 + b**2 * self.m2) / n**2
            + 4 * d * (a * other.m3 - b * self.m3) / n
        )
        low, high = np.minimum(self.low, other.low), np.maximum(self.high, other.high)
        return type(self)(self.count + other.count, self.mean + d * (b / n), m2, m3, m4, low, high)

    @property
    def std(self) -> Layers:
        """s = sqrt(m2 / (count - 1)); 0 for a single sample, NaN where there is none."""
        return np.where(self.count > 0, np.sqrt(self.m2 / np.maximum(self.count - 1, 1)), np.nan)

    @property
    def standard_error(self) -> Layers:
        """Standard error of the mean, s / sqrt(count); NaN where fewer than two samples are counted."""
        return np.where(self.count > 1, self.std / np.sqrt(np.maximum(self.count, 1)), np.nan)

    @property
    def std_error(self) -> Layers:
        """Standard error of s by the delta method; NaN where fewer than two samples are counted.

        sqrt(Var s^2) / (2 s), Var s^2 = (mu_4 - mu_2^2 (n - 3) / (n - 1)) / n, with mu_k = m_k / n.
        """
        n = np.maximum(self.count, 2).astype(float)
        spread = np.sqrt(np.maximum(self.m4 / n - (self.m2 / n) ** 2 * (n - 3) / (n - 1), 0.0) / n)
        s = np.sqrt(self.m2 / (n - 1))
        return np.where(self.count > 1, np.where(s > 0, spread / (2 * np.where(s > 0, s, 1.0)), 0.0), np.nan)


@dataclass(frozen=True, eq=False)
class Summary:
    """What is kept of a run whose paths are not: counts, moments and histograms of observables by layer.

    Summaries of chunks merge into the summary of the whole: exactly in the counts and histograms, to rounding
    in the moments. samples: how many were seen. dead, exploded, aligned: how many of them were that, or had the pair
    exactly parallel, at each layer. moments, histograms: by observable.

    Quantiles come from 4000 bins and are within one bin width of the sample's own order statistic: 0.0005 for
    the correlation, 0.0008 radians for the angle. Log quantities x have bins of equal width in asinh(x), up
    to |x| = 1e5: 0.0033 sqrt(1 + x^2) wide for the log gap (0.0047 at -1, 2.7 at -800), 0.0062 sqrt(1 + x^2)
    for the log norm. The bins of the gap are those of its log.
    """

    time: Layers
    clock: Clock
    names: tuple[str, ...]
    sources: tuple[str, ...]
    samples: int
    dead: Counts
    exploded: Counts
    aligned: Counts
    moments: dict[str, Moments]
    histograms: dict[str, Int[np.ndarray, "layer bin"]]

    @classmethod
    def of(cls, paths: Paths, pair: Pair = (0, 1)) -> "Summary":
        """Return the summary of paths in memory, of one pair of inputs (and the norm of its first).

        It is, bit for bit, that of ``summarize`` on the same networks. InputError if there is no such pair.
        """
        _, layers, inputs = check_paths(paths).log_norm.shape
        return summarize_blocks(lambda begin, end: part(paths, begin, end), paths.samples, layers, inputs, pair)

    def merge(self, other: "Summary") -> "Summary":
        """Return the summary of both; ClockError when clocks differ, InputError when times or inputs do."""
        check_kind("a summary", other, Summary, "give what deeplim.summarize returns")
        if self.clock != other.clock:
            raise ClockError(f"summaries on the clocks {self.clock} and {other.clock} cannot be merged; use one clock.")
        if self.names != other.names:
            raise InputError(f"summaries of {self.names} and of {other.names} cannot be merged; use the same inputs.")
        if not np.array_equal(self.time, other.time):
            raise InputError(
                f"summaries at {len(self.time)} times from {self.time.min():g} to {self.time.max():g} and at "
                f"{len(other.time)} from {other.time.min():g} to {other.time.max():g} cannot be merged; "
                "record the same layers."
            )
        return type(self)(
            time=self.time,
            clock=self.clock,
            names=self.names,
            sources=tuple(dict.fromkeys(self.sources + other.sources)),
            samples=self.samples + other.samples,
            dead=self.dead + other.dead,
            exploded=self.exploded + other.exploded,
            aligned=self.aligned + other.aligned,
            moments={name: self.moments[name].merge(other.moments[name]) for name in self.moments},
            histograms={name: self.histograms[name] + other.histograms[name] for name in self.histograms},
        )

    def save(self, path: str | Path) -> None:
        """Write the summary to one compressed .npz file for ``Summary.load``, layers by their time; InputError if not.

        It holds no more than this does; summaries of parts of a run, loaded, still merge.
        """
        order = np.argsort(self.time)
        arrays = {name: np.asarray(getattr(self, name)) for name in ("clock", "names", "sources", "samples")}
        arrays |= {name: getattr(self, name)[order] for name in ("time", *OUTCOMES)}
        arrays["observables"] = np.array(list(self.moments))
        for name in MOMENTS:
            arrays[name] = np.stack([getattr(moments, name)[order] for moments in self.moments.values()])
        arrays["histograms"] = np.stack([self.histograms[name][order] for name in self.moments])
        write_archive(path, arrays)

    @classmethod
    def load(cls, path: str | Path) -> "Summary":
        """Return the summary that ``save`` wrote; InputError if the file holds none, is damaged or is impossible."""
        found = read_summary(path)
        observables = found["observables"].tolist()
        return cls(
            time=found["time"],
            clock=cast(Clock, str(found["clock"])),
            names=tuple(found["names"].tolist()),
            sources=tuple(found["sources"].tolist()),
            samples=int(found["samples"]),
            **{name: found[name].astype(np.int64) for name in OUTCOMES},
            moments={name: Moments(*(found[field][i] for field in MOMENTS)) for i, name in enumerate(observables)},
            histograms={name: found["histograms"][i] for i, name in enumerate(observables)},
        )

    def mean(self, name: str) -> Layers:
        """Return the mean of an observable at each layer; NaN where no sample is alive."""
        moments = self._of(name)
        return np.where(moments.count > 0, moments.mean, np.nan)

    def std(self, name: str) -> Layers:
        """Return the standard deviation (divisor count - 1) at each layer; 0 for one sample, NaN for none."""
        return self._of(name).std

    def standard_error(self, name: str) -> Layers:
        """Return the standard error of the mean, std / sqrt(count); NaN where fewer than two are alive."""
        return self._of(name).standard_error

    def std_error(self, name: str) -> Layers:
        """Return the standard error of the standard deviation, from the fourth moment; NaN below two."""
        return self._of(name).std_error

    def quantile(self, name: str, q: float) -> Layers:
        """Return the value that a fraction q of the samples lies below, to one bin width; NaN where none is.

        InputError when q is not from 0 to 1. Samples beyond the outermost edges are put at the smallest or
        largest.
        """
        moments = self._of(name)
        if not 0 <= check_float("the quantile", q) <= 1:
            raise InputError(f"the quantile {q:g} was asked for; give a number from 0 to 1.")
        value = OF[name].quantile(self.histograms[name], q)
        return np.where(moments.count > 0, np.clip(value, moments.low, moments.high) + 0.0, np.nan)  # no -0.0

    def to_dict(self) -> dict[str, Any]:
        """Return count, mean, std and quantiles of each observable per layer, and counts of lost and aligned.

        The layout is that of ``describe``, and ready for JSON: None, never NaN, where no sample is alive.
        """
        quantiles = {name: {q: self.quantile(name, q) for q in QUANTILES} for name in self.moments}
        counts = {"dead": self.dead, "exploded": self.exploded, "aligned": self.aligned}
        return _layout(self.moments, quantiles, counts)

    def _of(self, name: str) -> Moments:
        if not isinstance(name, str) or name not in self.moments:
            raise InputError(
                f"there is no observable {brief(name)} in this summary; use one of {', '.join(self.moments)}."
            )
        return self.moments[name]


def summarize_blocks(
    draw: Callable[[int, int], Paths],
    samples: int,
    layers: int,
    inputs: int,
    pair: Pair = (0, 1),
    *,
    threads: int | None = None,
    progress: Callable[[int], object] | None = None,
) -> Summary:
    """Return the summary of ``samples`` paths, which draw(begin, end) gives a block at a time, on several threads.

    The blocks follow from the counts alone and their moments are merged in order, so that the summary is the same, bit
    for bit, whatever the threads. ``progress`` is called with the number of samples in each finished block.
    """
    tally, size = Tally(layers, inputs, pair), block_size(samples, layers, inputs)

    def count(begin: int) -> Block:
        return tally.add(draw(begin, min(begin + size, samples)))

    outcomes, moments = np.zeros((3, layers), dtype=np.int64), None
    for block in in_threads(count, range(0, max(samples, 1), size), threads):
        outcomes += block.outcomes
        of_block = Moments(block.sums[0].astype(np.int64), *block.sums[1:])
        moments = of_block if moments is None else moments.merge(of_block)
        if progress is not None:
            progress(block.samples)
    assert moments is not None
    dead, exploded, aligned = outcomes
    return Summary(
        time=block.time,
        clock=block.clock,
        names=block.names,
        sources=(block.source,),
        samples=samples,
        dead=dead,
        exploded=exploded,
        aligned=aligned,
        moments={name: moments.row(OBSERVED.index(name)) for name in tally.names},
        histograms=tally.histograms(aligned),
    )


def part(paths: Paths, begin: int, end: int) -> Paths:
    """Return the paths of samples begin, ..., end - 1."""
    chosen = slice(begin, end)
    log_norm, log_gap, alive = paths.log_norm[chosen], paths.log_gap[chosen], paths.alive[chosen]
    modules = None if paths.modules is None else paths.modules.part(chosen)
    return replace(paths, log_norm=log_norm, log_gap=log_gap, alive=alive, modules=modules)


def describe(paths: Paths, pair: Pair = (0, 1)) -> dict[str, Any]:
    """Return the exact mean, standard deviation and quantiles of each observable at each layer.

    ``{"correlation": {"count": [...], "mean": [...], "std": [...], "quantiles": {"0.05": [...], "0.5": [...],
    "0.95": [...]}}, ..., "dead": [...], "exploded": [...], "aligned": [...]}``, one entry per
    recorded layer; the standard deviation has divisor count - 1; None, never NaN,
    where no sample is alive. InputError if there is no such pair.
    """
    values = {o.name: o.values(paths, pair) for o in available(paths)}
    quantiles = {name: _exact_quantiles(value) for name, value in values.items()}
    moments = {name: Moments.of(value) for name, value in values.items()}
    counts = {"dead": paths.dead, "exploded": paths.exploded, "aligned": _aligned(values, len(paths.time))}
    return _layout(moments, quantiles, counts)


def _exact_quantiles(values: Values) -> dict[float, Layers]:
    columns = [column[np.isfinite(column)] for column in values.T]
    return {q: np.array([np.quantile(c, q) if len(c) else np.nan for c in columns], dtype=float) for q in QUANTILES}


def _aligned(values: dict[str, Values], layers: int) -> Counts:
    """How many samples have this pair exactly parallel; with a single input there is no pair and none has."""
    if "log_correlation_gap" not in values:
        return np.zeros(layers, dtype=np.int64)
    return np.isneginf(values["log_correlation_gap"]).sum(axis=0)


def _layout(
    moments: dict[str, Moments], quantiles: dict[str, dict[float, Layers]], counts: dict[str, Counts]
) -> dict[str, Any]:
    described: dict[str, Any] = {
        name: {
            "count": m.count.tolist(),
            "mean": _numbers(np.where(m.count > 0, m.mean, np.nan)),
            "std": _numbers(m.std),
            "quantiles": {str(q): _numbers(value) for q, value in quantiles[name].items()},
        }
        for name, m in moments.items()
    }
    return described | {name: count.tolist() for name, count in counts.items()}


def _numbers(values: Layers) -> list[float | None]:
    return [float(v) if np.isfinite(v) else None for v in values]


def table(
    described: dict[str, Any],
    layer: int,
    names: Sequence[str] = ("correlation", "log_correlation_gap", "log_norm"),
) -> str:
    """Return the statistics of ``describe`` or ``Summary.to_dict`` at one recorded layer, by its index, as text."""
    head = ["observable", "mean", "std", *(f"{float(q):.0%}" for q in map(str, QUANTILES))]
    lines = [
        [name, *(_text(values[layer]) for values in (d["mean"], d["std"], *d["quantiles"].values()))]
        for name, d in described.items()
        if name in names
    ]
    counts = [f"{described[word][layer]} {word}" for word in ("dead", "exploded", "aligned") if described[word][layer]]
    return text_table(head, lines) + (f"\n({', '.join(counts)})" if counts else "")


def _text(value: float | None) -> str:
    return "none" if value is None else f"{value:.4g}"
