"""The commands that write pages: report and demo."""

import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deeplim.cli.laws import climb_ladder
from deeplim.cli.options import (
    EXAMPLE_NETWORK,
    ensemble_options,
    example,
    json_option,
    networks_option,
    refuse,
    seed_option,
)
from deeplim.cli.terminal import attempted, check_output, progress, show
from deeplim.errors import DeeplimError

if TYPE_CHECKING:
    from deeplim.architecture import Network
    from deeplim.reporting import Report


@click.command(epilog=example(f"report {EXAMPLE_NETWORK} --networks 10000 --output report.html"))
@ensemble_options
@click.option("--output", type=click.Path(dir_okay=False), default="deeplim-report.html", show_default=True)
@click.option("--figures", "folder", type=click.Path(file_okay=False), help="Also save the figures in this folder.")
@click.option("--format", "formats", type=click.Choice(["svg", "png", "pdf"]), multiple=True, default=["svg"])
@json_option
def report(output: str, folder: str | None, formats: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Write one self-contained HTML page: exact networks beside the limit, and what it means."""
    from deeplim.drawing import check_renderer
    from deeplim.files import check_folder
    from deeplim.reporting import report as make

    check_output(output)
    check_renderer()
    if folder is None:
        refuse("without --figures FOLDER", ("formats",))
    else:
        check_folder(folder)
    made = make(climb_ladder(options), command=shlex.join(["deeplim", *sys.argv[1:]]))
    writes: list[Callable[[], object]] = [lambda: made.save(output)]
    if folder is not None:
        writes.append(lambda: made.save_figures(folder, formats=formats))
    _end(made, output, attempted(writes), as_json)


@click.command(epilog=example("demo"))
@click.option("--output", type=click.Path(dir_okay=False), default="deeplim-demo/report.html", show_default=True)
@networks_option(1000)
@seed_option
@json_option
def demo(output: str, networks: int, seed: int, as_json: bool) -> None:
    """Ten handwritten digits through an unshaped MLP, its shaped counterpart and a ResNet, 128 wide and 128 deep."""
    from deeplim.activations import ShapedReLU
    from deeplim.architecture import MLP, ResNet
    from deeplim.checks import check_count
    from deeplim.drawing import check_renderer
    from deeplim.files import make_folder
    from deeplim.inputs import digits
    from deeplim.ladder import climb
    from deeplim.reporting import report as make

    size = {"width": 128, "depth": 128}
    shown: list[Network] = [MLP(**size), MLP(**size, activation=ShapedReLU()), ResNet(**size)]
    check_count("networks", networks)
    check_renderer()
    make_folder(Path(output).parent)
    check_output(output)
    with progress(len(shown) * networks, always=True) as step:
        chosen: dict[str, Any] = {"networks": networks, "samples": networks, "seed": seed}
        ladders = [climb(net, digits(), **chosen, progress=step, drawn=step) for net in shown]
        step("writing the report")
        made = make(ladders, command=shlex.join(["deeplim", *sys.argv[1:]]), title="Ten digits through three networks")
        failed = attempted([lambda: made.save(output)])
        step("done")
    _end(made, output, failed, as_json)


def _end(made: "Report", output: str, failed: DeeplimError | None, as_json: bool) -> None:
    """Print what was found, and where the page is, or why it is not."""
    if as_json:
        show(made.to_json())
    if failed is not None:
        raise failed
    show(f"The report is at {os.path.realpath(output)}", err=as_json)
