"""The options that commands share, and the networks and inputs that they describe."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from deeplim.errors import InputError

if TYPE_CHECKING:
    from deeplim.architecture import Network
    from deeplim.inputs import Inputs

_LONGEST_NETWORK = 2**20
"""Bytes of a network written as JSON, which takes some hundred."""
EXAMPLE_NETWORK = "--architecture mlp --width 200 --depth 200 --activation relu --correlation 0.3"
ACTIVATIONS = (
    "relu, leaky:0.2, shaped-relu:c_plus=0,c_minus=-1,rate=width, tanh, sin, erf, logistic, softplus, silu, gelu, "
    "package.module:function, or either of the last two kinds shaped: shaped:tanh,a=1.2,rate=width, or transformed: "
    "transformed:tanh,input_scale=0.5,input_shift=0.4,output_scale=2,output_shift=-0.4."
)


def example(command: str) -> str:
    """Return the end of a command's help: one line that runs."""
    return f"\b\nExample:\n  deeplim {command}"


def options(*given: Callable) -> Callable:
    """Return one decorator that adds several options, shown in their order."""

    def decorate(function: Callable) -> Callable:
        for option in reversed(given):
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


network_options = options(
    click.option("--network", "spec", metavar="FILE", help="A network written as JSON, instead of the options below."),
    click.option(
        "--trust", is_flag=True, help="Let a network's file name functions of any module, which is imported and run."
    ),
    click.option("--architecture", type=click.Choice(["mlp", "resnet"]), default="mlp", show_default=True),
    click.option("--width", type=int, help="Neurons in a layer."),
    click.option("--depth", type=int, help="Number of layers."),
    click.option("--activation", default="relu", show_default=True, help=ACTIVATIONS),
    click.option(
        "--skip",
        help="Scale of a ResNet's skip connection: a number, or norm-preserving, sqrt(1 - branch^2).  [default: 1]",
    ),
    click.option(
        "--branch",
        help="Scale of a ResNet's branch: a number, a/sqrt(depth), or a/depth^0.7.  [default: 1/sqrt(depth)]",
    ),
    click.option(
        "--normalization",
        type=click.Choice(["none", "rmsnorm", "layernorm", "batchnorm"]),
        default="none",
        show_default=True,
        help="Over the neurons of an input (rmsnorm, layernorm) or the inputs of a neuron (batchnorm).",
    ),
    click.option(
        "--placement",
        type=click.Choice(["before-activation", "after-activation", "before-sum", "after-sum"]),
        help="Where the normalization stands; the last two in a ResNet only.  [default: before-activation]",
    ),
    click.option(
        "--weight-variance",
        type=float,
        help="Variance of a weight times its fan-in.  [default: critical, 2 for relu, or 1 after a normalization]",
    ),
    click.option("--bias-variance", type=float, help="Variance of a bias.  [default: 0]"),
)
input_options = options(
    click.option("--correlation", type=float, help="Two unit-norm inputs at this correlation.  [default: 0.3]"),
    click.option("--inputs", "path", metavar="FILE", help="FILE.npy or FILE.csv, one input a row; or: digits."),
    click.option("--pair", default="0,1", show_default=True, callback=_numbers, help="The two inputs to report on."),
)
layers_option = click.option(
    "--layers", callback=_numbers, metavar="L,L,...", help="Layers to record.  [default: 41 evenly spaced]"
)
seed_option = click.option("--seed", type=int, default=0, show_default=True)
samples_option = click.option(
    "--samples", type=int, default=10_000, show_default=True, help="Sample paths of a random limit."
)
device_option = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="cpu",
    show_default=True,
    help="Where exact networks are drawn; cuda is an NVIDIA GPU, auto one where it is there and pays.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")


def networks_option(default: int) -> Callable:
    """Return the option that says how many exact networks to draw."""
    text = "Exact networks to draw." + ("" if default else "  [default: none]")
    return click.option("--networks", type=int, default=default, show_default=bool(default), help=text)


ensemble_options = options(
    network_options,
    input_options,
    networks_option(10_000),
    samples_option,
    layers_option,
    seed_option,
    device_option,
)

_SPELLED = {"spec": "network", "path": "inputs", "name": "limit", "formats": "format", "as_json": "json"}
_SCALES = ("skip", "branch")
_NORMALIZED = ("normalization", "placement")
_VARIANCES = ("weight_variance", "bias_variance")
NETWORK_OPTIONS = ("architecture", "width", "depth", "activation", *_SCALES, *_NORMALIZED, *_VARIANCES)


def refuse(where: str, names: tuple[str, ...]) -> None:
    """Refuse options that were given where they would be ignored."""
    context = click.get_current_context()
    given = [name for name in names if context.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    if given:
        words = " and ".join("--" + _SPELLED.get(name, name).replace("_", "-") for name in given)
        raise InputError(f"{words} cannot be given {where}; leave out one or the other.")


def load_network(path: str, *, trust: bool = False) -> "Network":
    """Return the network written as JSON in a file; InputError if it cannot be read."""
    from deeplim.architecture import read_network as from_json
    from deeplim.files import read_text

    try:
        text = read_text(path, _LONGEST_NETWORK)
    except (OSError, ValueError) as error:
        raise InputError(f"the network {path!r} could not be read ({error}); give a JSON file.") from None
    return from_json(text, trust=trust)


def read_network(chosen: dict[str, Any]) -> "Network":
    """Take the network's options out of the chosen ones and return the network that they describe."""
    from deeplim.activations import parse_activation
    from deeplim.architecture import MLP, ResNet

    spec, trust = chosen.pop("spec"), chosen.pop("trust")
    given = {name: chosen.pop(name) for name in NETWORK_OPTIONS}
    if spec is not None:
        refuse("with --network, which says all of it", NETWORK_OPTIONS)
        return load_network(spec, trust=trust)
    sizes = {name: given[name] for name in ("width", "depth")}
    missing = [f"--{name}" for name, value in sizes.items() if value is None]
    if missing:
        raise InputError(f"{' and '.join(missing)} must be given, for example --width 200 --depth 200.")
    scales = {name: given[name] for name in _SCALES if given[name] is not None}
    if given["architecture"] == "mlp" and scales:
        raise InputError(f"--{' and --'.join(scales)} given for an MLP; add --architecture resnet.")
    if given["placement"] is not None and given["normalization"] == "none":
        raise InputError(f"--placement {given['placement']} was given without a normalization; add --normalization.")
    placed = {name: given[name] for name in (*_NORMALIZED, *_VARIANCES) if given[name] is not None}
    cls = MLP if given["architecture"] == "mlp" else ResNet
    return cls(**sizes, activation=parse_activation(given["activation"]), **scales, **placed)


def read_inputs(chosen: dict[str, Any]) -> "tuple[Inputs, tuple[int, int]]":
    """Take the inputs' options out of the chosen ones and return the inputs and the pair to report on."""
    from deeplim.inputs import gram
    from deeplim.inputs import read_inputs as from_file

    correlation, path, pair = chosen.pop("correlation"), chosen.pop("path"), chosen.pop("pair")
    if len(pair) != 2:
        raise InputError(f"--pair {','.join(map(str, pair))} was given; it takes two indices, for example --pair 0,1.")
    if correlation is not None and path is not None:
        raise InputError("--correlation and --inputs were both given; give one of them.")
    if path is not None:
        return from_file(path), (pair[0], pair[1])
    return gram(correlation=0.3 if correlation is None else correlation), (pair[0], pair[1])
