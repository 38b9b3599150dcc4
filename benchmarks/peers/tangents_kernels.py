"""Samples of the finite-width NNGP kernel by neural-tangents' ``monte_carlo_kernel_fn``, in an environment of its own.

Its best settings: as its documentation has it, which compiles one network's kernel and draws one after the other; and
that function with its own ``jax.jit`` and ``jax.vmap`` around a batch, on as many devices as there are cores.
"""

import os

CORES = os.cpu_count() or 1
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={CORES}"
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

from typing import Any  # noqa: E402

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import neural_tangents  # noqa: E402
import numpy as np  # noqa: E402
from neural_tangents import stax  # noqa: E402

from peers.serving import Case, Run, Setting, serve  # noqa: E402

ONE_BY_ONE = 64
"""Kernels drawn one after the other in one call."""
MOST = 100_000
"""Kernels of one generator, far more than a run draws."""


class Tangents:
    """Kernels of two inputs, the mean over neurons of a product of outputs, in ReLU MLPs."""

    def describe(self) -> dict[str, Any]:
        """Return the versions."""
        return {"versions": {"neural-tangents": neural_tangents.__version__, "jax": jax.__version__}}

    def settings(self, case: Case) -> list[Setting]:
        """Return one after the other, and a compiled batch on every core."""
        return [{"batch": 1, "compiled": "one kernel"}, {"batch": 8 * CORES, "compiled": "the whole batch"}]

    def prepare(self, case: Case, setting: Setting) -> Run:
        """Return the function that draws kernels and keeps their entry (0, 1)."""
        # Theirs has the gain in every weight, the first too; ours leaves it out there and has it in the last h instead.
        layers = [stax.Dense(case["width"], W_std=case["gain"] ** 0.5), stax.Relu()] * case["depth"]
        init, apply, _ = stax.serial(*layers)
        inputs = np.array(case["inputs"], dtype=np.float32)
        if setting["batch"] > 1:
            return _batched(init, apply, inputs, setting["batch"])
        return _one_by_one(init, apply, inputs)


def _one_by_one(init: Any, apply: Any, inputs: np.ndarray) -> Run:
    """Their generator gives the mean so far after every kernel; its seed is fixed when it is made, and so is the first.

    Making another would compile again.
    """
    draw = neural_tangents.monte_carlo_kernel_fn(init, apply, jax.random.PRNGKey(0), range(1, MOST + 1), device_count=0)
    sums = (count * float(mean[0, 1]) for count, mean in enumerate(draw(inputs, None, "nngp"), 1))
    last = [0.0]

    def run(seed: int) -> np.ndarray:
        upto = last + [next(sums) for _ in range(ONE_BY_ONE)]
        last[0] = upto[-1]
        return np.diff(upto)

    return run


def _batched(init: Any, apply: Any, inputs: np.ndarray, batch: int) -> Run:
    def one(key: jax.Array) -> jax.Array:
        draw = neural_tangents.monte_carlo_kernel_fn(init, apply, key, 1, device_count=0)
        return draw(jnp.array(inputs), None, "nngp")[0, 1]

    many = jax.pmap(jax.vmap(one))

    def run(seed: int) -> np.ndarray:
        keys = jax.random.split(jax.random.PRNGKey(seed), batch).reshape(CORES, batch // CORES, 2)
        return np.asarray(many(keys), dtype=np.float64).ravel()

    return run


if __name__ == "__main__":
    serve(Tangents())
