"""How findings write their numbers."""

import math

from deeplim.diagnosis.estimates import Interval

TEN = math.log(10)


def small(log_value: float) -> str:
    """Return exp of a log, with its power of ten where it is small: 1 - rho = 2.3e-14 keeps its digits.

    >>> small(math.log(0.25)), small(math.log(2.34e-14)), small(-math.inf), small(-2000.0), small(math.nan)
    ('0.25', '2.3e-14', '0', '2.6e-869', 'unknown')
    """
    if math.isnan(log_value):
        return "unknown"
    if math.isinf(log_value) and log_value < 0:
        return "0"
    exponent = math.floor(log_value / TEN + 1e-12)
    if exponent > 5:
        return f"{math.exp(log_value - exponent * TEN):.2g}e{exponent}"
    if exponent >= -3:
        return f"{math.exp(log_value):.2g}"
    if exponent > -300:
        return f"{math.exp(log_value):.1e}"
    mantissa = math.exp(log_value - exponent * TEN)
    return f"{mantissa:.1f}e{exponent}"


def gap_text(gap: Interval) -> str:
    """Return an interval of log(1 - rho) as that of 1 - rho."""
    return small(gap.value) + ("" if gap.certain else f" (95%: {small(gap.low)} to {small(gap.high)})")


def signed(value: float) -> str:
    """Return a number of decades with its sign, without a negative zero."""
    return f"{round(value, 2) + 0.0:+.2f}"


def decades_text(change: Interval) -> str:
    """Return an interval of decades."""
    return signed(change.value) + ("" if change.certain else f" (95%: {signed(change.low)} to {signed(change.high)})")


def spread_text(spread: Interval) -> str:
    """Return a standard deviation with its interval."""
    return f"{spread.value:.2f}" + ("" if spread.certain else f" (95%: {spread.low:.2f} to {spread.high:.2f})")


def finite(**numbers: float | None) -> dict[str, float]:
    """Return the numbers that are finite, as plain floats."""
    return {name: float(value) for name, value in numbers.items() if value is not None and math.isfinite(value)}


def spoken(layer: str) -> str:
    """Return a layer's name as a sentence has it: a number alone is the name of a module.

    >>> spoken("12"), spoken("blocks.3"), spoken("layer 7")
    ('module 12', 'blocks.3', 'layer 7')
    """
    return f"module {layer}" if layer.replace("#", "").isdigit() else layer
