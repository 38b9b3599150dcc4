"""Random streams begun inside a kernel: the states of ``streams.stream_states``, sixteen at a time."""

import numpy as np

from deeplim.simd.lanes import COUNT, piece

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_ONE, _LOW, _HALF = np.uint64(1), np.uint64(0xFFFFFFFF), np.uint64(32)


@piece
def _mix(x):
    """The finalizer of SplitMix64."""
    x = (x ^ (x >> np.uint64(30))) * _FIRST
    x = (x ^ (x >> np.uint64(27))) * _SECOND
    return x ^ (x >> np.uint64(31))


@piece
def begin_streams(seed, first, bits):
    """Put the starting states of streams first, ..., first + 15 of a seed into a flat array of four words each."""
    key = _mix(np.uint64(seed) + _GOLDEN)
    for k in range(COUNT):
        one = key ^ _mix((np.uint64(first) + np.uint64(k)) * _GOLDEN + _ONE)
        front, back = _mix(one + _GOLDEN), _mix(one + _GOLDEN + _GOLDEN)
        # the one state that xoshiro cannot leave is all zeros
        bits[k] = np.uint32(front & _LOW) | np.uint32((front | back) == np.uint64(0))
        bits[COUNT + k] = np.uint32(front >> _HALF)
        bits[2 * COUNT + k] = np.uint32(back & _LOW)
        bits[3 * COUNT + k] = np.uint32(back >> _HALF)
