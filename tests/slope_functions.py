"""Functions that are two slopes, written as users write them, and functions that nearly are."""

import numpy as np


def prelu(x):
    return np.where(x > 0, x, 0.25 * x)


def hard_leaky(x):
    return np.maximum(x, 0.1 * x)


def falling(x):
    return -0.5 * np.minimum(x, 0) + 2 * np.maximum(x, 0)


def identity(x):
    return np.array(x, dtype=float)


def only_below(x):
    return np.minimum(x, 0.0)


def hard_tanh(x):
    return np.clip(x, -1, 1)


def relu_6(x):
    return np.clip(x, 0, 6)


def late_kink(x):
    return np.maximum(x, 0) + np.maximum(x - 1e6, 0)


def dead_zone(x):
    return np.where(np.abs(x) < 1e-6, 0.0, x)


def shifted(x):
    return np.abs(x) + 1e-9


def bent(x):
    return np.where(x > 0, x * (1 + 1e-9 * np.log1p(np.abs(x))), 0.0)


def coarse(x):
    return np.abs(np.asarray(x, dtype=np.float32))


def leaves_its_range(x):
    return np.sqrt(x * x) if np.max(np.abs(x)) < 100 else np.full_like(x, np.nan)


def root_of_size(x):
    return np.sqrt(np.abs(x))
