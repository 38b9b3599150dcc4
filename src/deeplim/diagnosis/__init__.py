"""Findings with remedies: what is wrong with a network at initialization, measured, predicted, and how to mend it."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

from deeplim.checks import check_count, check_flag
from deeplim.diagnosis.depths import BranchExponent as BranchExponent
from deeplim.diagnosis.depths import branch_exponent as branch_exponent
from deeplim.diagnosis.diagnosis import Diagnosis as Diagnosis
from deeplim.diagnosis.diagnosis import Layer as Layer
from deeplim.diagnosis.diagnosis import rows_of
from deeplim.diagnosis.finding import Finding as Finding
from deeplim.diagnosis.finding import UnhealthyNetwork as UnhealthyNetwork
from deeplim.diagnosis.rules import judge
from deeplim.diagnosis.subjects import Probing, evidence_of
from deeplim.diagnosis.thresholds import Thresholds as Thresholds
from deeplim.diagnosis.thresholds import check_thresholds
from deeplim.diagnosis.widths import CoordinateCheck as CoordinateCheck
from deeplim.diagnosis.widths import coordinate_check as coordinate_check
from deeplim.inputs import MOST_INPUTS
from deeplim.probe.record import checked_options

_DEFAULTS = Thresholds()


def diagnose(
    subject: Any,
    inputs: Any = None,
    *,
    repeats: int = 32,
    networks: int = 1000,
    seed: int = 0,
    thresholds: Thresholds = _DEFAULTS,
    per: Literal["input", "token"] = "input",
    initialize: Callable[[Any], object] | None = None,
    modules: Sequence[str] | None = None,
    gradients: bool = True,
) -> Diagnosis:
    """Return what is wrong with a network at initialization, each finding with a remedy for its width and depth.

    subject: a PyTorch or JAX model, or a function that returns a new one (independent initializations, which is
    better: ``deeplim.probe.record`` says what is done with one model); a deeplim network, of which ``networks`` exact
    ones are drawn; or ``Paths``. inputs: as the subject takes them, one input a row; none for paths. A model is run
    forward and, where its outputs have gradients and ``gradients`` is left on, backward, in ``repeats``
    initializations. Where its architecture is one that deeplim knows, ``networks`` exact networks are drawn beside it:
    their medians are what findings call predicted, and the model is tested against their law. InputError for inputs
    that are missing or that the subject does not take, and whatever it raises, forward or backward.
    """
    check_thresholds(thresholds)
    options = checked_options(repeats, seed, per, MOST_INPUTS, modules, initialize)
    chosen = {name: options[name] for name in ("repeats", "seed", "per", "initialize", "modules")}
    probing = Probing(
        networks=check_count("networks", networks), gradients=check_flag("gradients", gradients), **chosen
    )
    name, reading, evidence = evidence_of(subject, inputs, thresholds, probing)
    return Diagnosis(name, judge(evidence), rows_of(evidence), reading, evidence)


def assert_healthy(subject: Any, inputs: Any = None, **options: Any) -> Diagnosis:
    """Return the diagnosis of a healthy network; UnhealthyNetwork, an AssertionError, names every finding otherwise.

    For a test suite of your own; the options are those of ``diagnose``.
    """
    found = diagnose(subject, inputs, **options)
    if not found.healthy:
        raise UnhealthyNetwork(found.subject, found.unhealthy)
    return found
