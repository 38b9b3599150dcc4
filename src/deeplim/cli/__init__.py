"""The command line: words and progress on stderr, results on stdout.

Exit code 0 fine, 1 error, 2 usage, 3 laws differ, a claim fails, a network is unhealthy or a target cannot be kept; 130
interrupted, 141 nobody reads what is printed.
"""

import sys
from collections.abc import Sequence
from typing import Any

import click

from deeplim import __version__
from deeplim.cli import laws, pages
from deeplim.cli.options import EXAMPLE_NETWORK, example
from deeplim.cli.probe import probe
from deeplim.cli.reproduce import reproduce
from deeplim.cli.shape import shape
from deeplim.cli.terminal import LAWS_DIFFER, run
from deeplim.errors import DeeplimError, MachineError, OutputError
from deeplim.memory import check_address_space

__all__ = ["LAWS_DIFFER", "main"]


class _Commands(click.Group):
    """A group whose commands turn deeplim's errors into one sentence and exit code 2, or 1 if no input is at fault."""

    def main(  # type: ignore[override]
        self, args: Sequence[str] | None = None, *, standalone_mode: bool = True, **extra: Any
    ) -> Any:
        if not standalone_mode:
            return super().main(args, standalone_mode=False, **extra)
        sys.exit(run(lambda: super(_Commands, self).main(args, standalone_mode=False, **extra)))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            check_address_space()
            return super().invoke(ctx)
        except (MachineError, OutputError) as error:
            raise click.ClickException(str(error)) from None
        except DeeplimError as error:
            raise click.UsageError(str(error)) from None


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=example(f"predict {EXAMPLE_NETWORK}"),
)
@click.version_option(__version__, prog_name="deeplim")
def main() -> None:
    """Scaling limits of deep neural networks at initialization, checked against exact finite networks."""


for _command in (
    laws.predict,
    laws.simulate,
    laws.compare,
    laws.limits,
    pages.report,
    pages.demo,
    probe,
    reproduce,
    shape,
):
    main.add_command(_command)
