"""The modules of a real model that recorded layers are outputs of, and what is known of each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
from jaxtyping import Float, Int

from deeplim.array_files import Entry
from deeplim.errors import InputError
from deeplim.specs import kind_of


@dataclass(frozen=True, eq=False)
class Modules:
    """What a probe knows of a model's layers beside their covariances, one entry a layer.

    layer_names: the modules' names, in execution order. log_gap_floor: the log gap below which the model's own rounding
    is all there is. features: how many numbers an input has there; silent, which share of them is zero for every
    input, and absolute, their mean absolute value, both (sample, layer). InputError for types and sizes that do
    not fit.
    """

    layer_names: tuple[str, ...]
    log_gap_floor: Float[np.ndarray, " layer"] | None = None
    features: Int[np.ndarray, " layer"] | None = None
    silent: Float[np.ndarray, "sample layer"] | None = None
    absolute: Float[np.ndarray, "sample layer"] | None = None

    def check(self, samples: int, layers: int) -> None:
        """Raise InputError unless there is an entry for each layer, and sample, of the right type."""
        for name, entry in ENTRIES.items():
            array = getattr(self, name)
            if name != "layer_names" and array is not None and not entry.holds(array):
                raise InputError(f"{name} is {kind_of(array)}; give a NumPy array of {entry.words}.")
        if not isinstance(self.layer_names, tuple) or not all(isinstance(name, str) for name in self.layer_names):
            raise InputError(f"the layer names are {self.layer_names!r:.60}; give a tuple of texts.")
        by_layer = {"layer names": self.layer_names, "floors of gaps": self.log_gap_floor, "features": self.features}
        for what, given in by_layer.items():
            if given is not None and len(given) != layers:
                raise InputError(f"{len(given)} {what} were given for {layers} layers; give one each.")
        for what, array in (("silent units", self.silent), ("absolute values", self.absolute)):
            if array is not None and array.shape != (samples, layers):
                raise InputError(f"{what} of shape {array.shape} were given; give them as {(samples, layers)}.")

    def at(self, index: list[int]) -> "Modules":
        """Return some of the modules, by their places."""
        some = {name: value[..., index] for name, value in self.arrays().items() if name != "layer_names"}
        return replace(self, layer_names=tuple(self.layer_names[i] for i in index), **some)

    def part(self, samples: slice) -> "Modules":
        """Return what is known of some of the samples."""
        known: dict[str, Any] = {name: values[samples] for name, values in self.arrays().items() if name in _BY_SAMPLE}
        return replace(self, **known)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return all that is known as arrays, by name."""
        known = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: np.asarray(value) for name, value in known.items() if value is not None}

    @classmethod
    def of(cls, arrays: dict[str, np.ndarray]) -> Self | None:
        """Return the modules that such arrays are of, without changing them; None when they name none."""
        found: dict[str, Any] = {name: make(arrays[name]) for name, make in MADE_BY.items() if name in arrays}
        return cls(**found) if "layer_names" in found else None


ENTRIES = {
    "layer_names": Entry("U", 1),
    "log_gap_floor": Entry("f", 1),
    "features": Entry("i", 1),
    "silent": Entry("f", 2),
    "absolute": Entry("f", 2),
}
"""What a file holds of each field."""
MADE_BY: dict[str, Callable[[np.ndarray], Any]] = {
    "layer_names": lambda array: tuple(str(word) for word in array),
    **{field.name: np.asarray for field in fields(Modules) if field.name != "layer_names"},
}
"""What makes each field of an array."""
_BY_SAMPLE = ("silent", "absolute")
"""The fields that have an entry for each sample."""


def joined_modules(parts: Sequence[Modules]) -> Modules | None:
    """Return the same modules with the samples of all; None of none."""
    if not parts:
        return None
    arrays = [modules.arrays() for modules in parts]
    known = [name for name in _BY_SAMPLE if name in arrays[0]]
    joined: dict[str, Any] = {name: np.concatenate([each[name] for each in arrays]) for name in known}
    return replace(parts[0], **joined)
