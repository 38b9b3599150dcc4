"""What a shaped network is to keep: a bound on the final correlation, and on the norm, with a stated probability."""

import numpy as np
from jaxtyping import Float
from pydantic import Field

from deeplim.checks import check_kind
from deeplim.errors import InputError, SpecError
from deeplim.inputs import Inputs, gram
from deeplim.paths import Paths
from deeplim.specs import Spec, number

_BEYOND = 50.0
"""The margin of a lost network or of exactly parallel inputs, and the largest of any."""


class Target(Spec):
    """With probability ``quantile`` the correlation, ``start`` at the inputs, ends at ``correlation`` or below.

    With ``norm_within`` also V_d / V_0 of both inputs is then between 1 / norm_within and norm_within: one event, of
    one probability. A network that dies or explodes, or makes the inputs exactly parallel, is outside. The default
    start is that of TAT, whose condition eta is ``correlation`` (Zhang, Botev & Martens 2022). SpecError unless
    -1 < start < correlation < 1.
    """

    correlation: float = Field(default=0.9, gt=-1, lt=1, description="a number between -1 and 1")
    quantile: float = Field(default=0.9, ge=0.01, le=0.999, description="a number from 0.01 to 0.999")
    start: float = Field(default=0.0, gt=-1, lt=1, description="a number between -1 and 1")
    norm_within: float | None = Field(default=None, gt=1, le=1e100, description="a number from 1 to 1e100, or None")

    def model_post_init(self, context: object) -> None:
        """Refuse a start that is outside already."""
        if not self.start < self.correlation:
            raise SpecError(
                f"start = {number(self.start)} is not below correlation = {number(self.correlation)}, and no layer is "
                "to take inputs apart; give a larger correlation or a smaller start."
            )

    @property
    def inputs(self) -> Inputs:
        """Two inputs of unit norm at the start."""
        return gram(correlation=self.start)

    def margins(self, paths: Paths) -> Float[np.ndarray, " sample"]:
        """Return how far outside each sample is at the last recorded layer, from the first: 0 or below is inside.

        The larger of artanh(rho) - artanh(correlation), by the gap, and (|log(V_d / V_0)| - log(norm_within)) / 2 over
        the inputs: continuous in all that the sample depends on, and at most 50. InputError for paths of one input.
        """
        check_kind("paths", paths, Paths, "give those of deeplim.simulate")
        if paths.inputs < 2:
            raise InputError("paths of 1 input were given; a target is about the correlation of two.")
        with np.errstate(all="ignore"):
            gap = np.exp(paths.log_gap[:, -1, 0])
            found = (np.log(2 - gap) - paths.log_gap[:, -1, 0]) / 2 - np.arctanh(self.correlation)
            if self.norm_within is not None:
                moved = np.abs(paths.log_norm[:, -1] - paths.log_norm[:, 0]).max(axis=1)
                found = np.maximum(found, (moved - np.log(self.norm_within)) / 2)
        return np.where(paths.alive[:, -1], np.clip(found, -_BEYOND, _BEYOND), _BEYOND)

    def __str__(self) -> str:
        kept = f"final correlation at most {number(self.correlation)} from {number(self.start)}"
        if self.norm_within is not None:
            kept += f" and norms within a factor of {number(self.norm_within)}"
        return f"{kept}, with probability {number(self.quantile)}"
