"""Array shapes in the annotations are checked at run time, in the tests only.

In the modules past the border: those that users call refuse bad input themselves, with a sentence of their own, and
the modules that Numba compiles have Numba's types.
"""

import signal
from collections.abc import Iterator

import pytest
from beartype import BeartypeConf, beartype
from jaxtyping import install_import_hook

CHECKED = [
    "bins",
    "differences",
    "finite.rowwise",
    "finite.start",
    "finite.weights",
    "gaussian",
    "limits.covariance_ode",
    "limits.covariance_sde",
    "limits.flow",
    "limits.infinite_width",
    "limits.kernels",
    "limits.laws",
    "limits.sde",
    "limits.speeds",
    "limits.unshaped_sde",
    "normalization",
    "observables",
    "probe.products",
    "probe.weights_law",
    "shaping.transformation",
    "spectra",
    "statistics",
    "summary",
    "tally",
    "walk",
]

typecheck = beartype(conf=BeartypeConf(is_pep484_tower=True))
install_import_hook([f"deeplim.{module}" for module in CHECKED], "conftest.typecheck")


def pytest_configure() -> None:
    """Hear Ctrl-C, as tests send it, also where the tests run in the background of a shell, which ignores it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """PyTorch on one thread: a small batch is no work for several, which would wait for each other."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def repeatable(one_thread: None) -> Iterator[None]:
    """The same weights in every run, and PyTorch's random numbers afterwards as they were."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        yield
