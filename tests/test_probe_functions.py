"""Functions that return activations: NumPy's and JAX's, their law, their names, and what is refused."""

import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import deeplim as dl
from deeplim.errors import InputError
from deeplim.probe import norms_and_gaps, record, record_gradients
from deeplim.resolution import FLOOR

WIDTH, DEPTH = 24, 10
X = np.random.default_rng(3).standard_normal((2, WIDTH))
SIGMAS = 5.0
"""Of a normal law: a false alarm in 1.7 million."""


def relu_network(seed, x, gain=2.0):
    rng, layers = np.random.default_rng(seed), {}
    for layer in range(1, DEPTH + 1):
        weights = rng.standard_normal((WIDTH, WIDTH)) * np.sqrt((1.0 if layer == 1 else gain) / WIDTH)
        x = (x if layer == 1 else np.maximum(x, 0)) @ weights
        layers[f"z{layer}"] = x
    return layers


def moments(paths, layer):
    """Means over samples of log V and log(1 - rho) and of their squares, and the errors of these means.

    Samples that are dead, or exactly parallel, have no such numbers, in both laws alike.
    """
    columns = np.stack([paths.log_norm[:, layer, 0], paths.log_gap[:, layer, 0]])
    columns = columns[:, np.isfinite(columns).all(axis=0)]
    columns = np.concatenate([columns, columns**2])
    return columns.mean(axis=1), columns.std(axis=1, ddof=1) / np.sqrt(columns.shape[1])


@pytest.mark.slow
def test_a_function_in_numpy_has_the_law_of_the_exact_chain():
    paths = record(relu_network, X, repeats=1000)
    assert paths.layer_names == ("input", *(f"z{layer}" for layer in range(1, DEPTH + 1)))
    assert paths.source == "a probed function relu_network, 1,000 seeds"
    # The chain's state V_l is <h, h> / n of h = sqrt(2) relu(z).
    exact = dl.simulate(dl.MLP(width=WIDTH, depth=DEPTH), dl.gram(X), networks=20_000, seed=5)

    def states(seed, x, gain=2.0):
        return {name: np.sqrt(2.0) * np.maximum(z, 0) for name, z in relu_network(seed, x, gain).items()}

    expected, error = moments(exact, DEPTH)
    found, other = moments(record(states, X, repeats=1000, modules=[f"z{DEPTH}"]), 1)
    assert (np.abs(found - expected) < SIGMAS * np.hypot(error, other)).all()
    wrong, other = moments(record(lambda s, x: states(s, x, 1.7), X, repeats=1000, modules=[f"z{DEPTH}"]), 1)
    assert (np.abs(wrong - expected) > SIGMAS * np.hypot(error, other)).any()


def test_seeds_are_whole_numbers_of_32_bits_and_stay():
    seen = []

    def network(seed, x):
        seen.append(seed)
        return [x]

    record(network, X, repeats=3, seed=1)
    record(network, X, repeats=4, seed=1)
    record(network, X, repeats=3, seed=2)
    assert seen[:3] == seen[3:6]
    assert len(set(seen)) == 7
    assert all(type(seed) is int and 0 <= seed < 2**32 for seed in seen)


def in_jax(seed, x):
    keys = jax.random.split(jax.random.key(seed), 2)
    first = x["x"] @ jax.random.normal(keys[0], (WIDTH, 7))
    return first, (first @ jax.random.normal(keys[1], (7, 5))).astype(jnp.bfloat16)


def test_a_function_in_jax_is_measured_in_its_own_precision():
    paths = record(in_jax, {"x": jnp.asarray(X)}, repeats=2)
    assert paths.layer_names == ("input", "0", "1")
    floors = [FLOOR * 2.0**-48, FLOOR * (2.0**-48 + 2.0**-16)]
    np.testing.assert_allclose(paths.log_gap_floor[1:], np.log(floors))
    for sample, seed in enumerate(seeds(2)):
        for at, activations in enumerate(in_jax(seed, {"x": jnp.asarray(X)}), 1):
            norm, gap = norms_and_gaps(np.asarray(activations).astype(np.float32))
            np.testing.assert_allclose(paths.log_norm[sample, at], norm, atol=1e-6)
            np.testing.assert_allclose(paths.log_gap[sample, at], gap, atol=1e-5)


