"""Exact networks on a GPU: what is refused, and the kernels simulated, run on this processor, and compiled by NVIDIA.

None of this needs a GPU. The kernels draw with the streams of the CPU's chain in an order of their own, so that they
can be compared with a slow twin number by number.
"""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import nvidia_compiler
import pytest
from click.testing import CliRunner
from cuda_networks import CASES, LAW, LAYERS, PAIR, SEED, TINY
from cuda_twin import draw
from laws import SIGMAS, z_of_means, z_of_variances
from refusals import refused_as_input
from tiers import quick

import deeplim as dl
from deeplim.architecture import MLP, Network, ResNet
from deeplim.cli import main
from deeplim.differences import parts_norms
from deeplim.finite import chain, device
from deeplim.finite.device import recipe_of
from deeplim.finite.start import start
from deeplim.inputs import Inputs, gram
from deeplim.simd import lanes, streams
from deeplim.simd.streams import stream_states

ROOT = Path(__file__).parent.parent
PACKAGE = find_spec("numba_cuda") is not None
needs_package = pytest.mark.skipif(not PACKAGE, reason="numba-cuda is not installed")
NAMES = ("tanh", "sin", "erf", "logistic", "softplus", "silu", "gelu")


def not_for_numba(x: np.ndarray) -> np.ndarray:
    return np.asarray(sorted({0: np.tanh(x)}.values(), key=len)[0])


# Refusals and choices


def test_unknown_devices_are_refused():
    said = refused_as_input(lambda: dl.simulate(MLP(width=8, depth=2), PAIR, networks=2, device="tpu"))
    assert said == "the device 'tpu' was asked for; choose auto, cpu or cuda."


@pytest.mark.parametrize(
    ("network", "inputs", "said"),
    [
        (MLP(width=8, depth=2, normalization="layernorm"), PAIR, "because it is normalized"),
        (
            MLP(width=8, depth=2, activation=dl.Elementwise(function=f"{__name__}:not_for_numba")),
            PAIR,
            "because its activation cannot be compiled",
        ),
        (MLP(width=8, depth=2), gram(np.eye(17) + 1), "take up to 16 inputs and 17 were given"),
        (ResNet(width=10_000_000, depth=2), gram(np.eye(15) + 1), "take up to 1 GiB a network"),
    ],
    ids=["normalized", "not compiled", "inputs", "memory"],
)
def test_what_the_kernels_do_not_draw(network: Network, inputs: Inputs, said: str, monkeypatch):
    monkeypatch.setattr(device, "missing", lambda: None)
    message = refused_as_input(lambda: device.choose("cuda", network, inputs, 1))
    assert said in message
    assert message.endswith("choose device cpu.")
    assert device.choose("auto", network, inputs, 10**9) == "cpu"


def test_the_package_is_missed_by_name(monkeypatch):
    monkeypatch.setattr(device, "find_spec", lambda name: None)
    device.missing.cache_clear()
    try:
        message = refused_as_input(lambda: dl.simulate(MLP(width=8, depth=2), PAIR, networks=2, device="cuda"))
        result = CliRunner().invoke(main, ["simulate", "--width", "8", "--depth", "2", "--device", "cuda"])
    finally:
        device.missing.cache_clear()
    assert "the package numba-cuda, which is not installed" in message
    assert 'pip install "deeplim[cuda]", or choose device cpu' in message
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())


@needs_package
@pytest.mark.skipif(PACKAGE and device.missing() is None, reason="a GPU is here")
def test_a_missing_gpu_is_missed_in_one_sentence():
    message = refused_as_input(lambda: dl.summarize(MLP(width=8, depth=2), PAIR, networks=2, device="cuda"))
    assert message.startswith("device cuda needs an NVIDIA GPU and its driver (")
    assert message.endswith("; install the driver, or choose device cpu.")
    for words in (["simulate"], ["compare"], ["predict", "--networks", "9"]):
        result = CliRunner().invoke(main, [*words, "--width", "8", "--depth", "2", "--device", "cuda"])
        assert result.exit_code == 2
        assert message in " ".join(result.stderr.split())


@needs_package
def test_a_missing_compiler_is_missed_in_one_sentence(monkeypatch):
    from numba import cuda

    monkeypatch.setattr(cuda, "is_available", lambda: False)
    monkeypatch.setattr(cuda, "cuda_error", lambda: None)
    device.missing.cache_clear()
    try:
        message = refused_as_input(lambda: dl.simulate(MLP(width=8, depth=2), PAIR, networks=2, device="cuda"))
    finally:
        device.missing.cache_clear()
    assert "NVVM, which was not found" in message


