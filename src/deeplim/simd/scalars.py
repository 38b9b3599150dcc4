"""The vocabulary of ``lanes`` for one GPU thread: a value is one number, and the same source compiles for CUDA.

Numba would widen two 32-bit integers to a 64-bit one and a float beside a constant to double precision. A ``Number``
keeps its kind, as ``Lanes`` do, so that a function of Lanes means the same here, COUNT being 1.
"""

import math
import operator
from types import ModuleType

import numpy as np
from llvmlite import ir
from numba.cuda import cgutils, types
from numba.cuda.extending import core_models, intrinsic, lower_builtin, register_model, type_callable

COUNT = 1
_MATHS = {name: getattr(math, name) for name in ("exp", "expm1", "log1p", "sqrt", "fabs", "isfinite", "isinf")}
_MATHS["abs"] = math.fabs
_numpy = ModuleType("numpy", "NumPy, but for functions of one number that numba-cuda compiles from math only.")
vars(_numpy).update(vars(np) | _MATHS)
COUNTERPARTS = [(np, _numpy), *((getattr(np, name), function) for name, function in _MATHS.items())]
"""What takes the place of objects that are no names of lanes."""
_LLVM = {
    types.float32: ir.FloatType(),
    types.float64: ir.DoubleType(),
    types.uint32: ir.IntType(32),
    types.uint64: ir.IntType(64),
    types.boolean: ir.IntType(1),
}


class Number(types.Type):
    """The Numba type of one number that keeps its kind."""

    def __init__(self, element):
        self.element = element
        self.single = _LLVM[element]
        super().__init__(name=f"Number({element})")


FLOAT32, FLOAT64, BITS, LONG_BITS, TRUTH = (Number(element) for element in _LLVM)


@register_model(Number)
class _NumberModel(core_models.PrimitiveModel):
    def __init__(self, manager, number):
        super().__init__(manager, number, number.single)


def _number_among(arguments):
    return next((argument for argument in arguments if isinstance(argument, Number)), None)


def _as_number(context, builder, value, kind, number):
    """The value itself, or a scalar of Numba's as a Number."""
    return value if isinstance(kind, Number) else context.cast(builder, value, kind, number.element)


def _all_as_numbers(context, builder, sig, args, number):
    return [_as_number(context, builder, value, kind, number) for value, kind in zip(args, sig.args, strict=True)]


def _define_operator(symbol, on_floats, on_bits, truth=False):
    @type_callable(symbol)
    def type_operator(context):
        def typer(left, right):
            number = _number_among((left, right))
            return None if number is None else (TRUTH if truth else number)

        return typer

    def lower(context, builder, sig, args):
        number = _number_among(sig.args)
        left, right = _all_as_numbers(context, builder, sig, args, number)
        return (on_floats if isinstance(number.element, types.Float) else on_bits)(builder, left, right)

    for kinds in ((Number, Number), (Number, types.Number), (types.Number, Number)):
        lower_builtin(symbol, *kinds)(lower)


# NVVM fuses a product and a sum by itself, as the flag of lanes allows.
_define_operator(operator.add, lambda b, x, y: b.fadd(x, y), lambda b, x, y: b.add(x, y))
_define_operator(operator.sub, lambda b, x, y: b.fsub(x, y), lambda b, x, y: b.sub(x, y))
_define_operator(operator.mul, lambda b, x, y: b.fmul(x, y), lambda b, x, y: b.mul(x, y))
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


@intrinsic
def select(typing, condition, yes, no):
    """``yes`` where the condition holds and ``no`` elsewhere; two scalars have one type."""
    number = _number_among((yes, no)) or Number(yes)

    def lower(context, builder, sig, args):
        chosen = [_as_number(context, builder, args[i], sig.args[i], number) for i in (1, 2)]
        return builder.select(args[0], *chosen)

    return number(condition, yes, no), lower


def _llvm_call(builder, name, number, arguments):
    signature = ir.FunctionType(number.single, [number.single] * len(arguments))
    kind = f"f{number.element.bitwidth}"
    return builder.call(cgutils.get_or_insert_function(builder.module, signature, f"llvm.{name}.{kind}"), arguments)


