"""Does predicted health at initialization order how well networks train, and does a rule for finite widths pay?

Fully connected networks are trained on scikit-learn's digits (1,797 images of 8 x 8) in several arms, sizes and seeds,
all on one budget of steps. For each arm and size the learning rate is the one with the best validation accuracy over
seeds of its own; the test images are seen once, by networks of other seeds at that rate. Predicted health is what
deeplim says of exact networks before any training. What is done is kept in a file, a line of JSON for each arm and
size, and a run that was stopped goes on where it was.
"""

import functools
import itertools
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from measure import arguments, document
from training_evidence import evidence
from training_page import plus_minus, tables
from training_runs import Kept, Settings, backward_health, digits, forward_health, linear_accuracy, training

import deeplim as dl
from deeplim.architecture import NORM_PRESERVING, Network
from deeplim.shaping.infinite_width import tat_slope

LINES = Path(__file__).parent.parent / ".venv-bench" / "training.jsonl"
SIZES = [f"{width}x{depth}" for width in (64, 128) for depth in (20, 50, 100, 200)]
QUICK_SIZES = [size for size in SIZES if size.endswith(("x20", "x50"))]
QUICK = Settings(steps=20, grid=(-6, -3), further=0, tuning_seeds=(1000,), confirming_seeds=(), seeds=(0, 1))
TARGET = dl.Target(correlation=0.9, quantile=0.5)
"""TAT's condition put to the networks themselves: half of them take inputs from correlation 0 to at most 0.9."""


def unshaped(width: int, depth: int) -> Network:
    return dl.MLP(width=width, depth=depth)


def tangent(width: int, depth: int) -> Network:
    slope = tat_slope(unshaped(width, depth))
    return dl.MLP(width=width, depth=depth, activation=dl.LeakyReLU(slope=slope))


def finite(width: int, depth: int) -> Network:
    return dl.shape(unshaped(width, depth), TARGET).network


def residual(width: int, depth: int) -> Network:
    return dl.ResNet(width=width, depth=depth, branch="1/sqrt(depth)", skip=NORM_PRESERVING)


def layer_normalized(width: int, depth: int) -> Network:
    return dl.MLP(width=width, depth=depth, normalization="layernorm")


def batch_normalized(width: int, depth: int) -> Network:
    return dl.MLP(width=width, depth=depth, normalization="batchnorm")


ARMS: dict[str, Callable[[int, int], Network]] = {
    "ReLU": unshaped,
    "TAT": tangent,
    "finite width": finite,
    "residual": residual,
    "LayerNorm": layer_normalized,
    "BatchNorm": batch_normalized,
}


def cells(kept: Kept, settings: Settings, networks: int, sizes: list[tuple[int, int]]) -> list[dict[str, Any]]:
    """Return each arm at each size, smaller ones first: its network, predicted health, and training."""
    split, found = digits(), []
    for (width, depth), arm in itertools.product(sorted(sizes, key=lambda size: size[0] ** 2 * size[1]), ARMS):
        begin, network = time.perf_counter(), ARMS[arm](width, depth)
        cell = {"arm": arm, "width": width, "depth": depth, "network": json.loads(network.to_json())}
        cell["health"] = {}
        for what, look, count in (("health", forward_health, networks), ("gradients", backward_health, networks // 10)):
            key = {"what": what, "network": cell["network"], "networks": count}
            cell["health"] |= kept(key, functools.partial(look, network, split.probed, count))
        cell |= training(network, split, settings, kept)
        found.append(cell)
        told = f"accuracy {plus_minus(cell)}%, gap {cell['health']['gap']:.2g}, rate {cell['rate']:.2g}"
        print(f"{arm}, width {width}, depth {depth}: {told}, {time.perf_counter() - begin:.0f} s", file=sys.stderr)
    return sorted(found, key=lambda cell: (cell["width"], list(ARMS).index(cell["arm"]), cell["depth"]))


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, metavar="WIDTHxDEPTH", help=f"of {', '.join(SIZES)}")
    options = parser.parse_args()
    chosen = options.sizes or (QUICK_SIZES if options.quick else SIZES)
    sizes = [(int(width), int(depth)) for width, depth in (size.split("x") for size in chosen)]
    torch.set_num_threads(1)
    settings = QUICK if options.quick else Settings()
    found = cells(Kept(None if options.quick else LINES), settings, 20 if options.quick else 200, sizes)
    told = evidence(found, ("finite width", "TAT"))
    print(
        document(
            str(__doc__).splitlines()[0],
            {
                "settings": asdict(settings),
                "linear_accuracy": linear_accuracy(digits()),
                "cells": found,
                "evidence": told,
            },
            ["deeplim", "numpy", "scikit-learn", "scipy", "torch"],
            quick=options.quick,
            tables=tables(found, told, list(ARMS)),
        )
    )


if __name__ == "__main__":
    main()
