"""Paths of one input or of a pair, sixteen side by side: exact steps of noise between steps of drift.

A path's random numbers are those of the stream (seed, path), drawn where they are used. Gaps are in double precision,
and what a step multiplies them by is found in single precision: 1 - rho keeps its digits however small it is.
"""

import numpy as np

from deeplim.limits.drifts import TURN_SINGLE, gap_layer, layers_of, settled
from deeplim.limits.explosions import follow_smooth, record
from deeplim.limits.noise import hyperbolic_step, moved_gap
from deeplim.simd.caching import kernel
from deeplim.simd.exponentials import log
from deeplim.simd.lanes import (
    COUNT,
    fma,
    inline,
    load,
    maximum,
    raised,
    select,
    spread,
    sqrt,
    store,
    to_double,
    to_single,
)
from deeplim.simd.seeding import begin_streams
from deeplim.simd.streams import resume, two_normals

_f32 = np.float32


@inline
def _drift(law, gap, amount):
    """The gaps after one of the first four drifts for a time."""
    layers, a = layers_of(amount)
    for _ in range(layers):
        now = to_single(gap)
        grown, moved = gap_layer(law, now, a, TURN_SINGLE)
        gap = select(now < 0.5, gap * to_double(grown), to_double(moved))
    return settled(gap)


@inline
def _noise(h, gap, along, s0, s1, s2, s3):
    """The gaps after noise alone for a time: a step in the hyperbolic plane, seen from where the pair is."""
    high, side, _, s0, s1, s2, s3 = hyperbolic_step(h, along, s0, s1, s2, s3)
    g = to_single(gap)
    gap = moved_gap(gap, g, fma(_f32(1) - g, high, side))
    return gap, s0, s1, s2, s3


@kernel(nogil=True, error_model="numpy")
def correlation_paths(seed, first, gap, plan, dynamics, gaps, stop):
    """Fill gaps (path, layer) with paths first, first + 1, ... of the correlation SDE of one pair alone,

    d rho = [p drift(rho) - noise rho (1 - rho^2) / 2] dt + noise^(1/2) (1 - rho^2) dB,

    for a drift that needs no norms. plan: the fields of a ``Plan``. |rho| <= 1 by construction.
    """
    law, p, _, noise, _ = dynamics
    drifts, noises, recorded = plan
    paths = gaps.shape[0]
    bits, now = np.empty(4 * COUNT, np.uint32), np.empty(2 * COUNT)
    begun = spread(gap)  # the first drift is the same for all
    if len(drifts) > 0 and drifts[0] * p > 0:
        begun = _drift(law, begun, drifts[0] * p)
    # Two blocks at a time: while the one waits for a root or a quotient, the other computes.
    for block in range(0, paths, 2 * COUNT):
        if raised(stop):
            return
        begin_streams(seed, first + block, bits)
        s0, s1, s2, s3 = resume(bits)
        begin_streams(seed, first + block + COUNT, bits)
        t0, t1, t2, t3 = resume(bits)
        one = two = spread(gap)
        along = spare = along_two = spare_two = to_single(one)
        fresh, done = True, 0
        for step in range(len(drifts) + 1):
            while done < len(recorded) and recorded[done] == step:
                store(now, 0, one)
                store(now, 1, two)
                for k in range(min(2 * COUNT, paths - block)):
                    gaps[block + k, done] = now[k]
                done += 1
            if step == 0:
                one = two = begun
            elif step < len(drifts) and drifts[step] * p > 0:
                one, two = _drift(law, one, drifts[step] * p), _drift(law, two, drifts[step] * p)
            if step < len(drifts) and noises[step] * noise > 0:
                if fresh:
                    along, spare, s0, s1, s2, s3 = two_normals(s0, s1, s2, s3)
                    along_two, spare_two, t0, t1, t2, t3 = two_normals(t0, t1, t2, t3)
                else:
                    along, along_two = spare, spare_two
                fresh = not fresh
                h = noise * noises[step]
                one, s0, s1, s2, s3 = _noise(h, one, along, s0, s1, s2, s3)
                two, t0, t1, t2, t3 = _noise(h, two, along_two, t0, t1, t2, t3)


