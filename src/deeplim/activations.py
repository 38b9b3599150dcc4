"""Activation functions as frozen, validated specs: what a layer applies to each preactivation.

Positively homogeneous activations are given by two slopes, ``phi(x) = s_+ max(x, 0) + s_- min(x, 0)``; any
other elementwise function is named by where it lives, ``package.module:function``.
"""

import importlib
import os
import re
import sys
from collections.abc import Callable, Mapping
from functools import lru_cache
from math import inf, sqrt
from types import ModuleType
from typing import Annotated, Any, Literal, NoReturn, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from deeplim.errors import SpecError
from deeplim.gaussian import mean_square

Rate = Literal["width", "depth"]
Function = Callable[[np.ndarray], np.ndarray]
_PLACE = r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*"
_WRITTEN = "what to_json writes"
_SHAPED = "shaped-relu:c_plus=0,c_minus=-1,rate=width"


def one_sentence(error: ValidationError, model: type[BaseModel] | None = None, whole: str = _WRITTEN) -> str:
    """Return the most telling problem of a validation error as one sentence: what came and what is allowed.

    What is allowed is the description of the model's field; ``whole`` says it where the problem is not in one
    field.
    """
    first = min(error.errors(), key=lambda problem: _rank(problem["type"], problem["loc"]))
    context, value = first.get("ctx", {}), brief(first["input"])
    if isinstance(context.get("error"), SpecError):  # a specification inside this one: it has said so itself
        return str(context["error"])
    if first["type"] == "json_invalid":
        return f"the text {value} is not JSON ({context['error']}); give {whole}."
    name = str(first["loc"][0]) if first["loc"] else ""
    fields = {} if model is None else model.model_fields
    if first["type"] == "extra_forbidden" and model is not None:
        known = [field for field in fields if field != "kind"]
        unknown = name if name.isidentifier() and len(name) < 60 else brief(name)
        return f"{model.__name__} has no field {unknown}; it has {', '.join(known) or 'none'}."
    if name not in fields:
        came = f"the kind {brief(context['tag'])}" if "tag" in context else value
        return f"{came} was given; give {whole}."
    if first["type"] == "missing":
        return f"{name} is missing; give {fields[name].description}."
    return f"{name} = {value} is not allowed; it must be {fields[name].description or context['expected']}."


def _rank(problem: str, place: tuple[int | str, ...]) -> int:
    """Another kind explains the unknown fields it came with, and an unknown field explains a missing one."""
    return 0 if place == ("kind",) else 1 if problem == "extra_forbidden" else 2


def brief(value: object, most: int = 60) -> str:
    """Return the repr of a value on one line, cut where it is long."""
    text = " ".join(repr(value).split())
    return text if len(text) <= most else text[: most - 3] + "..."


def number(value: float) -> str:
    """Return a number as short text that reads back to the same number: 1, 0.2, 1e-05."""
    return str(float(value)).removesuffix(".0")


class Spec(BaseModel):
    """Base of every specification: frozen, no unknown fields, no NaN, errors in one sentence."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def __init__(self, /, **fields: object) -> None:
        for name in type(self).model_fields:
            # To Python they are the numbers 1 and 0, which is never what was meant.
            if isinstance(fields.get(name), bool | np.bool_):
                allowed = type(self).model_fields[name].description or "text"
                raise SpecError(f"{name} = {fields[name]} is not allowed; it must be {allowed}.")
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise SpecError(one_sentence(error, type(self))) from None

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise SpecError(self._frozen(name))

    def __delattr__(self, name: str) -> NoReturn:
        raise SpecError(self._frozen(name))

    def _frozen(self, name: str) -> str:
        kind = type(self).__name__
        return f"{name} of this {kind} cannot be changed, it is frozen; make another with model_copy(update=...)."

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return the same specification with some fields changed, checked like a new one."""
        return type(self)(**{**dict(self), **(update or {})})

    def to_json(self) -> str:
        """Return the specification as JSON; ``from_json`` reads it back."""
        return self.model_dump_json()

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the specification that ``to_json`` wrote; SpecError if the text does not describe one."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise SpecError(one_sentence(error, cls)) from None


