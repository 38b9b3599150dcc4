"""The long fuzz from the command line: python -m deeplim.testing --cases 100000."""

import json
import sys
from pathlib import Path

import click

from deeplim.testing.fuzzing import KINDS, counted, run_cases, work


@click.command()
@click.option("--cases", type=click.IntRange(1), default=3000, show_default=True, help="Cases of all kinds together.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--kind", "kinds", type=click.Choice(list(KINDS)), multiple=True, help="Cases of this kind alone.")
@click.option("--seconds", type=click.FloatRange(1), default=60.0, show_default=True, help="A longer case hangs.")
@click.option("--only", type=click.IntRange(0), help="The case of this number of a seed and kind, in this process.")
@click.option("--work", "worker", type=click.Choice(list(KINDS)), hidden=True)
@click.option("--notes", type=click.Path(path_type=Path), hidden=True)
def main(
    cases: int, seed: int, kinds: tuple[str, ...], seconds: float, only: int | None, worker: str | None, notes: Path
) -> None:
    """Try calls, command lines and files; print counts of outcomes and what reproduces each finding, as JSON."""
    if worker is not None:
        work(worker, seed, cases, notes)
    elif only is not None:
        for kind in kinds or KINDS:
            run_cases(kind, seed, only + 1, lambda one: print(json.dumps(one), flush=True), only)
    else:
        found = counted(cases, seed, kinds or tuple(KINDS), seconds)
        print(json.dumps(found, indent=2))
        sys.exit(1 if found["findings"] else 0)


main()
