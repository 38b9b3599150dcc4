"""PyTorch's settings, which hold for a whole process or thread, put back to what they were."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch.nn.modules import module as hooked

from deeplim.probe.contents import Restore

_DEVICES = ("cpu", "cuda", "mps", "xpu")
_BACKENDS: tuple[tuple[Any, tuple[str, ...]], ...] = (
    (torch.backends.cudnn, ("enabled", "benchmark", "deterministic")),
    (torch.backends.cuda.matmul, ("allow_fp16_reduced_precision_reduction",)),
    (torch.backends.mkldnn, ("enabled",)),
)
_PRECISIONS = ("matmul", "conv", "rnn")
"""What backends have a precision for, beside one of their own."""
_ATTENTION = ("flash", "mem_efficient", "math", "cudnn")
_HOOKS = tuple(hooks for name, hooks in vars(hooked).items() if name.startswith("_global_") and isinstance(hooks, dict))
"""Hooks on every module there is."""


def settings() -> Iterator[Restore]:
    """Yield what puts each setting back to what it is now, where it has changed.

    Default type and device, modes of gradients, of autocast and of anomalies, deterministic algorithms, precision of
    products, number of threads, backends, and hooks on all modules.
    """
    for read, write in _each():
        try:
            before = read()
        except Exception:  # a setting that this version or build does not have
            continue
        yield partial(_put_back, read, write, before)
    for hooks in _HOOKS:
        yield partial(_put_back_hooks, hooks, dict(hooks))


def _put_back(read: Callable[[], Any], write: Callable[[Any], object], before: Any) -> None:
    try:
        changed = read() != before
    except Exception:  # as PyTorch does where precisions were set in its old way and in its new one
        changed = True
    if changed:
        write(before)


def _put_back_hooks(hooks: dict[int, Any], before: dict[int, Any]) -> None:
    hooks.clear()
    hooks.update(before)


def _each() -> Iterator[tuple[Callable[[], Any], Callable[[Any], object]]]:
    """What reads each setting, and what writes it."""
    yield torch.get_default_dtype, torch.set_default_dtype
    yield torch.get_default_device, _set_default_device
    yield torch.is_grad_enabled, torch._C._set_grad_enabled
    yield torch.get_num_threads, torch.set_num_threads
    yield torch.is_warn_always_enabled, torch.set_warn_always
    yield _deterministic, lambda before: torch.use_deterministic_algorithms(before[0], warn_only=before[1])
    yield _anomalies, lambda before: torch.autograd.set_detect_anomaly(*before)
    yield torch.is_autocast_cache_enabled, torch.set_autocast_cache_enabled
    for device in _DEVICES:
        yield partial(_autocast, device), partial(_set_autocast, device)
    for backend, names in _BACKENDS:
        for name in names:
            yield partial(getattr, backend, name), partial(setattr, backend, name)
    # what is yielded last is put back first: the old way to set precisions sets several of the new
    for backend in _with_precisions():
        yield partial(getattr, backend, "fp32_precision"), partial(setattr, backend, "fp32_precision")
    for backend in (torch.backends.cudnn, torch.backends.cuda.matmul):
        if not hasattr(backend, "fp32_precision"):
            yield partial(getattr, backend, "allow_tf32"), partial(setattr, backend, "allow_tf32")
    yield torch.get_float32_matmul_precision, torch.set_float32_matmul_precision
    for kind in _ATTENTION:
        yield getattr(torch.backends.cuda, f"{kind}_sdp_enabled"), getattr(torch.backends.cuda, f"enable_{kind}_sdp")


def _with_precisions() -> Iterator[Any]:
    """The backends that have a precision of their own since PyTorch 2.9, those inside others first."""
    for backend in (torch.backends.cudnn, torch.backends.mkldnn, torch.backends.cuda):
        inside = (getattr(backend, name, None) for name in _PRECISIONS)
        yield from (one for one in (*inside, backend) if hasattr(one, "fp32_precision"))
    if hasattr(torch.backends, "fp32_precision"):
        yield torch.backends


def _set_default_device(device: torch.device) -> None:
    torch.set_default_device(None if device.type == "cpu" else device)


def _deterministic() -> tuple[bool, bool]:
    return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()


def _anomalies() -> tuple[bool, bool]:
    return torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()


def _autocast(device: str) -> tuple[bool, torch.dtype]:
    return torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)


def _set_autocast(device: str, before: tuple[bool, torch.dtype]) -> None:
    torch.set_autocast_enabled(device, before[0])
    torch.set_autocast_dtype(device, before[1])
