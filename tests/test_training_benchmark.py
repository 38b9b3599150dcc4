"""Networks trained in batches are those trained one by one, and the benchmark on training keeps its own rules."""

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

import deeplim as dl

ROOT = Path(__file__).parent.parent
BENCHMARKS = ROOT / "benchmarks"

sys.path.insert(0, str(BENCHMARKS))
try:
    import batched_networks as batched
    import training_evidence as shown
    import training_page
    import training_runs as runs
    from plain_networks import plain
finally:
    sys.path.pop(0)

SIZE = {"width": 16, "depth": 6}
NETWORKS = {
    "relu": dl.MLP(**SIZE),
    "leaky": dl.MLP(**SIZE, activation=dl.LeakyReLU(slope=0.6)),
    "shaped": dl.MLP(**SIZE, activation=dl.ShapedReLU(c_plus=0.7, c_minus=-1)),
    "layernorm": dl.MLP(**SIZE, normalization="layernorm"),
    "rmsnorm": dl.MLP(**SIZE, normalization="rmsnorm"),
    "batchnorm": dl.MLP(**SIZE, normalization="batchnorm"),
    "residual": dl.ResNet(**SIZE, skip="norm-preserving"),
    "residual layernorm": dl.ResNet(**SIZE, branch=0.5, normalization="layernorm"),
}


def data(images: int) -> batched.Data:
    stream = torch.Generator().manual_seed(7)
    return batched.Data(
        torch.randn(images, 12, generator=stream, dtype=torch.float64), torch.randint(5, (images,), generator=stream)
    )


def drawn(network: dl.MLP | dl.ResNet, seeds: list[int]) -> batched.Networks:
    found = batched.initial(network, 12, 5, seeds)
    stream = torch.Generator().manual_seed(8)
    biases = [torch.randn(one.shape, generator=stream, dtype=torch.float64) / 4 for one in found.biases]
    return batched.Networks(network, [one.double() for one in found.weights], biases)


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_losses_and_gradients_are_those_of_plain_pytorch(network):
    networks, given = drawn(network, [0, 1, 2]), data(20)
    for one in networks.parameters:
        one.requires_grad_(True)
    each = batched.losses(batched.logits(networks, given.images[None]), given.labels)
    gradients = torch.autograd.grad(each.sum(), networks.parameters)
    for run in range(3):
        alone = plain(networks, run)
        loss = torch.nn.functional.cross_entropy(alone(given.images), given.labels)
        assert each[run].item() == pytest.approx(loss.item(), rel=1e-12)
        loss.backward()
        wanted = [one.grad.T for one in alone.parameters() if one.ndim == 2]
        wanted += [one.grad[None] for one in alone.parameters() if one.ndim == 1]
        for found, right in zip(gradients, wanted, strict=True):
            torch.testing.assert_close(found[run], right, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("name", "rates"), [("sgd", [0.3, 0.01]), ("adam", [0.01, 0.001])])
def test_training_is_that_of_pytorchs_optimizers(name: str, rates: list[float]):
    seeds, given = [3, 4], data(40)
    networks = drawn(NETWORKS["leaky"], seeds)
    alone = [plain(networks, run) for run in range(2)]
    batched.train(networks, given, rates, seeds, steps=7, size=16, optimizer=name)
    for run, (model, rate, seed) in enumerate(zip(alone, rates, seeds, strict=True)):
        made = {"sgd": lambda p, r: torch.optim.SGD(p, r, momentum=0.9), "adam": torch.optim.Adam}[name]
        optimizer = made(model.parameters(), rate)
        for at, chosen in enumerate(batched.batches(40, 16, 7, seed)):
            optimizer.param_groups[0]["lr"] = rate * (1 - at / 7)
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(given.images[chosen]), given.labels[chosen]).backward()
            optimizer.step()
        found = batched.logits(networks, given.images[None])[run]
        torch.testing.assert_close(found, model(given.images), rtol=1e-6, atol=1e-8)


def test_a_run_does_not_depend_on_its_company():
    given, network = data(40), NETWORKS["batchnorm"]
    many, few = drawn(network, [0, 1, 2]), drawn(network, [0, 1, 2])
    few = batched.Networks(network, [one[1:2] for one in few.weights], [one[1:2] for one in few.biases])
    batched.train(many, given, [0.2, 0.1, 0.3], [0, 1, 2], steps=5, size=16, optimizer="sgd")
    batched.train(few, given, [0.1], [1], steps=5, size=16, optimizer="sgd")
    for one, other in zip(many.parameters, few.parameters, strict=True):
        torch.testing.assert_close(one[1:2], other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["sgd", "adam"])
