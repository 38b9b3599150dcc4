"""The commands that print laws: predict, simulate, compare and limits."""

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from deeplim.cli.options import (
    EXAMPLE_NETWORK,
    NETWORK_OPTIONS,
    device_option,
    ensemble_options,
    example,
    input_options,
    json_option,
    layers_option,
    load_network,
    network_options,
    networks_option,
    read_inputs,
    read_network,
    refuse,
    samples_option,
    seed_option,
)
from deeplim.cli.terminal import LAWS_DIFFER, attempted, check_output, print_json, progress, show
from deeplim.errors import InputError, LimitError

if TYPE_CHECKING:
    from deeplim.architecture import Network
    from deeplim.inputs import Inputs
    from deeplim.ladder import Ladder


def climb_ladder(options: dict[str, Any]) -> "Ladder":
    """Take a command's options and return the network's ladder of descriptions, showing the progress."""
    from deeplim.ladder import climb

    network = read_network(options)
    inputs, pair = read_inputs(options)
    if options["networks"] < 0:
        raise InputError(f"--networks {options['networks']} was given; give 0 or more.")
    with progress(options["networks"]) as step:
        return climb(network, inputs, pair=pair, progress=step, drawn=step, **options)


@click.command(epilog=example(f"predict {EXAMPLE_NETWORK} --json"))
@network_options
@input_options
@networks_option(0)
@samples_option
@layers_option
@seed_option
@device_option
@json_option
def predict(as_json: bool, **options: Any) -> None:
    """What every limit that applies says of a network's covariances along depth."""
    ladder = climb_ladder(options)
    if as_json:
        print_json(ladder.to_dict())
    else:
        show(str(ladder))


@click.command(epilog=example(f"simulate {EXAMPLE_NETWORK} --networks 10000 --output paths.npz"))
@network_options
@input_options
@networks_option(10_000)
@layers_option
@seed_option
@device_option
@click.option("--threads", type=int, help="Threads; they change no number.  [default: all cores]")
@click.option(
    "--precision",
    type=click.Choice(["auto", "double"]),
    default="auto",
    show_default=True,
    help="Rows in single precision where that is sound, or double precision throughout.",
)
@click.option("--output", type=click.Path(dir_okay=False), help="Save every path to this .npz file.")
@click.option("--plan", "planned", is_flag=True, help="Predict time and memory from a short calibration; do not run.")
@json_option
def simulate(as_json: bool, output: str | None, planned: bool, **options: Any) -> None:
    """Draw exact finite networks, of any width, without their weight matrices."""
    from deeplim.ensemble import simulate as draw
    from deeplim.ensemble import summarize
    from deeplim.inputs import check_pair
    from deeplim.summary import Summary, table

    network = read_network(options)
    inputs, pair = read_inputs(options)
    check_output(output)
    if inputs.count > 1:
        check_pair(pair, inputs.count)
    if planned:
        _print_plan(network, inputs, output, options, as_json)
        return
    failed = None
    with progress(options["networks"]) as step:
        step(f"exact networks of {network}")
        if output is None:
            found = summarize(network, inputs, pair=pair, progress=step, **options)
        else:
            paths = draw(network, inputs, progress=step, **options)
            failed = attempted([lambda: paths.save(output)])
            found = Summary.of(paths, pair=pair)
    if as_json:
        asked = {"network": json.loads(network.to_json()), "inputs": str(inputs), "seed": options["seed"]}
        asked |= {"networks": options["networks"], "layers": found.time.tolist()}
        print_json({**asked, "pair": list(pair) if inputs.count > 1 else None, **found.to_dict()})
    else:
        show(f"{network}, {options['networks']:,} exact networks, layer {found.time[-1]:g}")
        show(table(found.to_dict(), -1))
    if failed is not None:
        raise failed


def _print_plan(
    network: "Network", inputs: "Inputs", output: str | None, options: dict[str, Any], as_json: bool
) -> None:
    """What the run would take, instead of running it."""
    from deeplim.planning import plan

    refuse("with --plan, which plans for the processor", ("device",))
    chosen = {name: options[name] for name in ("networks", "layers", "threads", "precision")}
    found = plan(network, inputs, output=output, **chosen)
    if as_json:
        print_json({"network": json.loads(network.to_json()), "inputs": str(inputs), **found.to_dict()})
    else:
        show(f"{network}\n{found}")


