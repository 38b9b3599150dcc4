"""Compare two sets of paths: is their law the same, how far apart are they, and could the samples tell?

Tested are the mean, then the standard deviation, then the whole distribution (Kolmogorov-Smirnov) of the
correlation, the log correlation gap and the log norm, and the fractions of aligned and dead samples
(Fisher). z = difference / error, where the error is the larger of sqrt(e_a^2 + e_b^2), with e = s / sqrt(N)
for a mean and the delta method with the sample's fourth moment for a spread, and the error under exchange
of the two samples, which equal laws allow. Every p-value is multiplied by the number of tests (Bonferroni);
the tests depend on each other, so the whole is conservative. Of more than 12 common times 8 evenly spaced
ones are used. Fractions of dead samples are tested between two networks only: a limit has none.

A deterministic side states values: only the observed means are tested against them, and the observed
standard deviation, which they leave out, is reported. The error of a mean is then the sample's own, so the
false-alarm rate rests on the sample having seen the tails of its law. Two deterministic sides, and
constants on both sides, are equal when they differ by at most 1e-6 max(1, |a|, |b|). The verdict is "too
few samples" when fewer than 8 are alive at some time, or when the shift of a mean found with 90% power,
(z_{1 - alpha/2} + 1.28) e / s with alpha the false-alarm rate of one test, exceeds the resolution.
"""

import json
from dataclasses import asdict, dataclass, field
from math import ceil, floor, isfinite, log10
from typing import Any, Literal

import numpy as np

from deeplim.checks import check_real, check_seed, check_whole
from deeplim.errors import ClockError, InputError
from deeplim.observables import Pair, available
from deeplim.paths import Clock, Paths, check_paths
from deeplim.printable import printable
from deeplim.statistics import FEWEST, TESTED, Row, Sample, Tally, fraction_rows, rows_of
from deeplim.tables import text_table

Verdict = Literal["agree", "differ", "too few samples"]
MOST_TIMES, CHOSEN_TIMES = 12, 8
MOST_RESAMPLES = 100_000
"""Bootstrap resamples of a distance, whose error is then known to 0.2%."""
POWER_SCORE = 1.2815515655446004
"""The standard normal's 90% quantile: a shift is called detectable when it is found with 90% power."""


@dataclass(frozen=True)
class Comparison:
    """What ``compare`` found: print it for a table of the last time and the verdict.

    tests: how many p-values the verdict rests on; the laws differ when one is below false_alarm / tests.
    detectable_shift: the shift of a mean, in standard deviations, that is found with 90% power wherever a
    mean was tested; None where none was. samples_needed: about how many samples a side make that the
    resolution; None when no number would do. worst: the tested row with the smallest p-value. counts: the
    samples at each time.
    """

    observed: str
    predicted: str
    clock: Clock
    false_alarm: float
    resolution: float
    verdict: Verdict
    sentence: str
    worst: Row | None
    tests: int
    detectable_shift: float | None
    samples_needed: int | None
    counts: tuple[Tally, ...]
    rows: tuple[Row, ...] = field(repr=False)

    @property
    def differ(self) -> bool:
        """Whether the verdict is that the laws differ."""
        return self.verdict == "differ"

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain Python values, None where there is no finite number."""
        plain: dict[str, Any] = _plain(asdict(self)) | {"differ": self.differ}
        for row, made in zip(plain["rows"], self.rows, strict=True):
            row["standard_errors"] = _plain(made.standard_errors)
        return plain

    def to_json(self) -> str:
        """Return ``to_dict`` as valid JSON: no NaN and no infinity."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False)

    def __str__(self) -> str:
        last = max((row.time for row in self.rows), default=None)
        head = ["observable", self.clock, "statistic", "observed", "predicted", "difference / s.e.", "p"]
        table = text_table(head, [_cells(row) for row in self.rows if row.time == last])
        sides = [f"observed:  {printable(self.observed)}", f"predicted: {printable(self.predicted)}"]
        lines = [*sides, "", table, "", printable(self.sentence)]
        return "\n".join(lines)