@pytest.mark.parametrize("rates", [[0.01, 1e300, 0.02, 1e300], [1e300] * 4])
def test_runs_that_diverge_leave_the_others_alone(name: str, rates: list[float]):
    given, network = data(40), NETWORKS["leaky"]
    many = drawn(network, [0, 1, 2, 3])
    batched.train(many, given, rates, [0, 1, 2, 3], steps=6, size=16, optimizer=name)
    loss, accuracy = batched.scores(many, given, given)
    for run, rate in enumerate(rates):
        assert torch.isfinite(loss[run]) == (rate < 1)
        if rate > 1:
            assert accuracy[run] == 0
            continue
        alone = drawn(network, [0, 1, 2, 3])
        alone = batched.Networks(network, *([one[[run]] for one in part] for part in (alone.weights, alone.biases)))
        batched.train(alone, given, [rate], [run], steps=6, size=16, optimizer=name)
        for one, other in zip(many.parameters, alone.parameters, strict=True):
            torch.testing.assert_close(one[[run]], other, rtol=1e-9, atol=1e-12)


def test_an_epoch_has_every_image_once():
    order = batched.batches(48, 16, 9, seed=5)
    assert order.shape == (9, 16)
    epochs = order.reshape(3, 48)
    assert torch.equal(epochs.sort(dim=1).values, torch.arange(48).expand(3, 48))
    assert not torch.equal(epochs[0], epochs[1])


def test_batchnorm_scores_with_the_statistics_of_the_training_images():
    networks, fitted, judged = drawn(NETWORKS["batchnorm"], [0, 1]), data(40), data(10)
    alone = plain(networks, 1)
    for module in alone:
        if isinstance(module, torch.nn.BatchNorm1d):
            module.track_running_stats, module.momentum = True, 1.0
            module.register_buffer("running_mean", torch.zeros(16, dtype=torch.float64))
            module.register_buffer("running_var", torch.ones(16, dtype=torch.float64))
    assert len(alone) == 6 * 3 + 1
    # PyTorch keeps the unbiased variance of the last batch; ours is the biased one, so the images are given twice over
    # and the variance is put right.
    alone(fitted.images)
    for module in alone:
        if isinstance(module, torch.nn.BatchNorm1d):
            module.running_var *= (len(fitted.images) - 1) / len(fitted.images)
    alone.eval()
    loss, accuracy = batched.scores(networks, judged, fitted)
    found = alone(judged.images)
    assert loss[1].item() == pytest.approx(torch.nn.functional.cross_entropy(found, judged.labels).item(), rel=1e-9)
    assert accuracy[1].item() == (found.argmax(1) == judged.labels).double().mean().item()


def cell(arm: str, width: int, depth: int, gap: float, accuracy: list[float], **more: float) -> dict[str, object]:
    """A cell with these accuracies (%), whose other healths do not tell it from the others."""
    made = [
        {"seed": at, "accuracy": one / 100, "training_loss": 1.0, "diverged": False} for at, one in enumerate(accuracy)
    ]
    health = {"gap": gap, "norm_deviation": 1.0, "gradient_drift": 1.0} | more
    return {"arm": arm, "width": width, "depth": depth, "health": health, "runs": made}


def test_an_interval_is_students():
    # Of 1, 2, 3 the mean is 2, s = 1, and t with two degrees of freedom has 4.3027 as its 97.5% quantile.
    found = shown.mean_interval([1.0, 2.0, 3.0])
    assert found["mean"] == 2
    assert found["high"] - 2 == pytest.approx(4.302653 / 3**0.5, rel=1e-6)
    with pytest.raises(ValueError, match="two or more"):
        shown.mean_interval([1.0])


def test_rank_correlations_are_spearmans():
    stream = np.random.default_rng(3)
    for _ in range(20):
        x, y = stream.integers(5, size=(2, 12))
        assert shown.rank_correlations(x, y) == pytest.approx(spearmanr(x, y).statistic, abs=1e-12)
    assert shown.rank_correlations(np.ones(3), np.arange(3)) == 0


