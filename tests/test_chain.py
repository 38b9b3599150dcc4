"""Exact networks: reproducibility, precision down to the smallest gaps, dead and parallel layers, closed forms."""

import mpmath
import numpy as np
import pytest
from laws import SIGMAS, z_of_mean, z_of_std
from scipy.special import digamma
from scipy.stats import binom
from test_streams import _next_by_hand
from tiers import quick

from deeplim.activations import Elementwise, LeakyReLU, ReLU, Shaped, ShapedReLU
from deeplim.architecture import MLP, Network, ResNet
from deeplim.errors import InputError
from deeplim.finite import chain
from deeplim.finite import pair as two_inputs
from deeplim.finite.runners import how_computed
from deeplim.finite.start import start
from deeplim.inputs import digits, gram
from deeplim.parallel import stop_flag
from deeplim.simd.streams import stream_states

PAIR = gram(correlation=0.3)


def softplus(x: np.ndarray) -> np.ndarray:
    return np.log1p(np.exp(x))


def not_for_numba(x: np.ndarray) -> np.ndarray:
    return np.asarray(sorted({0: np.tanh(x)}.values(), key=len)[0])


NETWORKS: list[Network] = [
    MLP(width=20, depth=12),
    MLP(width=20, depth=12, activation=ShapedReLU()),
    MLP(width=20, depth=12, activation=Elementwise(function=f"{__name__}:softplus")),
    MLP(width=20, depth=12, activation=Elementwise(function=f"{__name__}:not_for_numba")),
    ResNet(width=20, depth=12),
    ResNet(width=20, depth=12, activation=Elementwise(function="numpy:tanh")),
]


@pytest.mark.parametrize("network", NETWORKS, ids=str)
@pytest.mark.parametrize("inputs", [PAIR, digits()], ids=["pair", "digits"])
def test_a_network_is_the_same_whatever_runs_beside_it(network: Network, inputs, monkeypatch):
    whole = chain.sample(network, inputs, networks=70, seed=5, layers=[0, 3, 12], threads=1)
    for options in ({"threads": 2}, {"networks": 37}, {"layers": [3]}):
        monkeypatch.setattr(chain, "BATCH", 16 if "threads" in options else 48)
        part = chain.sample(network, inputs, **{"networks": 70, "seed": 5, "layers": [0, 3, 12]} | options)
        same = whole.at(part.time)
        assert np.array_equal(part.log_norm, same.log_norm[: part.samples])
        assert np.array_equal(part.log_gap, same.log_gap[: part.samples])
    later = chain.sample(network, inputs, networks=9, first=21, seed=5, layers=[0, 3, 12])
    assert np.array_equal(later.log_gap, whole.log_gap[21:30])
    other = chain.sample(network, inputs, networks=9, seed=6, layers=[12])
    assert not np.array_equal(other.log_gap, whole.log_gap[:9, 2:])


def _exponential_in_high_precision(bits: int):
    """-2 log u for the uniform number that the chain makes of 32 bits."""
    return -2 * mpmath.log(mpmath.mpf(float(np.float32(bits | 1))) / 2**32)


def _polar_in_high_precision(state: list[int], *, signed: bool = True) -> tuple:
    """Two normals by Box and Muller from the next 64 bits; of positive first one, where not signed."""
    bits, word = _next_by_hand(state), _next_by_hand(state)
    angle = mpmath.pi * float(np.float32(word - 2**32 if word >= 2**31 else word)) / 2**32
    radius = (-1 if signed and bits & 1 else 1) * mpmath.sqrt(_exponential_in_high_precision(bits))
    return radius * mpmath.cos(angle), radius * mpmath.sin(angle)


