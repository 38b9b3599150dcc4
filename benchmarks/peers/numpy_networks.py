"""Networks with their weights in plain NumPy: a batched matrix product in single precision.

Its best settings: the SFC64 generator, numbers drawn into the same memory, the gain applied to the small product rather
than to the weights, and the cores either inside BLAS or one Python thread on each.
"""

import os

# Set on some machines for older builds of OpenBLAS, these two would pick a slow kernel; both go together.
for _name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(_name, None)

from typing import Any  # noqa: E402

import numpy as np  # noqa: E402

from peers.serving import CORES, Case, Run, Setting, batches, on_every_core, serve  # noqa: E402


def log_norms(case: Case, batch: int, seed: tuple[int, int]) -> np.ndarray:
    """Return the log norm of input 0 at the last layer of ``batch`` networks."""
    rng = np.random.Generator(np.random.SFC64(seed))
    n, scale = case["width"], np.float32((case["gain"] / case["width"]) ** 0.5)
    root = np.linalg.cholesky(np.array(case["covariance"])).astype(np.float32)
    z = rng.standard_normal((batch, n, len(root)), dtype=np.float32) @ root.T
    weights = np.empty((batch, n, n), dtype=np.float32)
    residual = case["architecture"] == "resnet"
    for _ in range(case["depth"] - (not residual)):
        rng.standard_normal(dtype=np.float32, out=weights)
        added = scale * (weights @ _activate(case, z))
        z = np.float32(case["skip"]) * z + np.float32(case["branch"]) * added if residual else added
    last = z if residual else _activate(case, z) * np.float32(case["gain"] ** 0.5)
    return np.log(np.mean(last[:, :, 0].astype(np.float64) ** 2, axis=1))


def _activate(case: Case, z: np.ndarray) -> np.ndarray:
    return np.tanh(z) if case["activation"] == "tanh" else np.maximum(z, np.float32(0))


class NumPy:
    """Batches, with the cores inside BLAS or outside."""

    def describe(self) -> dict[str, Any]:
        """Return the version and the BLAS kernel that this process runs."""
        from threadpoolctl import threadpool_info

        [blas, *_] = [found for found in threadpool_info() if found["user_api"] == "blas"]
        kernel = f"{blas['internal_api']} {blas['version']}, kernel {blas['architecture']}"
        return {"versions": {"numpy": np.__version__}, "blas": kernel, "blas_threads": blas["num_threads"]}

    def settings(self, case: Case) -> list[Setting]:
        """Return every batch size with the cores inside and outside."""
        return [{"batch": batch, "cores": where} for batch in batches(case["width"]) for where in ("inside", "outside")]

    def prepare(self, case: Case, setting: Setting) -> Run:
        """Return the function that draws a batch, or one batch on each core."""
        batch = setting["batch"]
        if setting["cores"] == "inside":
            return _limited(lambda seed: log_norms(case, batch, (seed, 0)), CORES)
        return _limited(on_every_core(lambda seed: log_norms(case, batch, seed)), 1)


def _limited(run: Run, threads: int) -> Run:
    from threadpoolctl import threadpool_limits

    def limited(seed: int) -> Any:
        with threadpool_limits(threads, "blas"):
            return run(seed)

    return limited


if __name__ == "__main__":
    serve(NumPy())
