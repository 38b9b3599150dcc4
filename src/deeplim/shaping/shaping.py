"""What ``shape`` returns: a network, the law it was chosen by, and the infinite-width answer beside it."""

import json
from dataclasses import dataclass
from math import isfinite, log, pi, sqrt
from typing import Any, Self

import numpy as np

from deeplim.activations import LeakyReLU
from deeplim.architecture import MLP, Network, ResNet
from deeplim.errors import LimitError
from deeplim.mean_field import fixed_point
from deeplim.paths import Paths
from deeplim.shaping.feasibility import LeastWidth
from deeplim.shaping.search import Share
from deeplim.shaping.target import Target
from deeplim.specs import number
from deeplim.tables import text_table

LEVELS = (0.05, 0.5, 0.95)
CHAOTIC = 10.0
"""From how much more squared distance between neighbours an answer is called chaotic."""
_TEN = log(10)


@dataclass(frozen=True)
class Law:
    """How exact networks of one kind end: quantiles 0.05, 0.5 and 0.95, the share inside the target, and the lost.

    correlation: rho_d. log10_norm: log10(V_d / V_0) of the first input. Both of living networks.
    """

    probability: Share
    correlation: tuple[float, ...]
    log10_norm: tuple[float, ...]
    lost: int

    @classmethod
    def of(cls, paths: Paths, probability: Share) -> Self:
        """Return the law at the last recorded layer, from the first."""
        alive = paths.alive[:, -1]
        rho = 1 - np.exp(paths.log_gap[alive, -1, 0])
        grown = (paths.log_norm[alive, -1, 0] - paths.log_norm[alive, 0, 0]) / _TEN
        return cls(probability, _quantiles(rho), _quantiles(grown), int((~alive).sum()))

    def to_dict(self) -> dict[str, Any]:
        """Return the law in plain numbers; a quantile that no living network has is None."""
        found = {
            name: dict(zip(map(str, LEVELS), map(_plain, quantiles), strict=True))
            for name, quantiles in (("correlation", self.correlation), ("log10_norm", self.log10_norm))
        }
        return _share(self.probability) | found | {"lost": self.lost}


def _quantiles(values: np.ndarray) -> tuple[float, ...]:
    return tuple(float(q) for q in np.quantile(values, LEVELS)) if len(values) else (float("nan"),) * len(LEVELS)


def _share(share: Share) -> dict[str, Any]:
    return {"probability": share.value, "interval": list(share.interval), "confidence": share.confidence}


def _plain(value: float | None) -> float | None:
    return value if value is not None and isfinite(value) else None


