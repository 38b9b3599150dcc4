"""Values of every kind, for tests of what functions take and refuse."""

import datetime
from typing import Any

import jax.numpy as jnp
import numpy as np
import torch

import deeplim as dl

NETWORK = dl.MLP(width=16, depth=2)
TARGET = dl.Target(correlation=0.9, quantile=0.5)
PATHS = dl.simulate(NETWORK, dl.gram(correlation=0.3), networks=5, layers=[0, 2])


class Unshown:
    """What has no text."""

    def __repr__(self) -> str:
        raise RuntimeError("no text")


KINDS: dict[str, Any] = {
    "None": None,
    "a whole number": 3,
    "a negative number": -1,
    "zero": 0,
    "a huge number": 10**400,
    "a number beyond text": -(10**5000),
    "a float": 1.5,
    "NaN": float("nan"),
    "infinity": float("-inf"),
    "True": True,
    "text": "x",
    "bytes": b"x",
    "a list": [1],
    "an empty list": [],
    "lists in a list": [[1, [2]]],
    "NaN in a list": [float("nan"), 1.0],
    "words": ["a", "b"],
    "a long list": list(range(1000)),
    "a tuple": (1, 2),
    "a dict": {"a": 1},
    "a set": {1},
    "an object": object(),
    "an object without text": Unshown(),
    "a type": int,
    "a function": lambda: 3,
    "a function of two": lambda one, two: 3,
    "an array": np.ones(3),
    "an array without axes": np.array(2.5),
    "an array of objects": np.array([None, "x"], dtype=object),
    "an array of dates": np.array(["2020-01-01"], dtype="M8[D]"),
    "NumPy's number": np.int64(2),
    "NumPy's NaN": np.float64("nan"),
    "a complex number": 1j,
    "a tensor": torch.ones(2),
    "a JAX array": jnp.ones(2),
    "a module": torch,
    "a slice": slice(1),
    "an exception": ValueError("x"),
    "a date": datetime.date(2020, 1, 1),
    "a network": NETWORK,
    "a target": TARGET,
    "paths": PATHS,
    "a generator": None,
}
"""Values of every kind; most are wrong wherever they are given."""
NUMBERS = {"a whole number", "a negative number", "zero", "a float", "NumPy's number"}
POSITIVE = {"a whole number", "a float", "NumPy's number"}
COUNT = {"a whole number", "NumPy's number"}
SEED = COUNT | {"zero"}
NONE, NOTHING = {"None"}, set[str]()
ARRAYS = {"an array without axes", "a JAX array", "a tensor", "an array"}
CALLABLE = {"a type", "a function", "a function of two"}
LISTS = {"a list", "an empty list", "NaN in a list", "a long list", "a tuple"}
"""The kinds that are right in an argument."""
