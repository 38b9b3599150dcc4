"""What NVIDIA's compiler and assembler make of the LLVM code of a kernel; neither needs a GPU."""

import os
import subprocess
from pathlib import Path
from shutil import which
from types import SimpleNamespace
from unittest import mock

COMPUTE_CAPABILITY = (8, 0)
_USUAL = Path("/usr/local/cuda")
if _USUAL.is_dir():  # where NVIDIA's toolkit puts itself, and Numba does not look unless told
    os.environ.setdefault("CUDA_HOME", str(_USUAL))


def llvm_code(kernel, signature) -> list[str]:
    """Return the LLVM modules of a kernel, its own first, as Numba hands them to NVVM for a device that is not here."""
    from numba.cuda.compiler import _compile_pyfunc_with_fixup

    device = SimpleNamespace(compute_capability=COMPUTE_CAPABILITY)
    with mock.patch("numba.cuda.dispatcher.get_current_device", return_value=device):
        library, _ = _compile_pyfunc_with_fixup(
            kernel.py_func, signature, device=False, abi="numba", cc=COMPUTE_CAPABILITY
        )
    return library.llvm_strs


def why_not() -> str | None:
    """Return what is missing to compile, or None."""
    try:
        from cuda.bindings import nvvm

        nvvm.version()
        _libdevice()
    except Exception as error:
        return f"NVVM was not found ({type(error).__name__})"
    return None


def ptx(modules: list[str], architecture: int) -> str:
    """Return PTX for compute capability architecture / 10."""
    from cuda.bindings import nvvm

    program = nvvm.create_program()
    try:
        for number, text in enumerate(modules):
            code = text.encode()
            nvvm.add_module_to_program(program, code, len(code), f"module {number}")
        library = _libdevice().read_bytes()
        nvvm.lazy_add_module_to_program(program, library, len(library), "libdevice")
        options = [f"-arch=compute_{architecture}"]
        nvvm.compile_program(program, len(options), options)
        found = bytearray(nvvm.get_compiled_result_size(program))
        nvvm.get_compiled_result(program, found)
        return found.decode().rstrip("\x00")
    finally:
        nvvm.destroy_program(program)


def assembled(text: str, architecture: int, folder: Path) -> str | None:
    """Return what ptxas says of the registers and the stack of PTX; None where there is no ptxas that reads it."""
    (folder / "kernel.ptx").write_text(text)
    tool = which("ptxas")
    if tool is None:
        return None
    words = [tool, "-v", f"-arch=sm_{architecture}", "kernel.ptx", "-o", "kernel.cubin"]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True)
    if "Unsupported .version" in done.stderr:  # an assembler older than the compiler
        return None
    assert done.returncode == 0, done.stderr
    return done.stderr


def _libdevice() -> Path:
    """NVIDIA's functions as LLVM code, from a package or from the toolkit that ptxas is in."""
    from cuda.pathfinder import BitcodeLibNotFoundError, find_bitcode_lib

    toolkit = Path(which("ptxas") or ".").resolve().parent.parent / "nvvm" / "libdevice" / "libdevice.10.bc"
    try:
        return Path(find_bitcode_lib("device"))
    except BitcodeLibNotFoundError:
        if toolkit.exists():
            return toolkit
        raise
