import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from deeplim import __version__
from deeplim.architecture import MLP, read_network
from deeplim.cli import LAWS_DIFFER, main
from deeplim.limits import ALL, find

SMALL = ["--width", "20", "--depth", "10"]
COMMANDS = sorted(main.commands)
NAMES = {limit.name for limit in ALL}


def strict(text: str) -> dict:
    """JSON without NaN or Infinity."""

    def refuse(word: str):
        raise ValueError(word)

    return json.loads(text, parse_constant=refuse)


def run(*words: str) -> Result:
    return CliRunner().invoke(main, list(words))


def test_version_and_help():
    assert run("--version").output.strip() == f"deeplim, version {__version__}"
    for flag in ("-h", "--help"):
        assert all(command in run(flag).output for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str):
    for flag in ("-h", "--help"):
        result = run(command, flag)
        assert result.exit_code == 0
        assert f"deeplim {command}" in result.output.split("Example:")[1]


def test_predict_prints_every_rung_as_json():
    found = strict(run("predict", *SMALL, "--networks", "50", "--samples", "100", "--json").stdout)
    assert found["network"] == json.loads(MLP(width=20, depth=10).to_json())
    applies = {limit.name for limit in find(MLP(width=20, depth=10))}
    assert {"unshaped", "infinite-width"} <= applies
    assert set(found["rungs"]) == {"exact"} | applies
    assert set(found["not_applicable"]) == NAMES - applies
    for rung in found["rungs"].values():
        for observable in ("correlation", "correlation_gap", "log_norm"):
            values = rung[observable]
            assert set(values["quantiles"]) == {"0.05", "0.5", "0.95"}
            assert len(values["mean"]) == len(values["std"]) == len(found["layers"]) == 11


def test_predict_without_networks_has_no_exact_rung_and_words_for_people():
    result = run("predict", *SMALL, "--activation", "shaped-relu", "--layers", "5,10", "--samples", "100")
    assert result.exit_code == 0
    assert "exact" not in result.stdout.split("not ")[0]
    assert "sde, layer 10 (100 sample paths)" in result.stdout


def test_predict_takes_files_pairs_and_networks_as_json(tmp_path: Path):
    np.savetxt(tmp_path / "x.csv", np.eye(3) + 1, delimiter=",")
    (tmp_path / "net.json").write_text('{"kind": "resnet", "width": 10, "depth": 4}')
    words = ["--network", str(tmp_path / "net.json"), "--inputs", str(tmp_path / "x.csv"), "--pair", "1,2", "--json"]
    found = strict(run("predict", *words).stdout)
    assert found["network"]["kind"] == "resnet"
    assert found["pair"] == [1, 2]


def test_simulate_saves_paths_that_compare_reads(tmp_path: Path):
    files = [str(tmp_path / name) for name in ("a.npz", "b.npz", "c.npz")]
    for file, slope, seed in zip(files, ("0.2", "0.2", "0.9"), (1, 2, 3), strict=True):
        words = ["--activation", f"leaky:{slope}", "--networks", "4000", "--seed", str(seed), "--output", file]
        assert run("simulate", *SMALL, *words).exit_code == 0
    same = run("compare", *files[:2], "--json")
    assert same.exit_code == 0
    assert strict(same.stdout)["verdict"] == "agree"
    differ = run("compare", files[0], files[2])
    assert differ.exit_code == LAWS_DIFFER
    assert "The laws differ" in differ.stdout


def test_simulate_prints_the_summary_of_its_networks():
    found = strict(run("simulate", *SMALL, "--networks", "300", "--layers", "10", "--json").stdout)
    assert found["networks"] == 300
    assert found["correlation"]["count"][0] + found["dead"][0] == 300


def test_compare_names_the_limit_it_is_asked_for():
    words = ["--architecture", "resnet", "--limit", "ode", "--networks", "200", "--inputs", "digits", "--pair", "0,9"]
    result = run("compare", *SMALL, *words)
    assert result.exit_code in {0, LAWS_DIFFER}
    assert "predicted: ode limit of ResNet" in result.stdout


