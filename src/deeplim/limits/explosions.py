"""Sixteen paths whose norms may explode: the drift of smooth shaping, one path at a time, and what is recorded of them.

State of a block, flat, sixteen numbers to an entry: log norms; gaps, entry (a, b), b < a, of the lower triangle; when
each path exploded (infinity where it did not), and which of its norms did.
"""

import numpy as np

from deeplim.limits.drifts import piece, smooth_drift
from deeplim.limits.noise import corner
from deeplim.simd.lanes import COUNT


@piece
def follow_smooth(m, strengths, duration, clock, log_norm, gap, ends, lost):
    """Follow the drift of smooth shaping for a time, from the time ``clock``; an exploded path stays where it is."""
    p, q = strengths
    norms, gaps, work = np.empty(m), np.empty((m, m)), np.empty((4, max(m, 4)))
    for lane in range(COUNT):
        if ends[lane] < np.inf:
            continue
        largest = 0
        for a in range(m):
            norms[a] = log_norm[a * COUNT + lane]
            if norms[a] > norms[largest]:
                largest = a
            for b in range(a):
                gaps[a, b] = gap[corner(a, b) * COUNT + lane]
        time = smooth_drift(m, p, q, duration, norms, gaps, work)
        if time >= 0:
            # one beta for all, so that the largest norm explodes first
            ends[lane], lost[lane] = clock + time, largest
        for a in range(m):
            log_norm[a * COUNT + lane] = norms[a] if time < 0 else 0.0
            for b in range(a):
                gap[corner(a, b) * COUNT + lane] = gaps[a, b] if time < 0 else 1.0


@piece
def record(m, log_norm, gap, ends, lost, norms, gaps):
    """Write the first paths of a block: norms (path, input) and gaps (path, pair)."""
    for lane in range(norms.shape[0]):
        gone = ends[lane] < np.inf
        pair = 0
        for b in range(m):
            norms[lane, b] = np.inf if gone and lost[lane] == b else log_norm[b * COUNT + lane]
            for a in range(b + 1, m):
                gaps[lane, pair] = np.nan if gone else gap[corner(a, b) * COUNT + lane]
                pair += 1