@intrinsic
def fma(typing, a, b, c):
    """a b + c, rounded once."""
    number = _number_among((a, b, c))

    def lower(context, builder, sig, args):
        return _llvm_call(builder, "fma", number, _all_as_numbers(context, builder, sig, args, number))

    return number(a, b, c), lower


@intrinsic
def sqrt(typing, a):
    """The square root."""

    def lower(context, builder, sig, args):
        return _llvm_call(builder, "sqrt", a, args)

    return a(a), lower


@intrinsic
def maximum(typing, a, b):
    """The larger of two numbers."""
    number = _number_among((a, b))

    def lower(context, builder, sig, args):
        left, right = _all_as_numbers(context, builder, sig, args, number)
        return builder.select(builder.fcmp_ordered(">", left, right), left, right)

    return number(a, b), lower


@intrinsic
def minimum(typing, a, b):
    """The smaller of two numbers."""
    number = _number_among((a, b))

    def lower(context, builder, sig, args):
        left, right = _all_as_numbers(context, builder, sig, args, number)
        return builder.select(builder.fcmp_ordered("<", left, right), left, right)

    return number(a, b), lower


@intrinsic
def absolute(typing, a):
    """The size of a number."""

    def lower(context, builder, sig, args):
        return _llvm_call(builder, "fabs", a, args)

    return a(a), lower


@intrinsic
def any_lane(typing, condition):
    """Whether the condition holds."""

    def lower(context, builder, sig, args):
        return args[0]

    return types.boolean(condition), lower


def _conversion(name, target, instruction, sentence):
    def convert(typing, a):
        def lower(context, builder, sig, args):
            return args[0] if a == target else getattr(builder, instruction)(args[0], target.single)

        return target(a), lower

    convert.__name__ = convert.__qualname__ = name
    convert.__doc__ = sentence
    return intrinsic(convert)


signed_to_float = _conversion("signed_to_float", FLOAT32, "sitofp", "The float nearest a signed 32-bit integer.")
unsigned_to_float = _conversion("unsigned_to_float", FLOAT32, "uitofp", "The float nearest an unsigned 32-bit integer.")
as_float = _conversion("as_float", FLOAT32, "bitcast", "The float with these 32 bits.")
as_bits = _conversion("as_bits", BITS, "bitcast", "The 32 bits of a float.")
as_double = _conversion("as_double", FLOAT64, "bitcast", "The double with these 64 bits.")
as_long_bits = _conversion("as_long_bits", LONG_BITS, "bitcast", "The 64 bits of a double.")
to_double = _conversion("to_double", FLOAT64, "fpext", "The same number in double precision.")


@intrinsic
def signed_shift(typing, a, places):
    """The bits shifted right, the sign bit filling in from the left."""

    def lower(context, builder, sig, args):
        return builder.ashr(args[0], _as_number(context, builder, args[1], sig.args[1], a))

    return a(a, places), lower


@intrinsic
def spread(typing, scalar):
    """A number in single precision as one, any other in double."""
    number = FLOAT32 if scalar == types.float32 else FLOAT64

    def lower(context, builder, sig, args):
        return _as_number(context, builder, args[0], sig.args[0], number)

    return number(scalar), lower


def _pointer(context, builder, sig, args):
    """A pointer to the index-th number of a flat array."""
    array = context.make_array(sig.args[0])(context, builder, args[0])
    return builder.gep(array.data, [context.cast(builder, args[1], sig.args[1], types.intp)])


@intrinsic
def load(typing, where, index):
    """The index-th number of a flat array."""

    def lower(context, builder, sig, args):
        return builder.load(_pointer(context, builder, sig, args))

    return Number(where.dtype)(where, index), lower


@intrinsic
def store(typing, where, index, value):
    """Write a number at the index-th place of a flat array, in the precision of that place."""
    target = Number(where.dtype)

    def lower(context, builder, sig, args):
        number = _as_number(context, builder, args[2], sig.args[2], target)
        change = {(FLOAT32, FLOAT64): builder.fpext, (FLOAT64, FLOAT32): builder.fptrunc}.get((value, target))
        builder.store(change(number, target.single) if change else number, _pointer(context, builder, sig, args))
        return context.get_dummy_value()

    return types.void(where, index, value), lower
