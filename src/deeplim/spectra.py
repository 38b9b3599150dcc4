"""Spectra: what all inputs together are like, the eigenvalues of their covariance and its effective rank."""

from typing import Any

import numpy as np
from jaxtyping import Float

from deeplim.observables import Values
from deeplim.paths import Paths, check_paths

_CLOSE = 1e-5
"""Gaps below which the smaller eigenvalues are found apart from the largest, to a relative error of the gap squared."""


def spectrum(paths: Paths) -> Float[np.ndarray, "sample layer input"]:
    """Return the eigenvalues of V divided by its trace, in falling order, summing to one; NaN where not alive.

    Accurate to 1e-15; where all inputs are closer than gaps of 1e-5 the small ones are accurate to 1e-10 of
    themselves.
    """
    samples, layers, m = check_paths(paths).log_norm.shape
    found = np.full((samples, layers, m), np.nan)
    log_norm, log_gap = paths.log_norm[paths.alive], paths.log_gap[paths.alive]
    root = np.exp((log_norm - log_norm.max(axis=1, keepdims=True)) / 2)
    apart = np.zeros((len(root), m, m))
    first, second = np.triu_indices(m, 1)
    apart[:, first, second] = apart[:, second, first] = np.exp(log_gap) * root[:, first] * root[:, second]
    values = np.linalg.eigvalsh(root[:, :, None] * root[:, None] - apart)[:, ::-1]
    if m > 1:
        close = np.exp(log_gap).max(axis=1) < _CLOSE
        values[close, 1:] = _of_close_inputs(root[close], apart[close])
    values = np.maximum(values, 0.0)
    found[paths.alive] = values / values.sum(axis=1, keepdims=True)
    return found


def _of_close_inputs(root: np.ndarray, apart: np.ndarray) -> np.ndarray:
    """All eigenvalues but the largest of r r^T - G, G small: of what is left of -G when direction r is eliminated."""
    m = root.shape[1]
    basis = np.linalg.qr(np.concatenate([root[:, :, None], np.broadcast_to(np.eye(m), apart.shape)], axis=2))[0]
    turned = -np.swapaxes(basis, 1, 2) @ apart @ basis
    largest = np.sum(root**2, axis=1) + turned[:, 0, 0]
    side = turned[:, 1:, 0]
    rest = turned[:, 1:, 1:] - side[:, :, None] * side[:, None] / largest[:, None, None]
    return np.linalg.eigvalsh(rest)[:, ::-1]


def effective_rank(paths: Paths) -> Values:
    """Return exp(-sum_i p_i log p_i), p the spectrum: 1 when all inputs are parallel, m when orthogonal and alike.

    The entropy rank of Roy & Vetterli 2007, of the inputs' covariance; NaN where not alive.
    """
    return _rank(spectrum(paths))


def _rank(p: np.ndarray) -> Values:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.exp(-np.sum(np.where(p > 0, p * np.log(p), 0.0 * p), axis=2)))


def participation_ratio(paths: Paths) -> Values:
    """Return 1 / sum_i p_i^2, p the spectrum, from 1 to m: how many directions share the variance; NaN where lost."""
    return 1.0 / np.sum(spectrum(paths) ** 2, axis=2)


def describe_spectrum(paths: Paths) -> dict[str, Any]:
    """Return mean, standard deviation and quantiles along depth of the effective rank and of each share p_i, as lists.

    ``{"effective_rank": {"mean": [...], "std": [...], "quantiles": {"0.05": [...], ...}}, "spectrum": [{...}, ...]}``,
    the spectrum largest first; None where no sample is alive.
    """
    shares = spectrum(paths)
    return {
        "effective_rank": _described(_rank(shares)),
        "spectrum": [_described(shares[:, :, i]) for i in range(paths.inputs)],
    }


def _described(values: Values) -> dict[str, Any]:
    alive = [column[np.isfinite(column)] for column in values.T]

    def each(of: Any) -> list[float | None]:
        return [float(of(column)) if len(column) else None for column in alive]

    quantiles = {str(q): each(lambda column, q=q: np.quantile(column, q)) for q in (0.05, 0.5, 0.95)}
    spread = [float(column.std(ddof=1)) if len(column) > 1 else None for column in alive]
    return {"mean": each(np.mean), "std": spread, "quantiles": quantiles}
