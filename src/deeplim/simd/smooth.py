"""Smooth activations of sixteen numbers: their values, and their differences without cancellation.

``value(name, z)`` is phi(z), ``rise(name, z)`` is phi(z) - phi(0), and ``difference(name, z, h, r, inverse_r)`` is
(phi(z + r h) - phi(z)) / r for r >= 0 and its inverse: as precise for r = 1e-30 as for r = 1, and phi'(z) h where r = 0
or r h underflows. Lanes of one precision go in and come out; all but z and h may be scalars. inverse_r is used only
where |r h| > 0.1, so that any finite number will do for it where r is tiny. The name is one of ``SMOOTH`` and known
when Numba compiles: a literal, or a string in a kernel's closure, handed on through calls but not through star
arguments. A kernel that has it in its closure is cached on disk like any other.

Errors, with e = 3e-7 in single and 1.5e-15 in double precision, for sizes of z and z + r h up to 1e30 (1e5 for the
sine): value and rise, e max(|phi|, min(|z|, 1)); difference, e |h|, for the sine times 1 + |z| + |r h|. In their tails
the values of tanh, logistic, softplus, SiLU and erf keep the relative error e, and the differences of tanh, logistic
and softplus e (1 + min(|z|, |w|)), w = z + r h; exp(-|x|) stops falling at 1e-38 in single, 1e-308 in double precision.

The logistic's difference is (1 - e^-|rh|) / ((1 + e^-|z|) (1 + e^-|w|)), times e^-min(|z|, |w|) where z and w have one
sign. tanh, SiLU and softplus follow from it or are like it; the sine has its addition theorem; erf and GELU take the
mean of the derivative over a short interval, and plain differences elsewhere.
"""

import math

from numba import types
from numba.extending import overload
from numpy.polynomial.hermite import herm2poly

from deeplim.simd.coefficients import constant, polynomial
from deeplim.simd.elementary import (
    cosine,
    decay,
    error_functions,
    log_slope,
    loss_rate,
    sine,
    sine_rate,
)
from deeplim.simd.lanes import absolute, fma, inline, maximum, minimum, select, with_sign

_zero = constant("_zero", "0.", 0.0, 0.0)
_near = constant("_near", "Below it the series of five terms is as precise as a plain difference.", 0.75, 0.125)


@inline
def sin_difference(z, h, r, inverse_r):
    """2 cos(z + r h / 2) sin(r h / 2) / r."""
    half = 0.5 * h
    return 2.0 * cosine(fma(half, r, z)) * sine_rate(half, r, inverse_r)


@inline
def logistic_value(z):
    """1 / (1 + e^-z)."""
    a, _ = decay(z)
    return select(z < 0.0, a, 1.0) / (1.0 + a)


@inline
def logistic_difference(z, h, r, inverse_r):
    """(1 - e^-|rh|) / ((1 + e^-|z|) (1 + e^-|w|)) / r, as said above, with the sign of h."""
    w = fma(h, r, z)
    a, _ = decay(z)
    b, _ = decay(w)
    rate = loss_rate(h, r, inverse_r) / ((1.0 + a) * (1.0 + b))
    return select(z * w > 0.0, rate * maximum(a, b), rate)


@inline
def tanh_value(z):
    """tanh(z) = (1 - e^-2|z|) / (1 + e^-2|z|), with the sign of z."""
    _, less_one = decay(2.0 * z)
    return with_sign(less_one / (2.0 + less_one), z)


@inline
def tanh_difference(z, h, r, inverse_r):
    """The logistic's for 2 z and 2 r, times four."""
    z, r = 2.0 * z, 2.0 * r
    w = fma(h, r, z)
    a, _ = decay(z)
    b, _ = decay(w)
    rate = loss_rate(h, r, 0.5 * inverse_r) / (fma(a, 0.5, 0.5) * fma(b, 0.5, 0.5))
    return select(z * w > 0.0, rate * maximum(a, b), rate)


@inline
def softplus_value(z):
    """log(1 + e^z) = max(z, 0) + log(1 + e^-|z|)."""
    a, _ = decay(z)
    return fma(a, log_slope(a, 1.0), maximum(0.0, z))


@inline
def logistic_rise(z):
    """tanh(z / 2) / 2."""
    return 0.5 * tanh_value(0.5 * z)


@inline
def softplus_difference(z, h, r, inverse_r):
    """From the upper end t down to the lower, u: -log(1 - s(t) (1 - e^-|rh|)) where |r h| < 1/2.

    Elsewhere max(t, 0) - max(u, 0) - log(1 + (e^-|u| - e^-|t|) / (1 + e^-|t|)).
    """
    w = fma(h, r, z)
    falls = h < 0.0
    at_z, _ = decay(z)
    at_w, _ = decay(w)
    a, b = select(falls, at_z, at_w), select(falls, at_w, at_z)
    top = select(falls, z, w)
    size = absolute(r * h)
    near = size < 0.5
    weight = select(top < 0.0, a, 1.0)
    _, less_one = decay(r * h)
    n = select(near, weight * less_one, b - a)
    slope = log_slope(n, 1.0 + a)
    far = fma(-n, slope, minimum(size, maximum(0.0, top))) * inverse_r
    return select(near, weight * slope * loss_rate(h, r, inverse_r), with_sign(far, h))


@inline
def silu_value(z):
    """z / (1 + e^-z)."""
    a, _ = decay(z)
    return z * (select(z < 0.0, a, 1.0) / (1.0 + a))


