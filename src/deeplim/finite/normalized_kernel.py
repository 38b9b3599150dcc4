"""The exact chain of normalized networks, sixteen at a time: rows drawn, kept where all must be known, and changed.

A layer is made of halves that have one form, N(f(N(rows))). In an MLP's only half rows are drawn from the covariance of
the layer, and f is the activation. A ResNet's block has two: in its branch the rows are those kept; in its sum they are
noise, drawn from the branch's covariance, and f adds them to the rows kept. RMSNorm and LayerNorm need all rows before
the first can be changed: the n x m numbers are stored, moments summed over them, and the change made as they are read
again. BatchNorm changes a row where it is. All is in double precision.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from deeplim.architecture import Network, ResNet
from deeplim.finite.coordinates import factorise, inverse, record
from deeplim.finite.normalizations import (
    BATCHNORM,
    KINDS,
    LAYERNORM,
    NONE,
    changed,
    exponentiate,
    find_change,
    find_ratios,
    over_inputs,
    over_neurons,
    plus,
    put,
    take,
    times,
    trim,
)
from deeplim.finite.normalized_room import TOGETHER
from deeplim.finite.rows import (
    ROWS,
    Form,
    activation_of,
    add_products,
    clear,
    copy,
    corner,
    correlate,
    draw,
    four,
    put_four,
)
from deeplim.resolution import COLLAPSED
from deeplim.simd.caching import kernel
from deeplim.simd.exponentials import log
from deeplim.simd.lanes import (
    COUNT,
    any_lane,
    inline,
    load,
    maximum,
    piece,
    raised,
    select,
    spread,
    sqrt,
    store,
)
from deeplim.simd.streams import pause, resume

_SMALLEST_SIZE = 1e-280
_PLACES = ("before-activation", "after-activation", "before-sum", "after-sum")


def kinds(network: Network) -> tuple[int, int, int, int]:
    """Return the kind of normalization at each of the four places of a layer."""
    found = [KINDS[network.normalization] if network.placement == place else NONE for place in _PLACES]
    return found[0], found[1], found[2], found[3]


def scales(network: Network) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the sign and the logarithm of the size of a ResNet's skip and branch scales."""
    found = (network.skip_scale, network.branch_scale) if isinstance(network, ResNet) else (0.0, 1.0)
    skip, branch = ((float(np.sign(scale)), float(np.log(abs(scale))) if scale else -np.inf) for scale in found)
    return skip, branch


