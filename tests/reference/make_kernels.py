"""Write kernels.json: kernel maps of activations in thirty digits, for the tests to compare with.

E f(a)^2, E f(a) f(b) and E (f(a) - f(b))^2 for centred Gaussians of variances v and w and correlation 1 - gap, by the
trapezoid rule in the plane of two independent normals (its error falls like exp(-2 pi d / h) for a function analytic
within d of the real line), or in closed form for slopes, erf and GELU. Run: python tests/reference/make_kernels.py
"""

import json
from collections.abc import Callable
from pathlib import Path

import mpmath
from mpmath import mpf

Real = mpmath.mpf
GAPS = ("2", "1.999", "1.5", "1", "0.7", "0.1", "1e-3", "1e-6", "1e-12")
VARIANCES = (("0.1", "0.1"), ("1", "1"), ("3", "3"), ("1", "3"))
ANALYTIC: dict[str, tuple[Callable[[Real], Real], Real]] = {
    "tanh": (mpmath.tanh, mpmath.pi / 2),
    "silu": (lambda x: x / (1 + mpmath.exp(-x)), mpmath.pi),
}
"""Functions, and how far from the real line they are analytic."""


def sine_of(gap: Real) -> Real:
    return mpmath.sqrt(gap * (2 - gap))


def by_trapezoid(function: Callable[[Real], Real], strip: Real, v: Real, w: Real, gap: Real) -> dict[str, Real]:
    """The three means; the step makes the rule's error e^-55, the range leaves e^-58 outside."""
    step = min(mpf("0.25"), 2 * mpmath.pi * strip / (55 * mpmath.sqrt(max(v, w))))
    count = int(10.8 / step) + 1
    nodes = [i * step for i in range(-count, count + 1)]
    weights = [mpmath.npdf(g) * step for g in nodes]
    first = [function(mpmath.sqrt(v) * g) for g in nodes]
    across = [mpmath.sqrt(w) * sine_of(gap) * h for h in nodes]
    product = difference = mpf(0)
    for g, weight, value in zip(nodes, weights, first, strict=True):
        along = mpmath.sqrt(w) * (1 - gap) * g
        other = [function(along + h) for h in across]
        product += weight * value * mpmath.fdot(weights, other)
        difference += weight * mpmath.fsum(u * (value - o) ** 2 for u, o in zip(weights, other, strict=True))
    square = mpmath.fdot(weights, [value**2 for value in first])
    return {"square": square, "product": product, "difference": difference}


def slopes_product(s_minus: Real, v: Real, w: Real, gap: Real) -> Real:
    """Cho & Saul 2009: half of the linear kernel's even part, and the arc-cosine kernel of degree one."""
    angle = 2 * mpmath.asin(mpmath.sqrt(gap / 2))
    nuhat = mpmath.sin(angle) - angle * (1 - gap)
    linear = (1 + s_minus**2) / 2 * (1 - gap)
    return mpmath.sqrt(v * w) * (linear + (1 - s_minus) ** 2 / (2 * mpmath.pi) * nuhat)


def erf_product(v: Real, w: Real, gap: Real) -> Real:
    """Williams 1997: the arcsine kernel."""
    cov = mpmath.sqrt(v * w) * (1 - gap)
    return 2 / mpmath.pi * mpmath.asin(2 * cov / mpmath.sqrt((1 + 2 * v) * (1 + 2 * w)))


def gelu_product(v: Real, w: Real, gap: Real) -> Real:
    """Gaussian integration by parts of E a b P(a) P(b), P the normal distribution function.

    With c the covariance, D = (1 + v)(1 + w) - c^2 and q = E P'(a) P'(b) = 1 / (2 pi sqrt(D)):
    c E P(a) P(b) + q (v w - c^2 + c^2 / (1 + v) + c^2 / (1 + w)).
    """
    cov = mpmath.sqrt(v * w) * (1 - gap)
    scale = (1 + v) * (1 + w)
    both = mpf(1) / 4 + mpmath.asin(cov / mpmath.sqrt(scale)) / (2 * mpmath.pi)
    q = 1 / (2 * mpmath.pi * mpmath.sqrt(scale - cov**2))
    return cov * both + q * (v * w - cov**2 + cov**2 / (1 + v) + cov**2 / (1 + w))


CLOSED: dict[str, Callable[[Real, Real, Real], Real]] = {
    "relu": lambda v, w, gap: slopes_product(mpf(0), v, w, gap),
    "leaky": lambda v, w, gap: slopes_product(mpf("0.2"), v, w, gap),
    "erf": erf_product,
    "gelu": gelu_product,
}


def in_closed_form(product: Callable[[Real, Real, Real], Real], v: Real, w: Real, gap: Real) -> dict[str, Real]:
    """The three means; fifty digits leave enough after the difference has cancelled."""
    first, second, both = product(v, v, mpf(0)), product(w, w, mpf(0)), product(v, w, gap)
    return {"square": first, "product": both, "difference": first + second - 2 * both}


def means(name: str, v: str, w: str, gap: str) -> dict[str, str]:
    """Return the means of one function at one pair, as decimal strings of twenty digits."""
    with mpmath.workdps(50 if name in CLOSED else 25):
        numbers = mpf(v), mpf(w), mpf(gap)
        found = in_closed_form(CLOSED[name], *numbers) if name in CLOSED else by_trapezoid(*ANALYTIC[name], *numbers)
        return {key: mpmath.nstr(value, 20) for key, value in found.items()}


def main() -> None:
    """Write every row beside this file."""
    rows = [
        {"function": name, "v": v, "w": w, "gap": gap, **means(name, v, w, gap)}
        for name in (*CLOSED, *ANALYTIC)
        for v, w in VARIANCES
        for gap in GAPS
    ]
    text = ",\n".join(json.dumps(row) for row in rows)
    Path(__file__).with_name("kernels.json").write_text(f"[\n{text}\n]\n")


if __name__ == "__main__":
    main()
