"""Sixteen numbers that Numba treats as one: SIMD vectors, so that sixteen networks run side by side.

``Lanes`` lower to LLVM vector types. Every operation is then a vector instruction by construction, in every lane the
same one, which is why a network's numbers do not depend on its lane, its batch or the thread that ran it.
"""

import operator

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic, lower_builtin, models, register_model, type_callable

COUNT = 16
piece = njit(no_cpython_wrapper=True, no_cfunc_wrapper=True)
"""For functions that only kernels call: without the wrappers that Python would need they compile in half the time."""
inline = njit(forceinline=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)
"""The same, always inlined, as functions of Lanes must be to stay in registers."""
_CACHE_LINE = 64
_INDEX = ir.IntType(32)
_LLVM = {
    types.float32: ir.FloatType(),
    types.float64: ir.DoubleType(),
    types.uint32: ir.IntType(32),
    types.uint64: ir.IntType(64),
    types.boolean: ir.IntType(1),
}


class Lanes(types.Type):
    """The Numba type of sixteen elements of one kind."""

    def __init__(self, element):
        self.element = element
        self.vector = ir.VectorType(_LLVM[element], COUNT)
        super().__init__(name=f"Lanes({element})")


class Buffer(types.Type):
    """The Numba type of a fixed number of Lanes on the stack, which LLVM keeps in registers when it can."""

    def __init__(self, lanes):
        self.lanes = lanes
        super().__init__(name=f"Buffer({lanes})")


FLOAT32, FLOAT64, BITS, LONG_BITS, TRUTH = (Lanes(element) for element in _LLVM)
# A product and a sum may become one fused operation; nothing else may be reordered.
_FUSED = ("contract",)


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager, lanes):
        super().__init__(manager, lanes, lanes.vector)


@register_model(Buffer)
class _BufferModel(models.PrimitiveModel):
    def __init__(self, manager, buffer):
        super().__init__(manager, buffer, buffer.lanes.vector.as_pointer())


def named(function, name, sentence, literal=False):
    """Make an intrinsic of a typing function, with a name and a docstring."""
    function.__name__ = function.__qualname__ = name
    function.__doc__ = sentence
    return intrinsic(prefer_literal=literal)(function)


def _lanes_among(arguments):
    return next((argument for argument in arguments if isinstance(argument, Lanes)), None)


def _spread(context, builder, value, kind, lanes):
    """The value itself, or a scalar repeated in every lane."""
    if isinstance(kind, Lanes):
        return value
    undefined = ir.Constant(lanes.vector, ir.Undefined)
    scalar = context.cast(builder, value, kind, lanes.element)
    first = builder.insert_element(undefined, scalar, _INDEX(0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(_INDEX, COUNT), [0] * COUNT))


def _spread_all(context, builder, sig, args, lanes):
    return [_spread(context, builder, value, kind, lanes) for value, kind in zip(args, sig.args, strict=True)]


def _define_operator(symbol, on_floats, on_bits, truth=False):
    @type_callable(symbol)
    def type_operator(context):
        def typer(left, right):
            lanes = _lanes_among((left, right))
            return None if lanes is None else (TRUTH if truth else lanes)

        return typer

    def lower(context, builder, sig, args):
        lanes = _lanes_among(sig.args)
        left, right = _spread_all(context, builder, sig, args, lanes)
        return (on_floats if isinstance(lanes.element, types.Float) else on_bits)(builder, left, right)

    for kinds in ((Lanes, Lanes), (Lanes, types.Number), (types.Number, Lanes)):
        lower_builtin(symbol, *kinds)(lower)


_define_operator(operator.add, lambda b, x, y: b.fadd(x, y, flags=_FUSED), lambda b, x, y: b.add(x, y))
_define_operator(operator.sub, lambda b, x, y: b.fsub(x, y, flags=_FUSED), lambda b, x, y: b.sub(x, y))
_define_operator(operator.mul, lambda b, x, y: b.fmul(x, y, flags=_FUSED), lambda b, x, y: b.mul(x, y))
_define_operator(operator.truediv, lambda b, x, y: b.fdiv(x, y), None)
_define_operator(operator.xor, None, lambda b, x, y: b.xor(x, y))
_define_operator(operator.or_, None, lambda b, x, y: b.or_(x, y))
_define_operator(operator.and_, None, lambda b, x, y: b.and_(x, y))
_define_operator(operator.lshift, None, lambda b, x, y: b.shl(x, y))
_define_operator(operator.rshift, None, lambda b, x, y: b.lshr(x, y))
for _symbol, _sign in ((operator.lt, "<"), (operator.gt, ">")):
    _define_operator(
        _symbol,
        lambda b, x, y, sign=_sign: b.fcmp_ordered(sign, x, y),
        lambda b, x, y, sign=_sign: b.icmp_unsigned(sign, x, y),
        truth=True,
    )