class ReLU(Spec):
    """phi(x) = max(x, 0): slopes (1, 0), the same at every width and depth."""

    kind: Literal["relu"] = "relu"

    def slopes(self, width: int, depth: int) -> tuple[float, float]:
        """Return (s_+, s_-)."""
        return 1.0, 0.0

    def __str__(self) -> str:
        return "relu"


class LeakyReLU(Spec):
    """phi(x) = max(x, 0) + slope min(x, 0), the same at every width and depth; slope 1 is linear."""

    kind: Literal["leaky"] = "leaky"
    slope: float = Field(ge=-1.0, le=1.0, description="a number from -1 to 1")

    def slopes(self, width: int, depth: int) -> tuple[float, float]:
        """Return (s_+, s_-)."""
        return 1.0, self.slope

    def __str__(self) -> str:
        return f"leaky:{number(self.slope)}"


class ShapedReLU(Spec):
    """phi(x) = s_+ max(x, 0) + s_- min(x, 0) with s_± = 1 + c_± / sqrt(rate), rate the width or the depth.

    Shaping at the rate of the width keeps the correlation random in deep networks (Li, Nica & Roy 2022); at
    the rate of the depth, with depth much smaller than width, it reaches the limit of a ResNet (Li & Nica
    2023).
    """

    kind: Literal["shaped-relu"] = "shaped-relu"
    c_plus: float = Field(default=0.0, description="a finite number")
    c_minus: float = Field(default=-1.0, description="a finite number")
    rate: Rate = Field(default="width", description="'width' or 'depth'")

    def slopes(self, width: int, depth: int) -> tuple[float, float]:
        """Return (s_+, s_-) at this width and depth."""
        root = sqrt(width if self.rate == "width" else depth)
        return 1.0 + self.c_plus / root, 1.0 + self.c_minus / root

    def __str__(self) -> str:
        return f"shaped-relu:c_plus={number(self.c_plus)},c_minus={number(self.c_minus)},rate={self.rate}"


class Elementwise(Spec):
    """Any elementwise function, named ``package.module:function``.

    It maps an array to an array of the same shape. Making one imports the module, looking last in the current
    directory, and tries the function on a few numbers. The function is compiled by Numba when it can be and
    called with NumPy arrays when it cannot; results say which.
    """

    kind: Literal["function"] = "function"
    function: str = Field(pattern=f"^{_PLACE}$", description="a function's place, package.module:function")

    def model_post_init(self, context: object) -> None:
        """Find the function and try it, so that a bad name, shape or size is refused before anything runs."""
        _check_elementwise(self.function, load_function(self.function))
        gain(self, 1, 1)

    def load(self) -> Function:
        """Return the Python function, its values as floats (so that differences of bytes do not wrap)."""
        function = load_function(self.function)
        return lambda x: np.asarray(function(x), dtype=float)

    def __str__(self) -> str:
        return self.function


Homogeneous = ReLU | LeakyReLU | ShapedReLU
Activation = Annotated[ReLU | LeakyReLU | ShapedReLU | Elementwise, Field(discriminator="kind")]
NAMED_FUNCTIONS = {"tanh": "numpy:tanh", "sin": "numpy:sin", "erf": "scipy.special:erf"}


@lru_cache(maxsize=64)
def load_function(path: str) -> Function:
    """Import ``package.module:function``; SpecError when there is no such module or function."""
    cure = "give package.module:function, in an installed package or in the current directory"
    module_name, _, name = path.partition(":")
    try:
        function = getattr(_import(module_name), name)
    except (Exception, SystemExit) as error:  # whatever the module does when it is imported
        raise SpecError(f"the activation {path} could not be imported ({_reason(error)}); {cure}.") from None
    if not callable(function):
        raise SpecError(f"the activation {path} is no function but {brief(function)}; {cure}.")
    return function


