"""Activation functions as frozen, validated specs: what a layer applies to each preactivation.

Positively homogeneous activations are given by two slopes, ``phi(x) = s_+ max(x, 0) + s_- min(x, 0)``; any
other elementwise function is named by where it lives, ``package.module:function``, and may be shaped.
"""

import re
from functools import lru_cache
from math import inf
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field, field_validator

from deeplim.checks import check_whole
from deeplim.errors import LimitError, SpecError
from deeplim.gaussian import mean_square
from deeplim.loading import Function, check_elementwise, check_trusted, load_function, two_slopes
from deeplim.specs import Spec, brief, number

if TYPE_CHECKING:
    from deeplim.smoothness import Derivatives

Rate = Literal["width", "depth"]
LARGEST_SIZE = 10_000_000
"""Of a width or a depth; a layer of so many neurons is beyond every machine."""
NAMED_FUNCTIONS = {
    name: f"deeplim.functions:{name}" for name in ("tanh", "sin", "erf", "logistic", "softplus", "silu", "gelu")
}
"""Functions that a word names."""
_PLACE = r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*"
_SHAPED_RELU = "shaped-relu:c_plus=0,c_minus=-1,rate=width"
_SHAPED = "shaped:tanh,a=1.2,rate=width"
_TRANSFORMED = "transformed:tanh,input_scale=0.5,input_shift=0.4,output_scale=2,output_shift=-0.4"
_WHERE = f"a function's place, package.module:function, or one of {', '.join(NAMED_FUNCTIONS)}"
Place = Annotated[str, Field(pattern=f"^{_PLACE}$", description=_WHERE)]
Exponent = Annotated[float, Field(ge=0, le=4, description="a number from 0 to 4; 1/2 gives a limit")]


def _check_sizes(width: object, depth: object) -> None:
    check_whole("width", width, 1, LARGEST_SIZE, error=SpecError)
    check_whole("depth", depth, 1, LARGEST_SIZE, error=SpecError)


class ReLU(Spec):
    """phi(x) = max(x, 0): slopes (1, 0), the same at every width and depth."""

    kind: Literal["relu"] = "relu"

    def slopes(self, width: int, depth: int) -> tuple[float, float]:
        """Return (s_+, s_-)."""
        _check_sizes(width, depth)
        return 1.0, 0.0

    def __str__(self) -> str:
        return "relu"


class LeakyReLU(Spec):
    """phi(x) = max(x, 0) + slope min(x, 0), the same at every width and depth; slope 1 is linear."""

    kind: Literal["leaky"] = "leaky"
    slope: float = Field(ge=-1.0, le=1.0, description="a number from -1 to 1")

    def slopes(self, width: int, depth: int) -> tuple[float, float]:
        """Return (s_+, s_-)."""
        _check_sizes(width, depth)
        return 1.0, self.slope

    def __str__(self) -> str:
        return f"leaky:{number(self.slope)}"


class ShapedReLU(Spec):
    """phi(x) = s_+ max(x, 0) + s_- min(x, 0) with s_± = 1 + c_± / rate^exponent, rate the width or the depth.

    Shaping at the rate of the width keeps the correlation random in deep networks (Li, Nica & Roy 2022); at
    the rate of the depth, with depth much smaller than width, it reaches the limit of a ResNet (Li & Nica
    2023). Both take the exponent 1/2, the default; others are there to be studied.
    """

    kind: Literal["shaped-relu"] = "shaped-relu"
    c_plus: float = Field(default=0.0, description="a finite number")
    c_minus: float = Field(default=-1.0, description="a finite number")
    rate: Rate = Field(default="width", description="'width' or 'depth'")
    exponent: Exponent = 0.5

    def slopes(self, width: int, depth: int) -> tuple[float, float]:
        """Return (s_+, s_-) at this width and depth."""
        _check_sizes(width, depth)
        root = float(width if self.rate == "width" else depth) ** self.exponent
        return 1.0 + self.c_plus / root, 1.0 + self.c_minus / root

    def __str__(self) -> str:
        words = f"shaped-relu:c_plus={number(self.c_plus)},c_minus={number(self.c_minus)},rate={self.rate}"
        return words + _written(self.exponent)


def _written(exponent: float) -> str:
    return "" if exponent == 0.5 else f",exponent={number(exponent)}"


class _Function(Spec):
    """What an elementwise function's specification has: its place, found and tried when the specification is made."""

    function: Place

    @field_validator("function", mode="before")
    @classmethod
    def _place(cls, value: object) -> object:
        return NAMED_FUNCTIONS.get(value, value) if isinstance(value, str) else value

    def model_post_init(self, context: object) -> None:
        """Find the function and try it, so that a bad name, shape or size is refused before anything runs."""
        check_trusted(self.function)
        check_elementwise(self.function, load_function(self.function))

    @property
    def name(self) -> str:
        """The word that names the function, or its place."""
        words = {place: word for word, place in NAMED_FUNCTIONS.items()}
        return words.get(self.function, self.function)

    @property
    def vector_name(self) -> str | None:
        """The word that names the function where ``deeplim.simd.smooth`` has vector code for it, or None."""
        return self.name if self.function in NAMED_FUNCTIONS.values() else None

    def load(self) -> Function:
        """Return the Python function, its values as floats (so that differences of bytes do not wrap)."""
        return _in_floats(self.function)


