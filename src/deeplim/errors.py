"""The errors deeplim raises on purpose: one sentence each, saying what came, what is allowed and the cure."""

from deeplim.printable import printable_lines


class DeeplimError(Exception):
    """Base of every error that deeplim raises on purpose; names in its text are escaped where a terminal obeys them."""

    def __str__(self) -> str:
        return printable_lines(super().__str__())


class SpecError(DeeplimError, ValueError):
    """A network or activation that cannot exist: width 0, a slope that is not a number, an unknown name."""


class InputError(DeeplimError, ValueError):
    """Inputs, layers, counts or files that cannot be used as given."""


class OutputError(InputError):
    """A file that could not be written though it seemed that it could: a full disk, a limit on the size of files."""


class ClockError(DeeplimError, ValueError):
    """Two sets of paths whose depth is measured on different clocks (layer, layer/width, layer/depth)."""


class LimitError(DeeplimError, ValueError):
    """A limit asked to describe a network, or inputs, that it does not describe."""


class MachineError(DeeplimError, RuntimeError):
    """What the machine, or a limit set on the process, has no room for: memory, address space."""