def test_auto_takes_a_gpu_that_is_there_and_pays(monkeypatch):
    network = MLP(width=100, depth=100)
    monkeypatch.setattr(device, "missing", lambda: None)
    monkeypatch.setattr(device, "_not_compiled", lambda network, inputs: None)
    assert device.choose("auto", network, PAIR, 10**9) == "cuda"
    assert device.choose("auto", network, PAIR, 1000) == "cpu"
    monkeypatch.setattr(device, "_not_compiled", lambda network, inputs: "it does not compile.")
    assert device.choose("auto", network, PAIR, 10**9) == "cpu"
    monkeypatch.setattr(device, "missing", lambda: "there is none.")
    assert device.choose("auto", network, PAIR, 10**9) == "cpu"


def test_numba_s_cuda_is_imported_where_it_is_used_only():
    found = {
        str(path.relative_to(ROOT / "src/deeplim"))
        for path in (ROOT / "src").rglob("*.py")
        if re.search(r"numba\.cuda|from numba import .*\bcuda\b", path.read_text())
    }
    assert found == {"finite/cuda_kernel.py", "finite/device.py", "simd/scalars.py"}
    code = "import sys, deeplim as dl; dl.simulate(dl.MLP(width=8, depth=2), dl.gram(correlation=0.3), networks=9)"
    done = subprocess.run([sys.executable, "-c", f"{code}; print('numba.cuda' in sys.modules)"], capture_output=True)
    assert done.stdout == b"False\n", done.stderr


def test_a_name_without_counterpart_is_named():
    from types import ModuleType

    from deeplim.simd.retarget import Retarget

    bare = ModuleType("bare")
    with pytest.raises(NotImplementedError, match="bare has no load; write it beside that of lanes"):
        Retarget(bare, lambda function: function)(streams.resume)
    assert lanes.COUNT == 16


# Under the simulator


@pytest.fixture(scope="module")
def simulated(tmp_path_factory) -> dict[str, np.ndarray]:
    """What tests/cuda_simulation.py drew."""
    target = tmp_path_factory.mktemp("cuda") / "simulated.npz"
    # Numba must be told before it is imported, and this process wants the compiler.
    words, told = [sys.executable, str(ROOT / "tests/cuda_simulation.py"), str(target)], {"NUMBA_ENABLE_CUDASIM": "1"}
    done = subprocess.run(words, capture_output=True, text=True, env=os.environ | told)
    assert done.returncode == 0, done.stderr
    return dict(np.load(target))


def compare_with_twin(network: Network, inputs: Inputs, norms: np.ndarray, gaps: np.ndarray, seed: int) -> None:
    twin_norms, twin_gaps = draw(network, inputs, networks=len(norms), seed=seed, layers=LAYERS)
    # The normals are in single precision, and so may be the rows.
    assert np.abs(norms - twin_norms).max() < 2e-5
    if inputs.count > 1:
        assert np.abs(gaps - twin_gaps).max() < 2e-5


@needs_package
@pytest.mark.parametrize("name", CASES)
@pytest.mark.slow
def test_simulated_kernels_give_the_numbers_of_the_slow_twin(name: str, simulated):
    network, inputs = CASES[name]
    compare_with_twin(network, inputs, simulated[f"{name}/norms"], simulated[f"{name}/gaps"], SEED)
    with pytest.raises(AssertionError):
        compare_with_twin(network, inputs, simulated[f"{name}/norms"], simulated[f"{name}/gaps"], SEED + 1)


@needs_package
@pytest.mark.parametrize("kind", TINY)
@pytest.mark.parametrize("part", ["norms", "gaps"])
@pytest.mark.slow
def test_a_network_is_the_same_in_every_run_block_and_launch(kind: str, part: str, simulated):
    whole, later = simulated[f"{kind} whole/{part}"], simulated[f"{kind} whole later/{part}"]
    assert len(np.unique(whole[:, -1, 0])) > 15
    assert np.array_equal(whole[11:16, 1:], later, equal_nan=True)
    for other in ("again", "cut"):
        assert np.array_equal(whole, simulated[f"{kind} {other}/{part}"], equal_nan=True)
        assert np.array_equal(later, simulated[f"{kind} {other} later/{part}"], equal_nan=True)


def largest_z(norms: np.ndarray, gaps: np.ndarray, network: Network, inputs: Inputs) -> float:
    """The largest difference of means and variances from the CPU's networks of another seed, in standard errors."""
    peers = chain.sample(network, inputs, networks=8000, seed=1, layers=[network.depth])
    found = []
    for ours, theirs in ((norms, peers.log_norm), (gaps, peers.log_gap)):
        for k in range(ours.shape[2]):
            a, b = ours[:, 0, k], theirs[:, 0, k]
            found.append(z_of_means(np.isfinite(a).astype(float), np.isfinite(b).astype(float)))
            a, b = a[np.isfinite(a)], b[np.isfinite(b)]
            found += [z_of_means(a, b), z_of_variances(a, b)]
    return max(found)


