"""The exact chain in NumPy, for activations that Numba cannot compile: the same coordinates, a layer at a time.

One network at a time, each with a NumPy generator of its own keyed by (seed, index); all n rows of a layer at once.
"""

import numpy as np
from jaxtyping import Float

from deeplim.architecture import MLP, Network, ResNet
from deeplim.finite.start import Start, start
from deeplim.inputs import Inputs

_LEAST = 1e-5
_COLLAPSED = 1e-14


def run_rows(
    network: Network,
    inputs: Inputs,
    layers: np.ndarray,
    seed: int,
    first: int,
    norms: Float[np.ndarray, "network layer input"],
    gaps: Float[np.ndarray, "network layer pair"],
) -> None:
    """Fill norms and gaps with the exact networks first, first + 1, ... of a seed; one that explodes stays infinite."""
    begin = start(inputs, unit_norm=False)
    norms.fill(np.inf)
    gaps.fill(np.nan)
    with np.errstate(over="ignore", invalid="ignore"):
        for i in range(len(norms)):
            _Walk(network, begin, np.random.default_rng([seed, first + i])).run(layers, norms[i], gaps[i])


class _Walk:
    """One network, walked from its inputs to its last layer; rows has shape (n, m), in difference coordinates."""

    def __init__(self, network: Network, begin: Start, rng: np.random.Generator) -> None:
        m = len(begin.log_norm)
        self.network, self.rng = network, rng
        self.matrix = np.zeros((m, m))
        self.matrix[np.tril_indices(m)] = begin.matrix
        self.matrix = np.tril(self.matrix) + np.tril(self.matrix, -1).T
        self.log_size = begin.log_size.copy()

    def run(self, layers: np.ndarray, norms: np.ndarray, gaps: np.ndarray) -> None:
        net = self.network
        rows = np.zeros(0) if isinstance(net, MLP) else self._measure(self._draw(self.matrix), 1.0 / net.width)
        for layer in range(int(layers[-1]) + 1):
            if layer > 0 and isinstance(net, MLP):
                self._measure(self._activate(self._draw(self.matrix)), net.gain / net.width)
            elif layer > 0 and isinstance(net, ResNet):
                y = self._activate(rows)
                noise = self._draw(y.T @ y * (net.gain / net.width))
                rows = self._measure(net.skip * rows + net.branch_scale * noise, 1.0 / net.width)
            if not np.isfinite(self.matrix).all():
                return
            if layer in layers:
                at = int(np.searchsorted(layers, layer))
                norms[at], gaps[at] = self._log_norms(), self._log_gaps()

    def _draw(self, covariance: np.ndarray) -> np.ndarray:
        values, vectors = np.linalg.eigh(covariance)
        factor = vectors * np.sqrt(np.clip(values, 0.0, None))
        return self.rng.standard_normal((self.network.width, len(covariance))) @ factor.T

    def _activate(self, rows: np.ndarray) -> np.ndarray:
        phi = self.network.activation.load()  # type: ignore[union-attr]
        z, r = rows[:, 0], np.exp(self.log_size)
        least = _LEAST * np.sqrt(self.matrix[0, 0])
        out = np.empty_like(rows)
        out[:, 0] = phi(z)
        for a in range(1, rows.shape[1]):
            used = max(r[a], least, 1e-280)
            low = z - 0.5 * (used - r[a]) * rows[:, a]
            out[:, a] = (phi(low + used * rows[:, a]) - phi(low)) / used
        return out

    def _measure(self, rows: np.ndarray, scale: float) -> np.ndarray:
        """Take the size out of every difference and remember it; return the rows in the new coordinates."""
        matrix = rows.T @ rows * scale
        factor = np.sqrt(matrix.diagonal())
        factor[0] = 1.0
        inverse = np.divide(1.0, factor, out=np.zeros_like(factor), where=factor > 0)
        with np.errstate(divide="ignore"):
            self.log_size += np.log(factor)
        self.matrix = matrix * inverse[:, None] * inverse
        return rows * inverse

    def _square_norms(self) -> np.ndarray:
        r = np.exp(self.log_size)
        r[0] = 0.0
        square = self.matrix[0, 0] + r * (2 * self.matrix[0] + r)
        return np.where(square > _COLLAPSED * (self.matrix[0, 0] + r * r), square, 0.0)

    def _log_norms(self) -> np.ndarray:
        with np.errstate(divide="ignore"):
            return np.log(self._square_norms())

    def _log_gaps(self) -> np.ndarray:
        norm = np.sqrt(self._square_norms())
        m = len(norm)
        if not norm.all() or not np.isfinite(norm).all():
            return np.full(m * (m - 1) // 2, np.nan)
        log_size = self.log_size.copy()
        log_size[0] = -np.inf
        lean = self.matrix[0]
        out = []
        for b in range(m):
            for a in range(b + 1, m):
                largest = max(log_size[a], log_size[b])
                if np.isneginf(largest):
                    out.append(-np.inf)
                    continue
                r, k_a, k_b = np.exp(largest), np.exp(log_size[a] - largest), np.exp(log_size[b] - largest)
                distance = k_a**2 + k_b**2 - 2 * k_a * k_b * self.matrix[a, b]
                radial = (2 * (k_a * lean[a] - k_b * lean[b]) + r * (k_a**2 - k_b**2)) / (norm[a] + norm[b])
                rest = distance - radial**2
                parallel = rest <= _COLLAPSED * (distance if b == 0 else k_a**2 + k_b**2)
                out.append(-np.inf if parallel else 2 * largest + np.log(rest / (2 * norm[a] * norm[b])))
        return np.array(out)
