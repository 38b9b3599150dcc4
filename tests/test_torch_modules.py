"""The PyTorch modules: values against deeplim's NumPy functions, precision, and all that PyTorch asks of a module."""

import copy
import pickle
from math import inf, log, nan, pi, sqrt
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from refusals import refused_as_spec as refusal
from torch import Tensor, nn
from torch.nn import functional

from deeplim import activations, functions
from deeplim.activations import NAMED_FUNCTIONS
from deeplim.loading import load_function
from deeplim.smoothness import normalised
from deeplim.torch import ScaledLinear, ScaledResidual, ShapedActivation, ShapedReLU, TransformedActivation

torch_deprecates_scripting = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
HALVES = [torch.float16, torch.bfloat16]


def growth(x: Tensor) -> Tensor:
    return torch.exp(0.5 * x)


def growth_on_arrays(x: np.ndarray) -> np.ndarray:
    return np.exp(0.5 * x)


CASES: dict[str, nn.Module] = {
    "one slope": ShapedReLU(1, 0.9),
    "two slopes": ShapedReLU(1.1, -0.8),
    "relu": ShapedReLU(1, 0),
    **{f"shaped {name}": ShapedActivation(name, 20) for name in NAMED_FUNCTIONS},
    "shaped module": ShapedActivation(nn.Mish(), 3),
    "shaped function": ShapedActivation(growth, 20),
    "shaped builtin": ShapedActivation(torch.arctan, 2),
    **{
        f"transformed {name}": TransformedActivation(
            name, input_scale=0.7, input_shift=0.2, output_scale=1.5, output_shift=-0.3
        )
        for name in NAMED_FUNCTIONS
    },
    "transformed module": TransformedActivation(nn.GELU(approximate="tanh"), output_scale=2),
}
every_case = pytest.mark.parametrize("module", CASES.values(), ids=CASES.keys())


def grid(dtype: torch.dtype = torch.float64) -> Tensor:
    """Both signs, 0, and sizes from far below to far above 1."""
    sizes = torch.logspace(-6, 2, 400, dtype=torch.float64)
    return torch.cat([-sizes.flip(0), torch.zeros(1, dtype=torch.float64), sizes]).to(dtype)


@pytest.mark.parametrize("c_plus", [0, 0.5])
@pytest.mark.parametrize("c_minus", [-1, 2.5, -10])
def test_slopes_are_those_of_the_specification(c_plus: float, c_minus: float):
    s_plus, s_minus = activations.ShapedReLU(c_plus=c_plus, c_minus=c_minus).slopes(width=100, depth=7)
    module = ShapedReLU.at_rate(c_plus, c_minus, 100)
    assert (module.s_plus, module.s_minus) == (s_plus, s_minus)
    x = grid()
    assert torch.equal(module(x), s_plus * x.clamp(min=0) + s_minus * x.clamp(max=0))
    assert ShapedReLU.at_rate(c_plus, c_minus, 100, exponent=1).s_minus == 1 + c_minus / 100


@pytest.mark.parametrize("name", NAMED_FUNCTIONS)
@pytest.mark.parametrize("scale", [0.7, 20])
def test_shaped_functions_are_those_of_the_specification(name: str, scale: float):
    exact = activations.Shaped(function=name, a=scale, exponent=0).at(width=5, depth=5)
    x = grid()
    found = ShapedActivation(name, scale)(x).numpy()
    # Far down gelu's tail the rounding of x / sqrt(2) weighs x^2 times as much, in either.
    np.testing.assert_allclose(found, exact(x.numpy()), rtol=1e-14, atol=1e-20)


