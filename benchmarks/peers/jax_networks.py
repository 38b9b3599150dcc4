"""Networks with their weights in JAX: one network under ``jax.vmap``, all of it compiled by ``jax.jit``.

Its best settings: the batch on one device, which uses all cores inside its operations, or spread over as many devices
as there are cores; and its generators. Of these rbg and unsafe_rbg, made for accelerators, are tried at one batch size:
XLA does not vectorise them on a CPU.
"""

import os

CORES = os.cpu_count() or 1
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={CORES}"
os.environ["JAX_PLATFORMS"] = "cpu"

from typing import Any  # noqa: E402

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from jax.sharding import NamedSharding, PartitionSpec  # noqa: E402

from peers.serving import Case, Run, Setting, batches, serve  # noqa: E402

DEFAULT, OTHERS = "threefry2x32", ("rbg", "unsafe_rbg")


def log_norm(case: Case, key: jax.Array) -> jax.Array:
    """Return the log norm of input 0 at the last layer of one network."""
    n, scale = case["width"], (case["gain"] / case["width"]) ** 0.5
    root = jnp.array(np.linalg.cholesky(np.array(case["covariance"])), dtype=jnp.float32)
    activate = jnp.tanh if case["activation"] == "tanh" else jax.nn.relu
    residual = case["architecture"] == "resnet"
    first, rest = jax.random.split(key)

    def layer(z: jax.Array, key: jax.Array) -> tuple[jax.Array, None]:
        added = scale * (jax.random.normal(key, (n, n)) @ activate(z))
        return (case["skip"] * z + case["branch"] * added if residual else added), None

    z = jax.random.normal(first, (n, len(root))) @ root.T
    z, _ = jax.lax.scan(layer, z, jax.random.split(rest, case["depth"] - (not residual)))
    last = z if residual else activate(z) * case["gain"] ** 0.5
    return jnp.log(jnp.mean(last[:, 0] ** 2))


class Jax:
    """Batches, with each of the generators, on one device or one for each core."""

    def describe(self) -> dict[str, Any]:
        """Return the versions and how many devices the cores were made into."""
        return {"versions": {"jax": jax.__version__}, "devices": jax.device_count()}

    def settings(self, case: Case) -> list[Setting]:
        """Return the batches, on one device and on all, and the other generators on the second smallest."""
        sizes = batches(case["width"])
        plain = [(batch, DEFAULT, devices) for batch in sizes for devices in sorted({1, CORES})]
        others = [(sizes[min(1, len(sizes) - 1)], generator, CORES) for generator in OTHERS]
        return [dict(zip(("batch", "generator", "devices"), one, strict=True)) for one in plain + others]

    def prepare(self, case: Case, setting: Setting) -> Run:
        """Return the compiled function that draws a batch on each of the devices."""
        devices, generator = setting["devices"], setting["generator"]
        mesh = jax.make_mesh((devices,), ("batch",), devices=jax.devices()[:devices])
        shared = NamedSharding(mesh, PartitionSpec("batch"))
        some = jax.vmap(lambda key: log_norm(case, key))
        many = jax.jit(
            jax.shard_map(some, mesh=mesh, in_specs=PartitionSpec("batch"), out_specs=PartitionSpec("batch"))
        )
        count = setting["batch"] * devices
        return lambda seed: np.asarray(
            many(jax.device_put(jax.random.split(jax.random.key(seed, impl=generator), count), shared))
        )


if __name__ == "__main__":
    serve(Jax())