@inline
def pair_noise(h, held, x, y, gap, s0, s1, s2, s3):
    """Log norms and gaps after noise alone for a time, exactly in law; norms that are held stay what they are."""
    along, other, s0, s1, s2, s3 = two_normals(s0, s1, s2, s3)
    high, side, turned, s0, s1, s2, s3 = hyperbolic_step(h, along, s0, s1, s2, s3)
    # one over twice the largest eigenvalue bounds what rounding can leave of the smallest
    length = maximum(high + side, _f32(0.5) / high)
    apart = sqrt(gap * (2.0 - gap))
    lean, reach = turned / length, _f32(1) / length
    if not held:
        gained = fma(to_double(other), np.sqrt(h), -1.5 * h) + log(to_double(length))
        x = x + gained
        # V^{11} / V^{00} grows by (1 + further)^2 + (apart / length)^2, which for close inputs rounds to one
        further = fma(apart, to_double(lean), -1.0 * gap)
        square = apart * to_double(reach)
        y = y + (gained + log(fma(square, square, fma(further, further, 2.0 * further)) + 1.0))
    g = to_single(gap)
    gap = moved_gap(gap, g, length * fma(to_single(apart), lean, _f32(1) - g))
    return x, y, gap, s0, s1, s2, s3


@kernel(nogil=True, error_model="numpy")
def pair_paths(seed, first, log_norm, gap, plan, dynamics, smooth, norms, gaps, explosions, stop):
    """Fill norms (path, layer, input) and gaps (path, layer, pair) with paths of the SDE of one or two inputs.

    log_norm, gap: the start. plan: the fields of a ``Plan``. dynamics: (law, p, q, noise, normalised), a drift with its
    strengths, the noise strength and whether norms are held at one; smooth: (p, q) again for the drift of smooth
    shaping and None for others, which so are compiled without it. explosions (path) is filled with the time of
    explosion, infinity where there is none; from then on the norm that exploded is infinite and the gaps are NaN.
    """
    law, p, _, noise, normalised = dynamics
    drifts, noises, recorded = plan
    m = norms.shape[2]
    bits, now, apart = np.empty(4 * COUNT, np.uint32), np.empty(2 * COUNT), np.empty(3 * COUNT)
    ends, lost = np.empty(COUNT), np.empty(COUNT, np.int64)
    for block in range(0, norms.shape[0], COUNT):
        if raised(stop):
            return
        last = min(block + COUNT, norms.shape[0])
        begin_streams(seed, first + block, bits)
        s0, s1, s2, s3 = resume(bits)
        x, y = spread(log_norm[0]), spread(log_norm[m - 1])
        between = spread(gap)
        ends[:] = np.inf
        done, clock = 0, 0.0
        for step in range(len(drifts) + 1):
            while done < len(recorded) and recorded[done] == step:
                store(now, 0, x)
                store(now, 1, y)
                store(apart, 1, between)
                record(m, now, apart, ends, lost, norms[block:last, done], gaps[block:last, done])
                done += 1
            if step < len(drifts) and drifts[step] > 0:
                if smooth is not None:
                    store(now, 0, x)
                    store(now, 1, y)
                    store(apart, 1, between)
                    follow_smooth(m, smooth, drifts[step], clock, now, apart, ends, lost)
                    x, y, between = load(now, 0), load(now, 1), load(apart, 1)
                elif m == 2 and p > 0:
                    between = _drift(law, between, drifts[step] * p)
                clock += drifts[step]
            if step < len(drifts) and noises[step] * noise > 0:
                x, y, between, s0, s1, s2, s3 = pair_noise(
                    noise * noises[step], normalised, x, y, between, s0, s1, s2, s3
                )
        for k in range(last - block):
            explosions[block + k] = ends[k]
