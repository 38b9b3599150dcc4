"""How many exact networks a second, against PyTorch multiplying the same networks' weight matrices in a batch?

Both draw the law of the final covariance of two inputs in ReLU MLPs of one width and depth, on all cores. PyTorch gets
float32, its own normal generator, inference mode, and the fastest of several batch sizes, with the cores inside its
operations or one Python thread with a generator of its own on each. Run `make bench`.
"""

import argparse
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from measure import document, rate, seconds

import deeplim as dl

PAIR = dl.gram(correlation=0.3)


def deeplim_networks(width: int, depth: int, networks: int) -> np.ndarray:
    paths = dl.simulate(dl.MLP(width=width, depth=depth), PAIR, networks=networks, layers=[depth])
    return paths.log_norm[:, 0, 0]


@torch.inference_mode()
def torch_networks(width: int, depth: int, networks: int, seed: int = 0) -> np.ndarray:
    generator = torch.Generator().manual_seed(seed)
    root = torch.linalg.cholesky(torch.tensor(PAIR.covariance, dtype=torch.float32))
    z = torch.randn(networks, width, 2, generator=generator) @ root.T
    weights = torch.empty(networks, width, width)
    for _ in range(depth - 1):
        weights.normal_(std=(2.0 / width) ** 0.5, generator=generator)
        z = torch.bmm(weights, torch.relu(z))
    active = torch.relu(z)
    covariance = torch.bmm(active.transpose(1, 2), active) * (2.0 / width)
    return torch.log(covariance[:, 0, 0]).numpy()


def torch_rates(width: int, depth: int, repeats: int) -> dict[str, dict[str, float]]:
    """Networks per second of PyTorch in each of its settings."""
    cores, found = os.cpu_count() or 1, {}
    for batch in (4, 16, 64):
        torch.set_num_threads(cores)
        times = seconds(lambda batch=batch: torch_networks(width, depth, batch), repeats=repeats)
        found[f"batch {batch}, {cores} threads inside"] = rate(batch, times)
        torch.set_num_threads(1)
        with ThreadPoolExecutor(cores) as pool:
            task = lambda batch=batch, pool=pool: list(  # noqa: E731
                pool.map(lambda seed: torch_networks(width, depth, batch, seed), range(cores))
            )
            found[f"batch {batch}, {cores} threads outside"] = rate(cores * batch, seconds(task, repeats=repeats))
    return found


def agree(width: int, depth: int) -> dict[str, float]:
    """The same law: mean and standard deviation of the log norm from both, with the standard errors of the means."""
    found = {}
    for name, run, networks in (("deeplim", deeplim_networks, 20_000), ("torch", torch_networks, 400)):
        sample = run(width, depth, networks)
        sample = sample[np.isfinite(sample)]
        found |= {f"{name}_mean": sample.mean(), f"{name}_std": sample.std()}
        found[f"{name}_error"] = sample.std() / np.sqrt(len(sample))
    return {name: round(float(value), 4) for name, value in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=100)
    parser.add_argument("--depth", type=int, default=100)
    parser.add_argument("--networks", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    size = options.width, options.depth

    peers = torch_rates(*size, options.repeats)
    best = max(peers, key=lambda setting: peers[setting]["median"])
    ours = rate(options.networks, seconds(lambda: deeplim_networks(*size, options.networks), repeats=options.repeats))
    results = {
        "width": options.width,
        "depth": options.depth,
        "deeplim_networks_per_second": ours,
        "torch_networks_per_second": peers,
        "torch_best": best,
        "ratio": ours["median"] / peers[best]["median"],
        "normals_per_second": ours["median"] * options.width * options.depth * 2,
        "log_norm": agree(*size),
    }
    print(document(__doc__.splitlines()[0], results, ["deeplim", "numba", "numpy", "torch"]))


if __name__ == "__main__":
    main()
