"""Write what is generated: docs/limits.md from the limits, docs/command-line.md, a table of docs/normalization.md.

`make docs` writes them; the tests fail when they are out of date.
"""

import inspect
from pathlib import Path

import click

from deeplim import cli
from deeplim.activations import Elementwise, LeakyReLU, ReLU, Shaped, ShapedReLU
from deeplim.architecture import MLP, NORM_PRESERVING, Network, ResNet
from deeplim.limits import ALL, find
from deeplim.limits.kernels import fixed_points

HERE = Path(__file__).parent
SIZE = {"width": 100, "depth": 100}
AFTER = "after-activation"
SHAPED, TANH, SILU = ShapedReLU(), Shaped(function="tanh"), Shaped(function="silu")
NETWORKS: dict[str, Network] = {
    "MLP, ReLU": MLP(**SIZE),
    "MLP, leaky ReLU": MLP(**SIZE, activation=LeakyReLU(slope=0.2)),
    "MLP, linear": MLP(**SIZE, activation=LeakyReLU(slope=1)),
    "MLP, tanh, or any function of yours": MLP(**SIZE, activation=Elementwise(function="tanh")),
    "MLP, ReLU shaped at rate width": MLP(**SIZE, activation=SHAPED),
    "MLP, ReLU shaped at rate depth": MLP(width=1000, depth=30, activation=ShapedReLU(rate="depth")),
    "MLP, ReLU shaped with exponent 0.3": MLP(**SIZE, activation=ShapedReLU(exponent=0.3)),
    "MLP, tanh shaped at rate width": MLP(**SIZE, activation=TANH),
    "MLP, tanh shaped at rate depth": MLP(width=1000, depth=30, activation=Shaped(function="tanh", rate="depth")),
    "MLP, ReLU, RMSNorm": MLP(**SIZE, normalization="rmsnorm"),
    "MLP, ReLU, LayerNorm before it": MLP(**SIZE, normalization="layernorm"),
    "MLP, ReLU, LayerNorm after it": MLP(**SIZE, normalization="layernorm", placement=AFTER),
    "MLP, shaped ReLU, RMSNorm": MLP(**SIZE, activation=SHAPED, normalization="rmsnorm"),
    "MLP, shaped ReLU, LayerNorm after it": MLP(**SIZE, activation=SHAPED, normalization="layernorm", placement=AFTER),
    "MLP, shaped SiLU, RMSNorm": MLP(**SIZE, activation=SILU, normalization="rmsnorm"),
    "MLP, shaped SiLU, LayerNorm after it": MLP(**SIZE, activation=SILU, normalization="layernorm", placement=AFTER),
    "MLP, ReLU, BatchNorm before or after it": MLP(**SIZE, normalization="batchnorm"),
    "ResNet, branch 1/sqrt(depth)": ResNet(**SIZE),
    "ResNet, branch 1/sqrt(depth), norm-preserving": ResNet(**SIZE, skip=NORM_PRESERVING),
    "ResNet, branch 1/sqrt(depth), RMSNorm before ReLU": ResNet(**SIZE, normalization="rmsnorm"),
    "ResNet, branch 1/sqrt(depth), LayerNorm after the sum": ResNet(
        **SIZE, normalization="layernorm", placement="after-sum"
    ),
    "ResNet, branch 1/depth^0.3": ResNet(**SIZE, branch="1/depth^0.3"),
    "ResNet, branch 1/depth^0.8": ResNet(**SIZE, branch="1/depth^0.8"),
    "ResNet, branch 0.5": ResNet(**SIZE, branch=0.5),
    "ResNet, branch 0.5, shaped ReLU": ResNet(**SIZE, branch=0.5, activation=SHAPED),
    "ResNet, branch 0.5, shaped tanh": ResNet(**SIZE, branch=0.5, activation=TANH),
    "ResNet, branch 0.5, shaped tanh, norm-preserving": ResNet(
        **SIZE, branch=0.5, activation=TANH, skip=NORM_PRESERVING
    ),
}
ACTIVATIONS = {
    "ReLU": ReLU(),
    "leaky ReLU, slope 0.2": LeakyReLU(slope=0.2),
    "tanh": Elementwise(function="tanh"),
    "GELU": Elementwise(function="gelu"),
    "SiLU": Elementwise(function="silu"),
}
NORMALIZATIONS = {
    "RMSNorm, or LayerNorm before": ("rmsnorm", "before-activation"),
    "LayerNorm after": ("layernorm", AFTER),
}
FIXED_POINTS = "<!-- fixed points: written by docs/generate.py -->", "<!-- end of fixed points -->"
_GENERATED = "<!-- Written by docs/generate.py (make docs). Edit the code, not this page. -->"


