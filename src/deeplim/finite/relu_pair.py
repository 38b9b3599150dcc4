"""A layer of ReLU seen by two inputs, from its active neurons alone: half of the random numbers, and the same law.

Of n neurons K ~ Binomial(n, 1/2) are active for the first input. Each of them sees the inputs in a direction uniform
over a half turn. Of the others a fraction theta / pi, theta the angle between the inputs, is active for the second
input alone, and sees it at an angle below theta from vanishing. The rest adds nothing.
"""

import math

import numpy as np

from deeplim.finite.active import advance, half_of
from deeplim.simd.exponentials import log
from deeplim.simd.lanes import (
    any_lane,
    floor,
    fma,
    inline,
    largest,
    maximum,
    minimum,
    select,
    spread,
    sqrt,
    to_double,
    to_single,
    unsigned_to_float,
)
from deeplim.simd.streams import half_turn, log2_uniform, next_bits, pause, resume

_ROWS_TOGETHER = 32
_f32 = np.float32
_ZERO, _ONE, _HALF_PI = _f32(0), _f32(1), _f32(math.pi / 2)
_LOG_2 = math.log(2.0)
_FAR = _f32(2.0**30)


@inline
def _arcsine(h):
    """arcsin h for h in [0, 1], in single precision; error below 2e-7 of it."""
    far = _f32(0.5) < h
    # arcsin h = pi / 2 - 2 arcsin sqrt((1 - h) / 2)
    x = select(far, sqrt(maximum(_f32(0.5) - _f32(0.5) * h, spread(_ZERO))), h)
    y = x * x
    p = fma(y, _f32(0.0382319), _f32(0.026479935))
    p = fma(p, y, _f32(0.0450134))
    p = fma(p, y, _f32(0.0749879))
    p = fma(p, y, _f32(0.16666673))
    found = fma(p * y, x, x)
    return select(far, _HALF_PI - (found + found), found)


@inline
def _rate_of_sine(angle_bits, angle, inverse_r):
    """sin(beta) / r for beta uniform in (0, angle), and beta near 0 as precise as anywhere."""
    beta = angle * ((unsigned_to_float(angle_bits) + _f32(0.5)) * _f32(2.0**-32))
    x = select(beta > _HALF_PI, _f32(math.pi) - beta, beta)
    y = x * x
    s = fma(y, _f32(2.6331445e-06), _f32(-0.00019822032))
    s = fma(s, y, _f32(0.008333233))
    s = fma(s, y, _f32(-0.16666666))
    return fma(s * y, x, x) * inverse_r


@inline
def _add_active(live, shape, sums, s0, s1, s2, s3):
    """Add a neuron active for the first input, in the lanes that have one more."""
    lean, height, r, inverse_r = shape
    weight_bits, t0, t1, t2, t3 = next_bits(s0, s1, s2, s3)
    angle_bits, t0, t1, t2, t3 = next_bits(t0, t1, t2, t3)
    weight = select(live, log2_uniform(weight_bits), spread(_ZERO))
    z, across = half_turn(angle_bits)
    x = fma(height, across, lean * z)
    difference = select(fma(r, x, z) < _ZERO, -z * inverse_r, x)
    weighted, other = weight * z, weight * difference
    sums = fma(weighted, z, sums[0]), fma(weighted, difference, sums[1]), fma(other, difference, sums[2])
    return sums, advance(live, (s0, s1, s2, s3), (t0, t1, t2, t3))


@inline
def _add_all_active(active, shape, sums, s0, s1, s2, s3):
    """Add the neurons active for the first input, ``active`` of them in each lane."""
    most = int(largest(active))
    left = to_single(active)
    for begin in range(0, most, _ROWS_TOGETHER):
        part = spread(_ZERO), spread(_ZERO), spread(_ZERO)
        for _ in range(min(_ROWS_TOGETHER, most - begin)):
            part, states = _add_active(left > _ZERO, shape, part, s0, s1, s2, s3)
            s0, s1, s2, s3 = states
            left = left - _ONE
        sums = sums[0] + to_double(part[0]), sums[1] + to_double(part[1]), sums[2] + to_double(part[2])
    return sums, s0, s1, s2, s3


@inline
def _squares_of_others(inactive, r, inverse_r, s0, s1, s2, s3):
    """The sum of (z' / r)^2 over neurons active for the second input alone, by how many are passed over to each."""
    angle = _arcsine(_f32(0.5) * r)
    angle = angle + angle
    # log2(1 - theta / pi); never 0, so that 0 / 0 is not met
    chance = log(maximum(1.0 - to_double(angle) * (1 / math.pi), spread(1e-300))) * (1 / _LOG_2)
    inverse_chance = to_single(1.0 / minimum(chance, spread(-1e-30)))
    place, left, total = spread(_ZERO), to_single(inactive), spread(0.0)
    live = place < left
    while any_lane(live):
        skip_bits, t0, t1, t2, t3 = next_bits(s0, s1, s2, s3)
        weight_bits, t0, t1, t2, t3 = next_bits(t0, t1, t2, t3)
        angle_bits, t0, t1, t2, t3 = next_bits(t0, t1, t2, t3)
        s0, s1, s2, s3 = advance(live, (s0, s1, s2, s3), (t0, t1, t2, t3))
        place = place + floor(minimum(log2_uniform(skip_bits) * inverse_chance, spread(_FAR))) + _ONE
        live = live & (place < left + _ONE)
        rate = _rate_of_sine(angle_bits, angle, inverse_r)
        total = total + to_double(select(live, log2_uniform(weight_bits) * rate * rate, spread(_ZERO)))
    return total, s0, s1, s2, s3


@inline
def add_active_rows(n, r, inverse_r, lean, height, w):
    """(sum p^2, sum p D, sum D^2) / log2(e^-2) over n neurons, p = phi(z), D = (phi(z') - phi(z)) / r; w: a Room.

    r: the size of the difference of the inputs, lean and height: of the second along the first and across it.
    """
    s0, s1, s2, s3 = resume(w.bits)
    active, s0, s1, s2, s3 = half_of(n, s0, s1, s2, s3)
    sums = spread(0.0), spread(0.0), spread(0.0)
    sums, s0, s1, s2, s3 = _add_all_active(active, (lean, height, r, inverse_r), sums, s0, s1, s2, s3)
    others, s0, s1, s2, s3 = _squares_of_others(n - active, r, inverse_r, s0, s1, s2, s3)
    pause(w.bits, s0, s1, s2, s3)
    return sums[0], sums[1], sums[2] + others
