"""Paths made by hand for the tests: random, with dead and exploded samples, or of one pair with given gaps."""

from dataclasses import replace
from typing import Any

import numpy as np

from deeplim.paths import Paths

LAYERS = np.array([0.0, 3.0, 7.0, 200.0])


def random_paths(samples: int = 5, inputs: int = 3, seed: int = 0, **changes: Any) -> Paths:
    """Living paths of random norms and gaps, at LAYERS of a network 200 wide and 400 deep."""
    rng = np.random.default_rng(seed)
    pairs = inputs * (inputs - 1) // 2
    made = Paths(
        log_norm=rng.normal(0, 3, (samples, len(LAYERS), inputs)),
        log_gap=np.log(rng.uniform(1e-3, 2, (samples, len(LAYERS), pairs))),
        alive=np.ones((samples, len(LAYERS)), dtype=bool),
        time=LAYERS,
        clock="layer",
        names=tuple("abcdefgh"[:inputs]),
        source="random numbers",
        width=200,
        depth=400,
    )
    return replace(made, **changes)


def with_losses() -> Paths:
    """Five samples: one dies at layer 3 by input 1, two explode at layer 7 by inputs 0 and 2, the last two live."""
    paths = random_paths()
    alive, log_norm, log_gap = paths.alive.copy(), paths.log_norm.copy(), paths.log_gap.copy()
    alive[0, 1:] = alive[1:3, 2:] = False
    log_norm[0, 1:, 1] = -np.inf
    log_norm[1, 2:, 0] = log_norm[2, 2:, 2] = np.inf
    log_gap[~alive] = np.nan
    return replace(paths, alive=alive, log_norm=log_norm, log_gap=log_gap)


def one_pair(*log_gaps: float, log_norm: float = 0.0) -> Paths:
    """One sample of two inputs, with a log gap at each of some layers."""
    count = len(log_gaps)
    return random_paths(
        samples=1,
        inputs=2,
        log_norm=np.full((1, count, 2), log_norm),
        log_gap=np.array(log_gaps)[None, :, None],
        alive=np.ones((1, count), dtype=bool),
        time=np.arange(count, dtype=float),
    )