def compare(
    observed: Paths,
    predicted: Paths,
    *,
    pair: Pair = (0, 1),
    false_alarm: float = 1e-3,
    resolution: float = 0.2,
    bootstrap: int = 200,
    seed: int = 0,
) -> Comparison:
    """Return whether two sets of paths have the same law at their common times after layer 0.

    Equal laws are said to differ with probability at most ``false_alarm``; a shift of a mean by
    ``resolution`` standard deviations is found with 90% power, or the verdict is "too few samples". When one
    side is on the clock "layer" it is put on the other's clock. ClockError for two other clocks; InputError
    when no time but layer 0 is common, or for settings out of range. What is tested: see ``deeplim.comparison``.
    """
    check_paths(observed, "the observed paths")
    check_paths(predicted, "the predicted paths")
    false_alarm = check_real("false_alarm", false_alarm, least=1e-200, below=1)
    resolution = check_real("resolution", resolution, least=1e-6)
    bootstrap = check_whole("bootstrap", bootstrap, most=MOST_RESAMPLES)
    networks = observed.kind == predicted.kind == "networks"
    sampled = not (observed.deterministic or predicted.deterministic)
    a, b = _at_common_times(*_on_one_clock(observed, predicted))
    tallies = tuple(_tally(a, b, layer, pair) for layer in range(len(a.time)))
    rows = [row for tally in tallies for row in fraction_rows(tally, networks=networks, sampled=sampled)]
    generator = np.random.default_rng(check_seed(seed))
    shared = [observable for observable in available(a) if observable in available(b)]
    for observable in shared:
        first, second = observable.values(a, pair), observable.values(b, pair)
        for layer, tally in enumerate(tallies):
            one = Sample.of(first[:, layer], known=a.deterministic)
            other = Sample.of(second[:, layer], known=b.deterministic)
            place = observable.name, tally.time
            rows += rows_of(place, one, other, bootstrap=bootstrap, generator=generator)
    rows.sort(key=lambda row: row.time)
    planned = len(tallies) * sum(observable.name in TESTED for observable in shared) * (3 if sampled else 1)
    return _judge(a, b, tuple(rows), tallies, planned=planned, level=false_alarm, resolution=resolution)


def _on_one_clock(a: Paths, b: Paths) -> tuple[Paths, Paths]:
    if a.clock != b.clock and "layer" not in (a.clock, b.clock):
        raise ClockError(
            f"{a.source} is on the clock {a.clock} and {b.source} on {b.clock}, which cannot be matched; "
            "compare each with a network."
        )
    return (a.on_clock(b.clock), b) if a.clock == "layer" else (a, b.on_clock(a.clock))


def _at_common_times(a: Paths, b: Paths) -> tuple[Paths, Paths]:
    """Both sides at their common times after 0 (where the inputs are given), at most 8 of more than 12."""
    near = np.isclose(a.time[:, None], b.time, rtol=1e-9, atol=1e-12) & (a.time[:, None] != 0)
    common = np.argwhere(near)
    if not len(common):
        raise InputError(
            f"no time after 0 is common: on the clock {a.clock}, {a.source} is recorded at {_listed(a.time)} "
            f"and {b.source} at {_listed(b.time)}; pass the same layers= to both."
        )
    if len(common) > MOST_TIMES:
        common = common[np.round(np.linspace(0, len(common) - 1, CHOSEN_TIMES + 1)).astype(int)[1:]]
    return a.at(a.time[common[:, 0]].tolist()), b.at(b.time[common[:, 1]].tolist())


def _listed(times: np.ndarray) -> str:
    return ", ".join(f"{t:g}" for t in times[:8]) + (f", ..., {times[-1]:g}" if len(times) > 8 else "")


def _tally(a: Paths, b: Paths, layer: int, pair: Pair) -> Tally:
    def counts(paths: Paths) -> tuple[int, int, int]:
        alive = paths.alive[:, layer]
        gap = paths.log_gap[alive, layer, paths.pair_index(pair)] if paths.inputs > 1 else np.zeros(0)
        return int(alive.sum()), int((~alive).sum()), int(np.isneginf(gap).sum())

    return Tally(float(a.time[layer]), *counts(a), *counts(b))