@type_callable(operator.neg)
def _type_negation(context):
    return lambda a: a if isinstance(a, Lanes) else None


@lower_builtin(operator.neg, Lanes)
def _negate(context, builder, sig, args):
    return builder.fneg(args[0])


@intrinsic
def select(typing, condition, yes, no):
    """In each lane, ``yes`` where the condition holds and ``no`` elsewhere; two scalars have one type."""
    lanes = _lanes_among((yes, no)) or Lanes(yes)

    def lower(context, builder, sig, args):
        chosen = [_spread(context, builder, args[i], sig.args[i], lanes) for i in (1, 2)]
        return builder.select(args[0], *chosen)

    return lanes(condition, yes, no), lower


def llvm_call(builder, name, lanes, arguments):
    """Call LLVM's own operation of this name on Lanes."""
    letter = "f" if isinstance(lanes.element, types.Float) else "i"
    kind = f"v{COUNT}{letter}{lanes.element.bitwidth}"
    signature = ir.FunctionType(lanes.vector, [lanes.vector] * len(arguments))
    function = cgutils.get_or_insert_function(builder.module, signature, f"llvm.{name}.{kind}")
    return builder.call(function, arguments)


@intrinsic
def fma(typing, a, b, c):
    """a b + c, rounded once."""
    lanes = _lanes_among((a, b, c))

    def lower(context, builder, sig, args):
        return llvm_call(builder, "fma", lanes, _spread_all(context, builder, sig, args, lanes))

    return lanes(a, b, c), lower


def _of_each(name, operation, sentence):
    def apply(typing, a):
        def lower(context, builder, sig, args):
            return llvm_call(builder, operation, a, args)

        return a(a), lower

    return named(apply, name, sentence)


sqrt = _of_each("sqrt", "sqrt", "The square root of each lane.")
absolute = _of_each("absolute", "fabs", "The size of the number in each lane.")
floor = _of_each("floor", "floor", "The largest whole number that is not above each lane.")
count_ones = _of_each("count_ones", "ctpop", "How many of the 32 bits of each lane are set.")


@intrinsic
def with_sign(typing, a, b):
    """The size of a with the sign of b, that of a zero too."""
    lanes = _lanes_among((a, b))

    def lower(context, builder, sig, args):
        return llvm_call(builder, "copysign", lanes, _spread_all(context, builder, sig, args, lanes))

    return lanes(a, b), lower


def _choice(name, order, sentence):
    def choose(typing, a, b):
        lanes = _lanes_among((a, b))

        def lower(context, builder, sig, args):
            left, right = _spread_all(context, builder, sig, args, lanes)
            return builder.select(builder.fcmp_ordered(order, left, right), left, right)

        return lanes(a, b), lower

    return named(choose, name, f"{sentence} of two numbers in each lane; the second where either is NaN.")


maximum = _choice("maximum", ">", "The larger")
minimum = _choice("minimum", "<", "The smaller")


def _conversion(name, target, instruction, sentence):
    def convert(typing, a):
        def lower(context, builder, sig, args):
            return args[0] if a == target else getattr(builder, instruction)(args[0], target.vector)

        return target(a), lower

    return named(convert, name, sentence)


signed_to_float = _conversion("signed_to_float", FLOAT32, "sitofp", "The float nearest a signed 32-bit integer.")
unsigned_to_float = _conversion("unsigned_to_float", FLOAT32, "uitofp", "The float nearest an unsigned 32-bit integer.")
as_float = _conversion("as_float", FLOAT32, "bitcast", "The float with these 32 bits.")
as_bits = _conversion("as_bits", BITS, "bitcast", "The 32 bits of a float.")
as_double = _conversion("as_double", FLOAT64, "bitcast", "The double with these 64 bits.")
as_long_bits = _conversion("as_long_bits", LONG_BITS, "bitcast", "The 64 bits of a double.")
to_double = _conversion("to_double", FLOAT64, "fpext", "The same numbers in double precision.")


to_single = _conversion("to_single", FLOAT32, "fptrunc", "The nearest numbers in single precision.")
widen = _conversion("widen", LONG_BITS, "zext", "32 bits as the last of 64.")


@intrinsic
def signed_shift(typing, a, places):
    """The bits shifted right, the sign bit filling in from the left."""

    def lower(context, builder, sig, args):
        return builder.ashr(args[0], _spread(context, builder, args[1], sig.args[1], a))

    return a(a, places), lower


