"""The ladder of descriptions of one network: exact networks, then every limit that describes it, on the same inputs."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from deeplim import limits
from deeplim.architecture import Network, check_network
from deeplim.checks import check_count, check_function, check_kind, check_progress, check_seed, check_whole, check_word
from deeplim.comparison import Comparison, compare
from deeplim.errors import LimitError
from deeplim.finite import chain
from deeplim.finite.runners import how_computed
from deeplim.inputs import Inputs, check_inputs, check_pair
from deeplim.limits.base import AbstractLimit
from deeplim.paths import Paths, check_layers
from deeplim.printable import printable_lines
from deeplim.spectra import describe_spectrum
from deeplim.summary import describe, table

_BOOTSTRAP = 50
"""Resamples behind the standard error of a distance; a tenth of its own size is error enough for a table."""


@dataclass(frozen=True, eq=False)
class Ladder:
    """One network, its inputs, and its covariances on every rung: 'exact' and the names of the limits that apply.

    pair: the two inputs that observables are about. computed: how the activation was computed in the exact networks.
    not_applicable: why the other limits do not describe the network; failed: why limits that do could not be computed
    for these inputs, by name.
    """

    network: Network
    inputs: Inputs
    pair: tuple[int, int]
    layers: tuple[int, ...]
    limits: dict[str, AbstractLimit]
    rungs: dict[str, Paths]
    not_applicable: dict[str, str]
    seed: int
    computed: str
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def exact(self) -> Paths | None:
        """The exact networks, when any were drawn."""
        return self.rungs.get("exact")

    @property
    def best(self) -> AbstractLimit | None:
        """The limit that says most about the network: the first that applies."""
        return next(iter(self.limits.values()), None)

    @cached_property
    def comparisons(self) -> dict[str, Comparison]:
        """The exact networks against each limit on the ladder, by name; none when only layer 0 was recorded."""
        if self.exact is None or self.layers == (0,):
            return {}
        exact = self.seen("exact")
        return {name: compare(exact, self.seen(name), bootstrap=_BOOTSTRAP) for name in self.limits}

    @property
    def recommended(self) -> tuple[str, str]:
        """The rung to trust for this network, 'exact' or the name of a limit, and one sentence that says why."""
        name, why = limits.recommend(self.network)
        if name in self.failed:
            return "exact", f"{name!r}, which this network calls for, failed for these inputs: {self.failed[name]}"
        return name, why

    def seen(self, rung: str) -> Paths:
        """Return one rung for the chosen pair alone, in its order; a one-pair limit was given that pair already."""
        check_word("the rung", rung, list(self.rungs))
        paths = self.rungs[rung]
        return paths.pair(*self.pair) if paths.inputs == self.inputs.count > 1 else paths

    def __str__(self) -> str:
        found = [f"{self.network}", f"{self.inputs}", ""]
        for name, paths in self.rungs.items():
            kind = "networks" if name == "exact" else "sample paths"
            many = "deterministic" if paths.deterministic else f"{paths.samples:,} {kind}"
            found += [f"{name}, layer {self.layers[-1]} ({many})", table(describe(self.seen(name)), -1), ""]
        found.append(f"to trust: {self.recommended[0]}; {self.recommended[1]}")
        found += [f"{name} failed for these inputs: {reason}" for name, reason in self.failed.items()]
        found += [f"not {name}: {reason}" for name, reason in self.not_applicable.items()]
        if self.computed != "slopes":
            found.append(f"activation {self.network.activation}: {self.computed}")
        return printable_lines("\n".join(found))

    def to_dict(self) -> dict[str, object]:
        """Return what `deeplim predict --json` prints; with more than two inputs also their spectrum and its rank."""
        rungs = {name: describe(self.seen(name)) for name in self.rungs}
        for name, paths in self.rungs.items():
            if paths.inputs > 2:
                rungs[name] |= describe_spectrum(paths)
        return {
            "network": json.loads(self.network.to_json()),
            "inputs": str(self.inputs),
            "pair": list(self.pair) if self.inputs.count > 1 else None,
            "layers": list(self.layers),
            "rungs": rungs,
            "recommended": dict(zip(("rung", "why"), self.recommended, strict=True)),
            "failed": self.failed,
            "not_applicable": self.not_applicable,
            "limits": {
                name: {"clock": limit.clock, "parameters": limit.parameters, "source": limit.source}
                for name, limit in self.limits.items()
            },
            "activation": self.computed,
            "seed": self.seed,
        }


def check_ladder(ladder: object) -> Ladder:
    """Return a ladder; InputError for anything else."""
    return check_kind("a ladder", ladder, Ladder, "give what deeplim.climb returns")


def _sample_limits(
    found: dict[str, AbstractLimit],
    inputs: Inputs,
    pair: tuple[int, int],
    rungs: dict[str, Paths],
    asked: dict[str, Any],
    progress: Callable[[str], object] | None,
) -> dict[str, str]:
    """Add each limit's paths to the rungs, of the chosen pair where it describes no more; return why any failed."""
    failed: dict[str, str] = {}
    for name, limit in found.items():
        _tell(progress, f"limit {name} of {limit.network}")
        few = limit.most_inputs is not None and inputs.count > limit.most_inputs
        try:
            rungs[name] = limit.sample(inputs.pair(*pair) if few else inputs, **asked)
        except LimitError as error:  # the limit cannot be followed from these inputs, and the other rungs stand
            failed[name] = str(error)
    return failed


