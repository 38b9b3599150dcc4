"""The examples that probe real models run, print numbers and draw the figures that the docs show."""

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


@pytest.mark.parametrize("name", FIGURED)
def test_examples_run_and_draw(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(sys, "argv", [name, "--quick", "--output", str(tmp_path)])
    runpy.run_path(str(ROOT / "examples" / name), run_name="__main__")
    assert sorted(path.name for path in tmp_path.iterdir()) == FIGURED[name]
    assert len(re.findall(r"\d\.\d{2}", capsys.readouterr().out)) > 6
    for figure in FIGURED[name]:
        drawn = (tmp_path / figure).read_text()
        # The figure in the docs has the same panels and the same kind of title.
        kept = (FIGURES / figure).read_text()
        for label in ("log10 of the", "mean square", "correlation ρ"):
            assert drawn.count(label) >= 1
            assert kept.count(label) >= 1
