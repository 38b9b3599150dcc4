"""How much the first block of a residual stream adds to it, in PyTorch models."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from deeplim.errors import InputError
from deeplim.probe.factories import FORWARD, seeded
from deeplim.probe.initializations import networks
from deeplim.probe.torch_hooks import Output, Recorder, kept_as_it_was
from deeplim.probe.torch_inputs import read_arguments


def first_increment(
    factory: Any, inputs: Any, stream: Sequence[str], *, repeats: int, seed: int, most: int = 64
) -> Float[np.ndarray, " sample"]:
    """Return log(|r| / |z_0|) of each network, z_0 and z_1 what leaves the first two modules of ``stream``.

    name#2 is the second run of a module. r = z_1 - s z_0 with s = <z_0, z_1> / <z_0, z_0>, the part of z_1 that no
    multiple of z_0 makes: what the block adds, by whatever factor its skip keeps z_0. Over all inputs together, in
    double precision; minus infinity where r is no more than the rounding of the model's own floats. InputError when the
    modules do not run, or when what leaves them differs in shape.
    """
    arguments = read_arguments(inputs, most)
    found = np.empty(repeats)
    for repeat, network in networks(factory, repeats, seed, None):
        taken: dict[str, torch.Tensor] = {}
        runs: Counter[str] = Counter()

        def take(output: Output, taken: dict[str, torch.Tensor] = taken, runs: Counter[str] = runs) -> bool:
            runs[output.name] += 1
            name = output.name if runs[output.name] == 1 else f"{output.name}#{runs[output.name]}"
            if name in stream and output.tensor is not None:
                taken.setdefault(name, output.tensor.detach().clone())
            return True

        with seeded(seed, repeat, FORWARD), torch.no_grad(), kept_as_it_was(network):
            Recorder(network, [name.partition("#")[0] for name in stream], take).run(network, arguments.moved(network))
        missing = [name for name in stream[:2] if name not in taken]
        if missing:
            raise InputError(f"the module {missing[0]} did not run; name modules of the stream that run, by stream=.")
        before, after = (taken[name] for name in stream[:2])
        if before.shape != after.shape:
            shapes = f"{tuple(before.shape)} and {tuple(after.shape)}"
            raise InputError(f"{stream[0]} and {stream[1]} give {shapes}; name modules of one stream, by stream=.")
        found[repeat] = _log_added(before, after)
    return found


def _log_added(before: torch.Tensor, after: torch.Tensor) -> float:
    rounding = torch.finfo(after.dtype).eps
    before, after = before.double().flatten(), after.double().flatten()
    square = float(before @ before)
    if square == 0:
        return -np.inf
    kept = float(before @ after) / square
    added = float((after - kept * before).norm()) / np.sqrt(square)
    # a skip of its own factor rounds to within half an eps, and so does each sum
    return float(np.log(added)) if added > rounding * max(1.0, abs(kept)) else -np.inf
