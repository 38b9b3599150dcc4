"""How a command meets the terminal: what it shows while it works, how it prints what it found, and how it ends.

Names are shown, never obeyed. A standard output that cannot be written is one sentence and exit code 1; a pipe that
nobody reads any more is silence and 141, what a shell says of a program that such a pipe ended.
"""

import errno
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from typing import Any

import click

from deeplim.errors import DeeplimError, InputError
from deeplim.printable import printable_lines

LAWS_DIFFER = 3
"""The exit code when two laws differ, or a claim fails."""
UNHEALTHY = 3
"""The exit code when a network is unhealthy."""
INFEASIBLE = 3
"""The exit code when no network keeps a target."""
INTERRUPTED = 130
"""The exit code after Ctrl-C, as shells have it: 128 and the number of the signal."""
PIPE_CLOSED = 141
"""The exit code when nobody reads what is printed, likewise."""
ERROR = 1
"""The exit code when something else than the input is at fault."""


_OF_STREAMS = (errno.EPIPE, errno.ENOSPC, errno.EIO, errno.EBADF, errno.EFBIG, errno.EDQUOT)
"""How writing fails where there is a stream: nobody reads it, the disk is full, the terminal or descriptor is gone."""


class OutputLost(Exception):
    """What was found could not be printed; its number is that of the system's error."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error.strerror or str(error))
        self.number = error.errno


class _Forgiving:
    """Standard error for progress: a screen that is gone is no reason to stop the work."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with suppress(OSError, ValueError):
            self._stream.write(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def progress(total: int, *, unit: str = " networks", always: bool = False) -> Iterator[Callable[..., None]]:
    """A bar on stderr that counts up to a total and names the step; hidden where stderr is not a terminal."""
    from tqdm import tqdm

    disabled = None if not always else False
    with tqdm(total=total, unit=unit, file=_Forgiving(sys.stderr), disable=disabled) as bar:

        def step(what: str | int) -> None:
            if isinstance(what, str):
                bar.set_description_str(printable_lines(what))
            else:
                bar.update(what)

        yield step


def show(text: str, *, err: bool = False, end: bool = True) -> None:
    """Print text on stdout, or words about it on stderr; OutputLost where stdout cannot be written."""
    try:
        click.echo(printable_lines(text), err=err, nl=end)
    except OSError as error:
        if not err:
            raise OutputLost(error) from None


def print_json(value: object) -> None:
    """Print a value on stdout as one line of JSON, without NaN or infinity."""
    show(json.dumps(value, allow_nan=False))


def check_output(output: str | None) -> None:
    """Refuse an output that cannot be written before any work is done."""
    from deeplim.files import check_writable

    if output is not None:
        check_writable(output)


def check_figure(figure: str | None, *others: str | None) -> None:
    """Refuse a figure that cannot be drawn or written, or would replace another output, before any work is done."""
    from deeplim.drawing import check_figure as check

    if figure is None:
        return
    check(figure)
    if any(other is not None and os.path.realpath(other) == os.path.realpath(figure) for other in others):
        raise InputError(f"{figure} was named for two outputs, and one would replace the other; name two files.")


def attempted(writes: Sequence[Callable[[], object]]) -> DeeplimError | None:
    """Write every file that can be written; return the first error, to be raised when the findings are printed."""
    failed = None
    for write in writes:
        try:
            write()
        except DeeplimError as error:
            failed = failed or error
    return failed


def run(command: Callable[[], Any]) -> int:
    """Run a command to its end, whatever that is, and return the exit code of the process."""
    _occupy_streams()
    if sys.stdout is None:
        _complain("standard output is closed, so nothing that was found could be printed; leave it open.")
        return ERROR
    try:
        code = _ended(command)
        with _lost_if_not_written():
            sys.stdout.flush()
    except OutputLost as error:
        _abandon(sys.stdout)
        if error.number == errno.EPIPE:
            return PIPE_CLOSED
        _complain(f"what was found could not be printed on standard output ({error}); send it elsewhere.")
        return ERROR
    if code == PIPE_CLOSED:
        _abandon(sys.__stdout__)
    return code


def _ended(command: Callable[[], Any]) -> int:
    """The exit code of a command, and the sentence of whatever ended it on stderr."""
    before = sys.stdout, sys.stderr
    try:
        with _lost_if_not_written():
            code = command()
        return code if isinstance(code, int) else 0
    except SystemExit as ending:
        if sys.stdout is not before[0]:  # so Click leaves it, where a pipe was closed on words of its own, as --help
            sys.stdout, sys.stderr = before
            return PIPE_CLOSED
        return ending.code if isinstance(ending.code, int) else int(ending.code is not None)
    except click.ClickException as error:
        error.__dict__["message"] = printable_lines(error.message)  # which is final to those who check types
        with suppress(OSError, ValueError):
            error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        _complain("interrupted.")
        return INTERRUPTED
    except MemoryError as error:
        _complain(f"memory ran out{f' ({error})' if str(error) else ''}; ask for fewer networks, samples or layers.")
        return ERROR


@contextmanager
def _lost_if_not_written() -> Iterator[None]:
    """Errors of the streams as OutputLost; the system's other errors as a sentence of the command line."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno in _OF_STREAMS:
            raise OutputLost(error) from None
        raise click.ClickException(f"the system refused what was asked of it ({error}).") from None


def _complain(sentence: str) -> None:
    with suppress(OSError, ValueError):
        click.echo(f"Error: {printable_lines(sentence)}", err=True)


def _abandon(stream: Any) -> None:
    """Send what a stream still holds nowhere, so that Python does not try to write it again as it ends."""
    with suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def _occupy_streams() -> None:
    """Put something in the place of closed standard streams, so that no file is opened there and printed into."""
    while (nowhere := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(nowhere, True)
    os.close(nowhere)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    if sys.stdout is sys.__stdout__ and isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
