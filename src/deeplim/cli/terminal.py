"""What a command shows while it works, and how it prints what it found."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

LAWS_DIFFER = 3
"""The exit code when two laws differ, or a claim fails."""
UNHEALTHY = 3
"""The exit code when a network is unhealthy."""
INFEASIBLE = 3
"""The exit code when no network keeps a target."""


@contextmanager
def progress(total: int, *, unit: str = " networks", always: bool = False) -> Iterator[Callable[..., None]]:
    """A bar on stderr that counts up to a total and names the step; hidden where stderr is not a terminal."""
    from tqdm import tqdm

    with tqdm(total=total, unit=unit, file=sys.stderr, disable=None if not always else False) as bar:

        def step(what: str | int) -> None:
            if isinstance(what, str):
                bar.set_description_str(what)
            else:
                bar.update(what)

        yield step


def print_json(value: object) -> None:
    """Print a value on stdout as one line of JSON, without NaN or infinity."""
    click.echo(json.dumps(value, allow_nan=False))


def check_output(output: str | None) -> None:
    """Refuse an output that cannot be written before any work is done."""
    from deeplim.files import check_writable

    if output is not None:
        check_writable(output)