def limits_page() -> str:
    """Return the table "which limit for which network" and one section a limit."""
    names = [limit.name for limit in ALL]
    lines = [_GENERATED, "", "# The limits", "", "## Which limit for which network", ""]
    linked = [f"[{name}](limits/{name}.md)" for name in names]
    lines += [f"| network | {' | '.join(linked)} |", f"| --- |{' --- |' * len(names)}"]
    for title, network in NETWORKS.items():
        applies = {limit.name for limit in find(network)}
        lines.append(f"| {title} | {' | '.join('yes' if name in applies else '' for name in names)} |")
    lines += [
        "",
        "`deeplim limits` and `deeplim.limits.explain` say why the others do not apply. Each limit has a page",
    ]
    lines += [
        "with its theorem, its assumptions and a figure; [normalization](normalization.md) has one of its own.",
        "",
        "Path i of a seed is the same however many paths are asked for. The moment chain's is also the same whatever",
        "layers are recorded. A diffusion is stepped from one recorded layer to the next: with other layers its paths,",
        "and which of them explode, are others of the same law.",
        "",
    ]
    for limit in ALL:
        lines += [
            f"## {limit.title} (`{limit.name}`)",
            "",
            f"{limit.statement} [Its page](limits/{limit.name}.md).",
            "",
            "$$",
            limit.equation,
            "$$",
            "",
        ]
        lines += [inspect.cleandoc(limit.__doc__ or ""), ""]
        lines += [
            f"- Clock: {limit.clock}.",
            f"- Accuracy: {limit.accuracy}",
            f"- Source: {limit.source}.",
            "",
        ]
    return "\n".join(lines).rstrip() + "\n"


def command_line_page() -> str:
    """Return the help of every command."""
    lines = [_GENERATED, "", "# The command line", ""]
    root = click.Context(cli.main, info_name="deeplim", terminal_width=100, **cli.main.context_settings)
    lines += ["```text", cli.main.get_help(root), "```", ""]
    for name, command in sorted(cli.main.commands.items()):
        context = click.Context(command, info_name=name, parent=root)
        lines += [f"## deeplim {name}", "", "```text", command.get_help(context), "```", ""]
    return "\n".join(line.rstrip() for line in "\n".join(lines).splitlines()).rstrip() + "\n"


def normalization_page() -> str:
    """Return the page as it is, with its table of fixed points as they are."""
    text, [begin, end] = (HERE / "normalization.md").read_text(), FIXED_POINTS
    return text[: text.index(begin)] + f"{begin}\n\n{_fixed_points()}\n\n" + text[text.index(end) :]


def _fixed_points() -> str:
    rows = ["| activation | normalization | fixed points, slope there | what attracts | how |", "|" + " --- |" * 5]
    for activation, phi in ACTIVATIONS.items():
        for where, (kind, place) in NORMALIZATIONS.items():
            points = fixed_points(MLP(**SIZE, activation=phi, normalization=kind, placement=place))
            told = "; ".join(f"{_number(point.correlation)}, {point.slope:.4f}" for point in points)
            [to] = [point for point in points if point.stable]
            pace = "like 1/layer²" if abs(to.slope - 1) < 1e-6 else f"by {to.slope:.4f} a layer"
            rows.append(f"| {activation} | {where} | {told} | {_number(to.correlation)} | {pace} |")
    return "\n".join(rows)


def _number(correlation: float) -> str:
    return f"{round(correlation, 4) + 0.0:g}"


PAGES = {"limits.md": limits_page, "command-line.md": command_line_page, "normalization.md": normalization_page}

if __name__ == "__main__":
    for page, write in PAGES.items():
        (HERE / page).write_text(write())
