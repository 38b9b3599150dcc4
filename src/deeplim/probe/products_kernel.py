"""The one pass over a layer's numbers: doubles made of them, their sizes summed, and few rows multiplied on the way."""

import numpy as np
from numba import njit

from deeplim.simd.caching import kernel

_SUMS = {"reassoc", "contract", "nsz"}
"""Sums may be reordered, to use vectors; infinities and NaN keep their meaning."""
piece = njit(fastmath=_SUMS, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)


@piece
def _widen(source, doubles):
    """Copy numbers to doubles, and return the sum of their sizes."""
    total = 0.0
    for j in range(len(source)):
        number = np.float64(source[j])
        doubles[j] = number
        total += abs(number)
    return total


@piece
def _silent(doubles, rows):
    """How many features are zero in all rows: most layers have none that is zero in the first."""
    first, candidates = doubles[0], 0
    for j in range(len(first)):
        candidates += first[j] == 0.0
    if candidates == 0:
        return 0
    silent = 0
    for j in range(len(first)):
        if first[j] == 0.0:
            a = 1
            while a < rows and doubles[a, j] == 0.0:
                a += 1
            silent += a == rows
    return silent


@piece
def _two_by_two(a, b, c, d):
    """<a, c>, <a, d>, <b, c> and <b, d>: four sums for four loads."""
    ac, ad, bc, bd = 0.0, 0.0, 0.0, 0.0
    for j in range(len(a)):
        ac += a[j] * c[j]
        ad += a[j] * d[j]
        bc += b[j] * c[j]
        bd += b[j] * d[j]
    return ac, ad, bc, bd


@kernel(nogil=True, fastmath=_SUMS, error_model="numpy")
def widen_block(numbers, starts, offset, doubles, sizes, silent):
    """Fill doubles (sample, row, feature) with a block; add to each row's sum of sizes, and count silent features.

    numbers: the layer's memory; starts (sample, row): where each row begins in it; offset: the block's first feature.
    A feature is silent that is zero in all rows.
    """
    samples, rows, width = doubles.shape
    for s in range(samples):
        for a in range(rows):
            at = starts[s, a] + offset
            sizes[s, a] += _widen(numbers[at : at + width], doubles[s, a])
        silent[s] += _silent(doubles[s], rows)


@kernel(nogil=True, fastmath=_SUMS, error_model="numpy")
def multiply_few(numbers, starts, features, doubles, products, sizes, silent):
    """Add <x^a, x^b> to the lower triangles of products, block by block of features; the rest is as in widen_block.

    doubles (row, feature), products (sample, row, row): with one row more where the number of rows is odd, of zeros.
    """
    (samples, rows), block = starts.shape, doubles.shape[1]
    for s in range(samples):
        for begin in range(0, features, block):
            width = min(block, features - begin)
            for a in range(rows):
                at = starts[s, a] + begin
                sizes[s, a] += _widen(numbers[at : at + width], doubles[a, :width])
            silent[s] += _silent(doubles[:, :width], rows)
            for a in range(0, rows, 2):
                first, second = doubles[a, :width], doubles[a + 1, :width]
                for b in range(0, a + 1, 2):
                    aa, ab, ba, bb = _two_by_two(first, second, doubles[b, :width], doubles[b + 1, :width])
                    products[s, a, b] += aa
                    products[s, a, b + 1] += ab
                    products[s, a + 1, b] += ba
                    products[s, a + 1, b + 1] += bb


@kernel(nogil=True, error_model="numpy")
def gaps_of(products, own, gaps, smallest):
    """Fill own (sample, input) with the squared norms, and gaps (sample, pair) with 1 - rho, or NaN in a lost sample.

    A sample is lost with an input that is all zero or not finite. smallest: its smallest gap, or 2.
    """
    samples, inputs = own.shape
    scale = np.empty(inputs)
    for s in range(samples):
        kept = True
        for a in range(inputs):
            own[s, a] = products[s, a, a]
            scale[a] = 1 / np.sqrt(own[s, a])
            kept &= 0.0 < own[s, a] < np.inf
        pair, smallest[s] = 0, 2.0
        for a in range(inputs):
            for b in range(a + 1, inputs):
                gap = 1 - (products[s, b, a] * scale[a]) * scale[b] if kept else np.nan
                gaps[s, pair] = min(gap, 2.0) if kept else np.nan
                smallest[s] = min(smallest[s], gaps[s, pair]) if kept else 2.0
                pair += 1


@njit(error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
def _across(source, factor, reference, more, scale, found):
    """((factor x - r) - more r) scale, in this order: the difference is what counts, and must not be rearranged."""
    for j in range(len(reference)):
        difference = np.float64(source[j]) * factor - reference[j]
        found[j] = (difference - more * reference[j]) * scale


@piece
def _dot(a, b):
    total = 0.0
    for j in range(len(a)):
        total += a[j] * b[j]
    return total


@kernel(nogil=True, error_model="numpy")
def add_excess(numbers, starts, factors, features, buffers, excess):
    """Add <factor x^a - r, r> to excess, r being the first row; buffers: two rows of doubles, as wide as a block."""
    for begin in range(0, features, buffers.shape[1]):
        width = min(buffers.shape[1], features - begin)
        reference, difference = buffers[0, :width], buffers[1, :width]
        first = starts[0] + begin
        for j in range(width):
            reference[j] = numbers[first + j]
        for a in range(len(starts)):
            at = starts[a] + begin
            _across(numbers[at : at + width], factors[a], reference, 0.0, 1.0, difference)
            excess[a] += _dot(difference, reference)


@kernel(nogil=True, error_model="numpy")
def across_block(numbers, starts, factors, more, unit, offset, reference, found):
    """Fill found (row, feature) with (factor x^a / (1 + more^a) - r) / unit, r being the first row."""
    width = found.shape[1]
    first = starts[0] + offset
    for j in range(width):
        reference[j] = numbers[first + j]
    for a in range(len(starts)):
        at = starts[a] + offset
        _across(numbers[at : at + width], factors[a], reference[:width], more[a], 1 / (1 + more[a]) / unit, found[a])
