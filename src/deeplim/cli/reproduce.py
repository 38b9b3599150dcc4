"""The command that checks published claims: reproduce."""

import shlex
import sys
from typing import TYPE_CHECKING

import click

from deeplim.cli.options import example, json_option, seed_option
from deeplim.cli.terminal import LAWS_DIFFER, attempted, check_output, print_json, progress, show

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deeplim.claims import Claim, Result


@click.command(epilog=example("reproduce resnet-ode sign-is-minus --output claims"))
@click.argument("names", nargs=-1, metavar="[NAME ...]")
@click.option(
    "--output",
    type=click.Path(file_okay=False),
    default="deeplim-claims",
    show_default=True,
    help="Folder for index.html and claims.json.",
)
@click.option("--list", "only_list", is_flag=True, help="List the claims and check none.")
@seed_option
@json_option
def reproduce(names: tuple[str, ...], output: str, only_list: bool, seed: int, as_json: bool) -> None:
    """Check published claims by simulation, all of them or those named; exit code 3 when one fails."""
    from deeplim.checks import check_seed
    from deeplim.claims import named

    chosen = named(names)
    if only_list:
        _print_list(chosen, as_json)
        return
    seed = check_seed(seed)
    from deeplim.claims.number import SIGMAS
    from deeplim.drawing import check_renderer
    from deeplim.files import make_folder
    from deeplim.reporting.gallery import NUMBERS, PAGE, gallery

    check_renderer()
    folder = make_folder(output)
    for name in (PAGE, NUMBERS):
        check_output(str(folder / name))
    results = []
    with progress(len(chosen), unit=" claims") as step:
        for claim in chosen:
            step(claim.name)
            results.append(claim.run(seed))
            step(1)
        step("drawing")
        made = gallery(results, command=shlex.join(["deeplim", *sys.argv[1:]]))
        failed = attempted([lambda: made.save(folder)])
    if as_json:
        print_json(made.data)
    else:
        show(_table(results))
        show(f"2 × is two tolerances away; a tolerance is {SIGMAS:g} standard errors and the allowance.")
    if failed is not None:
        raise failed
    show(f"The gallery is at {(folder / PAGE).resolve()}", err=as_json)
    if made.data["fails"]:
        show(f"Claims that fail: {', '.join(made.data['fails'])}", err=True)
        sys.exit(LAWS_DIFFER)


def _print_list(chosen: "Sequence[Claim]", as_json: bool) -> None:
    if as_json:
        print_json([{"name": one.name, "statement": one.statement, "source": one.source} for one in chosen])
        return
    for claim in chosen:
        show(f"{claim.name}\n  {claim.statement}\n  {claim.source}")


def _table(results: "Sequence[Result]") -> str:
    from deeplim.reporting.gallery import control_row, number_row
    from deeplim.tables import text_table

    lines = []
    for result in results:
        name = result.claim.name
        for number in result.outcome.numbers:
            controls = [control_row(number, control) for control in number.controls]
            rows = [number_row(number), *(row | {"name": f"  {row['name']}"} for row in controls)]
            for row in rows:
                lines.append([name, *(row[column] for column in _COLUMNS)])
                name = ""
    return text_table(["claim", *_COLUMNS], lines)


_COLUMNS = ("name", "predicted", "measured", "allowance", "verdict")
