"""A drift of one pair as polynomials, fitted to values of it, and the paths of its covariance SDE.

dV = b(V) dt leads, in x = log V^{aa} and gap = 1 - rho, to dx^a = growth(s_a) dt with s_a = sqrt(V^{aa}), and to
d gap = [(s_a - s_b)^2 apart(s_a, s_b) + gap turn(s_a, s_b, gap)] dt. The two terms keep a gap of any size positive and
to relative precision: the first is what is left at gap 0, the second vanishes there.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from deeplim.gaussian import angle_of_gap
from deeplim.limits.drifts import SMALLEST_GAP, piece
from deeplim.limits.explosions import record
from deeplim.limits.pairs import pair_noise
from deeplim.simd.caching import kernel
from deeplim.simd.lanes import COUNT, load, raised, spread, store
from deeplim.simd.seeding import begin_streams
from deeplim.simd.streams import resume

EXPLODED = 20.0
"""Log norm above which a norm that its drift makes grow is called infinite; what is left of its time is below 1e-8."""
_LONGEST_CHANGE = 0.1

Array = Float[np.ndarray, "..."]


class Table(NamedTuple):
    """growth (i), apart (i, j), turn (i, j, k): the coefficients of s_a^i s_b^j T_k(y), on T_k Chebyshev's polynomials.

    y runs from -1 to 1 with the gap, or with the angle arccos(rho) when angular: kinks at 0 make powers of the angle.
    """

    growth: Float[np.ndarray, " i"]
    apart: Float[np.ndarray, "i j"]
    turn: Float[np.ndarray, "i j k"]
    angular: bool

    def growths(self, size: Array) -> Array:
        """Return d log V / dt at s = sqrt(V)."""
        return np.polynomial.polynomial.polyval(size, self.growth)

    def turns(self, first: Array, second: Array, gap: Array) -> Array:
        """Return d gap / dt at the roots of two norms and a gap."""
        y = 2 * angle_of_gap(gap) / np.pi - 1 if self.angular else gap - 1
        mixed = np.moveaxis(np.polynomial.polynomial.polyval2d(first, second, self.turn), 0, -1)
        basis = np.polynomial.chebyshev.chebvander(y, self.turn.shape[2] - 1)
        return self.aparts(first, second) + gap * (mixed * basis).sum(axis=-1)

    def aparts(self, first: Array, second: Array) -> Array:
        """Return d gap / dt at gap 0."""
        return (first - second) ** 2 * np.polynomial.polynomial.polyval2d(first, second, self.apart)


def chebyshev_nodes(count: int, end: float) -> Float[np.ndarray, " node"]:
    """Return Chebyshev's points of the first kind on (0, end)."""
    return end / 2 * (1 + np.cos((np.arange(count) + 0.5) * np.pi / count))


def polynomial(values: Array, ends: tuple[float, ...], tolerance: float) -> Array:
    """Return coefficients of a polynomial from its values at Chebyshev's points of every axis.

    Of monomials along the first axes, which run over (0, end), and of Chebyshev's polynomials along the others.
    Chebyshev coefficients below the tolerance are left out, so that the degree is that of the values, not of rounding.
    """
    found = values
    for axis in range(values.ndim):
        found = np.moveaxis(_transform(np.moveaxis(found, axis, 0)), 0, axis)
    found = _chopped(found, tolerance)
    for axis, end in enumerate(ends):
        found = np.moveaxis(_monomials(np.moveaxis(found, axis, 0), end), 0, axis)
    return np.ascontiguousarray(found)


def _transform(values: Array) -> Array:
    """Return Chebyshev coefficients along the first axis from values at Chebyshev's points."""
    count = len(values)
    angle = (np.arange(count) + 0.5) * np.pi / count
    table = np.cos(np.outer(np.arange(count), angle)) * (2 / count)
    table[0] /= 2
    return np.tensordot(table, values, axes=1)


