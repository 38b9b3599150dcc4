"""The vocabulary of ``lanes`` for one thread of Numba's CUDA simulator: plain Python on NumPy's numbers."""

import numpy as np

COUNT = 1


def _long_word(number):
    """A whole number in 64 bits, a negative one too, which NumPy refuses."""
    return np.uint64(int(number) % 2**64)


COUNTERPARTS = [(np.uint64, _long_word)]
"""What takes the place of objects that are no names of lanes."""


def load(where, index):
    """The index-th number of a flat array."""
    return where[index]


def store(where, index, value):
    """Write a number at the index-th place of a flat array, in the precision of that place."""
    where[index] = value


def select(condition, yes, no):
    """``yes`` where the condition holds and ``no`` elsewhere."""
    return yes if condition else no


def fma(a, b, c):
    """a b + c; in single precision rounded once, but for a tie in 2^29."""
    if np.result_type(a, b, c) == np.float32:
        return np.float32(np.float64(a) * np.float64(b) + np.float64(c))
    return a * b + c


def sqrt(a):
    """The square root."""
    return np.sqrt(a)


def maximum(a, b):
    """The larger of two numbers."""
    return a if a > b else b


def minimum(a, b):
    """The smaller of two numbers."""
    return a if a < b else b


def absolute(a):
    """The size of a number."""
    return np.abs(a)


def any_lane(condition):
    """Whether the condition holds."""
    return bool(condition)


def signed_to_float(a):
    """The float nearest a signed 32-bit integer."""
    return np.float32(a.view(np.int32))


def unsigned_to_float(a):
    """The float nearest an unsigned 32-bit integer."""
    return np.float32(a)


def signed_shift(a, places):
    """The bits shifted right, the sign bit filling in from the left."""
    return (a.view(np.int32) >> np.int32(places)).view(np.uint32)


def as_double(a):
    """The double with these 64 bits."""
    return a.view(np.float64)


def as_long_bits(a):
    """The 64 bits of a double."""
    return a.view(np.uint64)


def as_float(a):
    """The float with these 32 bits."""
    return a.view(np.float32)


def as_bits(a):
    """The 32 bits of a float."""
    return a.view(np.uint32)


def to_double(a):
    """The same number in double precision."""
    return np.float64(a)


def spread(scalar):
    """A number of NumPy's, in single precision if it was and else in double."""
    return scalar if isinstance(scalar, np.float32) else np.float64(scalar)
