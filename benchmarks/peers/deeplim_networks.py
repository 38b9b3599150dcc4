"""The same networks as deeplim draws them, without their weights, on all cores."""

from typing import Any

import numba
import numpy as np

import deeplim as dl
from peers.serving import Case, Run, Setting, serve

AT_LEAST = 512
"""Networks in the smallest run: a batch of 256 for each of two cores."""


class Deeplim:
    """Runs of a few hundredths of a second and of some tenths."""

    def describe(self) -> dict[str, Any]:
        """Return the versions."""
        return {"versions": {"deeplim": dl.__version__, "numba": numba.__version__}}

    def settings(self, case: Case) -> list[Setting]:
        """Return two numbers of networks, by their work."""
        work = case["width"] * case["depth"] * len(case["covariance"]) ** 2
        return [{"networks": AT_LEAST * max(1, round(size / work / AT_LEAST))} for size in (4e8, 2e9)]

    def prepare(self, case: Case, setting: Setting) -> Run:
        """Return the function that draws so many networks."""
        size = {"width": case["width"], "depth": case["depth"]}
        kind = dl.ResNet if case["architecture"] == "resnet" else dl.MLP
        network = kind(
            **size, activation=dl.Elementwise(function="tanh") if case["activation"] == "tanh" else dl.ReLU()
        )
        inputs = dl.gram(covariance=case["covariance"])

        def run(seed: int) -> np.ndarray:
            paths = dl.simulate(network, inputs, networks=setting["networks"], seed=seed, layers=[case["depth"]])
            return paths.log_norm[:, 0, 0]

        return run


if __name__ == "__main__":
    serve(Deeplim())
