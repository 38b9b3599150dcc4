"""What does each tool say of six models at initialization, and what is true of them?

The tools answer different questions. AnyInit draws a model's weights anew so that variances hold along depth, and its
report says whether that can be and whether one draw agrees with theory. mup's coordinate check trains models of several
widths for a few steps and shows whether the size of coordinates follows the width: whether a learning rate transfers.
deeplim diagnoses a model as it is, over its random initializations, forward and backward. What is true is counted here
on 1,000 networks in double precision, by hooks of this script's own: nothing of deeplim's is used for it.
"""

import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import sqrt
from typing import Any

import numpy as np
from measure import arguments, document, table

WIDTHS = (64, 128, 256)
STEPS, SEEDS = 3, 3
TRUTHS = {"collapsed": 0.01, "shrunk": 10.0, "norm": 3.0, "spread": 0.75}
"""What is called true: a median 1 - rho below 0.01 and shrunk tenfold; 3 decades of norm; a spread of 0.75 decades."""
RATE = {"adam": 1e-3}
GROWS = 0.1


@dataclass(frozen=True)
class Case:
    """A model by its width, the modules between which it is judged, and how it is described."""

    name: str
    make: Callable[[int], Any]
    width: int
    first: str
    last: str


def torch_module() -> Any:
    """Return PyTorch, on one thread."""
    import torch

    torch.set_num_threads(1)
    return torch


def plain(width: int, *, depth: int, slope: float = 0.0, variance: float | None = None) -> Any:
    """Return an MLP of 64 inputs and 10 outputs; critical Gaussian weights, or PyTorch's own when variance is 0."""
    torch = torch_module()
    layers = []
    for layer in range(depth):
        made = torch.nn.Linear(width if layer else 64, width)
        if variance != 0:
            c = 2 / (1 + slope**2) if variance is None else variance
            torch.nn.init.normal_(made.weight, std=sqrt(c / made.in_features))
            torch.nn.init.zeros_(made.bias)
        layers += [made, torch.nn.LeakyReLU(slope) if slope else torch.nn.ReLU()]
    return torch.nn.Sequential(*layers, torch.nn.Linear(width, 10))


