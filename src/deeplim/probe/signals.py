"""Signals of any framework: activations of m inputs become log norms and log gaps, and layer by layer ``Paths``."""

from typing import Any

import numpy as np
from jaxtyping import Float

from deeplim.checks import brief, check_callable, check_count, check_kind, check_list, check_memory, check_real, kind_of
from deeplim.errors import InputError
from deeplim.modules import Modules
from deeplim.paths import Paths, every
from deeplim.probe.gaps import Measured, measure
from deeplim.probe.products import Multiply, multiply_rows
from deeplim.resolution import parallel
from deeplim.specs import counted

_LAYERS = 64
"""Layers for which there is room to begin with."""


class Signals:
    """Norms and gaps collected layer by layer and network by network; ``paths`` makes ``Paths`` of them.

    ``add`` every layer of a network in execution order, then ``finish`` it; all must have the same layers. A layer is
    (sample, input, feature): one sample a network, or several, such as its sequences.
    """

    def __init__(self, repeats: int, *, multiply: Multiply = multiply_rows) -> None:
        self._repeats = check_count("repeats", repeats)
        self._multiply = check_callable("multiply", multiply, "give a function that adds the products of rows")
        self._names: list[str] = []
        self._current: list[tuple[str, float, int]] = []
        # Numbers that are kept lie together: strewn among activations, they would keep freed memory from being reused.
        self._kept = np.empty((0, 0, 0))
        self._runs: dict[str, int] = {}
        self._shape: tuple[int, int] = (0, 0)
        self._finished = 0
        self._norms = np.empty((0, 0, 0))
        self._gaps = np.empty((0, 0, 0))
        self._floors = np.empty(0)
        self._features = np.empty(0, dtype=int)
        self._units = np.empty((2, 0, 0))

    @property
    def empty(self) -> bool:
        """Whether the network in hand has no layer yet."""
        return not self._current

    def add(self, name: str, x: Float[np.ndarray, "sample input feature"], *, rounding: float = -np.inf) -> None:
        """Take in the next layer; its second run is called name#2. rounding: log of the gap that rounding has made.

        InputError for what is no array of real numbers with three axes, or not of the other layers' inputs.
        """
        check_kind("a layer's name", name, str, "give text")
        check_layer(name, x, rounding)
        if self._current and x.shape[:2] != self._shape:
            raise InputError(f"layer {name} has {x.shape[:2]} samples and inputs where others have {self._shape}.")
        self._shape = x.shape[0], x.shape[1]
        self._runs[name] = self._runs.get(name, 0) + 1
        told = name if self._runs[name] == 1 else f"{name}#{self._runs[name]}"
        self._keep(len(self._current), measure(x, self._multiply))
        self._current.append((told, rounding, x.shape[2]))

    def _keep(self, at: int, found: Measured) -> None:
        """Write a layer's numbers into its row, (sample, inputs + pairs + 2)."""
        samples, inputs = found.log_norm.shape
        columns = inputs + found.log_gap.shape[1] + 2
        if at == len(self._kept) or self._kept.shape[1:] != (samples, columns):
            grown = np.empty((max(2 * at, _LAYERS), samples, columns))
            if at:
                grown[:at] = self._kept
            self._kept = grown
        row = self._kept[at]
        row[:, :inputs], row[:, inputs:-2] = found.log_norm, found.log_gap
        row[:, -2], row[:, -1] = found.silent, found.absolute

    def finish(self) -> None:
        """End a network; InputError when it has other layers than the first, or when paths would not fit in memory."""
        names = [layer[0] for layer in self._current]
        samples, inputs = self._shape
        if not names or self._finished == self._repeats:
            raise InputError(
                f"a network of {counted(len(names), 'layer')} was finished after {self._finished} of {self._repeats}; "
                "add layers first, and finish no more networks than there are."
            )
        if self._finished == 0:
            check_memory(self._repeats * samples, len(names), inputs)
            self._names = names
            pairs = inputs * (inputs - 1) // 2
            self._norms = np.empty((self._repeats * samples, len(names), inputs))
            self._gaps = np.empty((self._repeats * samples, len(names), pairs))
            self._floors = np.array([layer[1] for layer in self._current])
            self._features = np.array([layer[2] for layer in self._current])
            self._units = np.empty((2, self._repeats * samples, len(names)))
        elif names != self._names:
            raise InputError(_other_layers(self._names, names, self._finished))
        part = slice(self._finished * samples, (self._finished + 1) * samples)
        kept = self._kept[: len(names)].swapaxes(0, 1)
        self._norms[part], self._gaps[part] = kept[..., :inputs], kept[..., inputs:-2]
        self._units[:, part] = kept[..., -2], kept[..., -1]
        self._finished += 1
        self._current, self._runs = [], {}

    def paths(self, source: str, names: tuple[str, ...], *, backward: bool = False) -> Paths:
        """Return the paths of the finished networks, on the clock "layer", in execution order.

        A layer at which an input is all zero, or not finite, is lost to that sample; the layers after it need not be.
        backward: whether the signal comes from the last layer; pairs are ``parallel`` from there on.
        InputError before all networks are finished, and unless ``names`` has a name for each input.
        """
        check_kind("the source", source, str, "give text that says where the networks come from")
        found = check_list("names", names, "give a name for each input")
        given = tuple(check_kind("an input's name", name, str, "give text") for name in found)
        if self._finished < self._repeats:
            raise InputError(f"{self._finished} of {self._repeats} networks are finished; finish the others first.")
        alive = every(np.isfinite(self._norms))
        order = slice(None, None, -1 if backward else 1)
        self._gaps[:, order][parallel(self._gaps[:, order], self._floors[order])] = -np.inf
        self._gaps[~alive] = np.nan
        return Paths(
            log_norm=self._norms,
            log_gap=self._gaps,
            alive=alive,
            time=np.arange(len(self._names), dtype=float),
            clock="layer",
            names=given,
            source=source,
            modules=Modules(
                layer_names=tuple(self._names),
                log_gap_floor=self._floors if np.isfinite(self._floors).any() else None,
                features=self._features,
                silent=self._units[0],
                absolute=self._units[1],
            ),
        )


def check_layer(name: str, x: Any, rounding: Any) -> None:
    """Raise InputError unless x is an array of real numbers, (sample, input, feature), and rounding a number."""
    if not isinstance(x, np.ndarray) or x.ndim != 3 or x.dtype.kind not in "biuf" or not x.size:
        told = f"an array of type {x.dtype} and shape {x.shape}" if isinstance(x, np.ndarray) else kind_of(x)
        raise InputError(f"{told} was given for layer {brief(name)}; give real numbers, (sample, input, feature).")
    if not (isinstance(rounding, float) and np.isneginf(rounding)):
        check_real("rounding", rounding)


def _other_layers(first: list[str], names: list[str], index: int) -> str:
    here = next((i for i, (a, b) in enumerate(zip(first, names, strict=False)) if a != b), min(len(first), len(names)))
    ran, expected = (some[here] if here < len(some) else "nothing more" for some in (names, first))
    return (
        f"network {index} ran {ran} where network 0 ran {expected}; every network must run the same modules, so choose "
        "those that always run with modules=."
    )
