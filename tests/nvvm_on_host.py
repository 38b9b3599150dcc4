"""Runs a CUDA kernel on this machine's processor: the LLVM code that Numba hands to NVIDIA's compiler, compiled for it.

The simulator runs the kernels' Python and knows nothing of how their types and operations are compiled; this does, and
needs no GPU. What it leaves out is NVIDIA's own: NVVM, ptxas, and the functions of libdevice, whose places those of the
C library take.
"""

import ctypes
import re

import llvmlite.binding as llvm
import numpy as np

# Numba writes pointers with their types, as NVVM reads them, and newer LLVM reads them without.
_POINTER = re.compile(r"(?:\{[^{}]*\}|\[[^\[\]]*\]|\b[a-z]\w*)\*+")
_REGISTERS = {"tid": "thread", "ctaid": "zero", "ntid": "zero"}
_SHIM = """
@thread = global i32 0
@zero = global i32 0
declare double @llvm.fabs.f64(double)
define i32 @__nv_isfinited(double %x) {
  %size = call double @llvm.fabs.f64(double %x)
  %less = fcmp olt double %size, 0x7FF0000000000000
  %one = zext i1 %less to i32
  ret i32 %one
}
"""


class HostKernel:
    """A kernel from its LLVM modules, to be called with the number of threads and its arguments, arrays of NumPy's."""

    def __init__(self, code: list[str]) -> None:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        target = llvm.Target.from_default_triple()
        self._machine = target.create_target_machine(
            cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=3, jit=True
        )
        first, *others = [_parse(text) for text in code]
        [name] = [function.name for function in first.functions if not function.is_declaration]
        for module in others:
            first.link_in(module)
        first.link_in(llvm.parse_assembly(_SHIM + _shim(first)))
        first.verify()
        passes = llvm.create_pass_builder(self._machine, llvm.create_pipeline_tuning_options(speed_level=3))
        passes.getModulePassManager().run(first, passes)
        self._engine = llvm.create_mcjit_compiler(first, self._machine)
        self._engine.finalize_object()
        self._address = self._engine.get_function_address(name)
        self._thread = ctypes.c_int32.from_address(self._engine.get_global_value_address("thread"))

    def __call__(self, threads: int, *arguments: object) -> None:
        values = [value for argument in arguments for value in _flat(argument)]
        run = ctypes.CFUNCTYPE(None, *map(type, values))(self._address)
        for thread in range(threads):
            self._thread.value = thread
            run(*values)


def _parse(text: str) -> llvm.ModuleRef:
    text = re.sub(r"^target .*$", "", text, flags=re.MULTILINE).replace("llvm.nvvm.read.ptx.sreg.", "register.")
    while (shorter := _POINTER.sub("ptr", text)) != text:
        text = shorter
    return llvm.parse_assembly(text)


def _shim(module: llvm.ModuleRef) -> str:
    """Definitions of the registers and the functions of libdevice that a module declares."""
    found = []
    for function in module.functions:
        register = re.fullmatch(r"register\.(\w+)\.x", function.name)
        library = re.fullmatch(r"__nv_(\w+)", function.name)
        if register:
            place = _REGISTERS[register[1]]
            found.append(f"define i32 @{function.name}() {{\n  %x = load i32, ptr @{place}\n  ret i32 %x\n}}\n")
        elif library and library[1] != "isfinited":
            name, many = library[1], len(list(function.arguments))
            kinds, given = ", ".join(["double"] * many), ", ".join(f"double %x{i}" for i in range(many))
            found.append(
                f"declare double @{name}({kinds})\ndefine double @__nv_{name}({given}) {{\n"
                f"  %y = call double @{name}({given})\n  ret double %y\n}}\n"
            )
    return "".join(found)


def _flat(argument: object) -> list:
    """An argument as Numba's kernels take it."""
    if isinstance(argument, np.ndarray):
        head = [ctypes.c_void_p(None), ctypes.c_void_p(None)]
        sizes = [ctypes.c_int64(argument.size), ctypes.c_int64(argument.itemsize)]
        tail = [ctypes.c_int64(number) for number in (*argument.shape, *argument.strides)]
        return [*head, *sizes, ctypes.c_void_p(argument.ctypes.data), *tail]
    if isinstance(argument, np.float32):
        return [ctypes.c_float(argument)]
    return [ctypes.c_double(argument) if isinstance(argument, float) else ctypes.c_int64(argument)]
