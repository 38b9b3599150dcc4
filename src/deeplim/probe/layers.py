"""What of each layer's output is its inputs' signal, whatever the framework; and which layers have none."""

from collections.abc import Callable
from math import prod
from typing import Any, Protocol

import numpy as np

from deeplim.errors import InputError
from deeplim.paths import listed
from deeplim.probe.factories import user_code
from deeplim.probe.record import Per
from deeplim.probe.signals import Signals
from deeplim.specs import brief, counted

Shape = tuple[int, ...]
INPUT, ROOT = "input", "output"
"""The names of floating inputs, and of what leaves the model itself where no module inside has made it."""
_HIDDEN = "running inside a transformation such as jit, scan or vmap"


class NoGradients(InputError):
    """A model, or a function, whose outputs have no gradients to follow, which is no fault of its code's."""


def without_gradients() -> NoGradients:
    """Return the error for an output that has no gradients."""
    return NoGradients(
        "the model's output has no floating numbers for each input that depend on its parameters; gradients need some."
    )


def failed_backward(reason: str) -> str:
    """Return words for a backward pass that raised."""
    return (
        f"the model's gradients could not be computed ({reason}); mend its backward pass, as where a tensor that it "
        "needs is changed in place, or look at signals alone, by record or gradients=False."
    )


class Sized(Protocol):
    """What a model is called with, as far as its layers are concerned."""

    @property
    def count(self) -> int:
        """How many inputs there are."""

    @property
    def tokens(self) -> int:
        """The length of the sequences that the inputs are; 0 where they are none."""


class Layers:
    """Signals collected from outputs of any shape, by input or by token."""

    def __init__(self, signals: Signals, arguments: Sized, per: Per, most: int) -> None:
        self.signals = signals
        self._count = arguments.count
        self._per = per
        self._most = most
        self._length = arguments.tokens if per == "token" else 0
        self._fitted = False
        self._skipped: dict[str, None] = {}
        self._hidden: dict[str, None] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the inputs, or of the tokens."""
        places = range(0, self._length, self._stride) if self._per == "token" else range(self._count)
        return tuple(f"{self._per} {i}" for i in places)

    @property
    def _stride(self) -> int:
        """How many tokens it is from one that is recorded to the next."""
        return max(-(-self._length // self._most), 1)

    @property
    def those(self) -> str:
        """How many inputs there are, in words."""
        words = ("sequence of tokens", "sequences of tokens") if self._per == "token" else ("input",)
        return counted(self._count, *words)

    @property
    def bare(self) -> bool:
        """Whether nothing but the inputs of the network in hand has fitted."""
        return not self._fitted

    @property
    def left_out(self) -> str:
        """Words on the modules that have no signal, or one that cannot be seen."""
        reasons = {f"not being a row of floating numbers for each {self._per}": self._skipped} | {_HIDDEN: self._hidden}
        return "".join(f"; left out, {why}: {listed(list(which), 3)}" for why, which in reasons.items() if which)

    def skip(self, name: str) -> None:
        """Note a module whose output has no signal."""
        self._skipped[name] = None

    def hide(self, name: str) -> None:
        """Note a module whose output cannot be seen."""
        self._hidden[name] = None

    def apart(self, shape: Shape) -> bool:
        """Whether this is the shape of inputs, or sequences and tokens, along the first axes, and numbers in each."""
        if self._per == "token" and not self._length and len(shape) == 3 and shape[0] == self._count:
            self._length = shape[1]
        axes = (self._count, self._length) if self._per == "token" else (self._count,)
        return shape[: len(axes)] == axes and prod(shape) > prod(axes)

    def fits(self, name: str, shape: Shape) -> bool:
        """Whether an output has inputs and numbers ``apart``; noted as left out where it has not."""
        apart = self.apart(shape)
        if name != INPUT:
            self._fitted |= apart
            if not apart:
                self.skip(name)
        return apart

    def add(self, name: str, values: np.ndarray, rounding: float) -> None:
        """Add an output that fits; rounding: the gap that rounding has made so far (``resolution.rounding_square``)."""
        if self._per == "token":
            values = values[:, :: self._stride]
            values = values.reshape(*values.shape[:2], -1)
        else:
            values = values.reshape(1, self._count, -1)
        self.signals.add(name, values, rounding=float(np.log(rounding)) if rounding > 0 else -np.inf)

    def cotangent(self, shape: Shape, rng: np.random.Generator) -> np.ndarray:
        """Return a Gaussian direction of unit mean square in the space of one input's output, the same for each."""
        each = shape[2:] if self._per == "token" and shape[1:2] == (self._length,) else shape[1:]
        normals = rng.standard_normal(each)
        normals /= np.sqrt(np.mean(normals**2))
        return np.broadcast_to(normals, shape)

    def finish(self) -> None:
        """End a network; InputError when it had no layer but the inputs."""
        if self.bare:
            raise InputError(
                f"no module gave floating numbers for each of {self.those}; the model must call its modules, with the "
                f"inputs along the first axis{self.left_out}."
            )
        self._fitted = False
        self.signals.finish()


def chooses(modules: Callable[[str, Any], object], name: str, module: Any) -> bool:
    """Whether a function given as ``modules`` wants a module; InputError with what it raised."""
    with user_code(
        lambda reason: (
            f"modules={brief(modules)} failed for the module {name} ({reason}); give names, or a function of "
            "a name and a module that says whether to record it."
        )
    ):
        return bool(modules(name, module))


def check_chosen(modules: Any, found: object) -> None:
    """Raise InputError for a function given as ``modules`` that chose nothing."""
    if callable(modules) and not found:
        raise InputError(
            f"modules={brief(modules)} chooses none of what there is; give names, or a function of a name and a module "
            "that says whether to record it."
        )


def source(kind: str, how: str, *, backward: bool, taken: str, left_out: str) -> str:
    """Return what the paths of a probed model say of where they come from."""
    told = ", ".join(filter(None, [f"{'gradients of ' * backward}a probed {kind}, {how}", taken]))
    return told + left_out


def own_and_copies(repeats: int, *, anew: bool, changed: bool) -> str:
    """Return where the weights come from of networks that are a model and copies of it, in words.

    anew: whether the copies are initialized by a function; changed: whether any has other parameters than the model.
    """
    if repeats == 1:
        return "its own weights"
    if not changed:
        return f"its own weights and {counted(repeats - 1, 'copy', 'copies')} without anything to redraw"
    redrawn = "" if anew else "redrawn "
    copies = counted(repeats - 1, f"{redrawn}copy", f"{redrawn}copies")
    return f"its own weights and {copies}{' initialized anew' * anew}"