def _chopped(coefficients: Array, tolerance: float) -> Array:
    """Return coefficients with those of at most the tolerance zero, and no more of them along any axis than needed."""
    kept = np.where(np.abs(coefficients) > tolerance, coefficients, 0.0)
    used = np.nonzero(kept)
    return kept[tuple(slice(0, int(index.max()) + 1 if len(index) else 1) for index in used)]


def _monomials(coefficients: Array, end: float) -> Array:
    """Chebyshev coefficients on (0, end) to coefficients of monomials, along the first axis."""
    result = np.zeros_like(coefficients)
    shift = np.array([-1.0, 2.0 / end])
    for degree in range(len(coefficients)):
        power = np.polynomial.chebyshev.cheb2poly(np.eye(degree + 1)[degree])
        shifted = np.zeros(1)
        for one in power[::-1]:
            shifted = np.polynomial.polynomial.polyadd(np.polynomial.polynomial.polymul(shifted, shift), [one])
        shifted = np.pad(shifted, (0, degree + 1))[: degree + 1]
        result[: degree + 1] += np.multiply.outer(shifted, coefficients[degree])
    return result


@piece
def _power_sum(coefficients, s):
    """Sum of coefficients times powers of s."""
    total = 0.0
    for i in range(len(coefficients) - 1, -1, -1):
        total = total * s + coefficients[i]
    return total


@piece
def _turn(coefficients, s, z, gap, angular, basis):
    """The factor of the gap in d gap / dt."""
    count = coefficients.shape[2]
    y = 4 * np.arcsin(np.sqrt(min(gap / 2, 1.0))) / np.pi - 1 if angular else gap - 1
    basis[0] = 1.0
    if count > 1:
        basis[1] = y
    for k in range(2, count):
        basis[k] = 2 * y * basis[k - 1] - basis[k - 2]
    total = 0.0
    for i in range(coefficients.shape[0] - 1, -1, -1):
        inner = 0.0
        for j in range(coefficients.shape[1] - 1, -1, -1):
            term = 0.0
            for k in range(count):
                term += coefficients[i, j, k] * basis[k]
            inner = inner * z + term
        total = total * s + inner
    return total


@piece
def _apart(coefficients, s, z):
    """What d gap / dt is at gap 0."""
    total = 0.0
    for i in range(coefficients.shape[0] - 1, -1, -1):
        total = total * s + _power_sum(coefficients[i], z)
    return max((s - z) ** 2 * total, 0.0)


@piece
def _rates(m, table, x, z, gap, basis, out):
    """The growth of both norms, and the two parts of the gap's drift, at log norms x and z."""
    growth, apart, turn, angular = table
    s, w = np.exp(x / 2), np.exp(z / 2)
    out[0] = _power_sum(growth, s)
    out[1] = _power_sum(growth, w)
    if m == 2:
        out[2] = _apart(apart, s, w)
        out[3] = _turn(turn, s, w, gap, angular, basis)


@piece
def _moved(gap, apart, turn, h):
    """The gap after the linear equation d gap = (apart + turn gap) dt for a time h, in (0, 2]."""
    grown = np.expm1(turn * h)
    added = apart * h if abs(turn * h) < 1e-12 else apart * grown / turn
    return min(max(gap + gap * grown + added, SMALLEST_GAP), 2.0)


