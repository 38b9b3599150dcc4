"""Every measured number of docs/real-models.md is in the texts that the examples wrote beside the page's figures."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"
# The page without its code, its files and its line breaks.
PAGE = (DOCS / "real-models.md").read_text(encoding="utf-8")
PAGE = " ".join(re.sub(r"```.*?```|\]\([^)]*\)", "", PAGE, flags=re.DOTALL).split())
STATED = r"(-?\d[\d,]*(?:\.\d+)?)"

# Sizes, theory, names and what is so by construction: nothing that was measured.
CONSTANTS = [
    "90% of the samples",
    "GPT-2",
    "`transformers.GPT2Model`",
    "examples/probe_gpt2.py",
    "12 layers and width 768",
    "24 words",
    "`h.0` to `h.11`",
    "two draws of standard deviation 0.02",
    "(2 layers)^(-1/2)",
    "24 x 768 numbers",
    "32 blocks of two 3 x 3 convolutions with 32 channels",
    "through 32 of them",
    "depth^(-1/2)",
    "(Li & Nica 2023)",
    "all 32 blocks",
    "e = 2.7",
    "where the output's is 1)",
    "60 layers of width 64",
]


def kept(example: str, section: str, row: str, column: int) -> float:
    """The number in a column of the first row so named, from the line on that begins with the section's name."""
    text = (DOCS / "figures" / f"probe_{example}.txt").read_text(encoding="utf-8")
    lines = [line.strip() for line in text.splitlines()]
    start = next(i for i, line in enumerate(lines) if line.startswith(section))
    found = next(line for line in lines[start:] if re.match(re.escape(row) + r"\b", line))
    return float(re.findall(r"(?<![\w.])(?:10\^)?(-?\d+(?:\.\d+)?)", found.removeprefix(row))[column])


def claims() -> dict[str, list[float]]:
    """The page's words, with # for each measured number, and what the texts have for it."""
    return gpt2() | convolutional() | flax()


def gpt2() -> dict[str, list[float]]:
    def rho(section: str, row: str) -> float:
        return kept("gpt2", section, row, 0)

    def size(section: str, row: str) -> float:
        return 10 ** kept("gpt2", section, row, 2)

    tokens, back, whole = "24 tokens", "gradients", "4 sequences"
    start, first, last = (size(tokens, row) for row in ("drop", "h.0", "h.11"))
    below, above = (size(back, row) for row in ("drop", "h.0"))
    return {
        "Their mean correlation is # in the embeddings, # after one block, # after three and # after the last.": [
            rho(tokens, row) for row in ("drop", "h.0", "h.2", "h.11")
        ],
        "The embeddings have a mean square of #,": [start],
        "One block brings it to #, # times as much, all twelve to #.": [first, first / start, last],
        "Gradients are # times larger in the embeddings than one block later** (mean squares # and #,": [
            below / above,
            below,
            above,
        ],
        "Two different sentences begin with a correlation of #,": [rho(whole, "drop")],
        "They end at #: far apart still": [rho(whole, "h.11")],
    }


def convolutional() -> dict[str, list[float]]:
    kinds = {
        kind: [kept("conv_resnet", "32 blocks", kind, column) for column in range(4)]
        for kind in ("plain", "scaled", "normalized")
    }
    plain, scaled = kinds["plain"], kinds["scaled"]
    return {
        "| mean correlation of two digits | # to # | # to # | # to # |": [
            value for found in kinds.values() for value in found[:2]
        ],
        "| mean square of the stream, times | 10^# | 10^# | 10^# |": [found[2] for found in kinds.values()],
        "from the last block to the first convolution, times | 10^# | 10^# | 10^# |": [
            found[3] for found in kinds.values()
        ],
        "mean squares grow # times at each on the way up, those of gradients # times on the way down": [
            10 ** (plain[2] / 32),
            10 ** (plain[3] / 32),
        ],
        "together is a factor of #.": [10 ** scaled[2]],
    }


def flax() -> dict[str, list[float]]:
    relu, shaped = (
        {row: kept("flax", f"MLP, {activation}", row, 0) for row in ("exact", "linen", "nnx")}
        for activation in ("relu", "shaped-relu")
    )
    # Of the heading the third number, behind width and depth.
    start = kept("flax", "MLP, relu", "MLP, relu", 2)
    networks = kept("flax", "MLP, relu", "linen", 3)
    return {
        "Two inputs at correlation # end at 1 - # (median of # networks in linen; # in NNX, and # is predicted)": [
            start,
            relu["linen"],
            networks,
            relu["nnx"],
            relu["exact"],
        ],
        "then end at medians of 1 - # and 1 - #, where 1 - # is predicted": [
            shaped[row] for row in ("linen", "nnx", "exact")
        ],
    }


def pattern(words: str) -> re.Pattern[str]:
    return re.compile(STATED.join(re.escape(part) for part in words.split("#")))


def unit(stated: str) -> float:
    """The place of the last digit that counts: the last decimal, or of whole numbers the second digit."""
    whole, _, decimals = stated.replace(",", "").partition(".")
    return 10.0 ** (-len(decimals) if decimals else max(0, len(whole.lstrip("-")) - 2))


def mistakes(page: str, claimed: dict[str, list[float]]) -> list[str]:
    """What a page says that is not so; words that it does not have are a mistake too."""
    found = []
    for words, values in claimed.items():
        matches = pattern(words).findall(page)
        if len(matches) != 1:
            found.append(f"{len(matches)} times on the page: {words}")
            continue
        numbers = [matches[0]] if isinstance(matches[0], str) else matches[0]
        for stated, value in zip(numbers, values, strict=True):
            if abs(float(stated.replace(",", "")) - value) > unit(stated) / 2 * (1 + 1e-9):
                found.append(f"{stated} for {value:.5g} in: {words}")
    return found


def test_the_page_says_what_the_examples_printed():
    assert mistakes(PAGE, claims()) == []


@pytest.mark.parametrize("sign", [-1, 1])
def test_a_page_with_another_last_digit_is_found_out(sign: int):
    claimed = claims()
    for words in claimed:
        match = pattern(words).search(PAGE)
        for group in range(1, match.re.groups + 1):
            stated, (start, end) = match[group], match.span(group)
            decimals = len(stated.partition(".")[2])
            other = f"{float(stated.replace(',', '')) + sign * unit(stated):.{decimals}f}"
            assert len(mistakes(PAGE[:start] + other + PAGE[end:], claimed)) == 1, (words, stated, other)


def unclaimed(page: str) -> list[str]:
    """The words of a page with a digit in them that no claim and no constant covers."""
    for words in claims():
        page = pattern(words).sub(" ", page)
    for constant in CONSTANTS:
        page = page.replace(constant, " ")
    return re.findall(r"\S*\d\S*", page)


def test_no_number_of_the_page_is_left_out():
    assert unclaimed(PAGE) == []
    assert unclaimed(PAGE + " It is 0.7 there, and 0.0069.") == ["0.7", "0.0069."]
    assert [constant for constant in CONSTANTS if constant not in PAGE] == []
