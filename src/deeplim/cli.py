"""The command line: words and progress on stderr, results on stdout; exit 0 fine, 1 error, 2 usage, 3 laws differ."""

import json
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from deeplim import __version__
from deeplim.errors import DeeplimError, InputError

if TYPE_CHECKING:
    from deeplim.architecture import Network
    from deeplim.inputs import Inputs
    from deeplim.ladder import Ladder

LAWS_DIFFER = 3
_EXAMPLE_NETWORK = "--architecture mlp --width 200 --depth 200 --activation relu --correlation 0.3"


class _Commands(click.Group):
    """A group whose commands turn deeplim's errors into one sentence and exit code 2."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except DeeplimError as error:
            raise click.UsageError(str(error)) from None


def _example(command: str) -> str:
    return f"\b\nExample:\n  deeplim {command}"


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=_example(f"predict {_EXAMPLE_NETWORK}"),
)
@click.version_option(__version__, prog_name="deeplim")
def main() -> None:
    """Scaling limits of deep neural networks at initialization, checked against exact finite networks."""


def _options(*options: Callable) -> Callable:
    def decorate(function: Callable) -> Callable:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def _numbers(context: click.Context, parameter: click.Parameter, value: str | None) -> list[int] | None:
    if value is None:
        return None
    try:
        return [int(part) for part in value.split(",")]
    except ValueError:
        raise click.BadParameter(f"{value!r} is not whole numbers with commas between them.") from None


_network_options = _options(
    click.option("--network", "spec", metavar="FILE", help="A network written as JSON, instead of the options below."),
    click.option("--architecture", type=click.Choice(["mlp", "resnet"]), default="mlp", show_default=True),
    click.option("--width", type=int, help="Neurons in a layer."),
    click.option("--depth", type=int, help="Number of layers."),
    click.option(
        "--activation",
        default="relu",
        show_default=True,
        help="relu, leaky:0.2, shaped-relu:c_plus=0,c_minus=-1,rate=width, tanh, sin, erf, or package.module:function.",
    ),
    click.option("--skip", type=float, help="Scale of a ResNet's skip connection.  [default: 1]"),
    click.option("--branch", help="Scale of a ResNet's branch: a number, or a/sqrt(depth).  [default: 1/sqrt(depth)]"),
    click.option("--normalization", type=click.Choice(["none"]), default="none", show_default=True),
)
_input_options = _options(
    click.option("--correlation", type=float, help="Two unit-norm inputs at this correlation.  [default: 0.3]"),
    click.option("--inputs", "path", metavar="FILE", help="FILE.npy or FILE.csv, one input a row; or: digits."),
    click.option("--pair", default="0,1", show_default=True, callback=_numbers, help="The two inputs to report on."),
)
_layers_option = click.option(
    "--layers", callback=_numbers, metavar="L,L,...", help="Layers to record.  [default: 41 evenly spaced]"
)
_seed_option = click.option("--seed", type=int, default=0, show_default=True)
_samples_option = click.option(
    "--samples", type=int, default=10_000, show_default=True, help="Sample paths of a random limit."
)
_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")


def _networks_option(default: int) -> Callable:
    text = "Exact networks to draw." + ("" if default else "  [default: none]")
    return click.option("--networks", type=int, default=default, show_default=bool(default), help=text)


_SPELLED = {"spec": "network", "path": "inputs", "name": "limit", "formats": "format"}
_NETWORK_OPTIONS = ("architecture", "width", "depth", "activation", "skip", "branch", "normalization")


def _refuse(where: str, names: tuple[str, ...]) -> None:
    """Refuse options that were given where they would be ignored."""
    context = click.get_current_context()
    given = [name for name in names if context.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    if given:
        words = " and ".join("--" + _SPELLED.get(name, name) for name in given)
        raise InputError(f"{words} cannot be given {where}; leave out one or the other.")


_ensemble_options = _options(
    _network_options, _input_options, _networks_option(10_000), _samples_option, _layers_option, _seed_option
)


def _read_network(options: dict[str, Any]) -> "Network":
    from deeplim.activations import parse_activation
    from deeplim.architecture import MLP, ResNet, read_network

    spec = options.pop("spec")
    if spec is not None:
        _refuse("with --network, which says all of it", _NETWORK_OPTIONS)
    given = {name: options.pop(name) for name in ("architecture", "width", "depth", "activation", "skip", "branch")}
    options.pop("normalization")
    if spec is not None:
        try:
            return read_network(Path(spec).read_text())
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"the network {spec!r} could not be read ({error}); give a JSON file.") from None
    sizes = {name: given[name] for name in ("width", "depth")}
    missing = [f"--{name}" for name, value in sizes.items() if value is None]
    if missing:
        raise InputError(f"{' and '.join(missing)} must be given, for example --width 200 --depth 200.")
    scales = {name: given[name] for name in ("skip", "branch") if given[name] is not None}
    if given["architecture"] == "mlp" and scales:
        raise InputError(f"--{' and --'.join(scales)} given for an MLP; add --architecture resnet.")
    cls = MLP if given["architecture"] == "mlp" else ResNet
    return cls(**sizes, activation=parse_activation(given["activation"]), **scales)


def _read_inputs(options: dict[str, Any]) -> "tuple[Inputs, tuple[int, int]]":
    from deeplim.inputs import gram, read_inputs

    correlation, path, pair = options.pop("correlation"), options.pop("path"), options.pop("pair")
    if len(pair) != 2:
        raise InputError(f"--pair {','.join(map(str, pair))} was given; it takes two indices, for example --pair 0,1.")
    if correlation is not None and path is not None:
        raise InputError("--correlation and --inputs were both given; give one of them.")
    if path is not None:
        return read_inputs(path), (pair[0], pair[1])
    return gram(correlation=0.3 if correlation is None else correlation), (pair[0], pair[1])


@contextmanager
def _progress(networks: int, *, always: bool = False) -> Iterator[Callable[..., None]]:
    """A bar on stderr, counting exact networks and naming the step; hidden where stderr is not a terminal."""
    from tqdm import tqdm

    with tqdm(total=networks, unit=" networks", file=sys.stderr, disable=None if not always else False) as bar:

        def step(what: str | int) -> None:
            if isinstance(what, str):
                bar.set_description_str(what)
            else:
                bar.update(what)

        yield step


def _climb(options: dict[str, Any]) -> "Ladder":
    from deeplim.ladder import climb

    network = _read_network(options)
    inputs, pair = _read_inputs(options)
    if options["networks"] < 0:
        raise InputError(f"--networks {options['networks']} was given; give 0 or more.")
    with _progress(options["networks"]) as step:
        return climb(network, inputs, pair=pair, progress=step, drawn=step, **options)


def _print_json(value: object) -> None:
    click.echo(json.dumps(value, allow_nan=False))


@main.command(epilog=_example(f"predict {_EXAMPLE_NETWORK} --json"))
@_network_options
@_input_options
@_networks_option(0)
@_samples_option
@_layers_option
@_seed_option
@_json_option
def predict(as_json: bool, **options: Any) -> None:
    """What every limit that applies says of a network's covariances along depth."""
    ladder = _climb(options)
    if as_json:
        _print_json(ladder.to_dict())
    else:
        click.echo(str(ladder))


