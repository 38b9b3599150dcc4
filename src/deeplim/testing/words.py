"""Command lines as Hypothesis strategies: options that fit, that do not, and words that are none."""

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

_BAD = [
    "",
    "x",
    "-1",
    "0",
    "1e400",
    "nan",
    "inf",
    "2.5",
    "1,2",
    "0,0",
    "0,1,",
    "🙂",
    "\x1b[31m",
    "nowhere/x.json",
    "--",
    "9" * 400,
]
_NETWORK: dict[str, list[str]] = {
    "--architecture": ["mlp", "resnet"],
    "--width": ["1", "7", "16"],
    "--depth": ["1", "3", "6"],
    "--activation": ["relu", "leaky:0.2", "shaped-relu:c_plus=0,c_minus=-1,rate=width", "tanh", "shaped:tanh,a=1.2"],
    "--skip": ["1", "norm-preserving"],
    "--branch": ["0.5", "1/sqrt(depth)", "1/depth^0.7"],
    "--normalization": ["none", "rmsnorm", "layernorm", "batchnorm"],
    "--placement": ["before-activation", "after-activation", "after-sum"],
    "--weight-variance": ["1.5", "2"],
    "--bias-variance": ["0", "0.1"],
}
_DRAWN: dict[str, list[str]] = {
    "--correlation": ["0.3", "-0.5", "-1"],
    "--inputs": ["digits"],
    "--pair": ["0,1", "1,0"],
    "--networks": ["1", "9"],
    "--samples": ["1", "9"],
    "--layers": ["0", "1", "0,1"],
    "--seed": ["0", "7"],
    "--device": ["cpu", "auto"],
}
OPTIONS: dict[str, dict[str, list[str]]] = {
    "predict": _NETWORK | _DRAWN,
    "simulate": {**_NETWORK, **_DRAWN, "--threads": ["1"], "--precision": ["auto", "double"]},
    "compare": _NETWORK | _DRAWN | {"--limit": ["infinite-width", "moments"], "--false-alarm": ["0.01"]},
    "limits": _NETWORK,
    "reproduce": {"--list": []},
}
"""The options of each command, and values that fit."""
_NEEDED = {"reproduce": ["--list"]}
"""What is always there, for other runs take long: for networks, small sizes."""


@st.composite
def _command_line(draw: DrawFn) -> list[str]:
    command = draw(st.sampled_from(sorted(OPTIONS)))
    options = OPTIONS[command]
    words = [command, *_NEEDED.get(command, ["--width", "8", "--depth", "3"])]
    if "--networks" in options:
        words += ["--networks", "9"]
    seldom: SearchStrategy[bool] = st.integers(0, 9).map(lambda one: one == 0)
    for option in draw(st.lists(st.sampled_from(sorted(options)), max_size=5)):
        fitting = options[option]
        words.append(option)
        if draw(seldom) or fitting:
            words.append(draw(st.sampled_from(_BAD if not fitting or draw(seldom) else fitting)))
    if draw(st.booleans()):
        words.append("--json")
    if draw(seldom):
        place: int = draw(st.integers(0, len(words)))
        words.insert(place, draw(st.sampled_from(_BAD)))
    return words


def command_lines() -> SearchStrategy[list[str]]:
    """Return words after ``deeplim``: predict, simulate, compare, limits and reproduce --list, small and fast."""
    return _command_line()