@inline
def silu_difference(z, h, r, inverse_r):
    """h s(w) + z (s(w) - s(z)) / r with s the logistic, or the same with z and w exchanged, whichever is nearer 0."""
    w = fma(h, r, z)
    a, _ = decay(z)
    b, _ = decay(w)
    swap = absolute(w) < absolute(z)
    far, near = select(swap, z, w), select(swap, w, z)
    c, d = select(swap, a, b), select(swap, b, a)
    rate = loss_rate(h, r, inverse_r)
    change = select(z * w > 0.0, rate * d, rate)
    return fma(near, change, h * select(far < 0.0, c, 1.0) * (1.0 + d)) / ((1.0 + a) * (1.0 + b))


def _hermite(order):
    """H_order(c) / (order + 1)!, a polynomial in c^2."""
    powers = herm2poly([0] * order + [1])[::2] / math.factorial(order + 1)
    return polynomial(f"_hermite_{order}", f"H_{order}(c) / {order + 1}! of c^2.", powers, powers)


_hermite_2, _hermite_4, _hermite_6, _hermite_8 = map(_hermite, (2, 4, 6, 8))


@inline
def _mean_bell(z, d):
    """The mean of e^(-u^2) between z and z + d, for small d: e^(-c^2) sum H_2k(c) (d / 2)^2k / (2k + 1)!, c halfway."""
    c = fma(0.5, d, z)
    v = minimum(700.0, c * c)
    square = 0.25 * d * d
    total = fma(fma(_hermite_8(v), square, _hermite_6(v)), square, _hermite_4(v))
    bell, _ = decay(v)
    return bell * fma(fma(total, square, _hermite_2(v)), square, 1.0)


@inline
def erf_value(z):
    """The error function."""
    size, _ = error_functions(z)
    return with_sign(size, z)


@inline
def erf_difference(z, h, r, inverse_r):
    """h phi' in the mean, or the difference of the values."""
    d = r * h
    near = 2 / math.sqrt(math.pi) * h * _mean_bell(z, d)
    far = (erf_value(fma(h, r, z)) - erf_value(z)) * inverse_r
    return select(absolute(d) < _near(d), near, far)


@inline
def _normal_mass(z):
    """P(g < z) for g ~ N(0, 1)."""
    _, above = error_functions(math.sqrt(0.5) * z)
    return 0.5 * select(z < 0.0, above, 2.0 - above)


@inline
def gelu_value(z):
    """z P(g < z) for g ~ N(0, 1)."""
    return z * _normal_mass(z)


@inline
def gelu_difference(z, h, r, inverse_r):
    """h P(w) + z (P(w) - P(z)) / r with P(z) = P(g < z), or the same with z and w exchanged, whichever is nearer 0."""
    w = fma(h, r, z)
    at_z, at_w = _normal_mass(z), _normal_mass(w)
    d = math.sqrt(0.5) * (r * h)
    small = 1 / math.sqrt(2 * math.pi) * h * _mean_bell(math.sqrt(0.5) * z, d)
    change = select(absolute(d) < _near(d), small, (at_w - at_z) * inverse_r)
    swap = absolute(w) < absolute(z)
    return fma(select(swap, w, z), change, h * select(swap, at_z, at_w))


@inline
def softplus_rise(z):
    """The difference from 0."""
    return softplus_difference(_zero(z), z, 1.0, 1.0)


SMOOTH = {
    "tanh": (tanh_value, tanh_value, tanh_difference),
    "sin": (sine, sine, sin_difference),
    "erf": (erf_value, erf_value, erf_difference),
    "logistic": (logistic_value, logistic_rise, logistic_difference),
    "softplus": (softplus_value, softplus_rise, softplus_difference),
    "silu": (silu_value, silu_value, silu_difference),
    "gelu": (gelu_value, gelu_value, gelu_difference),
}
"""The value, the rise and the difference of each activation, by its name."""


def value(name, z):
    """phi(z) for the activation with a name that is known when Numba compiles."""
    raise NotImplementedError("only functions that Numba compiles can call this")


def rise(name, z):
    """phi(z) - phi(0) without cancellation, in compiled functions."""
    raise NotImplementedError("only functions that Numba compiles can call this")


def difference(name, z, h, r, inverse_r):
    """(phi(z + r h) - phi(z)) / r without cancellation, in compiled functions."""
    raise NotImplementedError("only functions that Numba compiles can call this")


def _named(name, which):
    return SMOOTH[name.literal_value][which] if isinstance(name, types.StringLiteral) else None


_by_name = {"prefer_literal": True, "jit_options": {"forceinline": True}}


@overload(value, **_by_name)
def _value(name, z):
    function = _named(name, 0)
    return function and (lambda name, z: function(z))


@overload(rise, **_by_name)
def _rise(name, z):
    function = _named(name, 1)
    return function and (lambda name, z: function(z))


@overload(difference, **_by_name)
def _difference(name, z, h, r, inverse_r):
    function = _named(name, 2)
    return function and (lambda name, z, h, r, inverse_r: function(z, h, r, inverse_r))


@inline
def shaped_value(name, z, s, inverse_s, inverse_slope):
    """s (phi(z / s) - phi(0)) / phi'(0), given the scalars s, 1 / s and 1 / phi'(0)."""
    return s * inverse_slope * rise(name, inverse_s * z)


@inline
def shaped_difference(name, z, h, r, inverse_r, s, inverse_s, inverse_slope):
    """The difference over r of the shaped function."""
    return inverse_slope * difference(name, inverse_s * z, h, inverse_s * r, s * inverse_r)
