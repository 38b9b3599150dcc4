"""Every argument of every public function of the core, of each wrong kind: refused in one sentence, or it works."""

import inspect
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kinds import KINDS
from public_calls import CALLS, made, write_files

import deeplim as dl
from deeplim import (
    claims,
    comparison,
    drawing,
    figures,
    inputs,
    layer_figures,
    limits,
    mean_field,
    observables,
    paths,
    planning,
    rates,
    reporting,
    routes,
    spectra,
    summary,
)
from deeplim.errors import DeeplimError
from deeplim.limits import density, kernels, laws
from deeplim.reporting import gallery

ODD: dict[str, Any] = KINDS | {
    "a whole number in floats": 2.0,
    "a small number": 5e-324,
    "a large number": 1e308,
    "None in a list": [None],
    "text in a list": [1, "x"],
    "rows of two lengths": [[1.0], [1.0, 2.0]],
    "an array of no entry": np.zeros(0),
    "an array of three axes": np.zeros((2, 2, 2)),
    "an array of bytes": np.zeros(3, dtype=np.uint8),
    "an array of text": np.array(["x", "y"]),
    "an array of records": np.zeros(2, dtype=[("a", float)]),
    "an array of complex numbers": np.ones((2, 2)) * 1j,
    "an array of NaN": np.full((2, 2), np.nan),
    "a file": io.StringIO("x"),
    "a pair of bools": (False, True),
    "a pair of floats": (0.0, 1.0),
    "a pair of text": "01",
    "three of a pair": (0, 1, 2),
    "ones by their names": {1: 1, "a": []},
}


RAISES_ITSELF = {"a type", "a function", "a function of two"}
"""What is called where a function is asked for, and may raise errors of its own."""
LONG_WORK = {("routes.compare_routes", "work"): {"a large number"}}
"""What is right, and takes long."""
RETURNED = {
    "Arrival",
    "Approach",
    "Comparison",
    "Control",
    "Convergence",
    "Curve",
    "Design",
    "Edge",
    "Figure",
    "Finding",
    "FixedPoint",
    "Gallery",
    "Ladder",
    "MeanField",
    "Moments",
    "Observable",
    "Plan",
    "Quantity",
    "Rate",
    "Report",
    "Result",
    "Routes",
    "Side",
    "Summary",
    "Density",
    "Variable",
    "Claim",
    "Series",
    "AbstractLimit",
}
"""Classes of what functions return, which nobody makes."""
INNER = {
    # written for the library's own modules
    "drawing.check_figure",
    "drawing.check_renderer",
    "drawing.finished",
    "drawing.literal",
    "drawing.shortened",
    "drawing.styled",
    "figures.Side.column",
    "inputs.check_first",
    "inputs.check_inputs",
    "inputs.check_pair",
    "inputs.check_reference",
    "limits.kernels.roots_for_rows",
    "limits.kernels.sum_of",
    "paths.check_layers",
    "paths.check_paths",
    "paths.default_layers",
    "limits.laws.check_positive",
    "path_checks.every",
    "reporting.gallery.make_folder",
    "path_checks.listed",
    "reporting.gallery.control_row",
    "reporting.gallery.number_row",
    "planning.peak_memory",
    "planning.resident_memory",
    "routes.Design.counts",
    "summary.Moments.merge",
    "summary.Moments.of",
    "summary.Moments.row",
    "summary.part",
    "summary.summarize_blocks",
    "summary.table",
}
"""Functions without an underscore that no page names, called by the library alone with what it made itself."""
MODULES = (
    dl,
    claims,
    comparison,
    density,
    drawing,
    figures,
    inputs,
    kernels,
    laws,
    layer_figures,
    limits,
    mean_field,
    observables,
    paths,
    planning,
    rates,
    reporting,
    gallery,
    routes,
    spectra,
    summary,
)


def _function(call: Any) -> Any:
    """What is behind a bound method, a decorator or a wrapper."""
    call = inspect.unwrap(call)
    return getattr(call, "__func__", call)


def _parameters(call: Any) -> list[str]:
    skipped = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [name for name, one in inspect.signature(call).parameters.items() if one.kind not in skipped]


def _public(module: Any) -> Iterator[tuple[str, Any]]:
    """The functions and classes of a module that users see, and the methods of its classes."""
    for name in getattr(module, "__all__", None) or vars(module):
        one = getattr(module, name)
        own = str(getattr(one, "__module__", "")).startswith("deeplim") and callable(one) and not name.startswith("_")
        if own and (hasattr(module, "__all__") or one.__module__ == module.__name__):
            yield f"{one.__module__}.{one.__qualname__}".removeprefix("deeplim."), one
            if inspect.isclass(one) and not issubclass(one, Exception):
                yield from _methods(one)


def _methods(of: type) -> Iterator[tuple[str, Any]]:
    for name, method in inspect.getmembers(of, lambda one: inspect.isfunction(one) or inspect.ismethod(one)):
        own = getattr(inspect.unwrap(method), "__module__", "").startswith("deeplim")
        if own and not name.startswith(("_", "model_post")) and set(_parameters(method)) - {"self"}:
            yield f"{of.__module__}.{of.__qualname__}.{name}".removeprefix("deeplim."), method


def test_every_public_function_is_called():
    called = {_function(made(call)) for call, _ in CALLS.values()}
    missing = {
        name
        for module in MODULES
        for name, one in _public(module)
        if _function(one) not in called
        and name.rpartition(".")[2] not in RETURNED
        and name not in INNER
        and not name.startswith(("diagnosis.", "shaping.", "probe."))  # see test_wrong_kinds.py
    }
    assert sorted(missing) == []


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    write_files()


@pytest.mark.parametrize("name", CALLS)
def test_the_arguments_that_others_are_tried_beside_are_right(name: str):
    call, right = made(CALLS[name])
    call(**right)


@pytest.mark.parametrize("name", CALLS)
def test_what_is_given_is_taken_or_refused_in_one_sentence(name: str):
    call, right = made(CALLS[name])
    assert [raw for argument in _parameters(call) for raw in _raw(name, call, right, argument)] == []


def _raw(name: str, call: Any, right: dict[str, Any], argument: str) -> Iterator[str]:
    """What ends in no sentence, of each kind given for an argument."""
    for kind, value in ODD.items():
        given = (one for one in (0, 1)) if kind == "a generator" else value
        if kind in LONG_WORK.get((name, argument), ()):
            continue
        try:
            call(**right | {argument: given})
        except DeeplimError as error:
            if not re.fullmatch(r"[^\n]{20,500}[^.]\.", str(error)):
                yield f"{argument}, {kind}: {error!r}"
        except Exception as error:
            if not (kind in RAISES_ITSELF and argument in ("progress", "drawn", "function", "drift")):
                yield f"{argument}, {kind}: {type(error).__name__} {str(error)[:60]}"