@needs_package
@pytest.mark.parametrize("name", LAW)
@pytest.mark.slow
def test_simulated_networks_have_the_law_of_the_cpu_s(name: str, simulated):
    network, inputs, _ = LAW[name]
    norms, gaps = simulated[f"{name}/norms"], simulated[f"{name}/gaps"]
    assert largest_z(norms, gaps, network, inputs) < SIGMAS
    wider = network.model_copy(update={"width": 3 * network.width})
    assert largest_z(norms, gaps, wider, inputs) > SIGMAS


# On this processor, and through NVIDIA's compiler


@pytest.fixture(scope="module")
def code_of():
    """Return a function that gives a network's kernel as LLVM code, compiled once."""
    from deeplim.finite import cuda_kernel

    made: dict = {}

    def code(network: Network, m: int) -> list[str]:
        recipe = recipe_of(network, m)
        key = (m, recipe.single, network.kind, recipe.phi, recipe.divided)
        if key not in made:
            kernel = cuda_kernel.compile_kernel(m, recipe.single, network.kind == "resnet", recipe.phi, recipe.divided)
            made[key] = nvidia_compiler.llvm_code(kernel, cuda_kernel.signature(recipe.single))
        return made[key]

    return code


def draw_on_host(code: list[str], network: Network, inputs: Inputs, networks: int, seed: int, layers: list[int]):
    """Norms (network, layer, input) and gaps (network, layer, pair) from a kernel, and rows that begin as NaN."""
    from nvvm_on_host import HostKernel

    m, recipe, recorded = inputs.count, recipe_of(network, inputs.count), np.array(layers)
    norms, gaps = (np.zeros((len(layers), many, networks)) for many in (m, m * (m - 1) // 2))
    size = (1, 1, 1) if isinstance(network, MLP) else (network.width, m, networks)
    kept = np.full(size, np.nan, np.float32 if recipe.single else np.float64)
    numbers = (network.width, layers[-1], recipe.scale, recipe.bias, *recipe.slopes, recipe.skip, recipe.branch)
    begin = start(inputs, unit_norm=recipe.divided, apart=parts_norms(network))
    HostKernel(code)(networks, stream_states(seed, 0, networks), *numbers, *begin, recorded, kept, norms, gaps)
    return np.moveaxis(norms, 2, 0) + recipe.log_factor * recorded[:, None], np.moveaxis(gaps, 2, 0)


@needs_package
@pytest.mark.parametrize("name", quick("pair, single precision", "tanh, biases", of=CASES))
def test_compiled_kernels_give_the_numbers_of_the_slow_twin(name: str, code_of):
    network, inputs = CASES[name]
    norms, gaps = draw_on_host(code_of(network, inputs.count), network, inputs, 300, 7, LAYERS)
    compare_with_twin(network, inputs, norms, gaps, 7)


@needs_package
@pytest.mark.parametrize("function", quick("gelu", of=NAMES))
def test_compiled_activations_give_the_numbers_of_the_slow_twin(function: str, code_of):
    network, m = COMPILED[function]
    norms, gaps = draw_on_host(code_of(network, m), network, PAIR, 200, 3, LAYERS)
    compare_with_twin(network, PAIR, norms, gaps, 3)


@needs_package
@pytest.mark.slow
def test_deep_and_dead_networks_have_the_law_of_the_cpu_s(code_of):
    dead = []
    for network in (MLP(width=64, depth=64), MLP(width=4, depth=12), ResNet(width=64, depth=30)):
        norms, gaps = draw_on_host(code_of(network, 2), network, PAIR, 4000, 5, [network.depth])
        assert largest_z(norms, gaps, network, PAIR) < SIGMAS
        dead.append(np.isneginf(norms).sum())
    assert dead[0] == dead[2] == 0 < dead[1]


COMPILED = {name: (network, inputs.count) for name, (network, inputs) in CASES.items()}
COMPILED |= {name: (MLP(width=10, depth=3, activation=dl.Elementwise(function=name)), 2) for name in NAMES}
COMPILED |= {"eight": (MLP(width=10, depth=3), 8)}
IN_MEMORY = {"sin", "eight"}
"""Kernels with arrays in memory: digits of pi for large angles, and more numbers than a thread has registers."""


@needs_package
@pytest.mark.parametrize("name", quick("pair, single precision", "tanh, biases", "gelu", of=COMPILED))
def test_kernels_compile_to_ptx(name: str, code_of, tmp_path: Path):
    network, m = COMPILED[name]
    reason = nvidia_compiler.why_not()
    if reason is not None:
        pytest.skip(reason)
    code = code_of(network, m)
    for architecture in (80, 90):
        text = nvidia_compiler.ptx(code, architecture)
        assert f".target sm_{architecture}" in text
        if name not in IN_MEMORY:
            assert ".local" not in text
            said = nvidia_compiler.assembled(text, architecture, tmp_path)
            assert said is None or "0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads" in said
        if recipe_of(network, m).single:  # a row touches no double
            [row] = [block for block in re.split(r"^\$L", text, flags=re.MULTILINE) if "sqrt.rn.f32" in block]
            assert ".f64" not in row.partition("bra")[0]