def _tell(progress: Callable[[str], object] | None, words: str) -> None:
    if progress is not None:
        progress(words)


def _check_kinds(network: object, inputs: object, progress: object, drawn: object) -> None:
    check_network(network)
    check_inputs(inputs)
    check_progress(progress)
    check_function("drawn", drawn, "give a function of a number of networks, or None")


def climb(
    network: Network,
    inputs: Inputs,
    *,
    networks: int = 0,
    samples: int = 10_000,
    seed: int = 0,
    layers: Sequence[int] | None = None,
    pair: tuple[int, int] = (0, 1),
    device: str = "cpu",
    progress: Callable[[str], object] | None = None,
    drawn: Callable[[int], object] | None = None,
) -> Ladder:
    """Return the network's covariances on every rung; exact networks only when ``networks`` is positive.

    A limit that describes the network and cannot be computed for these inputs is named in ``failed``, with why;
    LimitError when that leaves no rung. ``progress`` is called with a few words before each step, ``drawn`` with the
    exact networks finished at a time. Limits use seed + 1 and share no random numbers with the networks.
    """
    _check_kinds(network, inputs, progress, drawn)
    samples, seed, networks = check_count("samples", samples), check_seed(seed), check_whole("networks", networks)
    chosen = check_layers(layers, network.depth)
    pair = check_pair(pair, inputs.count) if inputs.count > 1 else (0, 1)
    found = {limit.name: limit for limit in limits.find(network)}
    rungs: dict[str, Paths] = {}
    if networks:
        _tell(progress, f"exact networks of {network}")
        drawing: dict[str, Any] = {"networks": networks, "device": device, "progress": drawn}
        rungs["exact"] = chain.sample(network, inputs, seed=seed, layers=chosen, **drawing)
    asked = {"samples": samples, "seed": seed + 1, "layers": chosen}
    failed = _sample_limits(found, inputs, pair, rungs, asked, progress)
    if not rungs:
        raise LimitError(f"no limit of {network} can be computed for these inputs: {next(iter(failed.values()))}")
    return Ladder(
        network=network,
        inputs=inputs,
        pair=pair,
        layers=tuple(chosen),
        limits={name: limit for name, limit in found.items() if name in rungs},
        rungs=rungs,
        not_applicable=limits.explain(network),
        seed=seed,
        computed=how_computed(network),
        failed=failed,
    )