def seeds(count):
    found = []
    record(lambda seed, x: [found.append(seed) or x], X, repeats=count)
    return found


def test_tokens_and_chosen_layers():
    sequences = np.random.default_rng(0).standard_normal((3, 4, WIDTH))

    def network(seed, x):
        return {"a": x + seed % 7, "pooled": x.mean(axis=1), "b": 2 * x}

    paths = record(network, sequences, repeats=2, per="token")
    assert paths.layer_names == ("input", "a", "b")
    assert paths.source.endswith("; left out, not being a row of floating numbers for each token: pooled")
    assert (paths.samples, paths.inputs) == (6, 4)
    assert record(network, sequences, per="token", most=2).names == ("token 0", "token 2")
    assert record(network, sequences, modules=lambda name, array: array.ndim == 2).layer_names == ("input", "pooled")


def test_batches_are_collected_for_a_function():
    batches = [(X[:1], 0), (X[1:], 1)]
    np.testing.assert_array_equal(
        record(lambda seed, x: [x**3], batches, repeats=1).log_gap, record(lambda seed, x: [x**3], X, repeats=1).log_gap
    )


def fails(seed, x):
    raise KeyError("here")


WRONG = [
    (lambda: record(fails, X), "could not be called with a seed and inputs of shape (2, 24) (KeyError: 'here')"),
    (lambda: record(lambda seed, x: x, X), "returned an object of type ndarray; it must return a list of arrays"),
    (lambda: record(lambda seed, x: 3, X), "returned an object of type int; it must return a list of arrays"),
    (lambda: record(lambda seed, x: [["a"]], X), "returned 0 of type <U1"),
    (lambda: record(lambda seed, x: [x], X, modules=["b"]), "the function has no activations 'b'; it has 0"),
    (lambda: record(lambda seed, x: [x], X, initialize=fails), "a function was given; leave it out"),
    (lambda: record_gradients(lambda seed, x: [x], X), "have no gradients to follow"),
    (lambda: record(lambda seed, x: [x] * (1 + seed % 2), X), "every network must run the same modules"),
    (lambda: record(lambda seed, x: [x[0]], np.ones((2, 3), int)), "returned 0 of shape (3,) for 2 inputs; it must"),
    (lambda: record(lambda seed, x: {"a": x.T, "b": x[:1]}, X), "a of shape (24, 2), b of shape (1, 24) for 2 inputs"),
    (lambda: record(lambda seed, x: [], X), "returned nothing for 2 inputs; it must return a list of arrays"),
    (lambda: record(lambda seed, x: [x], X, modules=[]), "modules= names no module"),
    (lambda: record(lambda seed, x: [x], X, modules=lambda name, array: False), "chooses none of what there is"),
    (lambda: record(lambda seed, x: [x], torch.ones(2, 3).to_sparse()), "type Tensor was given as inputs that is no"),
    (lambda: record(lambda seed, x: [x], {"x": torch.ones(2, 3, device="meta")}), "give one that NumPy can read"),
    (lambda: record(lambda seed, x: [x], ()), "empty inputs hold no array with an axis"),
]


@pytest.mark.parametrize(("wrong", "told"), WRONG)
def test_errors_are_sentences(wrong, told):
    with pytest.raises(InputError, match=re.escape(told)):
        wrong()


def test_no_framework_is_needed():
    code = (
        "import sys, numpy as np; from deeplim.probe import record; "
        "print(record(lambda seed, x: [np.tanh(x)], np.eye(3), repeats=1).layer_names); "
        "assert not {'torch', 'jax', 'flax'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "('input', '0')\n"
