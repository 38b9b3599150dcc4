"""The list of every limit, and which of them describe a given network."""

from deeplim.architecture import Network, check_network
from deeplim.checks import brief, within_floats
from deeplim.errors import LimitError
from deeplim.limits.base import AbstractLimit
from deeplim.limits.covariance_ode import CovarianceODE
from deeplim.limits.covariance_sde import CovarianceSDE
from deeplim.limits.infinite_width import InfiniteWidth
from deeplim.limits.moment_chain import MomentChain
from deeplim.limits.normalized_sde import NormalizedSDE
from deeplim.limits.resnet_sde import ResNetSDE
from deeplim.limits.smooth_sde import SmoothSDE
from deeplim.limits.unshaped_sde import UnshapedSDE

ALL: tuple[type[AbstractLimit], ...] = (
    CovarianceSDE,
    SmoothSDE,
    NormalizedSDE,
    ResNetSDE,
    UnshapedSDE,
    MomentChain,
    CovarianceODE,
    InfiniteWidth,
)
"""Every limit, those that say most about a finite network first."""


@within_floats
def find(network: Network) -> list[AbstractLimit]:
    """Return the limits that describe the network, those that keep its fluctuations first.

    >>> from deeplim.architecture import MLP
    >>> [limit.name for limit in find(MLP(width=64, depth=32))]
    ['unshaped', 'moments', 'infinite-width']
    """
    return [limit(network) for limit in ALL if limit.why_not(network) is None]


@within_floats
def explain(network: Network) -> dict[str, str]:
    """Return, for each limit that does not describe the network, one sentence that says why."""
    reasons = {limit.name: limit.why_not(network) for limit in ALL}
    return {name: reason for name, reason in reasons.items() if reason is not None}


@within_floats
def named(name: str, network: Network) -> AbstractLimit:
    """Return the limit of that name for the network; LimitError if there is none or it does not apply."""
    check_network(network)
    for limit in ALL:
        if isinstance(name, str) and limit.name == name:
            return limit(network)
    raise LimitError(f"there is no limit called {brief(name)}; there are {', '.join(limit.name for limit in ALL)}.")
