"""Elementary functions of sixteen numbers, in single and in double precision, without a branch or a call.

Written once for both kinds of Lanes; coefficients and constants are chosen by kind when Numba compiles, those for
single precision first. Every function is finite for any finite number and keeps a NaN. Some come as a rate,
f(r h) / r, which keeps its relative precision however small r is and is f'(0) h at r = 0. They take 1/r too, to use it
where |r h| > 0.1 only: anything finite will do for it where r is tiny.

Relative errors are below 3e-7 in single and 1e-15 in double precision; those of sine and cosine are absolute, for |x|
up to 1e5. exp(-|x|) stops falling at 1e-38 in single and 1e-308 in double precision.
"""

import math

import numpy as np

from deeplim.simd.coefficients import constant, exponent_of_two, negate_odd, polynomial, remainder
from deeplim.simd.lanes import absolute, fma, inline, maximum, minimum, select, with_sign


def _parts(c):
    return float(np.float32(c)), c - float(np.float32(c))


# Interpolants that tests/reference/make_elementary.py makes.
# fmt: off
EXPONENTIAL = (
    (
        1.0, 0.5, 0.16666573, 0.04166655, 0.008363767, 0.0013926919,
    ),
    (
        1.0, 0.5000000000000001, 0.16666666666666669, 0.04166666666662068, 0.008333333333329796,
        0.0013888888918918907, 0.00019841269864364933, 2.4801518672268355e-05, 2.7557266442353424e-06,
        2.7621324269313687e-07, 2.5101335854788522e-08,
    ),
)
LOGARITHM = (
    (
        2.0, 0.6666632, 0.40024596, 0.27965158, 0.2815778,
    ),
    (
        2.0, 0.6666666666668257, 0.399999999952876, 0.2857142911165716, 0.22222190861346283, 0.1818285980047391,
        0.15363676248891633, 0.13591305485579894, 0.09880789048764786, 0.17780763826113302,
    ),
)
SINE = (
    (
        1.0, -0.16666666, 0.008333231, -0.00019821344, 2.630318e-06,
    ),
    (
        1.0, -0.16666666666666666, 0.00833333333333331, -0.00019841269841251312, 2.755731921819272e-06,
        -2.5052107495717588e-08, 1.605896959588758e-10, -7.643728492315687e-13, 2.72848526429958e-15,
    ),
)
BELL = (
    (
        1.1283792, 1.5239085, 0.9182474, 0.28355184, 0.038562253,
    ),
    (
        1.1283791670955123, 2.584634408203944, 2.8546452717323425, 1.9680663444588682, 0.9279544009023167,
        0.3097345795311727, 0.07325354352101932, 0.011878442293141455, 0.0012061863848374383, 5.9103172258622886e-05,
    ),
)
BELL_BELOW = (
    (
        1.0, 2.236756, 2.1293783, 1.0903655, 0.3053183, 0.038561903,
    ),
    (
        1.0, 3.176799530454721, 4.6785621164142634, 4.215668214589093, 2.580391418978287, 1.1245538073631138,
        0.35470802688191727, 0.08033311925605921, 0.012577773219150754, 0.001239531778782019, 5.9103172261035595e-05,
    ),
)
# fmt: on
_exponential = polynomial("_exponential", "(e^f - 1) / f for |f| < 0.35.", *EXPONENTIAL)
_logarithm = polynomial("_logarithm", "2 atanh(u) / u of u^2, for |u| < 1/3.", *LOGARITHM)
_sine = polynomial("_sine", "sin(f) / f of f^2, for |f| < 1.6.", *SINE)
_bell = polynomial("_bell", "The numerator of (1 - e^(x^2) erfc(x)) / x for x from 0 to _far.", *BELL)
_bell_below = polynomial("_bell_below", "Its denominator.", *BELL_BELOW)
_far = constant("_far", "From here on erf is 1 to rounding.", 4.0, 6.0)
_least = constant("_least", "The power of e above the smallest normal number.", -87.0, -708.0)
_whole = constant("_whole", "Adding it rounds to whole numbers, which are its last bits.", 1.5 * 2**23, 1.5 * 2**52)
_biased = constant("_biased", "The same, with the bias of an exponent.", 1.5 * 2**23 + 127, 1.5 * 2**52 + 1023)
_less_turns = remainder("_less_turns", "x - k pi.", _parts(math.pi), (math.pi, 1.2246467991473532e-16))
_less_logs = remainder("_less_logs", "x - k log(2).", (math.log(2),), (math.log(2), 2.3190468138462996e-17))


@inline
def _powers(x):
    """(2^k, f, (e^f - 1) / f) such that exp(-|x|) = 2^k e^f with k whole and f within log(2) / 2 of 0."""
    x = maximum(_least(x), -absolute(x))
    biased = fma(x, 1 / math.log(2), _biased(x))
    f = _less_logs(x, biased - _biased(x))
    return exponent_of_two(biased), f, _exponential(f)


@inline
def decay(x):
    """(exp(-|x|), exp(-|x|) - 1), each to its own relative precision."""
    power, f, slope = _powers(x)
    rise = f * slope
    return fma(power, rise, power), fma(power, rise, power - 1.0)


@inline
def loss_rate(h, r, inverse_r):
    """(1 - exp(-|r h|)) / r, with the sign of h."""
    power, f, slope = _powers(r * h)
    far = with_sign(fma(-power, f * slope, 1.0 - power) * inverse_r, h)
    # Where k = 0, f is -|r h|.
    return select(power > 0.75, h * slope, far)


@inline
def log_slope(n, d):
    """log(1 + n / d) / n for d > 0 and n / d from -1/2 to 1."""
    inverse = 1.0 / fma(d, 2.0, n)
    u = n * inverse
    return inverse * _logarithm(u * u)


@inline
def _sine_of_rest(x, k):
    """(f, sin(f) / f) for f = x - k pi, held near a quarter turn even where x has no digits left for it."""
    f = maximum(-1.6, minimum(1.6, _less_turns(x, k)))
    return f, _sine(f * f)


@inline
def sine(x):
    """sin(x)."""
    rounded = fma(x, 1 / math.pi, _whole(x))
    f, slope = _sine_of_rest(x, rounded - _whole(x))
    return negate_odd(f * slope, rounded)


@inline
def cosine(x):
    """cos(x), as -(-1)^k sin(x - (k + 1/2) pi)."""
    rounded = fma(x, 1 / math.pi, -0.5) + _whole(x)
    f, slope = _sine_of_rest(x, rounded - _whole(x) + 0.5)
    return negate_odd(-(f * slope), rounded)


@inline
def sine_rate(h, r, inverse_r):
    """sin(r h) / r."""
    x = r * h
    rounded = fma(x, 1 / math.pi, _whole(x))
    f, slope = _sine_of_rest(x, rounded - _whole(x))
    return select(absolute(x) < 1.5, h * slope, negate_odd(f * slope, rounded) * inverse_r)


@inline
def error_functions(x):
    """(erf(|x|), erfc(|x|)); the second keeps its digits down to 1e-7 and 1e-16.

    With erfc(x) = e^(-x^2) (1 - x q(x)), erf(x) is the sum of two positive numbers, 1 - e^(-x^2) and e^(-x^2) x q(x).
    """
    size = minimum(_far(x), absolute(x))
    bell, bell_less_one = decay(x * x)
    share = size * (_bell(size) / _bell_below(size))
    return fma(bell, share, -bell_less_one), fma(-bell, share, bell)