def _judge(
    a: Paths,
    b: Paths,
    rows: tuple[Row, ...],
    tallies: tuple[Tally, ...],
    *,
    planned: int,
    level: float,
    resolution: float,
) -> Comparison:
    """The verdict: a significant difference first, then whether the samples could have shown one."""
    tested = [row for row in rows if row.tested]
    tests = sum(row.statistic != "value" for row in tested)
    significant = [row for row in tested if row.p_value is not None and row.p_value * max(tests, 1) < level]
    score = _score(level / max(tests, planned, 1))
    shift, needed = _power(a, b, tested, score=score, resolution=resolution)
    few = [tally.time for tally in tallies if _fewest_alive(a, b, tally) < FEWEST]
    if significant:
        verdict: Verdict = "differ"
        sentence = _differ_sentence(significant, a.clock, tests=max(tests, 1), resolution=resolution)
    elif few or (shift is not None and shift > resolution):
        verdict, sentence = "too few samples", _few_sentence(few, a.clock, shift, needed, resolution)
    else:
        verdict, sentence = "agree", _agree_sentence(tests, len(tallies), shift)
    return Comparison(
        observed=a.source,
        predicted=b.source,
        clock=a.clock,
        false_alarm=level,
        resolution=resolution,
        verdict=verdict,
        sentence=sentence + _left_out(a, b, rows, tallies[-1]),
        worst=min(tested, key=_by_p_value, default=None),
        tests=tests,
        detectable_shift=shift,
        samples_needed=needed,
        counts=tallies,
        rows=rows,
    )


def _by_p_value(row: Row) -> tuple[float, float]:
    """Smallest p-value first; where p-values underflow to zero, most standard errors first."""
    return (1.0 if row.p_value is None else row.p_value), -abs(row.standard_errors or 0.0)


def _fewest_alive(a: Paths, b: Paths, tally: Tally) -> int:
    """The smaller number alive of the sampled sides; a deterministic side has enough."""
    counts = ((a, tally.observed_alive), (b, tally.predicted_alive))
    return min((alive for paths, alive in counts if not (paths.deterministic and alive)), default=FEWEST)


def _score(level: float) -> float:
    """z_{1 - level/2} + z_{0.9}: a shift of so many standard errors is found with 90% power at this level."""
    from scipy.special import ndtri

    return float(-ndtri(level / 2)) + POWER_SCORE


def _power(
    a: Paths, b: Paths, tested: list[Row], *, score: float, resolution: float
) -> tuple[float | None, int | None]:
    """The shift of a mean that is found, in standard deviations; the samples a side that find the resolution.

    shift = score e / s falls like 1 / sqrt(samples), whatever fraction of them is alive; for sides of
    different sizes the harmonic mean counts. What a sample may have missed is added, and falls faster.
    """
    sampled = [paths for paths in (a, b) if not paths.deterministic]
    means = [row for row in tested if row.statistic == "mean"]
    found = [
        score * row.difference_error / row.unit + (row.unseen or 0.0)
        for row in means
        if row.difference_error and row.unit
    ]
    if found:
        shift = max(found)
        harmonic = len(sampled) / sum(1 / paths.samples for paths in sampled)
        return shift, ceil(harmonic * (shift / resolution) ** 2)
    alive = min((paths.alive.sum(axis=0).min() / max(paths.samples, 1) for paths in sampled), default=0.0)
    return None, ceil(len(sampled) * (score / resolution) ** 2 / alive) if alive > 0 else None


def _differ_sentence(significant: list[Row], clock: str, *, tests: int, resolution: float) -> str:
    row = min(significant, key=_by_p_value)
    corrected = min((row.p_value or 0.0) * tests, 1.0)
    p = f"p = {corrected:.1g}" if corrected > 0 else "p below 1e-300"
    text = f"The laws differ: {_told(row, clock)} ({p} after correction for {_counted(tests, 'test')})."
    effects = [abs(row.effect) for row in significant if row.effect is not None]
    if len(effects) == len(significant) and max(effects) < resolution:
        text += (
            f" Significant but small: no difference found exceeds {max(effects):.2g} standard deviations, "
            f"and the resolution asked for is {resolution:g}."
        )
    return text


