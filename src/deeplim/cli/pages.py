"""The commands that write pages: report and demo."""

import shlex
import sys
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
from deeplim.cli.terminal import check_output, progress
from deeplim.errors import InputError

if TYPE_CHECKING:
    from deeplim.architecture import Network


@click.command(epilog=example(f"report {EXAMPLE_NETWORK} --networks 10000 --output report.html"))
@ensemble_options
@click.option("--output", type=click.Path(dir_okay=False), default="deeplim-report.html", show_default=True)
@click.option("--figures", "folder", type=click.Path(file_okay=False), help="Also save the figures in this folder.")
@click.option("--format", "formats", type=click.Choice(["svg", "png", "pdf"]), multiple=True, default=["svg"])
@json_option
def report(output: str, folder: str | None, formats: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Write one self-contained HTML page: exact networks beside the limit, and what it means."""
    from deeplim.reporting import report as make

    check_output(output)
    if folder is None:
        refuse("without --figures FOLDER", ("formats",))
    made = make(climb_ladder(options), command=shlex.join(["deeplim", *sys.argv[1:]]))
    made.save(output)
    if folder is not None:
        made.save_figures(folder, formats=formats)
    if as_json:
        click.echo(made.to_json())
    click.echo(f"The report is at {Path(output).resolve()}", err=as_json)


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
    check_output(output)
    with progress(len(shown) * networks, always=True) as step:
        chosen: dict[str, Any] = {"networks": networks, "samples": networks, "seed": seed}
        ladders = [climb(net, digits(), **chosen, progress=step, drawn=step) for net in shown]
        step("writing the report")
        made = make(ladders, command=shlex.join(["deeplim", *sys.argv[1:]]), title="Ten digits through three networks")
        made.save(output)
        step("done")
    if as_json:
        click.echo(made.to_json())
    click.echo(f"The report is at {Path(output).resolve()}", err=as_json)