def test_limits_lists_all_of_them():
    found = strict(run("limits", *SMALL, "--architecture", "resnet", "--json").stdout)
    assert [limit["name"] for limit in found["applies"]] == ["ode", "infinite-width"]
    assert set(found["not_applicable"]) == NAMES - {"ode", "infinite-width"}
    assert "not sde: it is derived for an MLP" in run("limits", *SMALL, "--architecture", "resnet").stdout


NETWORKS = {
    "--normalization rmsnorm": '{"kind": "mlp", "normalization": "rmsnorm"}',
    "--normalization layernorm --placement after-activation": (
        '{"kind": "mlp", "normalization": "layernorm", "placement": "after-activation"}'
    ),
    "--architecture resnet --normalization batchnorm --placement before-sum": (
        '{"kind": "resnet", "normalization": "batchnorm", "placement": "before-sum"}'
    ),
    "--weight-variance 1.5 --bias-variance 0.25": '{"kind": "mlp", "weight_variance": 1.5, "bias_variance": 0.25}',
    "--architecture resnet --skip norm-preserving --branch 0.5": (
        '{"kind": "resnet", "skip": "norm-preserving", "branch": 0.5}'
    ),
    "--architecture resnet --skip 0.5 --branch 2/depth^0.7": '{"kind": "resnet", "skip": 0.5, "branch": "2/depth^0.7"}',
    "--activation shaped:tanh,a=1.2": (
        '{"kind": "mlp", "activation": {"kind": "shaped", "function": "tanh", "a": 1.2}}'
    ),
    "--activation gelu": '{"kind": "mlp", "activation": {"kind": "function", "function": "gelu"}}',
}


@pytest.mark.parametrize("words", NETWORKS)
def test_the_options_say_the_same_network_as_json(words: str):
    found = strict(run("limits", *SMALL, *words.split(), "--json").stdout)
    said = json.loads(NETWORKS[words]) | {"width": 20, "depth": 10}
    assert found["network"] == json.loads(read_network(json.dumps(said)).to_json())


def test_limits_gives_a_limit_s_advice():
    words = ["limits", *SMALL, "--activation", "shaped:tanh,a=2"]
    advice = [limit["advice"] for limit in strict(run(*words, "--json").stdout)["applies"]]
    assert "choose a below 1.41" in advice[0]
    assert f"  Advice: {advice[0]}" in run(*words).stdout
    assert "Advice" not in run("limits", *SMALL, "--activation", "shaped:tanh,a=1.2").stdout


def test_report_writes_a_page_figures_and_json(tmp_path: Path):
    page, figures = tmp_path / "page.html", tmp_path / "figures"
    words = ["--output", str(page), "--figures", str(figures), "--format", "svg", "--format", "pdf"]
    result = run("report", *SMALL, "--networks", "100", "--samples", "100", *words, "--json")
    assert result.exit_code == 0, result.output
    assert page.read_text().startswith("<!DOCTYPE html>") or page.read_text().startswith("<!doctype html>")
    assert {file.suffix for file in figures.iterdir()} == {".svg", ".pdf"}
    assert strict(result.stdout)["networks"]


