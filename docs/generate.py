"""Write the generated pages: docs/limits.md from the limits, docs/command-line.md from the command line.

`make docs` writes them; the tests fail when they are out of date.
"""

import inspect
from pathlib import Path

import click

from deeplim import cli
from deeplim.activations import LeakyReLU, ShapedReLU
from deeplim.architecture import MLP, ResNet
from deeplim.limits import ALL, find

HERE = Path(__file__).parent
NETWORKS = {
    "MLP, ReLU": MLP(width=100, depth=100),
    "MLP, leaky ReLU": MLP(width=100, depth=100, activation=LeakyReLU(slope=0.2)),
    "MLP, linear": MLP(width=100, depth=100, activation=LeakyReLU(slope=1)),
    "MLP, ReLU shaped at rate width": MLP(width=100, depth=100, activation=ShapedReLU()),
    "MLP, ReLU shaped at rate depth": MLP(width=1000, depth=30, activation=ShapedReLU(rate="depth")),
    "ResNet, branch 1/sqrt(depth)": ResNet(width=100, depth=100),
    "ResNet, branch 0.5": ResNet(width=100, depth=100, branch=0.5),
}
_GENERATED = "<!-- Written by docs/generate.py (make docs). Edit the code, not this page. -->"


def limits_page() -> str:
    """Return the table "which limit for which network" and one section a limit."""
    names = [limit.name for limit in ALL]
    lines = [_GENERATED, "", "# The limits", "", "## Which limit for which network", ""]
    lines += [f"| network | {' | '.join(names)} |", f"| --- |{' --- |' * len(names)}"]
    for title, network in NETWORKS.items():
        applies = {limit.name for limit in find(network)}
        lines.append(f"| {title} | {' | '.join('yes' if name in applies else '' for name in names)} |")
    lines += ["", "`deeplim limits` and `deeplim.limits.explain` say why the others do not apply.", ""]
    for limit in ALL:
        lines += [
            f"## {limit.title} (`{limit.name}`)",
            "",
            limit.statement,
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


PAGES = {"limits.md": limits_page, "command-line.md": command_line_page}

if __name__ == "__main__":
    for page, write in PAGES.items():
        (HERE / page).write_text(write())
