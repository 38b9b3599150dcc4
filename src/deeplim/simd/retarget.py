"""One source for two machines: functions written for ``lanes``, made again with another vocabulary."""

from collections.abc import Callable, Iterator
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any

from numba.core.dispatcher import Dispatcher
from numba.core.extending import _Intrinsic

from deeplim.simd import lanes


class Retarget:
    """Makes functions that Numba compiles for the CPU again, for another target.

    vocabulary: a module whose names take the place of those of ``lanes``. compiled: makes a function of the other
    target of a plain one. constants: global names that stand for another number there. A function is made once, and
    with it the functions that it calls.
    """

    def __init__(self, vocabulary: ModuleType, compiled: Callable[[Callable], Any], **constants: int) -> None:
        self._vocabulary, self._compiled, self._constants = vocabulary, compiled, constants
        self._made: dict[Callable, Any] = {}

    def __call__(self, function: Callable) -> Any:
        """Return the function for the other target; NotImplementedError for a name that the vocabulary lacks."""
        if function not in self._made:
            self._made[function] = self._compiled(self.plain(function))
        return self._made[function]

    def plain(self, function: Callable) -> Callable:
        """Return the same without compiling it: the function with what it calls made for the other target."""
        old = getattr(function, "py_func", function)
        names = set(_names(old.__code__)) & old.__globals__.keys()
        ours = {name: self._counterpart(name, old.__globals__[name]) for name in names}
        free = zip(old.__code__.co_freevars, old.__closure__ or (), strict=True)
        cells = tuple(CellType(self._counterpart(name, cell.cell_contents)) for name, cell in free)
        return FunctionType(old.__code__, old.__globals__ | ours, old.__name__, old.__defaults__, cells or None)

    def _counterpart(self, name: str, value: Any) -> Any:
        """What a name stands for on the other target."""
        if name in self._constants:
            return self._constants[name]
        for old, new in getattr(self._vocabulary, "COUNTERPARTS", ()):
            if value is old:
                return new
        if isinstance(value, Dispatcher):
            return self(value)
        if name in vars(lanes) and vars(lanes)[name] is value and hasattr(self._vocabulary, name):
            return getattr(self._vocabulary, name)
        if isinstance(value, _Intrinsic):
            raise NotImplementedError(f"{self._vocabulary.__name__} has no {name}; write it beside that of lanes.")
        return value


def _names(code: CodeType) -> Iterator[str]:
    """The names that a piece of code, or one within it, looks up."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