BAD = {
    "width must be": ["predict", "--width", "0", "--depth", "3"],
    "depth = -1 is not allowed": ["predict", "--width", "3", "--depth", "-1"],
    "--width and --depth must be given": ["predict"],
    "'sigmoid' is not known": ["predict", *SMALL, "--activation", "sigmoid"],
    "must be at least -1 and below 1": ["predict", *SMALL, "--correlation", "1"],
    "give one of them": ["predict", *SMALL, "--correlation", "0.3", "--inputs", "digits"],
    "--skip given for an MLP": ["predict", *SMALL, "--skip", "0.5"],
    "skip = 'much' is not allowed": ["predict", *SMALL, "--architecture", "resnet", "--skip", "much"],
    "belongs to a residual sum": ["limits", *SMALL, "--normalization", "rmsnorm", "--placement", "after-sum"],
    "was given without a normalization": ["limits", *SMALL, "--placement", "after-activation"],
    "must be a finite number above 0": ["limits", *SMALL, "--weight-variance", "0"],
    "must be a finite number, 0 or more": ["limits", *SMALL, "--bias-variance", "nan"],
    "--weight-variance cannot be given with --network": ["limits", "--network", "net.json", "--weight-variance", "2"],
    "--placement cannot be given with --network": ["limits", "--network", "net.json", "--placement", "after-sum"],
    "there is no claim called 'resnet-od'; did you mean resnet-ode": ["reproduce", "resnet-od"],
    "the name of the folder to write in is empty": ["reproduce", "dead-layer", "--output", ""],
    "the seed -7": ["reproduce", "dead-layer", "--seed", "-7"],
    "the seed -2": ["predict", *SMALL, "--seed", "-2"],
    "--limit cannot be given with saved paths": ["compare", "a.npz", "b.npz", "--limit", "sde"],
    "--width cannot be given with --network": ["limits", "--network", "net.json", "--width", "3"],
    "--format cannot be given without --figures": ["report", *SMALL, "--format", "png"],
    "the name of the file to write is empty": ["report", *SMALL, "--output", ""],
    "has more than 255 letters": ["simulate", *SMALL, "--output", "x" * 300],
    "is not an ordinary file": ["report", *SMALL, "--output", "/dev/null"],
    "samples of 2 inputs at 11 layers take": ["simulate", *SMALL, "--networks", "999999999", "--output", "all.npz"],
    "0,9 does not name two": ["simulate", *SMALL, "--pair", "0,9", "--output", "late.npz"],
    "whole numbers from 0 to the depth, 10": ["predict", *SMALL, "--layers", "3,11"],
    "is not whole numbers": ["predict", *SMALL, "--layers", "3,x"],
    "does not name two different inputs": ["predict", *SMALL, "--pair", "0,2"],
    "takes two indices": ["predict", *SMALL, "--pair", "0"],
    "could not be read": ["predict", "--network", "nowhere.json"],
    "nowhere.npy": ["predict", *SMALL, "--inputs", "nowhere.npy"],
    "0 networks were asked for": ["simulate", *SMALL, "--networks", "0"],
    "-5 was given": ["predict", *SMALL, "--networks", "-5"],
    "the seed -1": ["simulate", *SMALL, "--seed", "-1"],
    "does not describe this network": ["compare", *SMALL, "--limit", "ode"],
    "there is no limit called 'foo'": ["compare", *SMALL, "--limit", "foo"],
    "give two files, or none": ["compare", "a.npz"],
    "the folder of nowhere": ["report", *SMALL, "--output", "nowhere/page.html"],
    "0 threads were asked for": ["simulate", *SMALL, "--threads", "0"],
    "or simulate without --output": ["simulate", *SMALL, "--networks", "1000000000", "--output", "paths.npz"],
}


