"""Paths of the covariance SDEs of several inputs, sixteen side by side, positive semi-definite by construction.

A path's random numbers are those of the stream (seed, path), drawn where they are used.
"""

import numpy as np

from deeplim.limits.drifts import TURN_DOUBLE, gap_layer, layers_of, settled
from deeplim.limits.explosions import follow_smooth, record
from deeplim.limits.noise import coordinates, corner, factorise, read_factor, triangular_step
from deeplim.simd.caching import kernel
from deeplim.simd.lanes import COUNT, inline, load, raised, spread, store
from deeplim.simd.seeding import begin_streams
from deeplim.simd.streams import next_bits, pause, resume, two_normals


@inline
def _drift(m, law, amount, gap):
    """Follow one of the first four drifts for a time, in place."""
    layers, a = layers_of(amount)
    for at in range(1, corner(m, 0)):
        now = load(gap, at)
        for _ in range(layers):
            _, now = gap_layer(law, now, a, TURN_DOUBLE)
        store(gap, at, settled(now))


@inline
def _draw(count, bits, normals):
    """Store standard normals, and return a word of random bits."""
    s0, s1, s2, s3 = resume(bits)
    for k in range((count + 1) // 2):
        one, two, s0, s1, s2, s3 = two_normals(s0, s1, s2, s3)
        store(normals, 2 * k, one)
        store(normals, 2 * k + 1, two)
    word, s0, s1, s2, s3 = next_bits(s0, s1, s2, s3)
    pause(bits, s0, s1, s2, s3)
    return word


@inline
def _restart(m, log_norm, gap, now, apart, ends):
    """Put sixteen paths at their start."""
    for a in range(m):
        store(now, a, spread(log_norm[a]))
        for b in range(a):
            store(apart, corner(a, b), spread(gap[a, b]))
    ends[:] = np.inf


@kernel(nogil=True, error_model="numpy")
def covariance_paths(seed, first, log_norm, gap, plan, dynamics, smooth, norms, gaps, explosions, stop):
    """Fill norms (path, layer, input) and gaps (path, layer, pair) with paths of a covariance SDE.

    log_norm (m,), gap (m, m): the start. plan: the fields of a ``Plan``. dynamics: (law, p, q, noise, normalised), a
    drift with its strengths, the noise strength and whether norms are held at one; smooth: (p, q) again for the drift
    of smooth shaping and None for others, which so are compiled without it. explosions (path) is filled with the
    time of explosion, infinity where there is none; from then on the norm that exploded is infinite and the gaps are
    NaN.
    """
    law, p, _, noise, normalised = dynamics
    drifts, noises, recorded = plan
    m = len(log_norm)
    entries = corner(m, 0)
    bits, normals = np.empty(4 * COUNT, np.uint32), np.empty((entries + 1) * COUNT, np.float32)
    now, size, apart = np.empty(m * COUNT), np.empty(m * COUNT), np.ones(entries * COUNT)
    factor, new = np.empty(entries * COUNT), np.empty(entries * COUNT)
    ends, lost = np.empty(COUNT), np.empty(COUNT, np.int64)
    for block in range(0, norms.shape[0], COUNT):
        if raised(stop):
            return
        last = min(block + COUNT, norms.shape[0])
        begin_streams(seed, first + block, bits)
        _restart(m, log_norm, gap, now, apart, ends)
        done, clock = 0, 0.0
        for step in range(len(drifts) + 1):
            while done < len(recorded) and recorded[done] == step:
                record(m, now, apart, ends, lost, norms[block:last, done], gaps[block:last, done])
                done += 1
            if step < len(drifts) and drifts[step] > 0:
                if smooth is not None:
                    follow_smooth(m, smooth, drifts[step], clock, now, apart, ends, lost)
                elif p > 0:
                    _drift(m, law, drifts[step] * p, apart)
                clock += drifts[step]
            if step < len(drifts) and noises[step] * noise > 0:
                coin = _draw(entries, bits, normals)
                coordinates(m, apart, size, factor)
                factorise(m, factor)
                triangular_step(m, factor, noise * noises[step], normals, coin & np.uint32(0x80000000))
                read_factor(m, factor, size, now, apart, new)
                if normalised:
                    now[:] = 0.0
        for k in range(last - block):
            explosions[block + k] = ends[k]
