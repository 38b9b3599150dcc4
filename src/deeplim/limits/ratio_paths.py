"""Paths of the unshaped network's ratio R = 1 / (width sqrt(1 - rho)) and of its norm, sixteen side by side.

A path's random numbers are those of the stream (seed, path), drawn where they are used.
"""

import numpy as np

from deeplim.simd.caching import kernel
from deeplim.simd.exponentials import exp
from deeplim.simd.lanes import COUNT, fma, raised, spread, store, to_double
from deeplim.simd.seeding import begin_streams
from deeplim.simd.streams import resume, two_normals


@kernel(nogil=True, error_model="numpy")
def ratio_paths(seed, first, start, steps, recorded, coefficients, ratios, norms, stop):
    """Fill ratios (path, layer) and log norms (path, layer) with paths from R_0 = start and log V_0 = 0.

    R -> Phi R + source (Phi + 1), Phi = exp(A h / 2 - sqrt(A h) Z); log V gains -B h / 2 + sqrt(B h) times a normal
    that is correlated with Z by minus ``shared``. The source is a trapezoid scaled so that its mean is exact; the
    variance is right to second order. steps: their lengths; recorded: how many come before each recorded layer;
    coefficients: A, c = kappa sqrt(2) / 3, B = 3 A - 1 and shared.
    """
    a, c, b, shared = coefficients
    apart = np.sqrt(1 - shared * shared)
    bits, now = np.empty(4 * COUNT, np.uint32), np.empty(2 * COUNT)
    for block in range(0, ratios.shape[0], COUNT):
        if raised(stop):
            return
        begin_streams(seed, first + block, bits)
        s0, s1, s2, s3 = resume(bits)
        ratio, norm = spread(start), spread(0.0)
        done = 0
        for step in range(len(steps) + 1):
            while done < len(recorded) and recorded[done] == step:
                store(now, 0, ratio)
                store(now, 1, norm)
                for k in range(min(COUNT, ratios.shape[0] - block)):
                    ratios[block + k, done], norms[block + k, done] = now[k], now[COUNT + k]
                done += 1
            if step < len(steps):
                h = steps[step]
                one, two, s0, s1, s2, s3 = two_normals(s0, s1, s2, s3)
                z = to_double(one)
                phi = exp(fma(z, -np.sqrt(a * h), a * h / 2))
                ratio = fma(phi, ratio, c / a * np.tanh(a * h / 2) * (phi + 1.0))
                noise = fma(to_double(two), apart, -shared * z)
                norm = norm + fma(noise, np.sqrt(b * h), -b * h / 2)
