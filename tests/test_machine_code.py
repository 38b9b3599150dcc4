"""The loops over neurons as machine code: vector instructions, addresses and a counter, and nothing else."""

import platform
import re

import numpy as np
import pytest
from numba import njit
from tiers import slow

from deeplim.activations import Elementwise, ReLU, ShapedReLU
from deeplim.architecture import MLP
from deeplim.finite import kernel, pair, runners
from deeplim.finite.start import start
from deeplim.inputs import gram
from deeplim.parallel import stop_flag
from deeplim.simd.streams import stream_states

pytestmark = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="reads x86-64 assembly")
PAIR = gram(correlation=0.3)
_VECTOR = re.compile(r"%[xyz]mm|%k\d")
_ADDRESS_OR_COUNTER = re.compile(r"(mov|lea|add|sub|inc|dec|cmp|test|j|nop)")
_ONE_NUMBER = re.compile(r"v?(add|sub|mul|div|sqrt|fn?m(add|sub)\d*|max|min|ucomi|cvt\w+2)s[sd]\b")


def _loops(assembly: str) -> list[list[str]]:
    """The instructions of every innermost loop: from a label to a jump back to it."""
    lines = [line.strip() for line in assembly.splitlines() if re.match(r"\t[a-z]|\.L\w+:", line)]
    places = {line.partition(":")[0]: k for k, line in enumerate(lines) if line.startswith(".L")}
    spans = []
    for k, line in enumerate(lines):
        jump = re.fullmatch(r"j\w+\s+(\.L\w+)", line)
        if jump and places.get(jump[1], k) < k:
            spans.append((places[jump[1]], k))
    inner = [(i, j) for i, j in spans if not any(i <= k and m <= j and (k, m) != (i, j) for k, m in spans)]
    return [[line for line in lines[i : j + 1] if not line.startswith(".L")] for i, j in inner]


def _row_loops(function, network: MLP, phi: str | None) -> list[list[str]]:
    """The loops of a kernel, compiled here, that multiply and add: those over neurons, and rejections."""
    fresh = njit(nogil=True)(function)
    rows, arrays = pair.room(), (np.empty((16, 1, 2)), np.empty((16, 1, 1)))
    if phi is not None:
        rows = kernel.workspace(2, 0, np.float32)
    parameters = runners._activation(network, np.float32)[2]
    begin = start(PAIR, unit_norm=phi is None)
    numbers = (network.width, 1, 0.01) + (() if phi is None else (0.0,))
    fresh(stream_states(0, 0, 16), *numbers, parameters, begin, rows, np.array([1]), *arrays, stop_flag())
    (assembly,) = fresh.inspect_asm().values()
    if "fmadd" not in assembly:
        pytest.skip("the processor that Numba compiles for has no fused multiply-add, by which the loops are known")
    return [loop for loop in _loops(assembly) if sum("fmadd" in line for line in loop) > 15]


def _registers_for_sixteen(loop: list[str]) -> float:
    """How many instructions an operation on sixteen numbers takes, and a quarter more where registers are fewer."""
    wide = next(sign for sign in "zyx" if any(f"%{sign}mm" in line for line in loop))
    return {"z": 1.0, "y": 2 * 1.25, "x": 4 * 1.25}[wide]


def _strangers(loop: list[str]) -> list[str]:
    """Instructions that are neither of vectors nor of addresses and counters."""
    return [
        line
        for line in loop
        if _ONE_NUMBER.match(line) or not (_VECTOR.search(line) or _ADDRESS_OR_COUNTER.match(line))
    ]


@pytest.mark.parametrize(
    ("activation", "phi"),
    [(ReLU(), None), slow(ShapedReLU(), None), slow(Elementwise(function="tanh"), "tanh")],
    ids=str,
)
def test_the_loop_over_neurons_is_made_of_vector_instructions(activation, phi: str | None):
    network = MLP(width=100, depth=1, activation=activation)
    function = pair.pair_mlp if phi is None else kernel.compile_kernels(2, True, phi, "plain", False)[0]
    loops = _row_loops(function.py_func, network, phi)
    assert loops
    for loop in loops:
        assert _strangers(loop) == []
    shortest = min(loops, key=len)
    # A neuron of a pair takes about eighty instructions; four of them with tanh, about nine times as many,
    # in coordinates of an input's own where norms are far apart.
    assert len(shortest) < (110 if phi is None else 900) * _registers_for_sixteen(shortest)


def test_a_loop_with_a_call_or_a_single_number_is_found_out():
    loop = ["vfmadd213ps\t%zmm1, %zmm2, %zmm3", "callq\t*%rax", "vmulss\t%xmm1, %xmm2, %xmm3", "decq\t%rax", "jne\t.L1"]
    assert _strangers(loop) == ["callq\t*%rax", "vmulss\t%xmm1, %xmm2, %xmm3"]
