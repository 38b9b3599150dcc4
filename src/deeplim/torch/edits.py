"""Changes to a model that are made all together or not at all."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Change:
    """One thing that was changed in a model: in which module, what, from what and to what, in words."""

    module: str
    what: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.module}: {self.what} {self.before} -> {self.after}"


@dataclass(frozen=True)
class Edit:
    """A change that is still to be made, and how; ``make`` returns how to take it back."""

    change: Change
    make: Callable[[], Callable[[], None]]


def make_all(edits: list[Edit], check: Callable[[], None]) -> list[Change]:
    """Make all edits, then check the model; whatever fails, all are taken back before the error goes on."""
    undone: list[Callable[[], None]] = []
    try:
        for edit in edits:
            undone.append(edit.make())
        check()
    except BaseException:
        for undo in reversed(undone):
            undo()
        raise
    return [edit.change for edit in edits]


def replacement(model: nn.Module, old: nn.Module, new: nn.Module) -> Callable[[], Callable[[], None]]:
    """Return the edit that puts a module in the place of another wherever the model has it, with its hooks and mode."""
    places = list(_places(model, old))

    def make() -> Callable[[], None]:
        new.train(old.training)
        vars(new).update({key: value for key, value in vars(old).items() if key.endswith("_hooks")})
        for parent, key in places:
            parent._modules[key] = new

        def undo() -> None:
            for parent, key in places:
                parent._modules[key] = old

        return undo

    return make


def assignment(module: nn.Module, name: str, value: float) -> Callable[[], Callable[[], None]]:
    """Return the edit that gives an attribute of a module another value."""

    def make() -> Callable[[], None]:
        before = getattr(module, name)
        setattr(module, name, value)
        return lambda: setattr(module, name, before)

    return make


def drawing(parameter: Tensor, deviation: float, generator: torch.Generator) -> Callable[[], Callable[[], None]]:
    """Return the edit that draws a parameter's numbers, Gaussian about 0; it stays the same tensor where it is."""

    def make() -> Callable[[], None]:
        before = parameter.detach().clone()
        wide = torch.float64 if parameter.dtype == torch.float64 else torch.float32
        # Drawn on the CPU, so that a seed gives the same numbers on every device.
        values = torch.randn(parameter.shape, generator=generator, dtype=wide) * deviation

        def undo() -> None:
            with torch.no_grad():
                parameter.copy_(before)

        with torch.no_grad():
            parameter.copy_(values)
        return undo

    return make


def _places(model: nn.Module, module: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    for parent in model.modules():
        for key, child in parent._modules.items():
            if child is module:
                yield parent, key