def _told(row: Row, clock: str) -> str:
    """One row in words."""
    where, what = f"at {clock} = {row.time:g}", f"the {_worded(row)}"
    apart = "" if row.effect is None else f", {abs(row.effect):.2g} standard deviations apart"
    if row.statistic == "ks":
        distance = f"a Kolmogorov-Smirnov distance of {row.difference:.2g}"
        return f"{where} the distributions of {what} are at {distance}{apart}"
    names = {
        "mean": f"the mean of {what}",
        "std": f"the standard deviation of {what}",
        "value": f"{what}, constant on both sides,",
        "dead": "the fraction of lost samples (dead or exploded)",
        "aligned": "the fraction of samples with the pair exactly parallel",
    }
    observed = _with_error(row.observed, row.observed_error)
    predicted = _with_error(row.predicted, row.predicted_error)
    return f"{where} {names[row.statistic]} is {observed} observed against {predicted} predicted{apart}"


def _few_sentence(few: list[float], clock: str, shift: float | None, needed: int | None, resolution: float) -> str:
    reason = f"only a shift of a mean of more than {shift or 0:.2g} standard deviations would have been seen"
    if few:
        reason = f"fewer than {FEWEST} are alive at {clock} = {', '.join(f'{time:g}' for time in few)}"
    if needed is None:
        return f"Too few samples to tell: {reason}."
    cure = f"about {needed:,} samples on each sampled side would show a shift of {resolution:g}"
    return f"Too few samples to tell: {reason}; {cure}."


def _agree_sentence(tests: int, times: int, shift: float | None) -> str:
    if shift is None:
        return f"No difference found: both sides are the same constants at {_counted(times, 'time')}."
    return (
        f"No difference found in {_counted(tests, 'test')} at {_counted(times, 'time')}; "
        f"a shift of a mean of more than {shift:.2g} standard deviations would have been seen."
    )


def _left_out(a: Paths, b: Paths, rows: tuple[Row, ...], last: Tally) -> str:
    """What a deterministic side says nothing of, and which samples were dropped, at the last time."""
    text = ""
    spread = [row for row in rows if (row.statistic, row.time) == ("std", last.time) and row.observable in TESTED]
    if spread and (a.deterministic or b.deterministic):
        side, other = ("observed", "prediction") if b.deterministic else ("predicted", "observed side")
        listed = ", ".join(f"{getattr(row, side):.3g} ({_worded(row)})" for row in spread)
        text += f" The {other} is deterministic and leaves out the {side} standard deviations: {listed}."
    for name, counts in (
        ("dead or exploded, and left out", (last.observed_dead, last.predicted_dead)),
        ("exactly parallel and without a log gap", (last.observed_aligned, last.predicted_aligned)),
    ):
        if any(counts):
            text += f" At the last time {counts[0]:,} observed and {counts[1]:,} predicted samples are {name}."
    return text


def _worded(row: Row) -> str:
    return row.observable.replace("_", " ")


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _with_error(value: float | None, error: float | None) -> str:
    """A number and its error to two digits of the error."""
    if value is None or not error:
        return "" if value is None else f"{value:.4g}"
    places = 1 - floor(log10(error))
    return f"{value:.{places}f} ± {error:.{places}f}" if 0 <= places <= 8 else f"{value:.4g} ± {error:.1e}"


def _cells(row: Row) -> list[str]:
    """One line of the table."""
    apart = f"distance {_with_error(row.difference, row.difference_error)}"
    if row.observed is not None:
        apart = "" if row.standard_errors is None else f"{row.standard_errors:+.2f}"
    return [
        row.observable,
        f"{row.time:g}",
        row.statistic,
        _with_error(row.observed, row.observed_error),
        _with_error(row.predicted, row.predicted_error),
        apart,
        "" if row.p_value is None else f"{row.p_value:.2g}",
    ]


def _plain(value: Any) -> Any:
    """Lists and dictionaries of plain Python values, with None for numbers that are not finite."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, float) and not isfinite(value) else value