@pytest.mark.parametrize(
    ("function", "array_function"),
    [
        (growth, growth_on_arrays),
        (nn.Softplus(), functions.softplus),
        (torch.arctan, np.arctan),
    ],
    ids=["function", "module", "builtin"],
)
def test_functions_of_a_user_are_normalised_like_arrays(function: Any, array_function: Any):
    x = grid().clamp(max=20)  # nn.Softplus is linear beyond, and off by 2e-9 there
    exact = 20 * normalised(array_function)[0](x.numpy() / 20)
    np.testing.assert_allclose(ShapedActivation(function, 20)(x).numpy(), exact, rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", NAMED_FUNCTIONS)
def test_transformed_functions_are_the_formula(name: str):
    module = TransformedActivation(name, input_scale=0.7, input_shift=0.2, output_scale=1.5, output_shift=-0.3)
    x = grid()
    exact = 1.5 * (load_function(NAMED_FUNCTIONS[name])(0.7 * x.numpy() + 0.2) - 0.3)
    np.testing.assert_allclose(module(x).numpy(), exact, rtol=1e-14, atol=1e-15)


def exactly_shaped_softplus(x: float, scale: float) -> float:
    with mpmath.workdps(40):
        x, scale = mpmath.mpf(x), mpmath.mpf(scale)
        return float(2 * scale * (mpmath.log(1 + mpmath.exp(x / scale)) - mpmath.log(2)))


def test_nothing_cancels_near_zero_in_single_precision():
    x = grid(torch.float32)
    x = x[x != 0]
    exact = np.array([exactly_shaped_softplus(value, 20) for value in x.tolist()])

    def error(found: Tensor) -> float:
        return float(np.abs(found.double().numpy() / exact - 1).max())

    assert error(ShapedActivation("softplus", 20)(x)) < 1e-6
    assert error(ShapedActivation(nn.Softplus(), 20)(x)) < 1e-6
    assert error(40 * (functional.softplus(x / 20) - log(2))) > 1e-2  # the control: a straightforward formula


@pytest.mark.parametrize("dtype", HALVES)
@every_case
def test_half_precision_is_as_good_as_its_rounding(module: nn.Module, dtype: torch.dtype):
    x = grid(dtype)
    exact = module(x.double())
    found = module(x)
    assert found.dtype == dtype
    ulp = torch.finfo(dtype).eps * torch.exp2(exact.abs().log2().floor()).clamp(min=torch.finfo(dtype).tiny)
    # nn.GELU's own tail is good to a rounding of x in single precision.
    single = torch.finfo(torch.float32).eps * x.double().abs()
    assert ((found.double() - exact).abs() <= 0.505 * ulp + 1e-6 * exact.abs() + single).all()


def test_half_precision_without_care_fails():
    x = torch.linspace(0.01, 3, 100, dtype=torch.float16)
    careless = 40 * (functional.softplus(x / 20) - log(2))
    exact = ShapedActivation("softplus", 20)(x.double())
    assert ((careless - exact).abs() > 20 * torch.finfo(torch.float16).eps * exact).any()


@pytest.mark.parametrize("dtype", HALVES)
def test_autocast_keeps_the_types(dtype: torch.dtype):
    model = nn.Sequential(nn.Linear(8, 8), ShapedActivation("softplus", 20), ScaledResidual(nn.Linear(8, 8), 0.1))
    x = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", dtype=dtype):
        hidden = model[:2](x)
        out = model(x)
        stream = model[2](x)
    assert hidden.dtype == out.dtype == dtype
    assert stream.dtype == torch.float32  # a stream in single precision stays so
    torch.testing.assert_close(out.float(), model(x), rtol=0.05, atol=0.05)


@every_case
def test_gradients_are_those_of_the_values(module: nn.Module):
    x = torch.tensor([-45.0, -3.0, -0.7, 1e-3, 0.4, 2.0, 50.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(module, (x,))
    assert torch.autograd.gradgradcheck(module, (x,))


@pytest.mark.parametrize("function", [*NAMED_FUNCTIONS, growth, nn.Softplus()])
def test_the_slope_at_zero_is_one(function: Any):
    x = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    [slope] = torch.autograd.grad(ShapedActivation(function, 20)(x).sum(), x)
    torch.testing.assert_close(slope, torch.ones_like(slope), rtol=1e-13, atol=0)


@pytest.mark.parametrize("name", NAMED_FUNCTIONS)
def test_gradients_are_finite_far_out(name: str):
    x = torch.tensor([-1e4, -200.0, 200.0, 1e4], requires_grad=True)
    y = ShapedActivation(name, 1)(x)
    [slope] = torch.autograd.grad(y.sum(), x)
    assert torch.isfinite(y).all()
    assert torch.isfinite(slope).all()


@every_case
def test_vmap_is_the_batch(module: nn.Module):
    x = grid().reshape(-1, 9)
    assert torch.equal(torch.vmap(module)(x), module(x))


@torch_deprecates_scripting
@every_case
def test_it_scripts(module: nn.Module):
    x = grid(torch.float32)
    scripted = torch.jit.script(module)
    for given in (x, x.half()):
        torch.testing.assert_close(scripted(given), module(given), rtol=1e-6, atol=1e-7)


@every_case
def test_it_exports_and_compiles(module: nn.Module):
    x = grid(torch.float16)
    torch._dynamo.reset()
    exported = torch.export.export(module, (x,)).module()
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True)
    for found in (exported(x), compiled(x)):
        torch.testing.assert_close(found, module(x), rtol=0, atol=0)


@every_case
def test_it_copies_and_pickles_and_has_no_state(module: nn.Module):
    assert not module.state_dict()
    x = grid()
    for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert torch.equal(twin(x), module(x))
        assert repr(twin) == repr(module)
    assert torch.equal(module.half()(x), module(x))


def test_text_names_function_and_constants():
    assert repr(ShapedReLU(1, 0.9)) == "ShapedReLU(s_plus=1, s_minus=0.9)"
    assert repr(ShapedActivation("tanh", 20)) == "ShapedActivation(tanh, scale=20)"
    assert repr(ShapedActivation(growth, 20)).startswith("ShapedActivation(\n  growth, scale=20\n")
    transformed = TransformedActivation("silu", input_scale=0.5)
    assert repr(transformed) == (
        "TransformedActivation(silu, input_scale=0.5, input_shift=0, output_scale=1, output_shift=0)"
    )
    assert "scale=0.1, skip=1\n" in repr(ScaledResidual(nn.Identity(), 0.1))


def test_scaled_residual_is_the_formula():
    branch = nn.Linear(6, 6, dtype=torch.float64)
    x = torch.randn(4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(ScaledResidual(branch, 0.3)(x), x + 0.3 * branch(x))
    torch.testing.assert_close(ScaledResidual(branch, 0.3, skip=0.5)(x), 0.5 * x + 0.3 * branch(x))


def test_scaled_linear_is_the_formula_and_shares_parameters():
    linear = nn.Linear(6, 4, dtype=torch.float64)
    scaled = ScaledLinear.of(linear, 0.3)
    x = torch.randn(4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(scaled(x), 0.3 * linear(x))
    assert scaled.weight is linear.weight
    assert scaled.bias is linear.bias
    assert repr(scaled) == "ScaledLinear(in_features=6, out_features=4, bias=True, scale=0.3)"
    without = ScaledLinear.of(nn.Linear(6, 4, bias=False), -2)
    assert list(without.state_dict()) == ["weight"]
    made = ScaledLinear(6, 4, dtype=torch.float64, scale=0.3)
    made.load_state_dict(linear.state_dict())
    assert torch.equal(made(x), scaled(x))


@torch_deprecates_scripting
@pytest.mark.parametrize(
    ("block", "keys"),
    [
        (ScaledResidual(nn.Linear(6, 6, dtype=torch.float64), 0.3, skip=0.9), ["branch.weight", "branch.bias"]),
        (ScaledLinear(6, 6, dtype=torch.float64, scale=0.3), ["weight", "bias"]),
    ],
    ids=["residual", "linear"],
)
def test_what_has_weights_is_a_module_like_others(block: nn.Module, keys: list[str]):
    x = torch.randn(4, 6, dtype=torch.float64, requires_grad=True, generator=torch.Generator().manual_seed(0))
    assert list(block.state_dict()) == keys
    assert torch.autograd.gradcheck(block, (x,))
    scripted = torch.jit.script(block)
    torch._dynamo.reset()
    exported = torch.export.export(block, (x,)).module()
    compiled = torch.compile(block, backend="aot_eager", fullgraph=True)
    twins = [scripted, exported, compiled, torch.vmap(block), copy.deepcopy(block), pickle.loads(pickle.dumps(block))]
    for twin in twins:
        torch.testing.assert_close(twin(x), block(x))


def test_values_that_are_not_numbers_pass_through():
    for module in CASES.values():
        assert torch.isnan(module(torch.tensor([nan]))).all()
    assert ShapedReLU(1.5, 0.5)(torch.tensor(-inf)) == -inf


def test_the_formulas_of_the_paper():
    # E phi(g)^2 in closed form: (s_+^2 + s_-^2) / 2; and E erf(g)^2 = (2 / pi) arcsin(2 / 3), over the slope squared.
    points, weights = np.polynomial.hermite_e.hermegauss(80)

    def mean_square(module: nn.Module) -> float:
        return float(weights @ module(torch.from_numpy(points)).numpy() ** 2 / sqrt(2 * pi))

    assert mean_square(ShapedReLU(1.2, 0.4)) == pytest.approx((1.2**2 + 0.4**2) / 2, rel=1e-12)
    assert mean_square(ShapedActivation("erf", 1.0)) == pytest.approx(np.arcsin(2 / 3) / 2, rel=1e-10)


def test_refusals_are_sentences():
    assert "tanhh" in refusal(lambda: ShapedActivation("tanhh", 2))
    assert "tanh, sin" in refusal(lambda: TransformedActivation("relu"))
    assert "scale=0 was given" in refusal(lambda: ShapedActivation("tanh", 0))
    assert "scale=inf was given" in refusal(lambda: ShapedActivation("tanh", inf))
    assert "s_minus=nan was given" in refusal(lambda: ShapedReLU(1, nan))
    assert "s_plus=True was given" in refusal(lambda: ShapedReLU(True, 1))
    assert "rate=0 was given" in refusal(lambda: ShapedReLU.at_rate(0, -1, 0))
    assert "input_shift='1' was given" in refusal(lambda: TransformedActivation("tanh", input_shift="1"))
    assert "PReLU has parameters" in refusal(lambda: ShapedActivation(nn.PReLU(), 2))
    assert "not smooth" in refusal(lambda: ShapedActivation(nn.ELU(), 2))
    assert "derivative 0 at 0" in refusal(lambda: ShapedActivation(torch.cos, 2))
    assert "not elementwise" in refusal(lambda: ShapedActivation(nn.Softmax(dim=-1), 2))
    assert "the function 3" in refusal(lambda: TransformedActivation(3))
    assert "give a torch.nn.Module" in refusal(lambda: ScaledResidual(torch.tanh, 0.1))