@click.command(epilog=example(f"compare {EXAMPLE_NETWORK} --networks 10000"))
@click.argument("saved", nargs=-1, type=click.Path(dir_okay=False), metavar="[A.npz B.npz]")
@ensemble_options
@click.option("--limit", "name", help="The limit to compare with.  [default: the first that applies]")
@click.option("--false-alarm", type=float, default=1e-3, show_default=True, help="Overall false-alarm rate.")
@click.option("--with", "other", metavar="FILE", help="A network as JSON: ResNet and shaped MLP, with fitted rates.")
@json_option
def compare(
    saved: tuple[str, ...], name: str | None, false_alarm: float, other: str | None, as_json: bool, **options: Any
) -> None:
    """Compare exact networks with a limit, or two saved sets of paths; exit code 3 when the laws differ.

    With another network, by --with: a ResNet and an MLP shaped at the rate of its depth that share one covariance ODE,
    each against it, and how fast their errors and fluctuations fall as width and depth grow.
    """
    from deeplim.comparison import compare as compare_paths

    if other is not None:
        if saved:
            raise InputError("--with and saved paths were both given; leave out one or the other.")
        _compare_routes(other, options, as_json)
        return
    if saved:
        from deeplim.paths import Paths

        refuse(
            "with saved paths", (*NETWORK_OPTIONS, "spec", "correlation", "path", "layers", "seed", "name", "device")
        )
        if len(saved) != 2:
            raise InputError(f"paths from {len(saved)} file(s) were given; give two files, or none and a network.")
        observed, predicted = (Paths.load(path) for path in saved)
        pair = tuple(options["pair"])
    else:
        observed, predicted, pair = _observe_and_predict(name, options)
    found = compare_paths(observed, predicted, pair=pair, false_alarm=false_alarm)
    if as_json:
        show(found.to_json())
    else:
        show(str(found))
    if found.differ:
        sys.exit(LAWS_DIFFER)


def _compare_routes(other: str, options: dict[str, Any], as_json: bool) -> None:
    """Both networks against the ODE they share, and the fitted rates."""
    from deeplim.routes import compare_routes

    refuse("with --with, which chooses sizes and samples itself", ("networks", "samples", "layers", "name", "device"))
    trust = options["trust"]
    networks = read_network(options), load_network(other, trust=trust)
    inputs, pair = read_inputs(options)
    with progress(0) as step:
        found = compare_routes(*networks, inputs, pair=pair, seed=options["seed"], progress=step)
    if as_json:
        print_json(found.to_dict())
    else:
        show(str(found))


def _observe_and_predict(name: str | None, options: dict[str, Any]) -> tuple:
    from deeplim import limits
    from deeplim.ensemble import simulate as draw

    network = read_network(options)
    inputs, pair = read_inputs(options)
    found = limits.find(network) if name is None else [limits.named(name, network)]
    if inputs.count > 2:
        inputs, pair = inputs.pair(*pair), (0, 1)
    chosen = {key: options[key] for key in ("seed", "layers")}
    with progress(options["networks"]) as step:
        step(f"exact networks of {network}")
        drawing = {"networks": options["networks"], "device": options["device"], "progress": step}
        observed = draw(network, inputs, **drawing, **chosen)
        chosen["seed"] += 1
        for limit in found[:-1]:
            step(f"limit {limit.name}")
            try:
                return observed, limit.sample(inputs, samples=options["samples"], **chosen), pair
            except LimitError as error:
                click.echo(f"{limit.name} failed for these inputs: {error}", err=True)
        step(f"limit {found[-1].name}")
        return observed, found[-1].sample(inputs, samples=options["samples"], **chosen), pair


@click.command(epilog=example("limits --architecture resnet --width 200 --depth 50"))
@network_options
@click.option("--derive", is_flag=True, help="Also find a limit numerically, for any activation and scaling.")
@json_option
def limits(as_json: bool, derive: bool, **options: Any) -> None:
    """Which limits describe a network, and why each other one does not."""
    from deeplim import limits as known

    network = read_network(options)
    found, others = known.find(network), known.explain(network)
    if derive:
        try:
            found.append(known.derive(network))
        except LimitError as error:
            others["derived"] = str(error)
    if as_json:
        applies = [
            {"name": limit.name, "title": limit.title, "clock": limit.clock, "equation": limit.equation}
            | {"parameters": limit.parameters, "statement": limit.statement, "accuracy": limit.accuracy}
            | {"source": limit.source, "advice": limit.advice}
            for limit in found
        ]
        print_json({"network": json.loads(network.to_json()), "applies": applies, "not_applicable": others})
        return
    show(f"{network}\n")
    for limit in found:
        values = ", ".join(f"{name} = {value:.4g}" for name, value in limit.parameters.items())
        show(f"{limit.name}: {limit.title}, clock {limit.clock} ({values})\n  {limit.statement} {limit.accuracy}")
        if limit.advice is not None:
            show(f"  Advice: {limit.advice}")
    for name, reason in others.items():
        show(f"not {name}: {reason}")
