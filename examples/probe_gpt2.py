"""A GPT-2 that nobody has trained: what happens to its tokens on the way up, and to its gradients on the way down.

Random weights as GPT-2 draws them, nothing is downloaded: python examples/probe_gpt2.py [--quick] [--output FOLDER]

Needs PyTorch and transformers. The words of four sentences are numbered as they first appear. At initialization every
word's embedding is drawn independently, so which number a word has does not matter; which words are repeated does.
"""

import argparse
import re
from pathlib import Path

import numpy as np
from transformers import GPT2Config, GPT2Model

from deeplim.drawing import save
from deeplim.layer_figures import layer_figure
from deeplim.paths import Paths
from deeplim.probe import record, record_gradients

TEXT = """
The river rose in the night and by the morning the lower fields were a lake on which the fence posts stood in rows like
the masts of ships that had sunk there.
A theorem about wide networks is a promise about a limit and a network that somebody trains is never at the limit so
the question is how far from it and in which direction it is.
She counted the coins on the table twice and then once more because the first two counts did not agree and the third
agreed with neither of the two before it and so on.
In the old town the clocks were never right but they were wrong together and people met at the hour that the tower told
and thought no more of the hour that it was.
"""
TOKENS = 24
STREAM = re.compile(r"drop|h\.\d+|ln_f")
"""The residual stream: the embeddings, what leaves each block, and the last normalization."""


def sequences() -> np.ndarray:
    """Return the sentences as rows of numbers, as many words of each as the shortest has room for."""
    words = [re.findall(r"\w+", sentence.lower()) for sentence in TEXT.strip().split(".") if sentence.strip()]
    numbers: dict[str, int] = {}
    return np.array([[numbers.setdefault(word, len(numbers)) for word in sentence[:TOKENS]] for sentence in words])


def factory(quick: bool) -> GPT2Model:
    """Return a GPT-2 of the small size, 12 layers of width 768, with weights of its own."""
    size = {"n_layer": 3, "n_embd": 64, "n_head": 4} if quick else {}
    return GPT2Model(GPT2Config(**size))


def along(paths: Paths) -> list[str]:
    """Return a line for each layer: mean correlation of all pairs, and log10 of the mean square, with their spread."""
    rho = (1 - np.exp(paths.log_gap)).mean(axis=2)
    size = np.log10(np.exp(paths.log_norm).mean(axis=2))
    return [
        f"{name:>8}  rho {r.mean():6.3f} ± {r.std():.3f}  log10 mean square {v.mean():7.3f} ± {v.std():.3f}"
        for name, r, v in zip(paths.layer_names or (), rho.T, size.T, strict=True)
    ]


def main() -> None:
    """Probe by token, by sequence, and backwards; print what was found, keep it, and write two figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="a small model, three times")
    parser.add_argument("--output", type=Path, default=Path(), metavar="FOLDER")
    given = parser.parse_args()
    repeats = 3 if given.quick else 16

    def model() -> GPT2Model:
        return factory(given.quick)

    tokens = {"input_ids": sequences()}
    options = {"repeats": repeats, "seed": 1, "modules": lambda name, module: STREAM.fullmatch(name) is not None}
    by_token = record(model, tokens, per="token", **options)
    backwards = record_gradients(model, tokens, per="token", **options)
    by_sequence = record(model, tokens, **options)
    lines = [f"{TOKENS} tokens of a sequence, {by_token.samples} samples: {repeats} networks and 4 sequences"]
    lines += [*along(by_token), "gradients", *along(backwards)]
    lines += [f"4 sequences, {by_sequence.samples} networks", *along(by_sequence)]
    text = "\n".join(lines)
    print(text)
    given.output.mkdir(parents=True, exist_ok=True)
    (given.output / "probe_gpt2.txt").write_text(text + "\n", encoding="utf-8")
    title = f"Random GPT-2, its residual stream by token: {repeats} networks, 4 sequences"
    save(layer_figure(by_token, gradients=backwards, title=title), given.output / "gpt2_tokens.svg")
    title = f"Random GPT-2, its residual stream by sequence: {repeats} networks"
    save(layer_figure(by_sequence, title=title), given.output / "gpt2_sequences.svg")


if __name__ == "__main__":
    main()
