"""The benchmarks' arithmetic, the page made from their results, and that every script answers."""

import json
import os
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import linregress

import deeplim as dl

ROOT = Path(__file__).parent.parent
BENCHMARKS = ROOT / "benchmarks"
SCRIPTS = [path for path in sorted(BENCHMARKS.glob("*.py")) if "__main__" in path.read_text()]

sys.path.insert(0, str(BENCHMARKS))
try:
    import exact_ensembles
    import measure
    import monte_carlo_kernel
    import page
    import scaling
    from peers.child import Child
    from targets import TARGETS, Target
finally:
    sys.path.pop(0)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_every_script_says_what_it_does(script: Path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", [str(script), "--help"])
    monkeypatch.syspath_prepend(str(script.parent))
    with pytest.raises(SystemExit, match=r"^0$"):
        runpy.run_path(str(script), run_name="__main__")
    assert capsys.readouterr().out.startswith(f"usage: {script.name}")


def test_tasks_take_turns():
    done: list[str] = []
    times = measure.alternate({name: lambda name=name: done.append(name) for name in "abc"}, repeats=4)
    assert "".join(done) == "abc" + "abc" + "bca" + "cab" + "abc"
    assert {name: len(taken) for name, taken in times.items()} == dict.fromkeys("abc", 4)
    assert all(second >= 0 for taken in times.values() for second in taken)
    assert len(measure.seconds(lambda: None, repeats=3)) == 3


def test_medians_and_ranges():
    assert measure.spread([3.0, 1.0, 8.0]) == {"median": 3.0, "low": 1.0, "high": 8.0}
    assert measure.rate(12.0, [3.0, 1.0, 6.0]) == {"median": 4.0, "low": 2.0, "high": 12.0}
    assert measure.each(2.0, [3.0, 1.0, 6.0]) == {"median": 1.5, "low": 0.5, "high": 3.0}


def test_a_speedup_is_of_rates_and_its_range_is_of_turns():
    # 100 things in 1 s against 10 in 2 s: 20 times; turn by turn 10 * (2, 3, 2) / (1, 1, 2).
    found = measure.speedup([1.0, 1.0, 2.0], [2.0, 3.0, 2.0], work=(100.0, 10.0))
    assert found == {"median": 20.0, "low": 10.0, "high": 30.0}


def test_a_machine_twice_as_slow_for_a_turn_moves_no_ratio():
    slow = np.array([1.0, 2.0, 1.0, 7.0])
    found = measure.speedup(list(3.0 * slow), list(6.0 * slow))
    assert list(found.values()) == pytest.approx([2.0, 2.0, 2.0])


@pytest.mark.parametrize(
    ("low", "median", "high", "verdict"),
    [
        (800.0, 900.0, 950.0, "met"),
        (699.0, 700.0, 950.0, "met, but not throughout the spread"),
        (600.0, 699.0, 701.0, "missed, but not throughout the spread"),
        (10.0, 20.0, 30.0, "missed"),
    ],
)
def test_verdicts(low: float, median: float, high: float, verdict: str):
    found = measure.claim("relu-pair-100", {"median": median, "low": low, "high": high})
    assert (found["verdict"], found["measured"], found["spread"]) == (verdict, median, [low, high])
    assert found["target"] == {"at_least": 700}


def test_bounds_on_both_sides():
    both = Target("a slope", "", at_least=0.95, at_most=1.05)
    assert [both.met(value) for value in (0.94, 0.95, 1.0, 1.05, 1.06)] == [False, True, True, True, False]
    assert measure.claim("import", 0.1)["verdict"] == "met"
    assert measure.claim("import", 0.2)["verdict"] == "missed"


def test_every_target_has_a_bound_and_names_are_words():
    for name, target in TARGETS.items():
        assert target.bounds, name
        assert name == name.lower().replace(" ", "-")


def test_a_claim_without_target_is_refused():
    with pytest.raises(KeyError):
        measure.claim("nobody-asked", 1.0)


def test_a_document_says_on_what():
    found = json.loads(measure.document("How?", {"a": 1}, ["numpy"], seed=3, versions={"torch": "0"}))
    assert (found["question"], found["results"], found["seed"], found["quick"]) == ("How?", {"a": 1}, 3, False)
    assert found["machine"]["versions"] == {"numpy": np.__version__, "torch": "0"}
    assert found["machine"]["cores"] == os.cpu_count()
    assert found["machine"]["peak_rss_mb"] > 10


def test_what_is_not_a_number_is_refused():
    with pytest.raises(ValueError, match="JSON"):
        measure.document("How?", {"a": float("nan")}, [])
    with pytest.raises(ValueError, match="a row of 1 cells under 2 columns"):
        measure.table("title", ["a", "b"], [["one"]])


def test_a_command_has_the_memory_of_its_own():
    # This process is far larger than a bare interpreter, and must not be counted as one.
    bare = measure.run_command([sys.executable, "-S", "-c", "print('here')"])
    held = measure.run_command([sys.executable, "-S", "-c", "x = b'1' * (200 * 2**20)"])
    assert bare.output == "here\n"
    assert bare.peak_rss_mb < measure.peak_rss_mb() / 2
    assert 195 < held.peak_rss_mb - bare.peak_rss_mb < 215


def test_a_command_has_its_environment_and_its_failure_is_told():
    show = [sys.executable, "-S", "-c", "import os; print(os.environ['FOUND'])"]
    assert measure.run_command(show, environment={"FOUND": "it"}).output == "it\n"
    with pytest.raises(RuntimeError, match=r"ended with status 3: .*no good"):
        measure.run_command([sys.executable, "-c", "import sys; print('no good', file=sys.stderr); sys.exit(3)"])


def test_the_slope_of_a_power_law():
    size = np.array([1.0, 3.0, 10.0, 30.0, 100.0])
    slope, error = scaling.fit(size, 5e-3 * size**1.25)
    assert slope == pytest.approx(1.25, rel=1e-12)
    assert error == pytest.approx(0.0, abs=1e-12)


def test_the_slope_and_its_error_are_those_of_linear_regression():
    rng = np.random.default_rng(1)
    size = np.array([1.0, 3.0, 10.0, 30.0, 100.0])
    time = size * np.exp(0.1 * rng.standard_normal(5))
    twin = linregress(np.log(size), np.log(time))
    assert scaling.fit(size, time) == pytest.approx((twin.slope, twin.stderr))
    with pytest.raises(ValueError, match="2 sizes were given"):
        scaling.fit(size[:2], time[:2])


def test_sizes_vary_along_one_axis():
    network, networks, size = scaling.sized(scaling.CLAIMED, "depth", 10)
    assert (network.width, network.depth, networks, size) == (100, 1000, 8192, 1000)
    assert scaling.sized(scaling.CLAIMED, "networks", 10)[1:] == (81920, 81920)
    assert scaling.sized(scaling.CLAIMED, "width", 3)[0].width == 3000


def moments(values: np.ndarray) -> dict[str, float]:
    away = values - values.mean()
    return {
        "count": len(values),
        "dead": 0,
        "mean": values.mean(),
        "variance": values.var(ddof=1),
        "fourth": np.mean(away**4),
    }


def test_standard_errors_of_a_normal_sample():
    # Of n normals with variance v: v / n for the mean, and 1 / (2 n) relative for the standard deviation.
    found = exact_ensembles.told({"count": 200, "dead": 0, "mean": 1.0, "variance": 4.0, "fourth": 48.0})
    assert found["mean_error"] == pytest.approx(2 / np.sqrt(200))
    assert found["std_error"] == pytest.approx(2 / np.sqrt(400))


def test_the_same_law_passes_and_another_does_not():
    rng = np.random.default_rng(2)
    ours, theirs = moments(rng.normal(1.0, 2.0, 20_000)), rng.normal(1.0, 2.0, 1_000)
    exact_ensembles.check_same_law({"deeplim": ours, "peer": moments(theirs)})
    with pytest.raises(RuntimeError, match="the mean of the log norm"):
        exact_ensembles.check_same_law({"deeplim": ours, "peer": moments(theirs + 0.5)})
    with pytest.raises(RuntimeError, match="the std of the log norm"):
        exact_ensembles.check_same_law({"deeplim": ours, "peer": moments(1 + 1.3 * (theirs - 1))})


SMALL = {
    "relu": (dl.MLP(width=64, depth=6), exact_ensembles.PAIR),
    "eight": (dl.MLP(width=20, depth=6), exact_ensembles.EIGHT),
    "resnet": (dl.ResNet(width=20, depth=6), exact_ensembles.PAIR),
    "tanh": (dl.MLP(width=20, depth=6, activation=dl.Elementwise(function="tanh")), exact_ensembles.PAIR),
}
DRAW = """
import json, sys
from peers.numpy_networks import log_norms
from peers.serving import moments
print(json.dumps([moments([log_norms(case, 3000, (7, 0))]) for case in json.load(sys.stdin)]))
"""


@pytest.fixture(scope="module")
def ours() -> Iterator[Child]:
    with Child("deeplim_networks") as child:
        yield child


def test_networks_with_weights_are_ours(ours: Child):
    """Each of eight comparisons is at five standard errors, as in the benchmark; a gain 10% too large must be told."""
    cases = [exact_ensembles.described(*case) for case in SMALL.values()]
    wrong = [case | {"gain": 1.1 * case["gain"]} for case in cases]
    run = subprocess.run(
        [sys.executable, "-c", DRAW],
        input=json.dumps(cases + wrong),
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": f"{BENCHMARKS}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
    )
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    for case, same, other in zip(cases, found[: len(cases)], found[len(cases) :], strict=True):
        drawn = ours.ask("draw", case=case, setting={"networks": 6000}, seeds=[5])
        assert drawn["networks"] == 6000
        law = ours.ask("moments", case=case)
        assert law["count"] + law["dead"] == 6000
        exact_ensembles.check_same_law({"deeplim": law, "NumPy": same})
        with pytest.raises(RuntimeError, match="they draw different networks"):
            exact_ensembles.check_same_law({"deeplim": law, "NumPy": other})


def test_a_peer_describes_itself_and_its_end_is_told(ours: Child):
    assert ours.ask("describe")["versions"]["deeplim"] == dl.__version__
    case = exact_ensembles.described(*SMALL["relu"])
    assert all(setting["networks"] % 512 == 0 for setting in ours.ask("settings", case=case))
    with Child("nobody") as child, pytest.raises(RuntimeError, match=r"nobody\.py ended with status 1"):
        child.ask("describe")


def test_kernels_of_different_means_are_told():
    ours, theirs = {"mean": 0.76, "std": 0.4, "samples": 100_000}, {"mean": 0.77, "std": 0.4, "samples": 1000}
    monte_carlo_kernel.check_same_mean({"deeplim": ours, "neural-tangents": theirs})
    with pytest.raises(RuntimeError, match="they estimate different kernels"):
        monte_carlo_kernel.check_same_mean({"deeplim": ours, "neural-tangents": theirs | {"mean": 1.5}})


def test_the_kernel_of_a_missing_environment_is_not_built(capsys: pytest.CaptureFixture, monkeypatch, tmp_path: Path):
    monkeypatch.setattr(sys, "argv", ["monte_carlo_kernel.py", "--python", str(tmp_path / "python")])
    monte_carlo_kernel.main()
    printed = capsys.readouterr()
    assert json.loads(printed.out)["results"] == {"neural-tangents": "not built"}
    assert "make bench-tangents" in printed.err


def made_up() -> dict[str, object]:
    found = {"median": 1234.5678, "low": 600.0, "high": 2000.0}
    return {
        "question": "How fast?",
        "results": {},
        "packages": ["numpy"],
        "seed": 4,
        "claims": [measure.claim("relu-pair-100", found), measure.claim("import", 0.01)],
        "tables": [measure.table("Rows", ["who", "rate"], [["a|b", 123456.7], ["none", None]])],
        "figures": [
            measure.curves("made_up", "A title", "A note.", ("n", "s"), {"us": {10.0: found, 100.0: found}}),
        ],
    }


def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **documents: dict[str, object]) -> str:
    for name, parts in documents.items():
        (tmp_path / f"{name}.json").write_text(measure.document(**parts))
    monkeypatch.setattr(sys, "argv", ["page.py", "--results", str(tmp_path), "--docs", str(tmp_path)])
    page.main()
    return (tmp_path / "performance.md").read_text()


