"""Array shapes in the annotations are checked at run time, in the tests only.

In the modules past the border: those that users call refuse bad input themselves, with a sentence of their own, and
the modules that Numba compiles have Numba's types. No test reaches the network, or leaves temporary files.
"""

import ipaddress
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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
    "limits.speeds",
    "normalization",
    "probe.products",
    "probe.weights_law",
    "shaping.transformation",
    "statistics",
    "walk",
]

typecheck = beartype(conf=BeartypeConf(is_pep484_tower=True))
install_import_hook([f"deeplim.{module}" for module in CHECKED], "conftest.typecheck")


def pytest_configure() -> None:
    """Hear Ctrl-C, as tests send it, also where the tests run in the background of a shell, which ignores it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out tests that need the network, unless they are asked for."""
    if not _asks_for_network(config):
        for item in items:
            if "network" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="needs the network: -m network"))


def _asks_for_network(config: pytest.Config) -> bool:
    return "network" in config.getoption("markexpr").replace("not network", "")


@pytest.fixture(scope="session", autouse=True)
def _no_network(pytestconfig: pytest.Config) -> Iterator[None]:
    """Refuse connections to other machines, here and, through a proxy that is not there, in processes started here."""
    with pytest.MonkeyPatch.context() as patch:
        if not _asks_for_network(pytestconfig):
            patch.setattr(socket.socket, "connect", _only_here(socket.socket.connect))
            for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
                patch.setenv(name, "http://127.0.0.1:9")
        yield


def _only_here(connect: Any) -> Any:
    def refuse(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            here = address[0] == "localhost" or ipaddress.ip_address(address[0]).is_loopback
            if not here:
                self.close()
                raise AssertionError(f"a test reaches {address} over the network")
        connect(self, address)

    return refuse


@pytest.fixture(scope="session", autouse=True)
def _own_temporary_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A folder for temporary files of the tests and of the processes they start, removed in the end."""
    folder = tmp_path_factory.mktemp("temporary")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(folder))
        patch.setattr(tempfile, "tempdir", None)
        yield
    shutil.rmtree(folder, ignore_errors=True)
    assert not os.path.lexists(folder)


@pytest.fixture(scope="session", autouse=True)
def _nothing_left_behind(pytestconfig: pytest.Config) -> Iterator[None]:
    """Refuse files that tests leave in the project's folder."""
    before = _visible(pytestconfig.rootpath)
    yield
    assert _visible(pytestconfig.rootpath) <= before


def _visible(folder: Path) -> set[str]:
    return {name for name in os.listdir(folder) if not name.startswith(".")}


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