def _rows_of_slopes(state: list[int], width: int) -> list[tuple]:
    """Two normals for each of the neurons."""
    drawn = [_polar_in_high_precision(state) for _ in range(width)]
    if width >= 64:
        return drawn
    # Four neurons at a time take the numbers of a coordinate together.
    flat = [value for pair in drawn for value in pair]
    tiles = [flat[8 * i : 8 * i + 8] for i in range(width // 4)]
    return [(tile[row], tile[row + 4]) for tile in tiles for row in range(4)]


def _rows_of_active_neurons(state: list[int], width: int) -> list[tuple]:
    """Two normals for each of the neurons active for the first input, by how many ones there are among their bits."""
    words = [_next_by_hand(state) for _ in range(width // 32 + 1)]
    words[-1] &= (1 << width % 32) - 1
    return [_polar_in_high_precision(state, signed=False) for _ in range(sum(word.bit_count() for word in words))]


def _squares_of_the_others(state: list[int], inactive: int, angle) -> mpmath.mpf:
    """The sum of z'^2 over neurons active for the second input alone, at an angle below theta from vanishing."""
    total, place = mpmath.mpf(0), 0
    while True:
        skip, weight, word = (_next_by_hand(state) for _ in range(3))
        chance = mpmath.log(1 - angle / mpmath.pi)
        place += int(mpmath.floor(-_exponential_in_high_precision(skip) / 2 / chance)) + 1
        if place > inactive:
            return total
        beta = angle * (float(np.float32(word)) + 0.5) / 2**32
        total += _exponential_in_high_precision(weight) * mpmath.sin(beta) ** 2


def _gaps_in_high_precision(network: MLP, gap: mpmath.mpf, seed: int, layers: list[int]) -> list:
    """The gaps of network 0 from plain covariances and the subtraction 1 - rho, with the chain's own random bits.

    Hundreds of digits make up for the cancellation that the chain avoids; nothing else is shared but the streams.
    """
    state = [int(word) for word in stream_states(seed, 0, 1)[:, 0]]
    rho, found = 1 - gap, []
    s_plus, s_minus = (mpmath.mpf(float(np.float32(s))) for s in network.slopes)
    phi = lambda x: s_plus * x if x > 0 else s_minus * x  # noqa: E731
    active_alone = network.width >= 64 and s_minus == 0
    for layer in range(1, network.depth + 1):
        rows = (_rows_of_active_neurons if active_alone else _rows_of_slopes)(state, network.width)
        sums = [mpmath.mpf(0)] * 3
        # the chain's coordinates: g, and the normalised difference, which leans back by half the distance
        lean = -mpmath.sqrt((1 - rho) / 2)
        for g, across in rows:
            h = lean * g + mpmath.sqrt(1 - lean**2) * across
            p, q = phi(g), phi(g + mpmath.sqrt(2 * (1 - rho)) * h)
            sums = [sums[0] + p * p, sums[1] + p * q, sums[2] + q * q]
        if active_alone:
            sums[2] += _squares_of_the_others(state, network.width - len(rows), mpmath.acos(rho))
        rho = sums[1] / mpmath.sqrt(sums[0] * sums[2])
        if layer in layers:
            found.append(1 - rho)
    return found


@pytest.mark.parametrize(
    "gap", quick("0.7", "1e-12", "1e-280", of=["0.7", "1.9", "1e-4", "1e-12", "1e-30", "1e-100", "1e-280"])
)
@pytest.mark.parametrize("activation", [ReLU(), LeakyReLU(slope=-0.3)], ids=str)
@pytest.mark.parametrize("width", [24, 80], ids=["double precision rows", "single precision rows"])
def test_gaps_keep_five_digits_however_small(gap: str, activation, width: int):
    network = MLP(width=width, depth=30, activation=activation)
    layers = [1, 5, 30]
    with mpmath.workdps(60 - round(2.2 * np.log10(float(gap)))):
        exact = _gaps_in_high_precision(network, mpmath.mpf(gap), 9, layers)
        log_exact = np.array([float(mpmath.log(value)) for value in exact])
    found = chain.sample(network, gram(gap=float(gap)), networks=1, seed=9, layers=layers)
    assert np.abs(np.expm1(found.log_gap[0, :, 0] - log_exact)).max() < 1e-5


@pytest.mark.parametrize("activation", [ReLU(), LeakyReLU(slope=-0.3)], ids=str)
def test_the_smallest_gaps_leave_no_subnormal_numbers_in_the_rows(activation):
    # They would be right, and take a hundred times as long.
    room, network = two_inputs.room(), MLP(width=80, depth=2, activation=activation)
    slopes, arrays = tuple(map(np.float32, network.slopes)), (np.empty((16, 1, 2)), np.empty((16, 1, 1)))
    begin = start(gram(gap=1e-84), unit_norm=True)
    two_inputs.pair_mlp(
        stream_states(0, 0, 16), 80, 2, 2 / 80, slopes, begin, room, np.array([2]), *arrays, stop_flag()
    )
    assert arrays[1].max() < np.log(1e-80)
    assert np.abs(room.row).min() >= np.finfo(np.float32).tiny


def test_very_deep_networks_keep_positive_gaps_that_fall_at_the_predicted_rate():
    n, first, last = 64, 2000, 20_000
    paths = chain.sample(MLP(width=n, depth=last), PAIR, networks=256, seed=1, layers=[first, last])
    assert np.isfinite(paths.log_gap).all()
    assert (paths.correlation_gap > 0).all()
    assert paths.alive.all()
    rates = (paths.log_gap[:, 1, 0] - paths.log_gap[:, 0, 0]) / (last - first)
    # Small angles: 1 - rho is multiplied by chi^2_{N-1} / chi^2_N, N ~ Binomial(n, 1/2) the number of active neurons.
    active = np.arange(2, n + 1)
    per_layer = binom.pmf(active, n, 0.5) @ (digamma((active - 1) / 2) - digamma(active / 2))
    assert z_of_mean(rates, per_layer) < SIGMAS
    # The SDE of the limit has R growing like exp(t): a rate of -2 / n a layer, and the finite-width rate is near it.
    assert per_layer == pytest.approx(-2 / n, rel=0.1)
    # The chi-squared of the layer's norm: log V falls by E log(2 chi^2_N / n) a layer.
    norm_rate = binom.pmf(active, n, 0.5) @ (digamma(active / 2) + np.log(4 / n))
    assert z_of_mean((paths.log_norm[:, 1, 0] - paths.log_norm[:, 0, 0]) / (last - first), norm_rate) < SIGMAS


def test_norms_of_one_input_are_the_product_of_chi_squares():
    n, depth, count = 32, 16, 40_000
    paths = chain.sample(MLP(width=n, depth=depth), gram(np.array([[3.0]])), networks=count, seed=2, layers=[depth])
    rng = np.random.default_rng(3)
    active = rng.binomial(n, 0.5, size=(count, depth))
    chi = np.log(9) + np.log(2 / n * 2 * rng.standard_gamma(active / 2)).sum(axis=1)
    assert z_of_mean(paths.log_norm[:, 0, 0] - chi, 0.0) < SIGMAS
    assert z_of_std(paths.log_norm[:, 0, 0], chi.std()) < SIGMAS * np.sqrt(2)


def test_tiny_networks_die_and_collapse_as_often_as_they_must():
    n, depth, count = 4, 3, 40_000
    paths = chain.sample(MLP(width=n, depth=depth), gram(gap=1e-9), networks=count, seed=4)
    # Inputs this close share their active neurons: a layer is dead with none, and makes the inputs parallel with one.
    alive = (1 - 0.5**n) ** np.arange(depth + 1)
    apart = (1 - 0.5**n * (1 + n)) ** np.arange(depth + 1)
    for layer in range(1, depth + 1):
        error = np.sqrt(alive[layer] * (1 - alive[layer]) / count)
        assert abs(1 - paths.dead[layer] / count - alive[layer]) < SIGMAS * error
        error = np.sqrt(apart[layer] * (1 - apart[layer]) / count)
        assert abs(1 - (paths.dead + paths.aligned)[layer] / count - apart[layer]) < SIGMAS * error
    assert np.isneginf(paths.log_norm[~paths.alive].min(axis=1)).all()
    assert np.isnan(paths.log_gap[~paths.alive]).all()
    assert not np.isnan(paths.log_gap[paths.alive]).any()
    assert (np.diff(paths.dead) >= 0).all()


def cube(x: np.ndarray) -> np.ndarray:
    return x * x * x


def cube_by_numpy(x: np.ndarray) -> np.ndarray:
    return np.asarray(sorted({0: x**3}.values(), key=len)[0])


@pytest.mark.parametrize("function", ["cube", "cube_by_numpy"])
def test_explosions_are_counted_not_returned_as_numbers(function: str):
    network = MLP(width=8, depth=30, activation=Elementwise(function=f"{__name__}:{function}"))
    small, large = (gram(covariance=scale * PAIR.covariance) for scale in (1.0, 1e4))
    for inputs, outcome in ((small, "dead"), (large, "exploded")):
        paths = chain.sample(network, inputs, networks=50)
        assert not paths.alive[:, -1].any()
        assert (paths.exploded + paths.dead)[-1] == 50
        assert getattr(paths, outcome)[-1] > 25  # most of them
    assert not np.isnan(paths.log_norm).any()


def test_what_computes_an_activation_is_said():
    said = [how_computed(network) for network in NETWORKS[:4]]
    assert said == ["slopes", "slopes", "compiled by Numba", "vectorised NumPy"]
    assert how_computed(MLP(width=20, depth=12, activation=Elementwise(function="gelu"))) == "vector code"


@pytest.mark.parametrize(
    "options", [{"networks": 0}, {"networks": 1.5}, {"seed": -1}, {"layers": [13]}, {"threads": 0}]
)
def test_impossible_requests_are_refused(options: dict):
    with pytest.raises(InputError, match=r"give|must be"):
        chain.sample(NETWORKS[0], PAIR, **options)


def relu_by_name(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


@pytest.mark.parametrize("norm", [1.0, 1e-16])
def test_a_function_of_ones_own_is_the_network_of_slopes_it_is(norm: float):
    inputs = gram(covariance=norm * np.array([[1.0, 0.5], [0.5, 1.0]]))
    own = Elementwise(function=f"{__name__}:relu_by_name")
    found = [
        chain.sample(MLP(width=16, depth=100, activation=activation), inputs, networks=400, seed=8, layers=[100])
        for activation in (ReLU(), own)
    ]
    both = found[0].alive[:, 0] & found[1].alive[:, 0]
    gaps = [paths.log_gap[both, 0, 0] for paths in found]
    apart = np.isfinite(gaps[0]) & np.isfinite(gaps[1])
    assert both.mean() > 0.99
    # Without dividing by norms, an angle below 1e-7 of their relative difference counts as none.
    assert apart.mean() > 0.9
    # The same random numbers: only rounding, and differences taken over 1e-5 of the scale, set the two apart.
    differences = gaps[0][apart] - gaps[1][apart]
    assert np.median(np.abs(differences)) < 1e-3
    assert abs(np.mean(differences)) < 0.05


def test_the_order_of_the_inputs_changes_no_law():
    inputs = digits()
    order = list(range(9, -1, -1))
    turned = gram(inputs.images[order])
    network = MLP(width=64, depth=300)
    first, second = (
        chain.sample(network, x, networks=1500, seed=s, layers=[300]) for x, s in ((inputs, 1), (turned, 2))
    )
    for pair in ((0, 1), (3, 7), (8, 9)):
        one = first.log_gap[:, 0, first.pair_index(pair)]
        other = second.log_gap[:, 0, second.pair_index((9 - pair[0], 9 - pair[1]))]
        assert abs(one.mean() - other.mean()) < SIGMAS * np.hypot(one.std(), other.std()) / np.sqrt(1500)


def test_dependent_inputs_keep_their_norms():
    x = np.random.default_rng(0).normal(size=(24, 5))
    linear = LeakyReLU(slope=1)
    paths = chain.sample(MLP(width=64, depth=20, activation=linear), gram(x), networks=300, seed=1, layers=[20])
    # log chi^2_n / n a layer, for every input however many depend on each other
    expected = 20 * (digamma(32) + np.log(2 / 64)) + np.log(np.mean(x**2, axis=1))
    assert np.abs(paths.log_norm[:, 0].mean(axis=0) - expected).max() < SIGMAS * np.sqrt(20 * 2 / 64 / 300) * 1.2


@pytest.mark.parametrize("scales", [(1e4, 1.0), (1.0, 300.0), (0.0, 1e-3)])
def test_strong_residual_scales_overflow_nowhere(scales: tuple[float, float]):
    network = ResNet(width=64, depth=20, skip=scales[0], branch=scales[1])
    last = chain.sample(network, PAIR, networks=64, seed=1, layers=[20])
    whole = chain.sample(network, PAIR, networks=64, seed=1)
    assert last.alive.all()
    assert np.array_equal(last.log_norm[:, 0], whole.log_norm[:, -1])
    assert np.array_equal(last.log_gap[:, 0], whole.log_gap[:, -1])


def test_inputs_that_cannot_be_resolved_are_refused():
    gaps = np.array([[0, 0.5, 0.5], [0.5, 0, 1e-12], [0.5, 1e-12, 0]])
    close = type(PAIR)(np.zeros(3), gaps, ("a", "b", "c"))
    with pytest.raises(InputError, match=r"b and c are .* times closer to each other than to a"):
        chain.sample(NETWORKS[0], close)
    turned = type(PAIR)(np.zeros(3), gaps[np.ix_([1, 2, 0], [1, 2, 0])], ("b", "c", "a"))
    assert chain.sample(NETWORKS[0], turned, networks=20, layers=[1]).alive.any()


def test_an_input_keeps_its_norm_beside_one_that_grows():
    # Shaped SiLU without normalization: some norms grow to exp(17) times others', past what single precision resolves.
    network = MLP(width=64, depth=64, activation=Shaped(function="silu", a=0.5))
    paths = chain.sample(network, gram(correlation=0.3), networks=400, seed=1, layers=[1, 32, 64])
    assert paths.dead.tolist() == paths.exploded.tolist() == [0, 0, 0]
    apart = np.abs(np.diff(paths.log_norm[:, -1], axis=-1))
    assert apart.max() > -2 * np.log(np.finfo(np.float32).eps)
    assert np.isfinite(paths.log_gap).all()
