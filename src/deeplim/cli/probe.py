"""The command that probes a model of yours: probe."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from deeplim.cli.options import example, json_option, seed_option
from deeplim.cli.terminal import UNHEALTHY, attempted, check_figure, check_output, print_json, show
from deeplim.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from deeplim.diagnosis import Diagnosis

_EXAMPLE = example("probe mymodel:make --inputs digits --threshold aligned_gap=0.001")


@click.command(epilog=_EXAMPLE)
@click.argument("place", metavar="PACKAGE.MODULE:FUNCTION")
@click.option(
    "--inputs", "path", metavar="FILE", required=True, help="FILE.npy or FILE.csv, an input a row; or: digits."
)
@click.option("--shape", metavar="N,N,...", help="The shape of one input, as 1,8,8.  [default: as in the file]")
@click.option("--tokens", is_flag=True, help="The inputs are whole numbers, as a model of tokens takes them.")
@click.option(
    "--per",
    type=click.Choice(["input", "token"]),
    default="input",
    show_default=True,
    help="Compare whole inputs, or the tokens of each sequence with each other.",
)
@click.option("--repeats", type=int, default=32, show_default=True, help="Initializations of the model.")
@click.option("--networks", type=int, default=1000, show_default=True, help="Exact networks drawn beside it.")
@click.option("--no-gradients", is_flag=True, help="Leave out the backward signal.")
@click.option("--threshold", "thresholds", multiple=True, metavar="NAME=VALUE", help="A threshold; can be repeated.")
@click.option("--output", type=click.Path(dir_okay=False), help="Save the forward signal's paths to this .npz file.")
@click.option("--figure", type=click.Path(dir_okay=False), help="Draw the layers: .svg, .png, .pdf or .html.")
@seed_option
@json_option
def probe(
    place: str,
    path: str,
    shape: str | None,
    tokens: bool,
    no_gradients: bool,
    thresholds: tuple[str, ...],
    output: str | None,
    figure: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Diagnose a model of yours at initialization: its signals layer by layer, findings and remedies.

    The function, found in an installed package or in the current directory, returns a new PyTorch or JAX model each
    time. It takes no arguments, or rngs where it makes a Flax NNX module. Exit code 3 when a finding is unhealthy.
    """
    from deeplim.diagnosis import Thresholds, diagnose
    from deeplim.loading import load_function

    check_output(output)
    check_figure(figure, output)
    chosen = Thresholds().changed(thresholds)
    inputs = read_model_inputs(path, shape, tokens=tokens)
    factory = load_function(place, what="model")
    found = diagnose(factory, inputs, thresholds=chosen, gradients=not no_gradients, **options)
    writes: list[Callable[[], object]] = []
    if output is not None:
        writes.append(lambda: found.evidence.recorded.save(output))
    if figure is not None:
        writes.append(lambda: _draw(found, place, figure))
    failed = attempted(writes)
    if as_json:
        print_json(found.to_dict())
    else:
        show(str(found))
    if failed is not None:
        raise failed
    if not found.healthy:
        sys.exit(UNHEALTHY)


def _draw(found: "Diagnosis", place: str, figure: str) -> None:
    """The layers that the findings rest on, exact networks over them and gradients below."""
    from deeplim.drawing import save
    from deeplim.layer_figures import layer_figure

    seen = found.evidence
    chart = layer_figure(seen.measured, predicted=seen.predicted, gradients=seen.backward, title=f"{place}, by layer")
    save(chart, figure)


def read_model_inputs(path: str, shape: str | None, *, tokens: bool) -> "np.ndarray":
    """Return the numbers in a file as a model takes them, one input for each index of the first axis."""
    import numpy as np

    from deeplim.inputs import read_array

    values = read_array(path)
    if tokens:
        whole = np.rint(values).astype(np.int64)
        if not (whole == values).all() or whole.min() < 0:
            raise InputError(f"--tokens was given and {path} has entries that are no tokens; give whole numbers.")
        values = whole
    if shape is None:
        return values
    try:
        sizes = [int(size) for size in shape.split(",")]
        return values.reshape(len(values), *sizes)
    except ValueError:
        raise InputError(
            f"--shape {shape} was given for inputs of {values[0].size} numbers each; give whole numbers whose product "
            "is that, as 1,8,8."
        ) from None