def residual(width: int, *, depth: int) -> Any:
    """Return a ResNet whose branches are scaled by depth^(-1/2), from modules that every tool can follow."""
    torch = torch_module()

    class Block(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.activation, self.linear = torch.nn.ReLU(), torch.nn.Linear(width, width)
            torch.nn.init.normal_(self.linear.weight, std=sqrt(2 / width))
            torch.nn.init.zeros_(self.linear.bias)

        def forward(self, z: Any) -> Any:
            return z + depth**-0.5 * self.linear(self.activation(z))

    return torch.nn.Sequential(torch.nn.Linear(64, width), *(Block() for _ in range(depth)), torch.nn.Linear(width, 10))


def transformer(width: int, *, depth: int) -> Any:
    """Return a pre-norm transformer on digits as eight tokens of eight pixels, PyTorch's own layers and weights."""
    torch = torch_module()

    class Classifier(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = torch.nn.Linear(8, width)
            made = partial(torch.nn.TransformerEncoderLayer, width, 4, 2 * width, dropout=0.0, batch_first=True)
            self.layers = torch.nn.ModuleList([made(norm_first=True) for _ in range(depth)])
            self.head = torch.nn.Linear(width, 10)

        def forward(self, x: Any) -> Any:
            z = self.embed(x.view(-1, 8, 8))
            for layer in self.layers:
                z = layer(z)
            return self.head(z.mean(dim=1))

    return Classifier()


CASES = (
    Case("wide, shallow MLP: 512 x 3, ReLU, He", partial(plain, depth=3), 512, "0", "5"),
    Case("narrow, deep MLP: 100 x 100, ReLU, He", partial(plain, depth=100), 100, "0", "199"),
    Case("MLP 128 x 20, ReLU, PyTorch's default weights", partial(plain, depth=20, variance=0), 128, "0", "39"),
    Case("ResNet 128 x 50, branches depth^(-1/2)", partial(residual, depth=50), 128, "0", "50"),
    Case("transformer 64 x 4, pre-norm, PyTorch's layers", partial(transformer, depth=4), 64, "embed", "layers.3"),
    Case("shaped MLP: 100 x 100, LeakyReLU 0.9", partial(plain, depth=100, slope=0.9), 100, "0", "199"),
)


def truth(case: Case, x: np.ndarray, networks: int) -> dict[str, float]:
    """Return medians and spreads over networks in double precision: of 1 - rho, of norms, and of their changes."""
    torch = torch_module()
    inputs = torch.as_tensor(x, dtype=torch.float64)
    gaps, norms, changes = [], [], []
    for seed in range(networks):
        torch.manual_seed(1_000_000 + seed)
        model, taken = case.make(case.width).double().eval(), {}
        for name in (case.first, case.last):
            hook = partial(_keep, taken, name)
            model.get_submodule(name).register_forward_hook(hook)
        with torch.no_grad():
            model(inputs)
        first, last = (taken[name].reshape(len(x), -1).numpy() for name in (case.first, case.last))
        gaps.append(np.median(_gaps(last)))
        norms.append(np.log10(np.mean(last**2, axis=1)))
        changes.append(np.median(norms[-1] - np.log10(np.mean(first**2, axis=1))))
    start = float(np.median(_gaps(x)))
    return {
        "gap_start": start,
        "gap": float(np.median(gaps)),
        "spread": float(np.sqrt(np.mean(np.var(norms, axis=0, ddof=1)))),
        "decades": float(np.median(changes)),
    }


def _keep(taken: dict[str, Any], name: str, module: Any, inputs: Any, output: Any) -> None:
    taken[name] = output.detach()


def _gaps(x: np.ndarray) -> np.ndarray:
    """1 - rho of every pair of rows, in longer doubles where the machine has them."""
    wide = x.astype(np.longdouble)
    unit = wide / np.sqrt((wide**2).sum(axis=1, keepdims=True))
    first, second = np.triu_indices(len(x), 1)
    return np.asarray(((unit[first] - unit[second]) ** 2).sum(axis=1) / 2, dtype=float)


def true_words(found: dict[str, float]) -> str:
    """Return what is true of a model, in words and numbers."""
    wrong = []
    if found["gap"] < TRUTHS["collapsed"] and found["gap"] * TRUTHS["shrunk"] < found["gap_start"]:
        wrong.append(f"inputs collapse, 1 - rho {found['gap_start']:.2g} to {found['gap']:.1e}")
    if abs(found["decades"]) > TRUTHS["norm"]:
        wrong.append(f"the norm changes by {found['decades']:+.1f} decades")
    if found["spread"] > TRUTHS["spread"]:
        wrong.append(f"norms vary by {found['spread']:.2f} decades between draws")
    return "; ".join(wrong) or f"healthy: 1 - rho {found['gap']:.2g}, spread {found['spread']:.2f} decades"


def deeplim_says(case: Case, x: np.ndarray, seed: int) -> dict[str, Any]:
    """Return deeplim's findings of the model as it is."""
    import deeplim as dl

    found = dl.diagnose(partial(case.make, case.width), x, repeats=32, seed=seed)
    by = {level: [one.name for one in found.findings if one.severity == level] for level in ("unhealthy", "warning")}
    return {"healthy": found.healthy, **by}


def anyinit_says(case: Case, x: np.ndarray, draws: int) -> dict[str, Any]:
    """Return what AnyInit's report says after its initialization, of several draws.

    Its published use: it draws the weights anew, and the report is on those.
    """
    import anyinit

    torch = torch_module()
    passed, gaps, words = 0, [], ""
    for seed in range(draws):
        torch.manual_seed(seed)
        model = case.make(case.width)
        report = anyinit.initialize(model, "analytic", torch.as_tensor(x), seed=seed)
        try:
            report.assert_healthy()
            passed += 1
        except AssertionError as error:
            words = words or " ".join(str(error).split())
        if report.max_deviation is not None:
            gaps.append(report.max_deviation)
    return {"passed": passed, "draws": draws, "said": words, "largest_gap": max(gaps, default=0.0)}


def mended(case: Case, x: np.ndarray, networks: int) -> dict[str, float]:
    """Return what is true of the model with AnyInit's weights, counted as ``truth`` does."""
    import anyinit

    seeds = iter(range(networks))

    def make(width: int) -> Any:
        model = case.make(width)
        anyinit.initialize(model, "analytic", torch_module().as_tensor(x), seed=next(seeds))
        return model

    return truth(replace(case, make=make), x, networks)


def mup_says(case: Case, x: np.ndarray, widths: Sequence[int]) -> dict[str, Any]:
    """Return the largest power of the width by mup's coordinate data, at the first step and at the last.

    Its published use: a sweep of widths, Adam at its default rate, standard parametrization (mup=False), 3 seeds.
    """
    from mup.coord_check import get_coord_data

    torch = torch_module()
    batch = torch.as_tensor(x), torch.arange(len(x))
    models = {width: partial(case.make, width) for width in widths}
    chosen: dict[str, Any] = {
        "optimizer": "adam",
        "lr": RATE["adam"],
        "mup": False,
        "cuda": False,
        "show_progress": False,
    }
    # an attention that returns None beside its output stops mup 1.0.0; its own filter leaves the module out
    chosen["filter_module_by_name"] = lambda name: not name.endswith("self_attn")
    data = get_coord_data(models, [batch], nsteps=STEPS, nseeds=SEEDS, **chosen)
    found = {}
    for step in (1, STEPS):
        some = data[(data.t == step) & (data.module != "")]
        powers = {module: _power(rows) for module, rows in some.groupby("module")}
        where = max(powers, key=lambda module: powers[module])
        found[str(step)] = {"module": where, "power": powers[where]}
    return found


def _power(rows: Any) -> float:
    return float(np.polyfit(np.log(rows.width), np.log(np.maximum(rows.l1, 1e-300)), 1)[0])


def coordinates(case: Case, x: np.ndarray, widths: Sequence[int], seed: int) -> dict[str, Any]:
    """Return deeplim's coordinate check at initialization: the module that grows most, with its error."""
    from deeplim.diagnosis import coordinate_check

    found = coordinate_check(case.make, x, widths=list(widths), repeats=8, seed=seed)
    worst = max(found.modules, key=lambda one: one.power.value)
    return {"module": worst.module, "power": worst.power.value, "error": worst.power.error, "verdict": worst.verdict}


def row(case: Case, found: dict[str, Any]) -> list[str]:
    """Return a line of the table."""
    ours, theirs, steps, check = (found[name] for name in ("deeplim", "anyinit", "mup", "coordinates"))
    told = "unhealthy: " + ", ".join(ours["unhealthy"]) if ours["unhealthy"] else "healthy"
    told += f" (warnings: {', '.join(ours['warning'])})" if ours["warning"] else ""
    passed = f"healthy in {theirs['passed']} of {theirs['draws']} draws of its own"
    first, last = steps["1"], steps[str(STEPS)]
    return [
        case.name,
        true_words(found["truth"]),
        told,
        passed + (f"; else: {theirs['said']}" if theirs["said"] else ""),
        true_words(found["mended"]),
        f"width^{first['power']:+.2f} at step 1, {last['power']:+.2f} at step {STEPS} ({last['module']})",
        f"width^({check['power']:+.2f} ± {check['error']:.2f}), {check['module']}",
    ]


COLUMNS = (
    "model",
    "true of 1,000 networks",
    "deeplim, of the model as it is",
    "AnyInit, after its own initialization",
    "true of 200 networks with AnyInit's weights",
    "mup's coordinate check, largest power",
    "deeplim's, at initialization",
)


def main() -> None:
    parser = arguments(__doc__)
    options = parser.parse_args()
    from deeplim import digits

    warnings.simplefilter("ignore")
    images = digits().images
    assert images is not None
    x = (images / 16).astype(np.float32)
    networks, draws = (50, 3) if options.quick else (1000, 20)
    results = {}
    for case in CASES:
        print(case.name, file=sys.stderr)
        widths = WIDTHS[:2] if options.quick else WIDTHS
        results[case.name] = {
            "truth": truth(case, x, networks),
            "deeplim": deeplim_says(case, x, options.seed),
            "anyinit": anyinit_says(case, x, draws),
            "mended": mended(case, x, networks // 5),
            "mup": mup_says(case, x, widths),
            "coordinates": coordinates(case, x, widths, options.seed),
        }
    rows = [row(case, results[case.name]) for case in CASES]
    print(
        document(
            str(__doc__).splitlines()[0],
            results,
            ["deeplim", "anyinit", "mup", "torch", "numpy"],
            seed=options.seed,
            quick=options.quick,
            tables=[table("Six models, on ten handwritten digits", COLUMNS, rows)],
        )
    )


if __name__ == "__main__":
    main()