@main.command(epilog=_example(f"simulate {_EXAMPLE_NETWORK} --networks 10000 --output paths.npz"))
@_network_options
@_input_options
@_networks_option(10_000)
@_layers_option
@_seed_option
@click.option("--threads", type=int, help="Threads; they change no number.  [default: all cores]")
@click.option("--output", type=click.Path(dir_okay=False), help="Save every path to this .npz file.")
@_json_option
def simulate(as_json: bool, output: str | None, **options: Any) -> None:
    """Draw exact finite networks, of any width, without their weight matrices."""
    from deeplim.ensemble import simulate as draw
    from deeplim.ensemble import summarize
    from deeplim.inputs import check_pair
    from deeplim.summary import Summary, table

    network = _read_network(options)
    inputs, pair = _read_inputs(options)
    _check_output(output)
    if inputs.count > 1:
        check_pair(pair, inputs.count)
    with _progress(options["networks"]) as step:
        step(f"exact networks of {network}")
        if output is None:
            found = summarize(network, inputs, pair=pair, progress=step, **options)
        else:
            paths = draw(network, inputs, progress=step, **options)
            paths.save(output)
            found = Summary.of(paths, pair=pair)
    if as_json:
        asked = {"network": json.loads(network.to_json()), "inputs": str(inputs), "seed": options["seed"]}
        asked |= {"networks": options["networks"], "layers": found.time.tolist()}
        _print_json({**asked, "pair": list(pair) if inputs.count > 1 else None, **found.to_dict()})
    else:
        click.echo(f"{network}, {options['networks']:,} exact networks, layer {found.time[-1]:g}")
        click.echo(table(found.to_dict(), -1))


@main.command(epilog=_example(f"compare {_EXAMPLE_NETWORK} --networks 10000"))
@click.argument("saved", nargs=-1, type=click.Path(dir_okay=False), metavar="[A.npz B.npz]")
@_ensemble_options
@click.option("--limit", "name", help="The limit to compare with.  [default: the first that applies]")
@click.option("--false-alarm", type=float, default=1e-3, show_default=True, help="Overall false-alarm rate.")
@_json_option
def compare(saved: tuple[str, ...], name: str | None, false_alarm: float, as_json: bool, **options: Any) -> None:
    """Compare exact networks with a limit, or two saved sets of paths; exit code 3 when the laws differ."""
    from deeplim.comparison import compare as compare_paths

    if saved:
        from deeplim.paths import Paths

        _refuse("with saved paths", (*_NETWORK_OPTIONS, "spec", "correlation", "path", "layers", "seed", "name"))
        if len(saved) != 2:
            raise InputError(f"paths from {len(saved)} file(s) were given; give two files, or none and a network.")
        observed, predicted = (Paths.load(path) for path in saved)
        pair = tuple(options["pair"])
    else:
        observed, predicted, pair = _observe_and_predict(name, options)
    found = compare_paths(observed, predicted, pair=pair, false_alarm=false_alarm)
    if as_json:
        click.echo(found.to_json())
    else:
        click.echo(str(found))
    if found.differ:
        sys.exit(LAWS_DIFFER)


