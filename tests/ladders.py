"""Ladders made by hand: paths of known laws on the rungs of a real network, so that tests simulate none."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from deeplim import limits
from deeplim.activations import ReLU, ShapedReLU
from deeplim.architecture import MLP, Network, ResNet
from deeplim.inputs import Inputs, gram
from deeplim.ladder import Ladder
from deeplim.paths import Paths

SHAPED = MLP(width=100, depth=100, activation=ShapedReLU())
UNSHAPED = MLP(width=100, depth=100, activation=ReLU())
RESNET = ResNet(width=100, depth=100)
LAYERS = (0, 50, 100)


def made_paths(
    inputs: Inputs,
    *,
    samples: int,
    gap: float,
    norm: float,
    spread: float,
    seed: int,
    layers: Sequence[int] = LAYERS,
) -> Paths:
    """Paths whose log gaps and log norms are normal, from the inputs' own at layer 0 to those given.

    gap, norm: at the last layer, the median gap and the mean of log V less the input's. spread: the standard
    deviation of log V there, half of which is that of the log gap. Gaps beyond 2 are put at 2.
    """
    generator = np.random.default_rng(seed)
    pairs = np.triu_indices(inputs.count, 1)
    time = np.array(layers, dtype=float)
    part = (time / max(time.max(), 1.0))[None, :, None]
    start = np.log(inputs.gap[pairs])
    noise = generator.standard_normal((2, samples, 1, max(inputs.count, len(start), 1)))
    log_norm = inputs.log_norm + part * norm + np.sqrt(part) * spread * noise[0, ..., : inputs.count]
    log_gap = start + part * (np.log(gap) - start) + np.sqrt(part) * spread / 2 * noise[1, ..., : len(start)]
    return Paths(
        log_norm=log_norm,
        log_gap=np.minimum(log_gap, np.log(2.0)),
        alive=np.ones(log_norm.shape[:2], dtype=bool),
        time=time,
        clock="layer",
        names=inputs.names,
        source="exact networks: made by hand",
        width=100,
        depth=100,
    )


def made_ladder(
    network: Network = SHAPED,
    inputs: Inputs | None = None,
    *,
    networks: int = 600,
    samples: int = 800,
    gap: float = 0.5,
    norm: float = 0.0,
    spread: float = 0.3,
    shift: float = 0.0,
    dead: int = 0,
    aligned: int = 0,
    pair: tuple[int, int] = (0, 1),
    layers: Sequence[int] = LAYERS,
) -> Ladder:
    """A ladder with the limits that describe the network, each of the exact networks' law unless shifted.

    shift: of the limit's log norms, in standard deviations. dead, aligned: how many exact networks are so
    at the last layer.
    """
    inputs = gram(correlation=0.3) if inputs is None else inputs
    found = {limit.name: limit for limit in limits.find(network)}
    rungs: dict[str, Paths] = {}
    law = partial(made_paths, inputs, gap=gap, layers=layers)
    if networks:
        drawn = law(samples=networks, norm=norm, spread=spread, seed=1)
        rungs["exact"] = _with_casualties(drawn, dead, aligned)
    for name, limit in found.items():
        sampled, width = (1, 0.0) if limit.deterministic else (samples, spread)
        made = law(samples=sampled, norm=norm + shift * spread, spread=width, seed=2).on_clock(limit.clock)
        rungs[name] = replace(made, source=f"{name} limit of {network}", deterministic=limit.deterministic)
    return Ladder(
        network=network,
        inputs=inputs,
        pair=pair,
        layers=tuple(layers),
        limits=found,
        rungs=rungs,
        not_applicable=limits.explain(network),
        seed=7,
        computed="slopes",
    )


def _with_casualties(paths: Paths, dead: int, aligned: int) -> Paths:
    """The first networks dead, and the last ones with every pair exactly parallel, at the last layer."""
    log_norm, log_gap, alive = paths.log_norm.copy(), paths.log_gap.copy(), paths.alive.copy()
    log_norm[:dead, -1], log_gap[:dead, -1], alive[:dead, -1] = np.nan, np.nan, False
    if aligned:
        log_gap[-aligned:, -1] = -np.inf
    return replace(paths, log_norm=log_norm, log_gap=log_gap, alive=alive)