@inline
def _restart(m, block, states, start, layer, w):
    """Put sixteen networks at their inputs, with the random streams of their own."""
    for k in range(COUNT):
        for word in range(4):
            w.bits[word * COUNT + k] = states[word, block * COUNT + k]
        for a in range(m):
            w.drawn_log_size[a * COUNT + k] = start.log_size[a]
            layer.log_size[a * COUNT + k] = -np.inf if a > 0 else 0.0
            layer.shrink[a * COUNT + k] = layer.base[a * COUNT + k] = 1.0
        for at in range(m * (m + 1) // 2):
            w.drawn_matrix[at * COUNT + k] = start.matrix[at]
    clear(m, w.kept_log_size)
    clear(len(w.kept) // COUNT, w.kept)
    clear(3, w.fate)


@piece
def _factorise(m, matrix, factor):
    factorise(m, matrix, 1.0, factor)


@piece
def _draw_rows(m, n, factor, normals, bits, rows):
    """Draw n Gaussian rows whose covariance has this factor; those missing from the last tile are zero."""
    s0, s1, s2, s3 = resume(bits)
    for i in range(0, n, ROWS):
        s0, s1, s2, s3 = draw(m, normals, s0, s1, s2, s3)
        place = i // ROWS * m
        for a in range(m):
            put_four(rows, place + a, correlate(factor, normals, a))
        trim(m, n - i, rows[place * ROWS * COUNT :])
    pause(bits, s0, s1, s2, s3)


@piece
def _measure(m, n, gram, scale, row_log_size, matrix, log_size):
    """Find scale times the covariance of rows from their Gram matrix, with the size of every difference taken out."""
    root = np.sqrt(scale)
    log_root = np.log(root)
    store(matrix, 0, load(gram, 0) * (scale / n))
    for a in range(1, m):
        size = sqrt(load(gram, corner(a, a)) * (1.0 / n))
        store(log_size, a, load(row_log_size, a) + log(size) + log_root)
        store(matrix, corner(a, a), inverse(size))
    for a in range(1, m):
        by = load(matrix, corner(a, a)) * (1.0 / n)
        store(matrix, corner(a, 0), load(gram, corner(a, 0)) * by * root)
        for b in range(1, a):
            store(matrix, corner(a, b), load(gram, corner(a, b)) * by * load(matrix, corner(b, b)))
    for a in range(1, m):
        by = load(matrix, corner(a, a))
        store(matrix, corner(a, a), load(gram, corner(a, a)) * by * by * (1.0 / n))


@inline
def _plan_branch(m, before, after, variance, w):
    """Find from the sizes of a layer's rows those that the activation meets, and what BatchNorm makes of them.

    variance: input 0's, of which a part is the least that a function's differences are taken over.
    """
    if before == BATCHNORM:
        find_ratios(m, w.log_size, w.ratio)
    exponentiate(m, w.log_size, w.size)
    for a in range(1, m):
        store(w.inverse_size, a, 1.0 / maximum(load(w.size, a), spread(_SMALLEST_SIZE)))
    scale = sqrt(variance) if before == NONE else spread(1.0)
    store(w.size, 0, maximum(scale, spread(_SMALLEST_SIZE)))
    if after == BATCHNORM:
        find_ratios(m, w.log_size, w.ratio)


@inline
def _plan_sum(m, before, after, skip, branch, now_log_size, w):
    """Find the sizes of the sum's rows, and by what to multiply the rows kept and those added.

    skip, branch: sign and logarithm. now_log_size: log r_a of the layer, which the rows kept have in part in themselves
    and in part in w.kept_log_size.
    """
    copy(m, w.drawn_log_size, w.log_size)
    exponentiate(m, w.log_size, w.size)
    if before == BATCHNORM:
        find_ratios(m, w.log_size, w.ratio)
    store(w.keep, 0, spread(skip[1]))
    store(w.add, 0, spread(branch[1]))
    for a in range(1, m):
        now, added = load(now_log_size, a), load(w.log_size, a) + branch[1]
        largest = maximum(now + skip[1], added)
        safe = select(largest > -np.inf, largest, spread(0.0))
        # Rows of a difference that has collapsed are zero.
        store(w.keep, a, select(now > -np.inf, load(w.kept_log_size, a) + skip[1] - safe, spread(-np.inf)))
        store(w.add, a, added - safe)
        store(w.log_size, a, largest)
    exponentiate(m, w.keep, w.keep)
    exponentiate(m, w.add, w.add)
    for a in range(m):
        store(w.keep, a, skip[0] * load(w.keep, a))
        store(w.add, a, branch[0] * load(w.add, a))
    if after == BATCHNORM:
        find_ratios(m, w.log_size, w.ratio)
    if over_neurons(after):
        exponentiate(m, w.log_size, w.size)


@inline
def _vanished(m, matrix, log_size, size):
    """1 where some input's norm is 0 up to rounding, and 0 elsewhere; ``size`` is filled with r_a."""
    exponentiate(m, log_size, size)
    first = load(matrix, 0)
    least = first
    for a in range(1, m):
        r = load(size, a)
        square = first + r * (2.0 * load(matrix, corner(a, 0)) + r)
        least = select(COLLAPSED * (first + r * r) < square, least, spread(0.0))
    return select(least > 0.0, spread(0.0), spread(1.0))


@piece
def _settle(m, dies, drawn_matrix, matrix, log_size, size, fate, kept):
    """Mark networks that are lost or have exploded, and take them to zero, so that no NaN is met again.

    dies: whether an input that is zero in every neuron stays so, or is 0 / 0 in the next layer.
    """
    blown = spread(0.0)
    for at in range(m * (m + 1) // 2):
        # x - x is 0 for finite x and NaN for others.
        off = load(matrix, at) - load(matrix, at) + (load(drawn_matrix, at) - load(drawn_matrix, at))
        blown = select(off < 1.0, blown, spread(1.0))
    lost_now, lost = load(fate, 0), load(fate, 1)
    exploded = maximum(load(fate, 2), select(lost < 1.0, blown, spread(0.0)))
    if dies:
        lost_now = maximum(lost_now, _vanished(m, matrix, log_size, size))
    lost = maximum(lost, select(exploded < 1.0, lost_now, spread(0.0)))
    store(fate, 0, spread(0.0))
    store(fate, 1, lost)
    store(fate, 2, exploded)
    gone = lost + exploded > 0.0
    if any_lane(gone):
        for at in range(m * (m + 1) // 2):
            store(matrix, at, select(gone, spread(0.0), load(matrix, at)))
        for a in range(1, m):
            store(log_size, a, select(gone, spread(-np.inf), load(log_size, a)))
        for at in range(len(kept) // COUNT):
            store(kept, at, select(gone, spread(0.0), load(kept, at)))


@piece
def _record(m, layer, fate, norms, gaps):
    """Write log norms (network, input) and log gaps (network, pair) of the first networks of a block."""
    store(layer.growth, 0, load(layer.matrix, 0))
    exponentiate(m, layer.log_size, layer.size)
    record(m, False, layer, norms, gaps)
    for k in range(norms.shape[0]):
        if fate[2 * COUNT + k] > 0.0:
            norms[k, :] = np.inf
        elif fate[COUNT + k] > 0.0:
            norms[k, :] = -np.inf


def _half_layer_of(activate: Callable) -> Callable:
    """Return the function of half a layer with an activation, which a closure, unlike an argument, keeps on disk."""

    @piece
    def half_layer(m, n, parameters, drawn, summing, before, after, w):
        """Sum the Gram matrix of N(f(N(rows))), rows drawn or kept; f: the activation, or the sum with the rows kept.

        The sum becomes the rows kept. The sizes on the way are planned before.
        """
        clear(m * (m + 1) // 2, w.gram)
        into = w.kept if summing else w.rows
        together = n if over_neurons(before) or over_neurons(after) else TOGETHER
        for begin in range(0, n, together):
            count, offset = min(together, n - begin), begin * m * COUNT
            rows = w.rows if drawn else w.kept[offset:]
            if drawn:
                _draw_rows(m, count, w.factor, w.normals, w.bits, rows)
            if over_neurons(before):
                find_change(m, n, before == LAYERNORM, rows, w.size, w.change, w.moments, w.fate)
            for i in range(0, count, ROWS):
                place = i // ROWS * m
                if over_neurons(before):
                    changed(m, rows, place, w.change, w.point)
                else:
                    take(m, rows, place, w.point)
                if before == BATCHNORM:
                    over_inputs(m, w.ratio, w.point)
                if summing:
                    place = (begin + i) // ROWS * m
                    for a in range(m):
                        added = times(load(w.add, a), four(w.point, a))
                        put_four(w.row, a, plus(load(w.keep, a), four(w.kept, place + a), added))
                else:
                    activate(m, parameters, w.point, w.size, w.inverse_size, w.row, w.scratch)
                trim(m, count - i, w.row)
                if after == BATCHNORM:
                    over_inputs(m, w.ratio, w.row)
                if summing or over_neurons(after):
                    put(m, w.row, into, place)
                if not over_neurons(after):
                    add_products(m, w.row, w.gram)
        if over_neurons(after):
            find_change(m, n, after == LAYERNORM, into, w.size, w.change, w.moments, w.fate)
            for place in range(0, -(-n // ROWS) * m, m):
                changed(m, into, place, w.change, w.row)
                if summing:
                    put(m, w.row, into, place)
                add_products(m, w.row, w.gram)

    return half_layer


@lru_cache(maxsize=64)
def compile_kernel(phi: str | Callable | None, form: Form) -> Callable:
    """Return the kernel of normalized networks, for phi and form as ``deeplim.finite.rows.activation_of`` takes them.

    It takes states (word, network) uint32, n, the gain, the variance of biases, the activation's parameters in double
    precision, the Start, a Layer and a Room, the recorded layers, and norms (network, layer, input) and gaps (network,
    layer, pair), which it fills; the ``kinds`` of normalization at the four places; whether the network is a ResNet;
    its ``scales``; and a flag that makes it return.
    """
    half_layer = _half_layer_of(activation_of(phi, form))

    @kernel(nogil=True)
    def normalized(
        states, n, gain, bias, parameters, start, layer, w, layers, norms, gaps, kinds, residual, skip, branch, stop
    ):
        m = norms.shape[2]
        # No literals: Numba would compile the half layer once for each.
        yes, no = m > 0, m < 0
        # BatchNorm subtracts the mean over the inputs, and so gives an input that has died life again.
        dies = not residual and kinds[0] != BATCHNORM and kinds[1] != BATCHNORM
        for block in range(states.shape[1] // COUNT):
            first, done = block * COUNT, 0
            last = min(first + COUNT, norms.shape[0])
            _restart(m, block, states, start, layer, w)
            for depth in range(layers[-1] + 1):
                if raised(stop):
                    return
                if depth > 0:
                    copy(m, w.kept_log_size if residual else layer.log_size, w.log_size)
                    _plan_branch(m, kinds[0], kinds[1], load(layer.matrix, 0), w)
                    half_layer(m, n, parameters, not residual, no, kinds[0], kinds[1], w)
                    _measure(m, n, w.gram, gain, w.log_size, w.drawn_matrix, w.drawn_log_size)
                    store(w.drawn_matrix, 0, load(w.drawn_matrix, 0) + bias)
                if residual:
                    _factorise(m, w.drawn_matrix, w.factor)
                    # The first rows are drawn like noise added to nothing, with the inputs' own covariance.
                    inner, outer = (kinds[2], kinds[3]) if depth > 0 else (NONE, NONE)
                    _plan_sum(m, inner, outer, skip, branch if depth > 0 else (1.0, 0.0), layer.log_size, w)
                    half_layer(m, n, parameters, yes, yes, inner, outer, w)
                    copy(m, w.log_size, w.kept_log_size)
                    _measure(m, n, w.gram, 1.0, w.log_size, layer.matrix, layer.log_size)
                else:
                    copy(m * (m + 1) // 2, w.drawn_matrix, layer.matrix)
                    copy(m, w.drawn_log_size, layer.log_size)
                if depth > 0:
                    _settle(m, dies, w.drawn_matrix, layer.matrix, layer.log_size, layer.size, w.fate, w.kept)
                if not residual:
                    _factorise(m, layer.matrix, w.factor)
                if layers[done] == depth:
                    _record(m, layer, w.fate, norms[first:last, done], gaps[first:last, done])
                    done += 1

    return normalized
