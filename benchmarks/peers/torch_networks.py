"""Networks with their weights in PyTorch: ``torch.bmm`` in single precision, in inference mode.

Its best settings: its own normal generator into the same memory, the gain applied to the small product rather than to
the weights, and the cores either inside its operations or one Python thread with a generator of its own on each.
"""

from typing import Any

import torch

from peers.serving import CORES, Case, Run, Setting, batches, on_every_core, serve


@torch.inference_mode()
def log_norms(case: Case, batch: int, seed: tuple[int, int]) -> Any:
    """Return the log norm of input 0 at the last layer of ``batch`` networks."""
    generator = torch.Generator().manual_seed(seed[0] * CORES + seed[1])
    n, scale = case["width"], (case["gain"] / case["width"]) ** 0.5
    root = torch.linalg.cholesky(torch.tensor(case["covariance"], dtype=torch.float64)).float()
    z = torch.randn(batch, n, len(root), generator=generator) @ root.T
    weights = torch.empty(batch, n, n)
    activate = torch.tanh if case["activation"] == "tanh" else torch.relu
    residual = case["architecture"] == "resnet"
    for _ in range(case["depth"] - (not residual)):
        weights.normal_(generator=generator)
        added = torch.bmm(weights, activate(z))
        z = torch.add(case["skip"] * z, added, alpha=case["branch"] * scale) if residual else added.mul_(scale)
    last = z if residual else activate(z) * case["gain"] ** 0.5
    return torch.log(last[:, :, 0].double().square().mean(dim=1)).numpy()


class Torch:
    """Batches, with the cores inside the operations or outside."""

    def describe(self) -> dict[str, Any]:
        """Return the version and the instructions it found."""
        return {"versions": {"torch": torch.__version__}, "instructions": torch.backends.cpu.get_cpu_capability()}

    def settings(self, case: Case) -> list[Setting]:
        """Return every batch size with the cores inside and outside."""
        return [{"batch": batch, "cores": where} for batch in batches(case["width"]) for where in ("inside", "outside")]

    def prepare(self, case: Case, setting: Setting) -> Run:
        """Return the function that draws a batch, or one batch on each core."""
        batch = setting["batch"]
        if setting["cores"] == "inside":
            return _threaded(lambda seed: log_norms(case, batch, (seed, 0)), CORES)
        return _threaded(on_every_core(lambda seed: log_norms(case, batch, seed)), 1)


def _threaded(run: Run, threads: int) -> Run:
    def threaded(seed: int) -> Any:
        torch.set_num_threads(threads)
        return run(seed)

    return threaded


if __name__ == "__main__":
    serve(Torch())
