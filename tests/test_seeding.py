"""Streams begun inside a kernel are those that ``stream_states`` names."""

import numpy as np
import pytest
from numba import njit

from deeplim.simd.lanes import COUNT
from deeplim.simd.seeding import begin_streams
from deeplim.simd.streams import stream_states


@njit
def _begin(seed, first, bits):
    begin_streams(seed, first, bits)


@pytest.mark.parametrize(("seed", "first"), [(0, 0), (7, 33), (2**63 - 1, 10**9)])
def test_streams_begin_where_their_names_say(seed: int, first: int):
    bits = np.empty(4 * COUNT, np.uint32)
    _begin(seed, first, bits)
    assert np.array_equal(bits.reshape(4, COUNT), stream_states(seed, first, COUNT))
