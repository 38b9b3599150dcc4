"""The command shape: what it prints, what it returns, and code that runs as it is printed."""

import json

import pytest
from click.testing import CliRunner, Result

import deeplim as dl
from deeplim.cli import main
from deeplim.cli.terminal import INFEASIBLE

SMALL = ["shape", "--width", "64", "--depth", "20", "--networks", "400"]


def run(*words: str) -> Result:
    return CliRunner().invoke(main, list(words))


def test_it_prints_what_the_function_returns():
    result = run(*SMALL, "--bound", "0.8", "--quantile", "0.7", "--start", "0.1", "--norm-within", "10", "--seed", "3")
    assert result.exit_code == 0
    target = dl.Target(correlation=0.8, quantile=0.7, start=0.1, norm_within=10)
    found = dl.shape(dl.MLP(width=64, depth=20), target, networks=400, seed=3)
    assert result.stdout == f"{found}\n"


def test_infeasible_targets_have_an_exit_code_and_strict_json():
    result = run(*SMALL, "--quantile", "0.999", "--bound", "0.5", "--json")
    assert result.exit_code == INFEASIBLE
    found = json.loads(result.stdout, parse_constant=lambda word: pytest.fail(word))
    assert not found["feasible"]
    assert found["least_width"]["width"] > 64


@pytest.mark.parametrize("framework", ["torch", "jax"])
def test_exported_code_is_all_of_stdout(framework):
    words = [
        "--architecture",
        "resnet",
        "--vary",
        "branch",
        "--bound",
        "0.5",
        "--quantile",
        "0.8",
        "--export",
        framework,
    ]
    result = run(*SMALL, *words)
    assert result.exit_code == 0
    made: dict[str, object] = {"__name__": "exported"}
    exec(result.stdout, made)
    assert made["WIDTH"] == 64
    assert "Kept by" in result.stderr
    assert result.stdout.startswith('"""ResNet, relu')


def test_code_and_json_together_are_refused():
    result = run(*SMALL, "--export", "torch", "--json")
    assert result.exit_code == 2
    assert "--json cannot be given with --export" in result.stderr


def test_bad_requests_are_usage_errors():
    for words in (
        ["--bound", "-0.1"],
        ["--quantile", "2"],
        ["--vary", "branch"],
        ["--networks", "3"],
        ["--norm-within", "0.5"],
    ):
        result = run(*SMALL, *words)
        assert result.exit_code == 2, words
        assert "Error: " in result.stderr
