"""The law that a limit gives one pair or one input at one layer, as a density and without sampling."""

from typing import Literal, get_args

import numpy as np

from deeplim.checks import check_word, numerical, within_floats
from deeplim.errors import InputError, LimitError
from deeplim.inputs import Inputs, check_first, check_inputs, check_pair
from deeplim.limits.base import AbstractLimit, check_limit, norm_shift
from deeplim.limits.density import LOG_NORM, Density, normal_density
from deeplim.limits.families import CENTRED_NUHAT, CENTRED_SQUARE, NUHAT, QUADRATIC, SMOOTH
from deeplim.limits.laws import (
    GapDrift,
    centred_relu_drift,
    centred_smooth_drift,
    pair_density,
    shaped_relu_drift,
    shaped_smooth_drift,
    shaped_smooth_norm_density,
)
from deeplim.limits.ratio_law import ratio_density, unshaped_correlation
from deeplim.limits.sde import AbstractSDE, Dynamics
from deeplim.limits.unshaped_sde import UnshapedSDE
from deeplim.paths import check_layers

_FURTHEST = 100.0
"""Log of the largest mean square from which smooth shaping is followed, and minus that of the smallest."""
Observed = Literal["correlation", "log_norm"]


@within_floats
def law(
    limit: AbstractLimit,
    inputs: Inputs,
    *,
    layer: int | None = None,
    observable: Observed = "correlation",
    pair: tuple[int, int] = (0, 1),
) -> Density:
    """Return the law of a pair's correlation, or of the first input's log V, at a layer (the last by default).

    By the Fokker-Planck equation, or in closed form where there is one: no sampling error, quantiles and tail
    probabilities to 1e-8, and the probability of explosion as ``lost``. LimitError for limits that give one value
    rather than a law, or no equation for that observable alone. InputError for layers, pairs or inputs out of range.

    >>> import deeplim as dl
    >>> limit = dl.limits.named("sde", dl.MLP(width=100, depth=100, activation=dl.ShapedReLU()))
    >>> round(law(limit, dl.gram(correlation=0.3)).mean, 4)
    0.3416
    """
    check_limit(limit)
    check_inputs(inputs)
    [at] = check_layers(None if layer is None else [layer], limit.network.depth)[-1:]
    if at == 0:
        raise InputError("layer 0 is the inputs, which have no law; give a layer from 1 to the depth.")
    check_word("observable", observable, get_args(Observed))
    if not isinstance(limit, AbstractSDE | UnshapedSDE):
        raise LimitError(f"the law of the limit {limit.name!r} is not known in closed form; sample it.")
    time = at / limit.layers_per_unit
    with numerical(f"the law of the limit {limit.name!r} of {limit.network}"):
        if observable == "log_norm":
            return _norm_law(limit, float(inputs.log_norm[check_first(pair, inputs.count)]), at, time)
        return _pair_law(limit, float(inputs.gap[check_pair(pair, inputs.count)]), time)


def _pair_law(limit: AbstractSDE | UnshapedSDE, gap: float, time: float) -> Density:
    if isinstance(limit, UnshapedSDE):
        start, parameters = limit.start_ratio(gap), limit.parameters
        if start == np.inf:
            raise LimitError(
                f"one layer of {limit.network} makes inputs of correlation -1 parallel, so that their correlation has "
                "no density; start from a correlation above -1."
            )
        found = ratio_density(kappa=parameters["kappa"], a=parameters["A"], time=time, start=start)
        return found.read_as(unshaped_correlation(limit.network.width))
    dynamics = limit.dynamics
    return pair_density(_gap_drift(limit, dynamics), gap, time=time, noise=dynamics.noise)


def _gap_drift(limit: AbstractSDE, dynamics: Dynamics) -> GapDrift:
    if dynamics.law == SMOOTH:
        if dynamics.p > 0:
            raise LimitError(
                f"the correlation of {limit.network} depends on its norms, so that it has no equation alone; sample it."
            )
        return shaped_relu_drift(0.0)  # an odd function: the correlation of a linear network
    return {
        NUHAT: shaped_relu_drift,
        CENTRED_NUHAT: centred_relu_drift,
        QUADRATIC: shaped_smooth_drift,
        CENTRED_SQUARE: centred_smooth_drift,
    }[dynamics.law](dynamics.p)


def _norm_law(limit: AbstractSDE | UnshapedSDE, begin: float, layer: int, time: float) -> Density:
    if limit.network.normalization != "none":
        raise LimitError(f"{limit.network.normalization} holds the norms of {limit.network}: they have no law.")
    shift = norm_shift(limit.network, np.array([float(layer)]))
    begin += 0.0 if shift is None else float(shift[0])
    if isinstance(limit, UnshapedSDE):
        spread = 3 * limit.parameters["A"] - 1
        return normal_density(begin - spread * time / 2, spread * time, variable=LOG_NORM)
    dynamics = limit.dynamics
    elapsed = dynamics.noise * time
    if dynamics.law == SMOOTH:
        # in the time of the noise, dV = (beta / noise) V (V - 1) dt + sqrt(2) V dB
        beta = (3 * dynamics.p + 2 * dynamics.q) / dynamics.noise
        if not abs(begin) <= _FURTHEST:
            raise LimitError(
                f"an input has a mean square of e^{begin:.0f}, beyond the e^{_FURTHEST:.0f} up to which the norm's "
                "equation is solved; give inputs of norms near one."
            )
        return shaped_smooth_norm_density(beta, float(np.exp(begin)), time=elapsed)
    return normal_density(begin + dynamics.growth * layer - elapsed, 2 * elapsed, variable=LOG_NORM)
