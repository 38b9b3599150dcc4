"""Every target of the project's speed and memory, in one place: what ``measure.claim`` holds a number against."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """What a number is of, its unit, and the bounds it must keep."""

    statement: str
    unit: str
    at_least: float | None = None
    at_most: float | None = None

    def met(self, value: float) -> bool:
        """Whether a value keeps both bounds."""
        return (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)

    @property
    def bounds(self) -> dict[str, float]:
        """The bounds that there are, by name."""
        named = {"at_least": self.at_least, "at_most": self.at_most}
        return {name: bound for name, bound in named.items() if bound is not None}


_TORCH = "networks a second over PyTorch's best"
_SLOPE = {"unit": "", "at_least": 0.95, "at_most": 1.05}

TARGETS: dict[str, Target] = {
    "relu-pair-100": Target(f"ReLU MLP, 2 inputs, width = depth = 100: {_TORCH}", "times", at_least=700),
    "relu-pair-1000": Target(f"ReLU MLP, 2 inputs, width 1000, depth 100: {_TORCH}", "times", at_least=5000),
    "relu-eight-100": Target(f"ReLU MLP, 8 inputs, width = depth = 100: {_TORCH}", "times", at_least=80),
    "resnet-pair-100": Target(f"ReLU ResNet, 2 inputs, width = depth = 100: {_TORCH}", "times", at_least=300),
    "tanh-pair-100": Target(f"tanh MLP, 2 inputs, width = depth = 100: {_TORCH}", "times", at_least=200),
    "normals-per-core": Target("normals in the two-input kernel, on one AVX-512 core", "a second", at_least=2.5e9),
    "normals-against-c": Target("the same, over a C kernel written by hand", "times", at_least=0.9),
    "two-threads": Target("normals a second on two threads over one", "times", at_least=1.9),
    "sde-paths": Target(
        "correlation SDE: paths a second at equal weak error, over the better of diffrax and torchsde",
        "times",
        at_least=100,
    ),
    "fokker-planck": Target("density of the correlation at an L1 error of 1e-5", "s", at_most=0.05),
    "million-networks-seconds": Target("a million networks, width = depth = 100, 50 layers summarized", "s", at_most=8),
    "million-networks-memory": Target("the same: peak memory", "MB", at_most=600),
    "ten-million-networks-memory": Target(
        "ten million networks of width 100, depth 20, summarized: peak memory over that of one million",
        "times",
        at_most=1.1,
    ),
    "plan-seconds": Target(
        "time that was planned over time taken, the run farthest from one", "times", at_least=0.7, at_most=1.3
    ),
    "plan-memory": Target("the same for peak memory", "times", at_least=0.7, at_most=1.3),
    "slope-width": Target("time against width, over two decades, both logarithmic", **_SLOPE),
    "slope-depth": Target("time against depth, likewise", **_SLOPE),
    "slope-networks": Target("time against the number of networks, likewise", **_SLOPE),
    "import": Target("`import deeplim`, in a fresh process", "s", at_most=0.15),
    "help": Target("`deeplim --help`", "s", at_most=0.3),
    "predict-warm": Target("`deeplim predict`, everything compiled before", "s", at_most=1.5),
    "first-compilation": Target("first compilation of all that `deeplim demo` uses", "s", at_most=15),
    "probe-input-time": Target(
        "a GPT-2 of random weights, 8 sequences of 128 tokens, every module recorded by input: time over that of the "
        "forward pass alone",
        "times",
        at_most=1.3,
    ),
    "probe-token-time": Target("the same by token, 64 tokens of each sequence", "times", at_most=1.3),
    "probe-memory": Target("the same, whichever takes more: peak memory added", "MB", at_most=200),
}