def test_intervals_of_rank_correlations_hold_the_truth(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shown, "RESAMPLES", 400)
    # Spearman's of normals correlated by r is (6 / pi) arcsin(r / 2); 95% of intervals should hold it: of 60 tries
    # fewer than 50 would with a probability of 2e-4. Four sizes of an arm that are alike tell no more than one.
    stream, r, held = np.random.default_rng(0), 0.6, 0
    for at in range(60):
        x = stream.standard_normal(48)
        y = r * x + (1 - r * r) ** 0.5 * stream.standard_normal(48)
        cells = [cell(f"{i}", 8, depth, x[i], [y[i]] * 2) for i in range(48) for depth in (1, 2, 3, 4)]
        found = shown.overall(cells, "gap", "test accuracy", seed=at)
        held += found["low"] < 6 / np.pi * np.arcsin(r / 2) < found["high"]
    assert held >= 50


ARMS = {"a": 0.1, "b": 0.2, "c": 0.3, "d": 0.4}


def test_a_perfect_order_within_sizes_is_one_of_all_orders():
    cells = [cell(arm, 8, depth, gap, [100 * gap + depth] * 2) for arm, gap in ARMS.items() for depth in (2, 4, 8)]
    found = shown.within_sizes(cells, "gap", "test accuracy")
    assert found["mean"] == pytest.approx(1)
    assert [rho for *_, rho in found["sizes"]] == pytest.approx([1, 1, 1])
    # Of the 24 orders of four arms, the one found and its reverse are as far from 0.
    assert found["p"] == pytest.approx(2 / 24)
    assert shown.within_sizes(cells, "norm_deviation", "test accuracy")["p"] == 1


def test_a_common_change_along_depth_is_not_taken_for_order_within_sizes():
    # Deeper is worse and has a smaller gap; within a size nothing is in order. Only the overall correlation sees it.
    accuracy = {"a": 1.0, "b": -1.0, "c": -1.0, "d": 1.0}
    cells = [
        cell(arm, 8, depth, gap / 10 - depth, [50 - depth + accuracy[arm] / 10] * 2)
        for arm, gap in ARMS.items()
        for depth in (2, 4, 8, 16)
    ]
    assert shown.overall(cells, "gap", "test accuracy")["low"] > 0.8
    within = shown.within_sizes(cells, "gap", "test accuracy")
    assert within["mean"] == pytest.approx(0)
    assert within["p"] == 1


def test_sizes_with_other_arms_are_refused():
    with pytest.raises(ValueError, match="different arms"):
        shown.within_sizes([cell("a", 8, 2, 1, [1, 2]), cell("b", 8, 4, 1, [1, 2])], "gap", "test accuracy")


def test_differences_are_paired_by_seed():
    cells = [cell("a", 8, 2, 0.1, [50, 60, 70]), cell("b", 8, 2, 0.2, [49, 59, 69])]
    cells += [cell("a", 8, 4, 0.1, [50, 60, 70]), cell("b", 8, 4, 0.2, [53, 63, 73])]
    first, second, every = shown.paired(cells, "a", "b")
    assert [first["mean"], first["low"], first["high"]] == pytest.approx([1, 1, 1])
    assert second["mean"] == pytest.approx(-3)
    assert every["width"] is None
    assert every["mean"] == pytest.approx(-1)


def test_pairs_are_counted_in_the_order_of_health():
    cells = [
        cell("a", 8, 2, 0.1, [50, 51, 52]),
        cell("b", 8, 2, 0.2, [60, 61, 62.5]),
        cell("c", 8, 2, 0.2, [40, 45, 55]),
    ]
    found = {(one["healthier"], one["other"]): one for one in shown.pairs_in_order(cells, "gap")}
    assert set(found) == {("b", "a"), ("c", "a")}
    assert found["b", "a"]["right"]
    assert found["b", "a"]["sure"]
    assert not found["c", "a"]["right"]
    assert not found["c", "a"]["sure"]


def test_the_weakest_health_is_the_worst_rank():
    cells = [cell("a", 8, 2, 0.1, [1, 1], gradient_drift=0.1), cell("b", 8, 2, 0.5, [1, 1], gradient_drift=9.0)]
    cells.append(cell("c", 8, 2, 0.3, [1, 1], gradient_drift=0.2))
    # Ranks by gap 1, 3, 2; by the drift, where less is healthier, 3, 1, 2; by the norm all 2.
    assert list(shown.healths(cells, shown.WEAKEST)) == [1, 1, 2]


