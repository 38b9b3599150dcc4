"""What a PyTorch model and the world around it are at a moment, for tests that nothing of it is changed."""

import random
import warnings
from collections import deque
from typing import Any

import numpy as np
import torch
from torch import nn


def portrait(model: nn.Module) -> dict[str, Any]:
    """Everything that a model is made of, by where it is: which objects, and what is in them."""
    found: dict[str, Any] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        found[f"{name}: type"] = type(module)
        _describe(f"{name}: ", vars(module), found)
    return found


def _describe(place: str, value: Any, found: dict[str, Any]) -> None:
    if isinstance(value, dict):
        found[place] = [(key, id(part)) for key, part in value.items()]
        for key, part in value.items():
            _describe(f"{place}.{key}", part, found)
    elif isinstance(value, list | tuple | deque):
        found[place] = [id(part) for part in value]
        for at, part in enumerate(value):
            _describe(f"{place}[{at}]", part, found)
    elif isinstance(value, set):
        found[place] = set(value)
    elif isinstance(value, torch.Tensor):
        plain = value.detach().clone()
        found[place] = (value.data_ptr(), value.dtype, plain.shape, plain.numpy().tobytes(), value.is_leaf)
        found[f"{place} tracked"] = value.requires_grad
        found[f"{place} hooks"] = dict(value._backward_hooks or {})
        if value.is_leaf and value.grad is not None:
            _describe(f"{place}.grad", value.grad, found)
        else:
            found[f"{place}.grad"] = None
    elif isinstance(value, np.ndarray):
        found[place] = value.tobytes()


def world() -> dict[str, Any]:
    """Random numbers, settings and filters, all of this process."""
    legacy: Any = np.random
    return {
        "python": random.getstate(),
        "numpy": (legacy.get_state()[1].tolist(), legacy.get_state()[2:], id(legacy.get_bit_generator())),
        "torch": torch.get_rng_state().tolist(),
        "errors": np.geterr(),
        "filters": list(warnings.filters),
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "gradients": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "autocast": [(torch.is_autocast_enabled(d), torch.get_autocast_dtype(d)) for d in ("cpu", "cuda")],
        "deterministic": (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
            torch.backends.cudnn.deterministic,
            torch.backends.cudnn.benchmark,
        ),
        "precision": torch.get_float32_matmul_precision(),
        "threads": torch.get_num_threads(),
        "anomalies": torch.is_anomaly_enabled(),
        "hooks": {name: dict(one) for name, one in vars(nn.modules.module).items() if _of_hooks(name, one)},
    }


def _of_hooks(name: str, value: Any) -> bool:
    return name.startswith("_global_") and isinstance(value, dict)
