"""Observables against closed forms, at both ends of their ranges, and where there is nothing to observe."""

import numpy as np
import pytest

from deeplim import observables
from deeplim.errors import InputError
from deeplim.gaussian import angle_of_gap
from deeplim.observables import OBSERVABLES, available
from deeplim.paths import Paths


def paths_of(log_gap: np.ndarray, log_norm: np.ndarray, alive: np.ndarray | None = None) -> Paths:
    """Paths from a log gap (sample, layer, pair) and a log norm (sample, layer, input)."""
    alive = np.ones(log_norm.shape[:2], dtype=bool) if alive is None else alive
    names = tuple(f"input {i}" for i in range(log_norm.shape[2]))
    time = np.arange(log_norm.shape[1], dtype=float)
    return Paths(log_norm, log_gap, alive, time, "layer", names, "by hand")


def two_inputs(*log_gaps: float) -> Paths:
    return paths_of(np.array(log_gaps)[:, None, None], np.full((len(log_gaps), 1, 2), np.log(4.0)))


def three_inputs() -> Paths:
    gaps = np.array([0.2, 0.5, 1.5])  # of the pairs (0,1), (0,2), (1,2)
    return paths_of(np.log(gaps)[None, None], np.array([[[0.0, 1.0, 2.0]]]))


def test_closed_forms_at_a_known_correlation() -> None:
    paths = two_inputs(np.log(0.7))
    expected = {
        "correlation": 0.3,
        "correlation_gap": 0.7,
        "log_correlation_gap": np.log(0.7),
        "log_norm": np.log(4.0),
        "angle": np.arccos(0.3),
    }
    assert set(expected) == set(OBSERVABLES)
    for name, value in expected.items():
        np.testing.assert_allclose(OBSERVABLES[name].values(paths, (0, 1)), [[value]], rtol=1e-14)


@pytest.mark.parametrize("name", OBSERVABLES)
def test_each_observable_is_the_module_function_of_its_name_and_has_words_to_print(name: str) -> None:
    observable = OBSERVABLES[name]
    assert observable.name == name
    assert observable.values is getattr(observables, name)
    assert observable.per in ("pair", "input")
    for text in (observable.symbol, observable.label):
        assert text
        assert not set(text) & set("$\\{}")
    assert len(observable.symbol) <= 10
    values = observable.values(three_inputs(), (0, 1))
    assert values.shape == (1, 1)
    assert values.dtype == float


def test_correlation_agrees_with_the_matrix_of_the_paths() -> None:
    paths = three_inputs()
    for i, j in paths.pairs:
        np.testing.assert_array_equal(observables.correlation(paths, (i, j)), paths.correlation[..., i, j])
        np.testing.assert_array_equal(observables.correlation(paths, (j, i)), paths.correlation[..., i, j])


def test_the_norm_is_that_of_the_first_input_of_the_pair() -> None:
    paths = three_inputs()
    assert observables.log_norm(paths, (2, 0)) == 2.0
    assert observables.log_norm(paths, (1, 2)) == 1.0


def test_angle_is_that_of_the_gap_wherever_the_gap_can_be_written() -> None:
    gaps = np.concatenate([np.geomspace(1e-300, 1.9, 200), [2.0]])
    angles = observables.angle(two_inputs(*np.log(gaps)))[:, 0]
    # a log gap of -690 carries a relative error of 690 x 1e-16 in the gap, half of that in the angle
    np.testing.assert_allclose(angles, angle_of_gap(gaps), rtol=2e-13)
    assert angles[-1] == pytest.approx(np.pi, rel=1e-7)


def test_tiny_angles_keep_their_digits_where_the_gap_itself_underflows() -> None:
    paths = two_inputs(-1200.0)
    assert observables.angle(paths)[0, 0] == pytest.approx(np.sqrt(2) * np.exp(-600.0), rel=1e-12)
    assert observables.correlation_gap(paths)[0, 0] > 0
    assert observables.correlation(paths)[0, 0] == 1.0


def test_an_exactly_parallel_pair_has_angle_zero_and_log_gap_minus_infinity() -> None:
    paths = two_inputs(-np.inf)
    assert observables.correlation(paths) == 1.0
    assert observables.correlation_gap(paths) == 0.0
    assert observables.angle(paths) == 0.0
    assert observables.log_correlation_gap(paths) == -np.inf


@pytest.mark.parametrize("name", OBSERVABLES)
def test_a_dead_sample_is_nan_in_every_observable_whatever_its_arrays_hold(name: str) -> None:
    paths = paths_of(np.zeros((2, 1, 1)), np.zeros((2, 1, 2)), np.array([[True], [False]]))
    assert np.isnan(OBSERVABLES[name].values(paths, (0, 1))).tolist() == [[False], [True]]


def test_a_single_input_has_a_norm_and_nothing_else() -> None:
    alone = paths_of(np.zeros((3, 2, 0)), np.ones((3, 2, 1)))
    assert [observable.name for observable in available(alone)] == ["log_norm"]
    assert [observable.name for observable in available(three_inputs())] == list(OBSERVABLES)
    np.testing.assert_array_equal(observables.log_norm(alone), np.ones((3, 2)))
    with pytest.raises(InputError, match="at least two inputs"):
        observables.correlation(alone)


@pytest.mark.parametrize("pair", [(0, 0), (0, 3), (-1, 0)])
def test_a_pair_that_is_not_there_is_refused(pair: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="does not name two different inputs"):
        observables.angle(three_inputs(), pair)


@pytest.mark.parametrize("chosen", [-1, 3])
def test_an_input_that_is_not_there_is_refused(chosen: int) -> None:
    with pytest.raises(InputError, match="use 0 to 2"):
        observables.log_norm(three_inputs(), (chosen, 0))