def test_a_diverged_run_counts_with_its_accuracy_and_the_largest_loss():
    one = cell("a", 8, 2, 0.1, [50, 0])
    one["runs"][1] |= {"diverged": True, "training_loss": None}
    assert shown.training_losses(one) == [1.0, shown.STRAY]
    assert shown.diverged(one) == 0.5


def test_what_is_kept_is_not_computed_again(tmp_path: Path):
    def never() -> None:
        raise AssertionError("computed again")

    file = tmp_path / "new" / "lines.jsonl"
    assert runs.Kept(file)({"a": (1, 2)}, lambda: {"b": 1}) == {"b": 1}
    kept = runs.Kept(file)
    assert kept({"a": [1, 2]}, never) == {"b": 1}
    assert kept({"a": [1, 3]}, lambda: 5) == 5
    assert len(file.read_text().splitlines()) == 2
    assert runs.Kept(None)({}, lambda: 6) == 6


def test_the_digits_are_split_without_overlap():
    split = runs.digits()
    parts = [split.train, split.validation, split.test]
    assert [len(one.labels) for one in parts] == [1077, 270, 450]
    seen = {tuple(row) for one in parts for row in one.images.numpy().tolist()}
    assert len(seen) == 1797
    assert split.probed.shape == (20, 64)
    assert {tuple(row) for row in split.probed.astype(np.float32).tolist()} <= {
        tuple(row) for row in split.train.images.numpy().tolist()
    }
    assert abs(split.train.images.mean(0)).max() < 1e-5


def choice(merit: dict[int, list[float]], **settings: object) -> tuple[int, list[tuple[list[int], tuple[int, ...]]]]:
    """The chosen power and what was tried, with the accuracies at each power in the order of the seeds 0, 1, ..."""
    tried = []

    def runs_of(powers: list[int], seeds: tuple[int, ...]) -> list[dict[str, float]]:
        tried.append((powers, seeds))
        return [{"accuracy": merit[power][seed], "loss": 1.0} for power in powers for seed in seeds]

    best, every = runs.tuned(runs_of, runs.Settings(**({"tuning_seeds": (0,), "confirming_seeds": ()} | settings)))
    assert {power: len(many) for power, many in every.items()} == {
        power: sum(len(seeds) for powers, seeds in tried if power in powers) for power in every
    }
    return best, tried


def test_a_best_rate_at_an_edge_moves_the_edge():
    peak = {power: [-abs(power + 6.0)] for power in range(-9, 0)}
    assert choice(peak, grid=(-4, -2), further=3) == (
        -6,
        [([-4, -3, -2], (0,)), *(([at], (0,)) for at in (-5, -6, -7))],
    )
    assert choice(peak, grid=(-4, -2), further=1)[0] == -5
    assert choice(peak, grid=(-7, -5)) == (-6, [([-7, -6, -5], (0,))])


def test_a_best_rate_of_two_seeds_is_tried_again_with_its_neighbours():
    # -3 is best on the first two seeds, and diverges on the next.
    accuracy = {-5: [0.6] * 4, -4: [0.8] * 4, -3: [0.9, 0.9, 0.0, 0.0], -2: [0.0] * 4}
    best, tried = choice(accuracy, grid=(-5, -2), tuning_seeds=(0, 1), confirming_seeds=(2, 3))
    assert best == -4
    assert tried == [([-5, -4, -3, -2], (0, 1)), ([-4, -3, -2], (2, 3))]


def test_a_network_is_tuned_and_judged_on_other_images_and_seeds(tmp_path: Path):
    settings = runs.Settings(steps=3, grid=(-5, -4), further=0, tuning_seeds=(8,), confirming_seeds=(9,), seeds=(0, 1))
    found = runs.training(dl.MLP(width=8, depth=2), runs.digits(), settings, runs.Kept(tmp_path / "lines.jsonl"))
    lines = [json.loads(line)["key"] for line in (tmp_path / "lines.jsonl").read_text().splitlines()]
    assert [(one["what"], set(one["seeds"])) for one in lines] == [
        ("validation", {8}),
        ("validation", {9}),
        ("test", {0, 1}),
    ]
    assert set(lines[2]["rates"]) == {found["rate"]}
    assert found["at_an_edge"]
    assert [len(one["accuracies"]) for one in found["tuning"]] == [2, 2]


