"""Functions of Lanes made of numbers, for each precision: constants, polynomials, remainders, powers of two."""

from llvmlite import ir
from numba.extending import intrinsic

from deeplim.simd.lanes import COUNT, FLOAT32, llvm_call, named


def _constants(lanes, single, double):
    return [ir.Constant(lanes.vector, [float(c)] * COUNT) for c in (single if lanes == FLOAT32 else double)]


def constant(name, sentence, single, double):
    """Return a function that gives a constant in every lane, in the precision of its argument."""

    def repeat(typing, x):
        return x(x), lambda context, builder, sig, args: _constants(x, [single], [double])[0]

    return named(repeat, name, sentence)


def polynomial(name, sentence, single, double):
    """Return a function of Lanes: the polynomial with these coefficients, lowest degree first, for each precision."""

    def evaluate(typing, x):
        def lower(context, builder, sig, args):
            *rest, total = _constants(x, single, double)
            for coefficient in reversed(rest):
                total = llvm_call(builder, "fma", x, [total, args[0], coefficient])
            return total

        return x(x), lower

    return named(evaluate, name, sentence)


def remainder(name, sentence, single, double):
    """Return a function of x and k: x - k c, one rounding to a part of c, which come largest first for each precision.

    A product of whole k and the first part cancels against x without rounding.
    """

    def reduce(typing, x, k):
        def lower(context, builder, sig, args):
            rest, times = args
            for part in _constants(x, [-c for c in single], [-c for c in double]):
                rest = llvm_call(builder, "fma", x, [times, part, rest])
            return rest

        return x(x, k), lower

    return named(reduce, name, sentence)


def _last_bits(builder, lanes, value, place):
    """The bits of a number moved up until the last stands at a place, and their type."""
    bits = ir.VectorType(ir.IntType(lanes.element.bitwidth), COUNT)
    return builder.shl(builder.bitcast(value, bits), ir.Constant(bits, [place] * COUNT)), bits


@intrinsic
def exponent_of_two(typing, whole):
    """2^k for whole = 1.5 2^m + b + k, with m the bits of the mantissa and b the bias of the exponent."""

    def lower(context, builder, sig, args):
        moved, _ = _last_bits(builder, whole, args[0], 23 if whole == FLOAT32 else 52)
        return builder.bitcast(moved, whole.vector)

    return whole(whole), lower


@intrinsic
def negate_odd(typing, a, whole):
    """(-1)^k a for whole = 1.5 2^m + k, with m the bits of the mantissa."""

    def lower(context, builder, sig, args):
        moved, bits = _last_bits(builder, a, args[1], a.element.bitwidth - 1)
        return builder.bitcast(builder.xor(builder.bitcast(args[0], bits), moved), a.vector)

    return a(a, whole), lower
