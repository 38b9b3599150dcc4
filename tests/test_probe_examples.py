"""The examples that probe real models run, and write the numbers and figures that the docs show."""

import re
import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FIGURES = ROOT / "docs" / "figures"
FIGURED = {
    "probe_conv_resnet.py": ["conv_resnet_normalized.svg", "conv_resnet_plain.svg", "conv_resnet_scaled.svg"],
    "probe_flax.py": ["flax_linen_relu.svg", "flax_linen_shaped.svg", "flax_nnx_relu.svg", "flax_nnx_shaped.svg"],
    "probe_gpt2.py": ["gpt2_sequences.svg", "gpt2_tokens.svg"],
}


def form(text: str) -> set[str]:
    """The kinds of lines that a text has, whatever their numbers."""
    return {re.sub(r"-?\d+(\.\d+)?", "#", " ".join(line.split())) for line in text.splitlines()}


def test_form_tells_lines_apart():
    assert form("  h.1  rho 0.5 ± 0.1\n h.12  rho  -0.25 ± 0.01") == {"h.# rho # ± #"} != form("h.1 0.5 ± 0.1")


@pytest.mark.parametrize("name", FIGURED)
def test_examples_run_and_draw(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(sys, "argv", [name, "--quick", "--output", str(tmp_path)])
    runpy.run_path(str(ROOT / "examples" / name), run_name="__main__")
    told = Path(name).with_suffix(".txt").name
    assert {path.name for path in tmp_path.iterdir()} == {*FIGURED[name], told}
    text = (tmp_path / told).read_text(encoding="utf-8")
    assert text == capsys.readouterr().out
    assert len(re.findall(r"\d\.\d{2}", text)) > 6
    # What is kept for the docs was printed by the example as it is now.
    assert form(text) == form((FIGURES / told).read_text(encoding="utf-8"))
    for figure in FIGURED[name]:
        drawn = (tmp_path / figure).read_text()
        # The figure in the docs has the same panels and the same kind of title.
        kept = (FIGURES / figure).read_text()
        for label in ("log10 of the", "mean square", "correlation ρ"):
            assert drawn.count(label) >= 1
            assert kept.count(label) >= 1
