import numpy as np
import pytest
from laws import SIGMAS
from numba import njit

from deeplim.simd.lanes import COUNT, load, store
from deeplim.simd.streams import half_turn, log2_uniform, next_bits, stream_states, two_normals


@njit
def _fill(states, radius, angle, normals):
    s0, s1, s2, s3 = load(states, 0), load(states, 1), load(states, 2), load(states, 3)
    for i in range(normals.shape[0] // (2 * COUNT)):
        bits, _, _, _, _ = next_bits(s0, s1, s2, s3)
        store(radius, i, bits)
        one, two, s0, s1, s2, s3 = two_normals(s0, s1, s2, s3)
        store(normals, 2 * i, one)
        store(normals, 2 * i + 1, two)
    store(angle, 0, bits)


@njit
def _transform(bits, logs, cosines, sines):
    for i in range(bits.shape[0] // COUNT):
        word = load(bits, i)
        store(logs, i, log2_uniform(word))
        cosine, sine = half_turn(word)
        store(cosines, i, cosine)
        store(sines, i, sine)


def _normals(seed: int, first: int, draws: int) -> np.ndarray:
    """Standard normals of shape (draw, stream)."""
    states = stream_states(seed, first, COUNT).ravel()
    normals = np.empty(draws * COUNT, np.float32)
    _fill(states, np.empty(draws * COUNT // 2, np.uint32), np.empty(COUNT, np.uint32), normals)
    return normals.reshape(draws, COUNT).astype(float)


def _next_by_hand(s: list[int]) -> int:
    """xoshiro128++ as its authors state it, in Python integers."""
    mask = 0xFFFFFFFF
    rotate = lambda x, k: ((x << k) | (x >> (32 - k))) & mask  # noqa: E731
    out = (rotate((s[0] + s[3]) & mask, 7) + s[0]) & mask
    t = (s[1] << 9) & mask
    s[2] ^= s[0]
    s[3] ^= s[1]
    s[1] ^= s[2]
    s[0] ^= s[3]
    s[2] ^= t
    s[3] = rotate(s[3], 11)
    return out


def test_bits_are_those_of_xoshiro128plusplus():
    states = stream_states(7, 100, COUNT)
    drawn = np.empty(8 * COUNT, np.uint32)
    _fill(states.ravel(), drawn, np.empty(COUNT, np.uint32), np.empty(16 * COUNT, np.float32))
    for lane in (0, 5, 15):
        state = [int(word) for word in states[:, lane]]
        for draw in range(8):
            assert drawn.reshape(8, COUNT)[draw, lane] == _next_by_hand(state)
            _next_by_hand(state)  # the angle of the same pair


def test_transforms_match_double_precision():
    rng = np.random.default_rng(0)
    edges = np.array([0, 1, 2, 3, 2**30 - 1, 2**30, 2**31 - 1, 2**31, 3 * 2**30, 2**32 - 1], dtype=np.uint32)
    bits = np.concatenate([edges, rng.integers(0, 2**32, size=COUNT * 4096 - len(edges), dtype=np.uint32)])
    logs, cosines, sines = (np.empty(len(bits), np.float32) for _ in range(3))
    _transform(bits, logs, cosines, sines)
    u = (bits | np.uint32(1)).astype(np.float32).astype(float) / 2**32
    exact = np.log2(u)
    assert (logs <= 0).all()
    assert np.abs(logs[exact < 0] / exact[exact < 0] - 1).max() < 3e-7
    angle = bits.view(np.int32) * np.pi / 2**32
    assert np.abs(cosines - np.cos(angle)).max() < 2.5e-7
    assert np.abs(sines - np.sin(angle)).max() < 2.5e-7
    # Means over a uniform angle, as a layer forms them: what is systematic adds up over layers.
    for square in (cosines.astype(float) ** 2 - np.cos(angle) ** 2, sines.astype(float) ** 2 - np.sin(angle) ** 2):
        assert abs(square.mean()) < 1e-8 + SIGMAS * square.std() / np.sqrt(len(square))


def test_normals_have_the_moments_of_normals():
    draws = _normals(seed=3, first=0, draws=400_000)
    count = draws.size
    # Standard errors of the mean of g^k: sqrt((E g^{2k} - (E g^k)^2) / count)
    for power, expected, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96), (6, 15, 10170)):
        assert abs(np.mean(draws**power) - expected) < SIGMAS * np.sqrt(variance / count), power
    beyond = np.mean(np.abs(draws) > 4)
    assert abs(beyond - 6.334e-5) < SIGMAS * np.sqrt(6.334e-5 / count)


def test_normals_are_uncorrelated_within_and_between_streams():
    draws = _normals(seed=4, first=1000, draws=200_000)
    cross = draws.T @ draws / len(draws)
    squares = (draws**2 - 1).T @ (draws**2 - 1) / (2 * len(draws))
    off = ~np.eye(COUNT, dtype=bool)
    assert np.abs(cross[off]).max() < SIGMAS / np.sqrt(len(draws))
    assert np.abs(squares[off]).max() < SIGMAS / np.sqrt(len(draws))
    for lag in (1, 2, 3):
        assert abs(np.mean(draws[lag:] * draws[:-lag])) < SIGMAS / np.sqrt(draws.size)
        pairs = (draws[lag:] ** 2 - 1) * (draws[:-lag] ** 2 - 1)
        assert abs(np.mean(pairs)) < SIGMAS * 2 / np.sqrt(draws.size)


@pytest.mark.parametrize(("seed", "first"), [(0, 0), (0, 1), (1, 0), (2**62, 10**9)])
def test_a_stream_is_named_by_seed_and_index_alone(seed: int, first: int):
    one = stream_states(seed, first, 5)
    assert np.array_equal(stream_states(seed, first + 3, 1)[:, 0], one[:, 3])
    assert len({tuple(state) for state in one.T}) == 5


def test_streams_of_different_seeds_and_indices_are_distinct():
    states = np.concatenate([stream_states(seed, 0, 20_000) for seed in range(5)], axis=1)
    assert len(np.unique(states, axis=1).T) == 100_000
