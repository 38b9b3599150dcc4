"""The command that chooses a shaping: shape."""

import sys
from typing import Any

import click

from deeplim.cli.options import example, json_option, network_options, read_network, refuse, seed_option
from deeplim.cli.terminal import INFEASIBLE, print_json, progress, show

_EXAMPLE = "shape --width 200 --depth 200 --activation relu --bound 0.9 --quantile 0.75"


@click.command(epilog=example(_EXAMPLE))
@network_options
@click.option("--bound", type=float, default=0.9, show_default=True, help="The final correlation stays at most this.")
@click.option("--quantile", type=float, default=0.9, show_default=True, help="With at least this probability.")
@click.option("--start", type=float, default=0.0, show_default=True, help="Correlation of the two inputs.")
@click.option("--norm-within", type=float, metavar="F", help="Also V_d/V_0 of both inputs from 1/F to F.")
@click.option(
    "--vary",
    type=click.Choice(["slope", "scale", "branch", "curvature"]),
    help="Slope of ReLU and its like, scale of s phi(x/s), a of a ResNet's branch a/sqrt(depth), or curvature C_f''(1) "
    "of a smooth activation as TAT transforms it.  [default: slope or scale]",
)
@click.option(
    "--networks", type=int, default=10_000, show_default=True, help="Fresh exact networks that count at the end."
)
@click.option("--export", "framework", type=click.Choice(["torch", "jax"]), help="Print the network as code.")
@seed_option
@json_option
def shape(framework: str | None, as_json: bool, **options: Any) -> None:
    """The most nonlinear network of a width and depth that keeps a bound; exit code 3 where none does.

    How far inputs align by the last layer is random at a finite width. Chooses the smallest negative slope, the
    smallest scale or the largest branch with which the final correlation of two inputs stays at most --bound with
    probability --quantile, counts exact networks to show that it does, and sets the infinite-width answer beside it.
    """
    from deeplim.shaping.design import shape as choose
    from deeplim.shaping.export import jax_code, torch_code
    from deeplim.shaping.target import Target

    if framework is not None and as_json:
        refuse("with --export, which prints code", ("as_json",))
    network = read_network(options)
    bounds = {"correlation": options.pop("bound")} | {
        name: options.pop(name) for name in ("quantile", "start", "norm_within")
    }
    with progress(0) as step:
        step(f"exact networks of {network}")
        found = choose(network, Target(**bounds), **options)
    if as_json:
        print_json(found.to_dict())
    else:
        show(str(found), err=framework is not None)
    if not found.feasible:
        sys.exit(INFEASIBLE)
    if framework is not None:
        show((torch_code if framework == "torch" else jax_code)(found.network), end=False)