@piece
def follow_drift(m, table, duration, log_norm, gap, basis, now, ahead):
    """Follow the drift for a time, in place, by Heun's method; return when a norm exploded, or -1.

    A substep changes no log norm and no log gap by more than 0.1, but for what the first part adds to the gap.
    """
    left, clock = duration, 0.0
    second = m - 1
    while left > 0:
        x, z, apart = log_norm[0], log_norm[second], gap[second, 0]
        _rates(m, table, x, z, apart, basis, now)
        if (x > EXPLODED and now[0] > 0) or (z > EXPLODED and now[1] > 0):
            return clock
        fastest = max(abs(now[0]), abs(now[1]), abs(now[3]))
        h = left if fastest * left <= _LONGEST_CHANGE else _LONGEST_CHANGE / fastest
        moved = _moved(apart, now[2], now[3], h)
        _rates(m, table, x + h * now[0], z + h * now[1], moved, basis, ahead)
        log_norm[0] = x + h * (now[0] + ahead[0]) / 2
        if m == 2:
            log_norm[1] = z + h * (now[1] + ahead[1]) / 2
            moved = _moved(apart, (now[2] + ahead[2]) / 2, (now[3] + ahead[3]) / 2, h)
            gap[1, 0] = gap[0, 1] = moved
        left = left - h if left > h else 0.0
        clock += h
    return -1.0


@piece
def _follow_block(m, table, duration, clock, log_norm, gap, ends, lost, room):
    """Follow the drift of sixteen paths for a time, from the time ``clock``; an exploded path stays where it is."""
    norms, gaps, basis, rate, ahead = room
    for lane in range(COUNT):
        if ends[lane] < np.inf:
            continue
        for a in range(m):
            norms[a] = log_norm[a * COUNT + lane]
        gaps[m - 1, 0] = gap[COUNT + lane]
        time = follow_drift(m, table, duration, norms, gaps, basis, rate, ahead)
        if time >= 0:
            ends[lane], lost[lane] = clock + time, 1 if m == 2 and norms[1] > norms[0] else 0
        for a in range(m):
            log_norm[a * COUNT + lane] = norms[a] if time < 0 else 0.0
        gap[COUNT + lane] = gaps[m - 1, 0] if time < 0 else 1.0


@kernel(nogil=True, error_model="numpy")
def tabled_paths(seed, first, log_norm, gap, plan, table, noise, held, norms, gaps, explosions, stop):
    """Fill norms (path, layer, input) and gaps (path, layer, pair) with paths of one or two inputs.

    log_norm, gap: the start. plan: the fields of a ``Plan``; noise: its strength; held: whether norms stay at one.
    explosions (path) is filled with the time of explosion, infinity where there is none; from then on the norm that
    exploded is infinite and the gap is NaN. The noise is that of ``pair_paths``.
    """
    drifts, noises, recorded = plan
    m = norms.shape[2]
    bits, now, apart = np.empty(4 * COUNT, np.uint32), np.empty(2 * COUNT), np.empty(2 * COUNT)
    ends, lost = np.empty(COUNT), np.empty(COUNT, np.int64)
    room = np.zeros(m), np.zeros((m, m)), np.zeros(max(2, table[2].shape[2])), np.zeros(4), np.zeros(4)
    for block in range(0, norms.shape[0], COUNT):
        if raised(stop):
            return
        last = min(block + COUNT, norms.shape[0])
        begin_streams(seed, first + block, bits)
        s0, s1, s2, s3 = resume(bits)
        store(now, 0, spread(log_norm[0]))
        store(now, 1, spread(log_norm[m - 1]))
        store(apart, 1, spread(gap))
        ends[:] = np.inf
        done, clock = 0, 0.0
        for step in range(len(drifts) + 1):
            while done < len(recorded) and recorded[done] == step:
                record(m, now, apart, ends, lost, norms[block:last, done], gaps[block:last, done])
                done += 1
            if step < len(drifts) and drifts[step] > 0:
                _follow_block(m, table, drifts[step], clock, now, apart, ends, lost, room)
                clock += drifts[step]
            if step < len(drifts) and noises[step] * noise > 0:
                x, y, between = load(now, 0), load(now, 1), load(apart, 1)
                x, y, between, s0, s1, s2, s3 = pair_noise(noise * noises[step], held, x, y, between, s0, s1, s2, s3)
                store(now, 0, x)
                store(now, 1, y)
                store(apart, 1, between)
        for k in range(last - block):
            explosions[block + k] = ends[k]
