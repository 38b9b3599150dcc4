"""How many paths of the correlation SDE a second, against diffrax and torchsde at the same error?

Shaped ReLU, c = (0, -1), from rho_0 = 0.3 to t = 1. A setting counts when the mean and the standard deviation of rho_1
are within 1e-3 of the exact ones (of the Fokker-Planck equation), and each package is given the fewest steps that
count. The peers solve for u = artanh(rho), whose noise is additive, or for rho, compiled and warm, by every solver that
fits, in single and double precision, by one call at a time or one on each core; the fastest setting is theirs. Errors
are measured on four million paths, and all are given the benefit of two standard errors.
"""

import itertools
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from typing import Any

import numpy as np
from measure import arguments, claim, document, rate, seconds, table

import deeplim as dl
from deeplim.limits.sde import sample_correlation

NETWORK = dl.MLP(width=100, depth=100, activation=dl.ShapedReLU(c_plus=0, c_minus=-1))
LIMIT = dl.limits.named("sde", NETWORK)
GAMMA, RHO, ERROR = LIMIT.parameters["gamma"], 0.3, 1e-3
STEPS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 24, 32, 64, 128)
Run = Callable[[int], np.ndarray]


def errors(rho: np.ndarray, exact: tuple[float, float]) -> dict[str, float]:
    """The differences of mean and standard deviation from the exact ones, and two standard errors."""
    rho = np.asarray(rho, dtype=float)
    return {
        "mean": float(rho.mean() - exact[0]),
        "std": float(rho.std() - exact[1]),
        "two_standard_errors": float(2 * rho.std() / np.sqrt(len(rho))),
    }


def good(found: dict[str, float], allowance: float) -> bool:
    """Whether both are within the error; what is not a number is not."""
    return max(abs(found["mean"]), abs(found["std"])) <= ERROR + allowance