@lru_cache(maxsize=64)
def _in_floats(path: str) -> Function:
    """One function object for each place, so that what is found out about it is found once.

    What it warns of, an overflow far out, is not the user's concern; LimitError where it raises.
    """
    function = load_function(path)

    def floats(x: np.ndarray) -> np.ndarray:
        try:
            with np.errstate(all="ignore"):
                return np.asarray(function(x), dtype=float)
        except Exception as error:  # whatever it does beyond the numbers it was tried on
            reason = " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(".")
            size = float(np.abs(x).max(initial=0.0))
            raise LimitError(
                f"{path} fails on numbers up to {size:.3g} ({reason}); it must map every number to one, or inputs and "
                "variances must be smaller."
            ) from None

    return floats


class Elementwise(_Function):
    """Any elementwise function, named ``package.module:function`` or by a word: tanh, sin, erf, gelu, ...

    It maps an array to an array of the same shape. Making one imports the module, looking last in the current
    directory, and tries the function on a few numbers. The function is compiled by Numba when it can be and
    called with NumPy arrays when it cannot; results say which. One that is two slopes, as numpy:abs is, counts as given
    by them, and has their limits.
    """

    kind: Literal["function"] = "function"

    def model_post_init(self, context: object) -> None:
        """Refuse also a function that no weights can be scaled to."""
        super().model_post_init(context)
        gain(self, 1, 1)

    def at(self, width: int, depth: int) -> Function:
        """Return the function: the same at every width and depth."""
        return self.load()

    def __str__(self) -> str:
        return self.name


class Shaped(_Function):
    """phi_s(x) = s phi(x / s), s = a rate^exponent: a smooth function shaped towards the identity at a rate.

    phi is first normalised to phi(0) = 0, phi'(0) = 1; ``derivatives`` holds what the limit depends on, phi''(0) and
    phi'''(0). Exponent 1/2 at the rate of the width gives the covariance SDE of Li, Nica & Roy 2022.
    SpecError for a function that is not smooth at 0 or has phi'(0) = 0.
    """

    kind: Literal["shaped"] = "shaped"
    a: float = Field(default=1.0, ge=1e-6, le=1e6, description="a number from 1e-6 to 1e6")
    rate: Rate = Field(default="width", description="'width' or 'depth'")
    exponent: Exponent = 0.5

    def model_post_init(self, context: object) -> None:
        """Refuse also a function without second and third derivatives at 0, or without slope there."""
        super().model_post_init(context)
        _ = self.derivatives

    @property
    def derivatives(self) -> "Derivatives":
        """The derivatives at 0 of the normalised function, whose value is 0 and first derivative 1."""
        from deeplim.smoothness import normalised

        return normalised(load_function(self.function))[1]

    @property
    def slope(self) -> float:
        """phi'(0) of the function before it is normalised."""
        from deeplim.smoothness import derivatives_at_zero

        return derivatives_at_zero(load_function(self.function)).first

    def scale(self, width: int, depth: int) -> float:
        """Return s = a rate^exponent."""
        _check_sizes(width, depth)
        return self.a * float(width if self.rate == "width" else depth) ** self.exponent

    def at(self, width: int, depth: int) -> Function:
        """Return phi_s at this width and depth."""
        return _scaled(self.function, self.scale(width, depth))

    def __str__(self) -> str:
        return f"shaped:{self.name},a={number(self.a)},rate={self.rate}" + _written(self.exponent)


class Transformed(_Function):
    """phi(x) = output_scale (f(input_scale x + input_shift) + output_shift): a function between two affine maps.

    The form in which Deep Kernel Shaping (Martens et al. 2021) and TAT (Zhang, Botev & Martens 2022) shape a function;
    ``deeplim.shaping.infinite_width`` finds their four constants. SpecError for one that no weights can be scaled to.
    """

    kind: Literal["transformed"] = "transformed"
    input_scale: float = Field(default=1.0, description="a finite number that is not 0")
    input_shift: float = Field(default=0.0, description="a finite number")
    output_scale: float = Field(default=1.0, description="a finite number")
    output_shift: float = Field(default=0.0, description="a finite number")

    def model_post_init(self, context: object) -> None:
        """Refuse also constants that leave nothing of the function, or what no weights can be scaled to."""
        super().model_post_init(context)
        if self.input_scale == 0:
            raise SpecError("input_scale = 0 leaves a constant of the function; give another number.")
        gain(self, 1, 1)

    @property
    def constants(self) -> tuple[float, float, float, float]:
        """(input_scale, input_shift, output_scale, output_shift)."""
        return self.input_scale, self.input_shift, self.output_scale, self.output_shift

    def at(self, width: int, depth: int) -> Function:
        """Return phi: the same at every width and depth."""
        _check_sizes(width, depth)
        return _transformed(self.function, self.constants)

    def __str__(self) -> str:
        names = ("input_scale", "input_shift", "output_scale", "output_shift")
        written = ",".join(f"{name}={number(value)}" for name, value in zip(names, self.constants, strict=True))
        return f"transformed:{self.name},{written}"


