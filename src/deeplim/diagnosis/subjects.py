"""From a subject to evidence: paths as they are, exact networks drawn, a model probed and its architecture read."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from deeplim.architecture import MLP, Network, ResNet
from deeplim.diagnosis.evidence import Evidence
from deeplim.diagnosis.thresholds import Thresholds
from deeplim.ensemble import simulate
from deeplim.errors import InputError
from deeplim.inputs import Inputs, gram
from deeplim.paths import Paths


@dataclass(frozen=True)
class Probing:
    """How a subject is looked at: the arguments of ``deeplim.diagnose`` that are not thresholds."""

    repeats: int = 32
    networks: int = 1000
    seed: int = 0
    per: str = "input"
    initialize: Callable[[Any], object] | None = None
    modules: Sequence[str] | None = None
    gradients: bool = True


def evidence_of(
    subject: object, inputs: object, thresholds: Thresholds, probing: Probing
) -> tuple[str, str | None, Evidence]:
    """Return a name for the subject, what was read of its architecture, and the evidence."""
    if isinstance(subject, Paths):
        if inputs is not None:
            raise InputError("inputs were given beside paths, which have theirs; give paths alone, or a model.")
        return subject.source, None, of_paths(subject, thresholds)
    if inputs is None:
        raise InputError("no inputs were given; give an array with one input a row, as the model takes them.")
    if isinstance(subject, MLP | ResNet):
        return str(subject), None, of_network(subject, inputs, thresholds, probing)
    from deeplim.diagnosis.models import of_model

    return of_model(subject, inputs, thresholds, probing)


def of_paths(paths: Paths, thresholds: Thresholds) -> Evidence:
    """Return the evidence that paths alone are: a chain's, unless their layers have names that say otherwise."""
    names = layer_names(paths)
    return Evidence(paths, names, paths, names, thresholds, chain=paths.layer_names is None)


def of_network(network: Network, inputs: object, thresholds: Thresholds, probing: Probing) -> Evidence:
    """Return the evidence of exact networks."""
    given = inputs if isinstance(inputs, Inputs) else gram(inputs)  # type: ignore[arg-type]
    paths = simulate(network, given, networks=probing.networks, seed=probing.seed, layers=range(network.depth + 1))
    names = layer_names(paths)
    return Evidence(paths, names, paths, names, thresholds, network=network, chain=True)


def layer_names(paths: Paths) -> tuple[str, ...]:
    """Return a name for each layer: the modules', or where it stands on the clock."""
    if paths.layer_names is not None:
        return paths.layer_names
    unit = "layer " if paths.clock == "layer" else f"{paths.clock} = "
    return tuple(f"{unit}{time:g}" for time in np.asarray(paths.time))