def _observe_and_predict(name: str | None, options: dict[str, Any]) -> tuple:
    from deeplim import limits
    from deeplim.ensemble import simulate as draw

    network = _read_network(options)
    inputs, pair = _read_inputs(options)
    limit = limits.find(network)[0] if name is None else limits.named(name, network)
    if inputs.count > 2:
        inputs, pair = inputs.pair(*pair), (0, 1)
    chosen = {key: options[key] for key in ("seed", "layers")}
    with _progress(options["networks"]) as step:
        step(f"exact networks of {network}")
        observed = draw(network, inputs, networks=options["networks"], progress=step, **chosen)
        step(f"limit {limit.name}")
        chosen["seed"] += 1
        return observed, limit.sample(inputs, samples=options["samples"], **chosen), pair


@main.command(epilog=_example("limits --architecture resnet --width 200 --depth 50"))
@_network_options
@_json_option
def limits(as_json: bool, **options: Any) -> None:
    """Which limits describe a network, and why each other one does not."""
    from deeplim import limits as known

    network = _read_network(options)
    found, others = known.find(network), known.explain(network)
    if as_json:
        applies = [
            {"name": limit.name, "title": limit.title, "clock": limit.clock, "equation": limit.equation}
            | {"parameters": limit.parameters, "statement": limit.statement, "accuracy": limit.accuracy}
            | {"source": limit.source}
            for limit in found
        ]
        _print_json({"network": json.loads(network.to_json()), "applies": applies, "not_applicable": others})
        return
    click.echo(f"{network}\n")
    for limit in found:
        values = ", ".join(f"{name} = {value:.4g}" for name, value in limit.parameters.items())
        click.echo(f"{limit.name}: {limit.title}, clock {limit.clock} ({values})\n  {limit.statement} {limit.accuracy}")
    for name, reason in others.items():
        click.echo(f"not {name}: {reason}")


@main.command(epilog=_example(f"report {_EXAMPLE_NETWORK} --networks 10000 --output report.html"))
@_ensemble_options
@click.option("--output", type=click.Path(dir_okay=False), default="deeplim-report.html", show_default=True)
@click.option("--figures", "folder", type=click.Path(file_okay=False), help="Also save the figures in this folder.")
@click.option("--format", "formats", type=click.Choice(["svg", "png", "pdf"]), multiple=True, default=["svg"])
@_json_option
def report(output: str, folder: str | None, formats: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Write one self-contained HTML page: exact networks beside the limit, and what it means."""
    from deeplim.reporting import report as make

    _check_output(output)
    if folder is None:
        _refuse("without --figures FOLDER", ("formats",))
    made = make(_climb(options), command=shlex.join(["deeplim", *sys.argv[1:]]))
    made.save(output)
    if folder is not None:
        made.save_figures(folder, formats=formats)
    if as_json:
        click.echo(made.to_json())
    click.echo(f"The report is at {Path(output).resolve()}", err=as_json)


@main.command(epilog=_example("demo"))
@click.option("--output", type=click.Path(dir_okay=False), default="deeplim-demo/report.html", show_default=True)
@_networks_option(1000)
@_seed_option
@_json_option
def demo(output: str, networks: int, seed: int, as_json: bool) -> None:
    """Ten handwritten digits through an unshaped MLP, its shaped counterpart and a ResNet, 128 wide and 128 deep."""
    from deeplim.activations import ShapedReLU
    from deeplim.architecture import MLP, ResNet
    from deeplim.checks import check_count
    from deeplim.inputs import digits
    from deeplim.ladder import climb
    from deeplim.reporting import report as make

    size = {"width": 128, "depth": 128}
    shown: list[Network] = [MLP(**size), MLP(**size, activation=ShapedReLU()), ResNet(**size)]
    check_count("networks", networks)
    try:
        Path(output).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"the folder of {output} could not be made ({error.strerror}); choose another.") from None
    _check_output(output)
    with _progress(len(shown) * networks, always=True) as step:
        chosen: dict[str, Any] = {"networks": networks, "samples": networks, "seed": seed}
        ladders = [climb(net, digits(), **chosen, progress=step, drawn=step) for net in shown]
        step("writing the report")
        made = make(ladders, command=shlex.join(["deeplim", *sys.argv[1:]]), title="Ten digits through three networks")
        made.save(output)
        step("done")
    if as_json:
        click.echo(made.to_json())
    click.echo(f"The report is at {Path(output).resolve()}", err=as_json)


def _check_output(output: str | None) -> None:
    """Refuse an output that cannot be written before any work is done."""
    from deeplim.files import check_writable

    if output is not None:
        check_writable(output)