@dataclass(frozen=True)
class Shaping:
    """The most nonlinear network that keeps a target, with what exact networks say of it and of infinite width's
    answer.

    network: the answer; where not even the linear end keeps the target (``feasible`` False), the one that keeps it with
    the largest probability found. feasible: whether the quantile is below the upper end of the 99% interval: what is
    short by less than these networks tell is not refused. value: its slope, scale, branch or curvature. law,
    infinite_width_law: of exact networks of this width with the one activation and with the other, drawn with a seed of
    their own. most_nonlinear: the target is kept at the end of what may be varied. monotone: whether networks tried at
    five places were inside the less often the more nonlinear they were. seconds: how long it took.
    """

    target: Target
    vary: str
    symbol: str
    feasible: bool
    network: Network
    value: float
    law: Law
    infinite_width_network: Network | None
    infinite_width_value: float | None
    infinite_width_law: Law | None
    most_nonlinear: bool
    monotone: bool
    least_width: LeastWidth | None
    networks: int
    seed: int
    seconds: float

    @property
    def probability(self) -> float:
        """The share of fresh exact networks that were inside the target."""
        return self.law.probability.value

    @property
    def interval(self) -> tuple[float, float]:
        """The Clopper-Pearson interval of that probability, at 99%."""
        return self.law.probability.interval

    @property
    def neighbours(self) -> float | None:
        """By how much the answer multiplies the squared distance of neighbours, chi_1^depth, at infinite width.

        chi_1 is that of its norm's fixed point (Schoenholz et al. 2017); above 1 is chaos, which a bound on the
        correlation from above lets pass. None for slopes, whose chi_1 is 1, and where it is not known.
        """
        network = self.network
        if not isinstance(network, MLP) or network.homogeneous or network.normalization != "none":
            return None
        try:
            return float(np.exp(min(network.depth * log(fixed_point(network).chi_1), 700.0)))
        except (LimitError, ValueError):
            return None

    @property
    def dictionary(self) -> dict[str, float]:
        """The same network in other words.

        Of slopes: c_minus, the shaping of ``ShapedReLU`` at the rate of the width, with gamma T = (1 - alpha)^2 depth /
        (2 pi), what the covariance SDE's drift adds up to. Of all: the variance of a weight times its fan-in,
        sigma_w^2, and its root, by which a weight's standard deviation is sigma_w / sqrt(fan_in).
        """
        network, words = self.network, {}
        if isinstance(network.activation, LeakyReLU):
            alpha = network.activation.slope
            words = {
                "c_minus": (alpha - 1) * sqrt(network.width),
                "gamma T": (1 - alpha) ** 2 * network.depth / (2 * pi),
            }
        if isinstance(network, ResNet):
            words |= {"branch": network.branch_scale, "skip": network.skip_scale}
        return words | {"sigma_w^2": network.gain, "sigma_w": sqrt(network.gain)}

    def to_dict(self) -> dict[str, Any]:
        """Return all of it in plain numbers, for JSON."""
        least = self.least_width
        return {
            "target": json.loads(self.target.to_json()),
            "vary": self.vary,
            "feasible": self.feasible,
            "finite_width": _told(self.network, self.value, self.law),
            "infinite_width": None
            if self.infinite_width_network is None or self.infinite_width_law is None
            else _told(self.infinite_width_network, self.infinite_width_value, self.infinite_width_law),
            "dictionary": self.dictionary,
            "neighbours": self.neighbours,
            "most_nonlinear": self.most_nonlinear,
            "monotone": self.monotone,
            "least_width": None
            if least is None
            else {"width": least.width} | ({} if least.inside is None else _share(least.inside)),
            "networks": self.networks,
            "seed": self.seed,
            "seconds": self.seconds,
        }

    def __str__(self) -> str:
        lines = [str(self.network), f"Target: {self.target}.", self._verdict(), "", self._table(), ""]
        lines += [", ".join(f"{name} = {value:.6g}" for name, value in self.dictionary.items())]
        drawn = "A weight is drawn with standard deviation sigma_w / sqrt(fan_in); biases are zero."
        lines += [drawn + self._kaiming()]
        return "\n".join(lines)

    def _verdict(self) -> str:
        found = f"{self.law.probability} of {self.networks:,} fresh exact networks"
        if not self.feasible:
            wide = "" if self.least_width is None else f" The least width at this depth is {self.least_width}."
            return f"Not feasible: no {self.vary} keeps it; the largest probability found is {found}.{wide}"
        end = " It is kept at the most nonlinear end of what is varied." if self.most_nonlinear else ""
        odd = (
            ""
            if self.monotone
            else " Some more nonlinear networks are inside more often, so there may be others that keep it."
        )
        quantile = number(self.target.quantile)
        unsure = "" if self.probability >= self.target.quantile else f" So many cannot tell that from {quantile}."
        return f"Kept by {found}.{unsure}{end}{odd}{self._chaos()}"

    def _chaos(self) -> str:
        """What a bound from above does not see."""
        apart = self.neighbours
        if apart is None or apart < CHAOTIC:
            return ""
        return (
            f" It is chaotic: nearly equal inputs end {apart:.2g} times further apart (squared, infinite width), which "
            "a bound from above allows; a network nearer to the identity is not, such as s phi(x/s) with a larger s."
        )

    def _table(self) -> str:
        """Both answers side by side."""
        names = [self.symbol, "probability inside [99% interval]"]
        names += [f"{title}, {100 * level:g}%" for title in ("final correlation", "log10 V_d/V_0") for level in LEVELS]
        names += ["lost networks"]
        answers = _column(self.infinite_width_value, self.infinite_width_law), _column(self.value, self.law)
        head = ["exact networks at this width", "infinite-width answer", "finite-width answer"]
        return text_table(head, list(zip(names, *answers, strict=True)))

    def _kaiming(self) -> str:
        if not isinstance(self.network.activation, LeakyReLU):
            return ""
        return f" In PyTorch: nn.init.kaiming_normal_(weight, a={self.network.activation.slope:.6g})."


def _column(value: float | None, law: Law | None) -> list[str]:
    """One answer of the table."""
    if value is None or law is None:
        return ["none keeps it", *[""] * (2 + 2 * len(LEVELS))]
    quantiles = [f"{quantile:.4g}" for quantile in (*law.correlation, *law.log10_norm)]
    return [f"{value:.6g}", str(law.probability), *quantiles, str(law.lost)]


def _told(network: Network, value: float | None, law: Law) -> dict[str, Any]:
    return {"network": json.loads(network.to_json()), "value": _plain(value)} | law.to_dict()