@lru_cache(maxsize=64)
def _scaled(path: str, s: float) -> Function:
    from deeplim.smoothness import normalised

    phi = normalised(load_function(path))[0]
    return lambda x: s * phi(x / s)


@lru_cache(maxsize=64)
def _transformed(path: str, constants: tuple[float, float, float, float]) -> Function:
    function = _in_floats(path)
    scale, shift, size, offset = constants
    return lambda x: size * (function(scale * np.asarray(x, dtype=float) + shift) + offset)


Homogeneous = ReLU | LeakyReLU | ShapedReLU
Smooth = Elementwise | Shaped | Transformed
Activation = Annotated[ReLU | LeakyReLU | ShapedReLU | Elementwise | Shaped | Transformed, Field(discriminator="kind")]


def slopes_of(activation: Homogeneous | Smooth, width: int, depth: int) -> tuple[float, float] | None:
    """Return (s_+, s_-) at this width and depth of an activation that is two slopes; None for another."""
    if isinstance(activation, Shaped | Transformed):
        return None
    if isinstance(activation, Elementwise):
        return None if activation.vector_name else two_slopes(activation.function)
    return activation.slopes(width, depth)


@lru_cache(maxsize=256)
def gain(activation: Homogeneous | Smooth, width: int, depth: int) -> float:
    """Return c = 1 / E phi(g)^2, g ~ N(0, 1): the factor that keeps unit norms at one on average."""
    where = "" if isinstance(activation, Elementwise | Transformed) else f" at width {width} and depth {depth}"
    slopes = slopes_of(activation, width, depth)
    if slopes is not None:
        s_plus, s_minus = slopes
        second = (s_plus * s_plus + s_minus * s_minus) / 2
    else:
        second = _mean_square_of(activation, width, depth)
    if not (second > 0 and 0 < 1 / second < inf and second < inf):
        raise SpecError(
            f"the mean square of {activation}{where} is {second:g} for standard normal preactivations, and "
            "weights are scaled by its inverse; give an activation whose mean square is positive and finite."
        )
    return 1.0 / second


def _mean_square_of(activation: Homogeneous | Smooth, width: int, depth: int) -> float:
    assert isinstance(activation, Smooth)
    try:
        return mean_square(activation.at(width, depth))
    except LimitError as error:
        raise SpecError(f"no weights can be scaled to {activation}: {error}") from None


def parse_activation(text: str) -> Homogeneous | Smooth:
    """Return the activation that a command-line word names.

    ``relu``, ``leaky:0.2``, ``shaped-relu:c_plus=0,c_minus=-1,rate=width``, ``tanh`` and the other named functions,
    ``package.module:function``, or either of these shaped: ``shaped:tanh,a=1.2,rate=width``; or between two affine
    maps: ``transformed:tanh,input_scale=0.5,input_shift=0.4,output_scale=2,output_shift=-0.4``.

    >>> parse_activation("leaky:0.2")
    LeakyReLU(kind='leaky', slope=0.2)
    """
    name, colon, rest = text.partition(":")
    if text in NAMED_FUNCTIONS:
        return Elementwise(function=text)
    if text == "relu":
        return ReLU()
    if name == "leaky" and rest:
        return LeakyReLU(slope=rest)
    if name == "shaped-relu":
        return ShapedReLU(**_key_values(text, colon and (rest or ","), _SHAPED_RELU))
    if name == "shaped" and rest:
        function, comma, more = rest.partition(",")
        return Shaped(function=function, **_key_values(text, comma and (more or ","), _SHAPED))
    if name == "transformed" and rest:
        function, comma, more = rest.partition(",")
        return Transformed(function=function, **_key_values(text, comma and (more or ","), _TRANSFORMED))
    if name not in ("relu", "shaped") and re.fullmatch(_PLACE, text):
        return Elementwise(function=text)
    raise SpecError(
        f"the activation {brief(text)} is not known; use relu, leaky:0.2, {_SHAPED_RELU}, "
        f"{', '.join(NAMED_FUNCTIONS)}, package.module:function, or a function shaped as in {_SHAPED} or transformed "
        f"as in {_TRANSFORMED}."
    )


def _key_values(text: str, listed: str, form: str) -> dict[str, str]:
    pairs = [[word.strip() for word in part.partition("=")] for part in listed.split(",")] if listed else []
    found = {key: value for key, _, value in pairs}
    if len(found) < len(pairs) or any(not (key and equals and value) for key, equals, value in pairs):
        raise SpecError(f"the activation {brief(text)} is not of the form {form}, each word once.")
    return found
