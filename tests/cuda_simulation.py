"""Draws networks under Numba's CUDA simulator: run with NUMBA_ENABLE_CUDASIM=1, in a process of its own.

It prints nothing and saves the arrays that tests/test_cuda.py asks about.
"""

import sys
import warnings

import numpy as np
from cuda_networks import CASES, LAW, LAYERS, SEED, TINY

from deeplim import ensemble, summary
from deeplim.finite import chain, device
from deeplim.summary import Summary


def poison_local_arrays() -> None:
    """Make a thread's arrays begin as NaN: on a GPU they begin as anything, and are written before they are read."""
    from numba.cuda.simulator.kernelapi import FakeCUDALocal

    plain = FakeCUDALocal.array

    def poisoned(self, *shape_and_kind):
        array = plain(self, *shape_and_kind)
        array[...] = np.nan if array.dtype.kind == "f" else 0xDEADBEEF
        return array

    FakeCUDALocal.array = poisoned


def main(target: str) -> None:
    warnings.simplefilter("error")
    # NumPy's numbers warn where 32-bit words wrap round, and of a dead network's 1 / 0, which is then not chosen.
    warnings.filterwarnings("ignore", ".*encountered in", RuntimeWarning)
    poison_local_arrays()
    found = {}

    def keep(name: str, network, inputs, **options) -> None:
        paths = chain.sample(network, inputs, device="cuda", **options)
        assert paths.source == f"exact networks on cuda: {network}"
        found[f"{name}/norms"], found[f"{name}/gaps"] = paths.log_norm, paths.log_gap

    for name, (network, inputs) in CASES.items():
        keep(name, network, inputs, networks=6, seed=SEED, layers=LAYERS)
    for name, (network, inputs, networks) in LAW.items():
        keep(name, network, inputs, networks=networks, seed=SEED + 1, layers=[network.depth])
    for name, block, launch in (("whole", device.BLOCK, device.LAUNCH), ("again", 64, 2**18), ("cut", 3, 7)):
        device.BLOCK, device.LAUNCH = block, launch
        for kind, (network, inputs) in TINY.items():
            keep(f"{kind} {name}", network, inputs, networks=20, seed=SEED, layers=[0, 2])
            keep(f"{kind} {name} later", network, inputs, networks=5, first=11, seed=SEED, layers=[2])
    for kind, (network, inputs) in TINY.items():
        asked = {"networks": 20, "seed": SEED, "layers": [0, 2], "device": "cuda"}
        ensemble.AHEAD, whole = 7, Summary.of(ensemble.simulate(network, inputs, **asked)).to_dict()
        for size in (3, 5, 20):
            summary.block_size = lambda *counts, size=size: size
            summed = ensemble.summarize(network, inputs, **asked).to_dict()
            assert summed["dead"] == whole["dead"], kind
            assert summed["correlation"]["quantiles"] == whole["correlation"]["quantiles"], kind
    np.savez(target, **found)


if __name__ == "__main__":
    main(sys.argv[1])