def test_health_is_that_of_the_closed_forms():
    # A linear network has gradients and norms of mean square one at any depth, and a wide one hardly strays from it.
    images, wide = runs.digits().probed, dl.MLP(width=400, depth=4, activation=dl.LeakyReLU(slope=1))
    forward = runs.forward_health(wide, images, 200)
    scaled = images / np.linalg.norm(images, axis=1, keepdims=True)
    gaps = 1 - (scaled @ scaled.T)[np.triu_indices(20, 1)]
    assert np.log10(forward["gap"]) == pytest.approx(np.log10(np.median(gaps)), abs=0.02)
    # log V is a sum of four times log(chi^2_n / n), of variance about 2/n each.
    assert forward["norm_deviation"] == pytest.approx((4 * 2 / 400) ** 0.5 / np.log(10), rel=0.1)
    assert runs.backward_health(wide, images, 20)["gradient_drift"] < 0.05
    # BatchNorm multiplies squared gradients by about pi / (pi - 1) a layer (Yang et al. 2019): 10^1.66 over twenty.
    deep = runs.backward_health(dl.MLP(width=64, depth=20, normalization="batchnorm"), images, 20)["gradient_drift"]
    assert deep == pytest.approx(10 * np.log10(np.pi / (np.pi - 1)), rel=0.3)


RESULT = BENCHMARKS / "results" / "training.json"


def test_the_committed_page_is_that_of_the_committed_results():
    text = (ROOT / "docs" / "training.md").read_text()
    document = json.loads(RESULT.read_text())
    assert not document["quick"]
    assert training_page.page(text, document) == text, "run python benchmarks/training_page.py"


def test_the_committed_evidence_is_that_of_the_committed_runs():
    results = json.loads(RESULT.read_text())["results"]
    found = shown.evidence(results["cells"], ("finite width", "TAT"))

    def rounded(told: object) -> object:
        return json.loads(json.dumps(told), parse_float=lambda word: round(float(word), 9))

    assert rounded(found) == rounded(results["evidence"])


def test_what_the_page_says_of_arms_left_out_is_so():
    cells = json.loads(RESULT.read_text())["results"]["cells"]

    def without(arm: str, name: str) -> float:
        return shown.within_sizes([one for one in cells if one["arm"] != arm], name, "test accuracy")["mean"]

    least = min(without(arm, "weakest") for arm in {one["arm"] for one in cells})
    gap, drift = (without("BatchNorm", name) for name in ("gap", "gradient_drift"))
    text = " ".join((ROOT / "docs" / "training.md").read_text().split())
    assert f"is {gap:.2f} for the gap and {drift:.2f} for the drift" in text
    assert f"worst of the three has {least:.2f} or more" in text
    ranks = [shown.within_sizes(cells, name, one)["p"] for name in (*shown.HEALTH, "weakest") for one in shown.RESULTS]
    words = {0: "none of them is", 1: "one of them is", 2: "two of them, the drift's, are"}
    assert f"{words[sum(p < 0.05 / len(ranks) for p in ranks)]} below 0.05 / {len(ranks)}" in text


def test_the_example_runs_and_its_shaped_network_has_the_chains_variances(capsys: pytest.CaptureFixture[str]):
    example = runpy.run_path(str(ROOT / "examples" / "train_digits.py"))
    found = example["main"](["--width", "16", "--depth", "6", "--steps", "4"])
    assert set(found) == {"ReLU", "shaped"}
    assert all(0 <= one <= 1 for one in found.values())
    assert "of the test images" in capsys.readouterr().out
    made, chain = example["network"](256, 4, 0.6, 0), dl.MLP(width=256, depth=4, activation=dl.LeakyReLU(slope=0.6))
    linears = [module for module in made if isinstance(module, torch.nn.Linear)]
    assert [tuple(one.weight.shape) for one in linears] == [(256, 64), *[(256, 256)] * 3, (10, 256)]
    for linear, (fan_in, _, deviation) in zip(linears, batched.shapes(chain, 64, 10), strict=True):
        # Of k weights the variance has a relative standard error of sqrt(2 / k).
        assert linear.weight.var().item() == pytest.approx(deviation**2, rel=4 * (2 / (fan_in * 10)) ** 0.5)
        assert not linear.bias.any()