def _import(name: str) -> ModuleType:
    """Import a module, looking last in the current directory, which a console script does not search."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        here = os.getcwd()
        if error.name != name.partition(".")[0] or here in sys.path:
            raise
    sys.path.append(here)
    try:
        importlib.invalidate_caches()
        return importlib.import_module(name)
    finally:
        sys.path.remove(here)


def _reason(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":").removesuffix(".")


def _check_elementwise(path: str, function: Function) -> None:
    """Raise SpecError unless a function maps each number of an array to a finite one, whatever the others."""
    sample = np.array([-2.0, -0.7, 0.0, 1.1, 3.0])
    table = np.stack([sample[:3], sample[2:]])
    given = sample.copy()
    rule = "it must map an array of floats to a new array of floats of the same shape"
    try:
        with np.errstate(all="ignore"):
            value, again = function(given), function(table.copy())
    except Exception as error:
        raise SpecError(f"{path} could not be applied to an array ({_reason(error)}); {rule}.") from None
    if not isinstance(value, np.ndarray):
        raise SpecError(f"{path} maps an array to a {type(value).__name__}; {rule}.")
    if value.shape != sample.shape or value.dtype.kind not in "fi":
        came = f"shape {value.shape} and type {value.dtype}"
        raise SpecError(f"{path} maps an array of shape {sample.shape} and type float64 to {came}; {rule}.")
    if not np.isfinite(value).all():
        at = int(np.argmin(np.isfinite(value)))
        raise SpecError(f"{path} maps {sample[at]:g} to {value[at]}; it must map every number to a finite one.")
    if not np.array_equal(given, sample):
        raise SpecError(f"{path} changes the array it is given; {rule}.")
    if np.shape(again) != table.shape or not np.allclose(again, [value[:3], value[2:]], rtol=1e-5, atol=1e-6):
        raise SpecError(
            f"{path} is not elementwise: what it maps a number to depends on the other numbers or on chance; "
            "give a function of one number."
        )


@lru_cache(maxsize=256)
def gain(activation: Homogeneous | Elementwise, width: int, depth: int) -> float:
    """Return c = 1 / E phi(g)^2, g ~ N(0, 1): the factor that keeps unit norms at one on average."""
    if isinstance(activation, Elementwise):
        second, where = mean_square(activation.load()), ""
    else:
        s_plus, s_minus = activation.slopes(width, depth)
        second, where = (s_plus * s_plus + s_minus * s_minus) / 2, f" at width {width} and depth {depth}"
    if not (second > 0 and 0 < 1 / second < inf and second < inf):
        raise SpecError(
            f"the mean square of {activation}{where} is {second:g} for standard normal preactivations, and "
            "weights are scaled by its inverse; give an activation whose mean square is positive and finite."
        )
    return 1.0 / second


def parse_activation(text: str) -> Homogeneous | Elementwise:
    """Return the activation that a command-line word names.

    ``relu``, ``leaky:0.2``, ``shaped-relu:c_plus=0,c_minus=-1,rate=width``, ``tanh``, ``sin``, ``erf``, or
    ``package.module:function``.

    >>> parse_activation("leaky:0.2")
    LeakyReLU(kind='leaky', slope=0.2)
    """
    name, _, rest = text.partition(":")
    if text in NAMED_FUNCTIONS:
        return Elementwise(function=NAMED_FUNCTIONS[text])
    if text == "relu":
        return ReLU()
    if name == "leaky" and rest:
        return LeakyReLU(slope=rest)
    if name == "shaped-relu":
        return ShapedReLU(**_key_values(text))
    if name != "relu" and re.fullmatch(_PLACE, text):
        return Elementwise(function=text)
    raise SpecError(
        f"the activation {brief(text)} is not known; use relu, leaky:0.2, {_SHAPED}, "
        f"{', '.join(NAMED_FUNCTIONS)}, or package.module:function."
    )


def _key_values(text: str) -> dict[str, str]:
    _, colon, rest = text.partition(":")
    pairs = [[word.strip() for word in part.partition("=")] for part in rest.split(",")] if colon else []
    found = {key: value for key, _, value in pairs}
    if len(found) < len(pairs) or any(not (key and equals and value) for key, equals, value in pairs):
        raise SpecError(f"the activation {brief(text)} is not of the form {_SHAPED}, each word once.")
    return found
