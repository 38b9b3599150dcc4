"""PyTorch's activation functions as deeplim's: exactly the same function, or none."""

from typing import Any

from deeplim.activations import Activation, Elementwise, LeakyReLU, ReLU, Shaped, ShapedReLU, Transformed

Key = tuple[Any, ...]
"""A word and its numbers; equal keys are equal functions."""
_FUNCTIONS = {
    **{name: name for name in ("tanh", "sin", "erf", "silu")},
    "sigmoid": "logistic",
    **{name: f"deeplim.functions:{name}" for name in ("mish", "selu", "softsign")},
}
_CONSTANTS = ("input_scale", "input_shift", "output_scale", "output_shift")
_NUMBERS = {"elu": ("alpha", 1.0, "deeplim.functions:elu"), "celu": ("alpha", 1.0, "deeplim.functions:elu")}


def activation_key(name: str, args: Any, kwargs: Any) -> Key | None:
    """Return the key of a call of a function of tensors; None when deeplim has no such function."""
    if name == "relu" or (name in ("clamp", "clamp_min") and _from_zero_up(args, kwargs)):
        return ("relu",)
    if name in _FUNCTIONS:
        return "function", _FUNCTIONS[name]
    if name == "leaky_relu":
        return _leaky(float(_given(args, kwargs, "negative_slope", 0.01)))
    if name == "prelu":
        slope = _given(args, kwargs, "weight", None).detach().reshape(-1)
        return _leaky(float(slope[0])) if bool((slope == slope[0]).all()) else None
    if name == "softplus" and _given(args, kwargs, "beta", 1.0) == 1 and _threshold(args, kwargs) >= 20:
        return "function", "softplus"
    if name == "gelu":
        exact = _given(args, kwargs, "approximate", "none") == "none"
        return "function", "gelu" if exact else "deeplim.functions:gelu_tanh"
    if name in _NUMBERS:
        word, only, place = _NUMBERS[name]
        return ("function", place) if _given(args, kwargs, word, only) == only else None
    return None


def _from_zero_up(args: Any, kwargs: Any) -> bool:
    """Whether x.clamp(...) only cuts off what is below 0."""
    low, high = (*args[1:], None, None)[:2]
    return kwargs.get("min", low) == 0 and kwargs.get("max", high) is None


def shaped_key(module: Any) -> Key | None:
    """Return the key of a module that has the slopes or the function and scale of a shaped activation, else None."""
    if hasattr(module, "s_plus") and hasattr(module, "s_minus"):
        return "slopes", float(module.s_plus), float(module.s_minus)
    function = getattr(module, "function", None)
    if isinstance(function, str) and hasattr(module, "scale"):
        return "shaped", function, float(module.scale)
    if isinstance(function, str) and all(hasattr(module, name) for name in _CONSTANTS):
        return "transformed", function, *(float(getattr(module, name)) for name in _CONSTANTS)
    return None


def described(key: Key, width: int) -> Activation:
    """Return deeplim's activation of a key in a network of this width; SpecError where the spec does not allow it."""
    kind, *numbers = key
    if kind == "relu":
        return ReLU()
    if kind == "leaky":
        return LeakyReLU(slope=numbers[0])
    if kind == "slopes":
        c_plus, c_minus = (_tidy((slope - 1) * width**0.5) for slope in numbers)
        return ShapedReLU(c_plus=c_plus, c_minus=c_minus)
    if kind == "shaped":
        return Shaped(function=numbers[0], a=_tidy(numbers[1] / width**0.5))
    if kind == "transformed":
        return Transformed(function=numbers[0], **dict(zip(_CONSTANTS, numbers[1:], strict=True)))
    return Elementwise(function=numbers[0])


def _tidy(value: float) -> float:
    """The short number that a value is but for rounding, or the value."""
    short = round(value, 9)
    return short if abs(short - value) <= 1e-13 * max(abs(value), 1.0) and short else value


def spoken(key: Key) -> str:
    """Return the key in words."""
    words = [f"{part:.6g}" if isinstance(part, float) else str(part) for part in key if part != "function"]
    return words[0].removeprefix("deeplim.functions:") + (f"({', '.join(words[1:])})" if words[1:] else "")


def homogeneous(key: Key) -> bool:
    """Return whether phi(a x) = a phi(x) for a > 0."""
    return key[0] in ("relu", "leaky", "slopes")


def _leaky(slope: float) -> Key:
    return ("relu",) if slope == 0 else ("leaky", slope)


def _given(args: Any, kwargs: Any, name: str, default: Any) -> Any:
    return args[1] if len(args) > 1 else kwargs.get(name, default)


def _threshold(args: Any, kwargs: Any) -> float:
    return float(args[2] if len(args) > 2 else kwargs.get("threshold", 20.0))