def test_a_page_from_made_up_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    text = written(
        tmp_path, monkeypatch, fast=made_up(), other=made_up() | {"quick": True, "figures": [], "claims": []}
    )
    wanted = "| 1,235 times | 600 to 2,000 | met, but not throughout the spread | [fast](#fast) |"
    [line] = [line for line in text.splitlines() if line.startswith(f"| {TARGETS['relu-pair-100'].statement} |")]
    assert line.endswith(f"| at least 700 times {wanted}")
    assert text.count("not measured") == len(TARGETS) - 2
    assert "| a\\|b | 123,500 |\n| none |  |" in text
    assert f"numpy {np.__version__}" in text
    assert "seed 4" in text
    assert text.count("From a quick run") == 1
    assert "![A title](figures/performance_made_up.svg)" in text
    assert (tmp_path / "figures" / "performance_made_up.svg").read_text().startswith("<svg")


def test_a_page_from_nothing_shows_no_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "figures").mkdir()
    stale = tmp_path / "figures" / "performance_gone.svg"
    stale.write_text("<svg/>")
    assert written(tmp_path, monkeypatch).count("not measured") == len(TARGETS)
    assert not stale.exists()


def test_a_moved_target_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    parts = made_up()
    monkeypatch.setitem(TARGETS, "import", Target("import", "s", at_most=0.001))
    assert "measured against another target: rerun" in written(tmp_path, monkeypatch, fast=parts | {"figures": []})


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1_048_576, "1,048,576"), (8111.2, "8,111"), (3.2939e9, "3.294e9"), (0.05, "0.05"), (1e-6, "1e-6")],
)
def test_numbers(value: float, text: str):
    assert page.number(value) == text


def test_the_table_of_initialization_checks_is_that_of_its_result():
    text = (ROOT / "docs" / "initialization-checks.md").read_text()
    result = page.read(BENCHMARKS / "results")["initialization_checks"]
    assert text == page.checks_page(text, result), "run python benchmarks/page.py"
    assert not result["quick"]
    judged = [
        row for row in result["tables"][0]["rows"] if row[2].startswith("healthy") == row[1].startswith("healthy")
    ]
    assert len(judged) == len(result["tables"][0]["rows"]), "deeplim's verdict is not what is true"


def test_the_committed_page_is_that_of_the_committed_results():
    results = page.read(BENCHMARKS / "results")
    assert results
    assert (ROOT / "docs" / "performance.md").read_text() == page.page(results), "run python benchmarks/page.py"