@intrinsic
def spread(typing, scalar):
    """A number repeated in every lane: a single-precision one in single precision, any other in double."""
    lanes = FLOAT32 if scalar == types.float32 else FLOAT64

    def lower(context, builder, sig, args):
        return _spread(context, builder, args[0], sig.args[0], lanes)

    return lanes(scalar), lower


@intrinsic
def any_lane(typing, condition):
    """Whether the condition holds in some lane."""

    def lower(context, builder, sig, args):
        return builder.icmp_unsigned("!=", builder.bitcast(args[0], ir.IntType(COUNT)), ir.IntType(COUNT)(0))

    return types.boolean(condition), lower


@intrinsic
def raised(typing, flag):
    """Whether another thread has raised a flag, an array of one 64-bit integer; read anew each time."""

    def lower(context, builder, sig, args):
        array = context.make_array(sig.args[0])(context, builder, args[0])
        value = builder.load_atomic(array.data, ordering="monotonic", align=8)
        return builder.icmp_signed("!=", value, ir.IntType(64)(0))

    return types.boolean(flag), lower


@intrinsic
def largest(typing, a):
    """The largest of the sixteen numbers, none of which is NaN."""

    def lower(context, builder, sig, args):
        kind = f"v{COUNT}f{a.element.bitwidth}"
        signature = ir.FunctionType(a.vector.element, [a.vector])
        function = cgutils.get_or_insert_function(builder.module, signature, f"llvm.vector.reduce.fmax.{kind}")
        return builder.call(function, args)

    return a.element(a), lower


def _buffer(name, lanes):
    def allocate(typing, count):
        if not isinstance(count, types.IntegerLiteral):
            return None

        def lower(context, builder, sig, args):
            return cgutils.alloca_once(builder, lanes.vector, size=count.literal_value)

        return Buffer(lanes)(count), lower

    sentence = f"A buffer of a literal number of {lanes.name} on the stack."
    return named(allocate, name, sentence, literal=True)


single_buffer = _buffer("single_buffer", FLOAT32)


def aligned(lanes: int, kind: type = np.float64) -> np.ndarray:
    """Return zeros for this many Lanes, none of which crosses a cache line: those would take twice as long to read."""
    room = np.zeros(bytes_of(lanes, kind), np.uint8)
    begin = -room.ctypes.data % _CACHE_LINE
    return room[begin : begin + len(room) - _CACHE_LINE].view(kind)


def bytes_of(lanes: int, kind: type = np.float64) -> int:
    """Return the bytes that ``aligned`` takes for this many Lanes."""
    return lanes * COUNT * np.dtype(kind).itemsize + _CACHE_LINE


def _place(context, builder, kind, where, index_kind, index):
    """A pointer to the index-th sixteen numbers of an array, or to the index-th Lanes of a buffer; and its lanes."""
    index = context.cast(builder, index, index_kind, types.intp)
    if isinstance(kind, Buffer):
        return builder.gep(where, [index]), None
    array = context.make_array(kind)(context, builder, where)
    lanes = Lanes(kind.dtype)
    start = builder.gep(array.data, [builder.mul(index, ir.Constant(index.type, COUNT))])
    # An array is aligned to its elements only.
    return builder.bitcast(start, lanes.vector.as_pointer()), kind.dtype.bitwidth // 8


@intrinsic
def load(typing, where, index):
    """The index-th Lanes of a buffer or of a flat array."""
    lanes = where.lanes if isinstance(where, Buffer) else Lanes(where.dtype)

    def lower(context, builder, sig, args):
        pointer, alignment = _place(context, builder, sig.args[0], args[0], sig.args[1], args[1])
        return builder.load(pointer, align=alignment)

    return lanes(where, index), lower


@intrinsic
def store(typing, where, index, value):
    """Write Lanes at the index-th place of a buffer or of a flat array, in the precision of that place."""
    target = where.lanes if isinstance(where, Buffer) else Lanes(where.dtype)

    def lower(context, builder, sig, args):
        pointer, alignment = _place(context, builder, sig.args[0], args[0], sig.args[1], args[1])
        change = {(FLOAT32, FLOAT64): builder.fpext, (FLOAT64, FLOAT32): builder.fptrunc}.get((value, target))
        builder.store(change(args[2], target.vector) if change else args[2], pointer, align=alignment)
        return context.get_dummy_value()

    return types.void(where, index, value), lower


to_single = _conversion("to_single", FLOAT32, "fptrunc", "The same numbers rounded to single precision.")
