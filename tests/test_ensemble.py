import json

import numpy as np
import pytest

import deeplim as dl
from deeplim.errors import InputError
from deeplim.finite import chain
from deeplim.summary import Summary

NETWORK = dl.MLP(width=12, depth=6)
PAIR = dl.gram(correlation=0.3)


def test_a_summary_is_that_of_the_simulated_networks_whatever_the_batches_and_threads(monkeypatch):
    options = {"networks": 500, "seed": 3, "layers": [0, 2, 6]}
    whole = Summary.of(dl.simulate(NETWORK, PAIR, **options)).to_dict()
    for batch, threads in ((16, 2), (48, 1), (256, 2)):
        monkeypatch.setattr(chain, "BATCH", batch)
        assert dl.summarize(NETWORK, PAIR, threads=threads, **options).to_dict() == whole


def test_a_summary_is_bit_identical_whatever_the_threads():
    found = [dl.summarize(NETWORK, PAIR, networks=3000, seed=1, threads=threads).to_dict() for threads in (1, 2, 5)]
    assert found[0] == found[1] == found[2]


def test_the_readme_in_small():
    network = dl.MLP(width=50, depth=50, activation=dl.ShapedReLU(c_plus=0, c_minus=-1))
    observed = dl.simulate(network, PAIR, networks=500, seed=0, layers=[25, 50])
    predicted = dl.predict(dl.limits.find(network)[0], PAIR, samples=500, seed=1)
    comparison = dl.compare(observed, predicted)
    assert comparison.clock == "layer/width"
    assert "Covariance SDE" in dl.limits.find(network)[0].title
    json.loads(comparison.to_json())


def test_a_ladder_has_every_rung_and_says_why_others_are_missing():
    ladder = dl.climb(dl.ResNet(width=20, depth=10), dl.digits(), networks=40, seed=2, pair=(3, 7))
    assert list(ladder.rungs) == ["exact", "ode", "infinite-width"]
    assert set(ladder.not_applicable) == {"sde", "smooth-sde", "normalized-sde", "resnet-sde", "unshaped", "moments"}
    found = json.loads(json.dumps(ladder.to_dict(), allow_nan=False))
    assert found["pair"] == [3, 7]
    assert len(found["rungs"]["ode"]["correlation"]["mean"]) == len(found["layers"]) == 11
    assert found["rungs"]["ode"]["correlation"]["mean"][0] == pytest.approx(dl.digits().correlation[3, 7])
    assert set(ladder.comparisons) == {"ode", "infinite-width"}
    assert "ode, layer 10 (deterministic)" in str(ladder)
    assert found["recommended"]["rung"] == "exact"
    assert len(found["rungs"]["ode"]["spectrum"]) == 10
    assert 1 < found["rungs"]["exact"]["effective_rank"]["mean"][-1] < 10


def test_the_order_of_the_pair_is_kept_on_every_rung():
    inputs = dl.gram(covariance=np.array([[1.0, 0.3], [0.3, 4.0]]))
    network = dl.MLP(width=30, depth=15, activation=dl.ShapedReLU())
    ladder = dl.climb(network, inputs, networks=300, samples=300, pair=(1, 0), seed=4)
    for rung in ladder.to_dict()["rungs"].values():
        assert rung["log_norm"]["mean"][0] == pytest.approx(np.log(4.0))
    assert not ladder.comparisons["sde"].differ


def test_one_input_and_one_layer_are_enough():
    alone = dl.climb(dl.MLP(width=30, depth=15), dl.gram([[1.0, 2.0]]), networks=300, samples=300)
    assert set(alone.to_dict()["rungs"]["exact"]) == {"log_norm", "dead", "exploded", "aligned"}
    assert set(alone.comparisons) == {"unshaped", "moments", "infinite-width"}
    start = dl.climb(dl.MLP(width=30, depth=15), PAIR, networks=10, samples=10, layers=[0])
    assert start.comparisons == {}


def test_limits_and_networks_never_share_random_numbers():
    ladder = dl.climb(dl.MLP(width=10, depth=5, activation=dl.ShapedReLU()), PAIR, networks=10, samples=10, seed=7)
    assert ladder.seed == 7
    direct = dl.predict(ladder.limits["sde"], PAIR, samples=10, seed=8)
    assert np.array_equal(direct.log_gap, ladder.rungs["sde"].log_gap)


def test_impossible_counts_are_refused():
    with pytest.raises(InputError, match="0 networks were asked for"):
        dl.summarize(NETWORK, PAIR, networks=0)