def fewest_steps(make: Callable[[int], Run], exact: tuple[float, float], paths: int, batch: int) -> dict[str, Any]:
    """The first number of steps that is accurate enough, with its errors; the others are tried on fewer paths first."""
    for steps in STEPS:
        run = make(steps)
        rough = errors(run(0), exact)
        if not good(rough, 3 * rough["two_standard_errors"]):
            continue
        fine = errors(np.concatenate([run(seed) for seed in range(1, 1 + -(-paths // batch))]), exact)
        if good(fine, fine["two_standard_errors"]):
            return {"steps": steps, "errors": fine, "run": run}
    return {"steps": None}


def diffrax_settings(batch: int) -> Iterator[tuple[str, Callable[[int], Run]]]:
    """Every setting of diffrax, as a function from the number of steps to one from a seed to correlations."""
    import diffrax
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)

    def turned(rho: Any, angle: Any, sine: Any) -> Any:
        small = angle**3 / 3 * (1 - angle**2 / 10 * (1 - angle**2 / 28))
        return jnp.where(angle > 0.1, sine - angle * rho, small)

    def in_u(_: Any, u: Any, __: Any) -> Any:
        angle = 2 * jnp.arctan(jnp.exp(-u))
        sine = jnp.sin(angle)
        return GAMMA * turned(jnp.tanh(u), angle, sine) / sine**2 + jnp.tanh(u) / 2

    def in_rho(_: Any, rho: Any, __: Any) -> Any:
        rho = jnp.clip(rho, -1, 1)
        square = 1 - rho * rho
        return GAMMA * turned(rho, jnp.arccos(rho), jnp.sqrt(square)) - rho * square / 2

    def make(solver: str, levy: str, coordinate: str, dtype: Any, steps: int) -> Run:
        start = jnp.asarray(np.arctanh(RHO) if coordinate == "u" else RHO, dtype)
        noise = (
            (lambda t, y, a: jnp.ones((), dtype))
            if coordinate == "u"
            else (lambda t, y, a: 1 - jnp.clip(y, -1, 1) ** 2)
        )

        def one(key: Any) -> Any:
            path = diffrax.UnsafeBrownianPath(jax.ShapeDtypeStruct((), dtype), key, levy_area=getattr(diffrax, levy))
            terms = diffrax.MultiTerm(
                diffrax.ODETerm(in_u if coordinate == "u" else in_rho), diffrax.ControlTerm(noise, path)
            )
            solved = diffrax.diffeqsolve(
                terms,
                getattr(diffrax, solver)(),
                jnp.asarray(0, dtype),
                jnp.asarray(1, dtype),
                jnp.asarray(1 / steps, dtype),
                start,
                saveat=diffrax.SaveAt(t1=True),
                adjoint=diffrax.DirectAdjoint(),
                max_steps=steps + 1,
                throw=False,
            ).ys[0]
            return jnp.tanh(solved) if coordinate == "u" else jnp.clip(solved, -1, 1)

        compiled = jax.jit(lambda key: jax.vmap(one)(jax.random.split(key, batch)))
        return lambda seed: np.asarray(compiled(jax.random.key(seed)))

    plain, area = "BrownianIncrement", "SpaceTimeLevyArea"
    kinds = [("u", "Heun", plain), ("u", "Midpoint", plain), ("u", "ShARK", area), ("u", "SEA", area)]
    kinds += [("u", "SRA1", area), ("u", "Euler", plain), ("rho", "ItoMilstein", plain)]
    for (coordinate, solver, levy), dtype in itertools.product(kinds, (jnp.float32, jnp.float64)):
        name = f"{solver} in {coordinate}, {np.dtype(dtype).name}"
        yield name, lambda steps, a=(solver, levy, coordinate, dtype): make(*a, steps)


def torchsde_settings(batch: int) -> Iterator[tuple[str, Callable[[int], Run]]]:
    """Every setting of torchsde, in the same form."""
    import torch
    import torchsde

    class Correlation(torch.nn.Module):
        def __init__(self, coordinate: str, kind: str) -> None:
            super().__init__()
            self.coordinate, self.sde_type = coordinate, kind
            self.noise_type = "additive" if coordinate == "u" else "diagonal"

        def f(self, t: Any, y: Any) -> Any:
            if self.coordinate == "rho":
                rho = y.clamp(-1, 1)
                angle, square = torch.arccos(rho), 1 - rho * rho
                drift = GAMMA * (torch.sqrt(square) - angle * rho) - rho * square / 2
                return drift + rho * square if self.sde_type == "stratonovich" else drift
            rho, angle = torch.tanh(y), 2 * torch.arctan(torch.exp(-y))
            sine = torch.sin(angle)
            small = angle**3 / 3 * (1 - angle**2 / 10 * (1 - angle**2 / 28))
            return GAMMA * torch.where(angle > 0.1, sine - angle * rho, small) / sine**2 + rho / 2

        def g(self, t: Any, y: Any) -> Any:
            return torch.ones(len(y), 1, 1, dtype=y.dtype) if self.coordinate == "u" else 1 - y.clamp(-1, 1) ** 2

    @torch.inference_mode()
    def run(method: str, kind: str, coordinate: str, dtype: Any, steps: int, seed: int) -> np.ndarray:
        torch.set_num_threads(1)  # one call on each core is faster than a call on all
        torch.manual_seed(seed)
        start = torch.full((batch, 1), float(np.arctanh(RHO) if coordinate == "u" else RHO), dtype=dtype)
        times = torch.tensor([0.0, 1.0], dtype=dtype)
        end = torchsde.sdeint(Correlation(coordinate, kind), start, times, dt=1 / steps, method=method)[-1]
        return (torch.tanh(end) if coordinate == "u" else end.clamp(-1, 1))[:, 0].numpy()

    methods = [
        ("u", "euler", "ito"),
        ("u", "srk", "ito"),
        ("u", "heun", "stratonovich"),
        ("u", "midpoint", "stratonovich"),
    ]
    methods += [("rho", "milstein", "ito"), ("rho", "srk", "ito"), ("rho", "heun", "stratonovich")]
    for (coordinate, method, kind), dtype in itertools.product(methods, (torch.float32, torch.float64)):
        name = f"{method} in {coordinate}, {str(dtype).removeprefix('torch.')}"
        chosen = method, kind, coordinate, dtype
        yield name, lambda steps, a=chosen: lambda seed: run(*a, steps, seed)


def measured(
    settings: Iterator[tuple[str, Callable[[int], Run]]], exact: Any, paths: int, batch: int, repeats: int
) -> Any:
    """What every setting needs and gives."""
    found = {}
    for name, make in settings:
        begin = time.perf_counter()
        try:
            setting = fewest_steps(make, exact, paths, batch)
        except Exception as failure:  # a solver may refuse the equation in a way of its own
            found[name] = {"refused": f"{type(failure).__name__}: {failure}"[:200]}
            continue
        run = setting.pop("run", None)
        if run is not None:
            setting["paths_per_second"] = fastest(run, batch, repeats)
        found[name] = setting
        print(f"{name}: {setting} ({time.perf_counter() - begin:.0f} s)", file=sys.stderr)
    return found


def fastest(run: Run, batch: int, repeats: int) -> dict[str, float]:
    """Paths a second, of one call at a time or of one on each core, and paths a second of processor time."""
    cores = os.cpu_count() or 1
    alone = rate(batch, seconds(lambda: run(0), repeats=repeats))
    with ThreadPoolExecutor(cores) as pool:
        together = rate(cores * batch, seconds(lambda: list(pool.map(run, range(cores))), repeats=repeats))
    begin = time.process_time()
    for seed in range(repeats):
        run(seed)
    per_core = repeats * batch / (time.process_time() - begin)
    return max(alone, together, key=lambda found: found["median"]) | {"per_processor_second": per_core}


def deeplim_run(steps: float, samples: int) -> Run:
    """Correlations at t = 1 in steps of this length at most."""
    return lambda seed: (
        1 - sample_correlation(LIMIT, RHO, time=np.ones(1), samples=samples, seed=seed, longest_step=steps)[:, 0]
    )


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--batch", type=int, default=200_000, help="paths that a peer is given at a time")
    parser.add_argument("--only", nargs="*", help="settings of the peers whose name holds one of these")
    options = parser.parse_args()
    paths, repeats = (400_000, 2) if options.quick else (4_000_000, 5)
    only = ["Heun in u, float32", "heun in u, float32"] if options.quick and not options.only else options.only
    law = dl.limits.law(LIMIT, dl.gram(correlation=RHO))
    exact = law.mean, law.std
    chosen = lambda settings: ((n, m) for n, m in settings if not only or any(x in n for x in only))  # noqa: E731
    results: dict[str, Any] = {"exact": {"mean": exact[0], "std": exact[1]}, "error": ERROR, "peers": {}}
    packages = ["deeplim", "numba", "numpy"]
    for package, settings in (("diffrax", diffrax_settings), ("torchsde", torchsde_settings)):
        if find_spec(package) is None:
            results["peers"][package] = "not installed"
            continue
        packages += [package, {"diffrax": "jax", "torchsde": "torch"}[package]]
        results["peers"][package] = measured(chosen(settings(options.batch)), exact, paths, options.batch, repeats)
    rates = {
        f"{package}: {name}": setting["paths_per_second"]
        for package, settings in results["peers"].items()
        if isinstance(settings, dict)
        for name, setting in settings.items()
        if "paths_per_second" in setting
    }
    results |= compared(exact, rates, repeats)
    claims = [claim("sde-paths", results["ratio"]["ratio"])] if rates else []
    shown = {"seed": 0, "quick": options.quick, "claims": claims, "tables": [settings_table(results)]}
    print(document(__doc__.splitlines()[0], results, packages, **shown))


def settings_table(results: dict[str, Any]) -> dict[str, Any]:
    """Every setting that is accurate enough, the fastest first."""
    rows = [
        [f"{package}: {name}", setting["steps"], *setting["errors"].values(), setting["paths_per_second"]["median"]]
        for package, settings in results["peers"].items()
        if isinstance(settings, dict)
        for name, setting in settings.items()
        if "paths_per_second" in setting
    ]
    for name, found in results["deeplim"].items():
        steps = f"at most {found['longest_step']:g} long"
        row = [f"deeplim, {name}", steps, *found["errors"].values(), found["paths_per_second"]["median"]]
        rows.append(row)
    rows.sort(key=lambda row: -row[-1])
    head = ["solver", "steps", "error of the mean", "of the deviation", "two standard errors", "paths/s"]
    return table("Settings accurate enough", head, rows)


def compared(exact: tuple[float, float], rates: dict[str, dict[str, float]], repeats: int) -> dict[str, Any]:
    """deeplim at the longest step that is accurate enough and at its own, and its ratio to the best of the peers."""
    samples = 1 << 20
    found: dict[str, Any] = {}
    for name, step in (("longest step that counts", 1.0), ("its own step", 1 / 8)):
        run = deeplim_run(step, samples)
        setting = errors(np.concatenate([run(seed) for seed in range(1, 65)]), exact)
        assert good(setting, setting["two_standard_errors"]), "the step is too long"
        found[name] = {
            "longest_step": step,
            "errors": setting,
            "paths_per_second": fastest(run, samples, 4 * repeats),
        }
    result: dict[str, Any] = {"deeplim": found}
    ours = found["longest step that counts"]["paths_per_second"]
    for figure, ratio in (("median", "ratio"), ("per_processor_second", "ratio_per_processor_second")):
        if rates:
            best = max(rates, key=lambda name, figure=figure: rates[name][figure])
            result[ratio] = {"best_peer": best, "ratio": ours[figure] / rates[best][figure]}
    return result


if __name__ == "__main__":
    main()