@pytest.mark.parametrize("expected", BAD)
def test_bad_input_is_one_sentence_and_exit_code_2(expected: str, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(*BAD[expected])
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    said = " ".join(result.stderr.split())
    assert expected.removesuffix(" must be") in said
    assert "Traceback" not in said
    assert not list(tmp_path.iterdir()), "nothing is half-written"


def test_a_run_is_planned_without_running_it(tmp_path: Path):
    words = ["simulate", *SMALL, "--networks", "1000000000"]
    # In a process of its own: the memory at the peak is the whole process's, and this one has run other tests.
    command = [sys.executable, "-m", "deeplim", *words, "--plan", "--threads", "1", "--json"]
    found = strict(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert found["networks"] == 10**9
    assert found["threads"] == 1
    assert found["seconds"] == pytest.approx(10**9 / found["networks_per_second"])
    assert found["memory"] < 2**30
    assert "1,000,000,000 networks on" in run(*words, "--plan").stdout
    output = tmp_path / "paths.npz"
    saved = strict(run("simulate", *SMALL, "--networks", "10000", "--output", str(output), "--plan", "--json").stdout)
    assert saved["memory"] > 10_000 * 11 * 3 * 8
    assert not list(tmp_path.iterdir())


def test_progress_and_words_go_to_stderr_only():
    command = [sys.executable, "-m", "deeplim", "predict", *SMALL, "--samples", "50", "--json"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    strict(result.stdout)


def test_help_and_import_load_nothing_heavy():
    heavy = ("numba", "scipy", "altair", "pandas", "xarray", "torch", "jax", "dask", "pydantic", "jinja2")
    code = (
        "import sys, deeplim, deeplim.cli\n"
        "from click.testing import CliRunner\n"
        "assert CliRunner().invoke(deeplim.cli.main, ['--help']).exit_code == 0\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_an_activation_of_ones_own_is_found_in_the_working_directory(tmp_path: Path):
    (tmp_path / "mine.py").write_text("from scipy import special\n\ndef bump(x):\n    return special.erf(x) + x\n")
    words = ["simulate", *SMALL, "--activation", "mine:bump", "--networks", "50"]
    result = subprocess.run([sys.executable, "-m", "deeplim", *words], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "mine:bump" in result.stdout


def test_the_demo_prints_its_numbers_as_json(tmp_path: Path):
    page = tmp_path / "new folder" / "demo.html"
    result = run("demo", "--networks", "20", "--output", str(page), "--json")
    assert result.exit_code == 0, result.stderr
    assert len(strict(result.stdout)["networks"]) == 3
    assert page.exists()


def test_lost_networks_are_said_everywhere(tmp_path: Path):
    words = [*SMALL, "--activation", "numpy:square", "--networks", "60", "--samples", "20"]
    found = strict(run("predict", *words, "--depth", "40", "--json").stdout)["rungs"]["exact"]
    assert found["dead"][-1] + found["exploded"][-1] + found["log_norm"]["count"][-1] == 60
    assert found["exploded"][-1] > 0
    assert f"{found['exploded'][-1]} exploded" in run("predict", *words, "--depth", "40").stdout
    page = tmp_path / "page.html"
    run("report", *words, "--depth", "40", "--output", str(page))
    assert f"{found['exploded'][-1]:,} of 60 networks" in page.read_text()


def test_reproduce_writes_a_gallery_and_prints_its_numbers(tmp_path: Path):
    folder = tmp_path / "new" / "claims"
    words = ["reproduce", "dead-layer", "covariance-drift", "--output", str(folder)]
    found = run(*words)
    assert found.exit_code == 0, found.output
    assert found.stdout.splitlines()[0].split() == ["claim", "name", "predicted", "measured", "allowance", "verdict"]
    assert "holds" in found.stdout
    assert re.search(r"not: half the drift +0\.04569 +refuted, \d+ ×\n", found.stdout)
    assert (folder / "index.html").read_text().count("<svg") == 2
    again = run(*words, "--json")
    assert strict(again.stdout) == strict((folder / "claims.json").read_text())
    told = strict(again.stdout)["claims"]
    assert [claim["name"] for claim in told] == ["dead-layer", "covariance-drift"]
    assert "half the drift" in told[1]["refutes"]


def test_reproduce_exits_with_3_when_a_claim_fails(tmp_path: Path, monkeypatch):
    from dataclasses import replace

    from deeplim import claims

    def off(seed: int) -> claims.Outcome:
        found = right.check(seed)
        return replace(found, numbers=tuple(replace(number, predicted=0.9) for number in found.numbers))

    right = claims.named(["dead-layer"])[0]
    monkeypatch.setattr(claims, "ALL", (replace(right, check=off),))
    result = run("reproduce", "--output", str(tmp_path))
    assert result.exit_code == LAWS_DIFFER
    assert "Claims that fail: dead-layer" in result.stderr
    assert "1 fails" in (tmp_path / "index.html").read_text()


def test_reproduce_lists_the_claims_without_checking_any(tmp_path: Path, monkeypatch):
    from deeplim.claims import ALL as CLAIMS

    monkeypatch.chdir(tmp_path)
    assert all(claim.name in run("reproduce", "--list").stdout for claim in CLAIMS)
    listed = json.loads(run("reproduce", "resnet-ode", "--list", "--json").stdout)
    assert [claim["name"] for claim in listed] == ["resnet-ode"]
    assert not list(tmp_path.iterdir())
