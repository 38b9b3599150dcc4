"""Paths that a probe recorded are paths like others: whatever takes paths takes them, at any number of repeats."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_paths import random_paths

import deeplim as dl
from deeplim import observables, spectra
from deeplim.layer_figures import layer_figure
from deeplim.modules import Modules
from deeplim.summary import describe, part

SAMPLES = (1, 16, 17, 32, 70)


def probed(samples: int, inputs: int = 3) -> dl.Paths:
    """What a probe of four modules records."""
    rng = np.random.default_rng(samples)
    modules = Modules(
        layer_names=("input", "0", "1", "1#2"),
        log_gap_floor=np.full(4, -30.0),
        features=np.array([8, 16, 16, 4]),
        silent=rng.uniform(size=(samples, 4)),
        absolute=rng.uniform(size=(samples, 4)),
    )
    return random_paths(samples, inputs, modules=modules, width=None, depth=None)


@pytest.mark.parametrize("samples", SAMPLES)
@pytest.mark.parametrize("inputs", [1, 2, 3])
def test_their_summary_is_that_of_the_same_numbers_without_modules(samples: int, inputs: int):
    paths = probed(samples, inputs)
    plain = replace(paths, modules=None)
    found, expected = dl.Summary.of(paths), dl.Summary.of(plain)
    assert found.samples == samples
    assert found.to_dict() == expected.to_dict()
    assert found.merge(found).to_dict() == expected.merge(expected).to_dict()
    assert describe(paths) == describe(plain)


@pytest.mark.parametrize("samples", SAMPLES)
def test_a_part_of_the_samples_keeps_what_is_known_of_them(samples: int):
    paths = probed(samples)
    last = part(paths, samples // 2, samples)
    assert last.modules is not None
    assert paths.modules is not None
    assert last.layer_names == paths.layer_names
    np.testing.assert_array_equal(last.modules.silent, paths.modules.silent[samples // 2 :])
    np.testing.assert_array_equal(last.modules.absolute, paths.modules.absolute[samples // 2 :])
    np.testing.assert_array_equal(last.modules.features, paths.modules.features)


@pytest.mark.parametrize("samples", SAMPLES)
def test_whatever_takes_paths_takes_them(samples: int, tmp_path: Path):
    paths = probed(samples)
    plain = replace(paths, modules=None)
    paths.save(tmp_path / "probed.npz")
    for some in (
        paths,
        dl.Paths.load(tmp_path / "probed.npz"),
        paths.pair(0, 2),
        paths.at([0.0, 7.0]),
        paths.named(["1#2"]),
    ):
        assert some.on_clock("layer").samples == samples
        assert dl.Summary.of(some).samples == samples
        assert some.to_xarray().sizes["sample"] == samples
        assert dl.compare(some, some, bootstrap=0).verdict != "differ"
        assert dl.diagnose(some).evidence.recorded is some
        assert layer_figure(some) is not None
    assert (
        dl.compare(paths, plain, bootstrap=0).to_dict()["rows"]
        == dl.compare(plain, plain, bootstrap=0).to_dict()["rows"]
    )
    for observable in observables.available(paths):
        np.testing.assert_array_equal(observable.values(paths, (0, 1)), observable.values(plain, (0, 1)))
    assert spectra.describe_spectrum(paths) == spectra.describe_spectrum(plain)
