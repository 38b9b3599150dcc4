"""deeplim's JAX functions against closed forms, against the library's own activations, and in half precision."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import deeplim as dl
from deeplim.activations import NAMED_FUNCTIONS
from deeplim.errors import InputError, SpecError
from deeplim.jax import activation, scaled_residual, shaped, shaped_relu, transformed

WIDTH, A = 50, 0.8
X = np.linspace(-6, 6, 241)
HALVES = [jnp.float16, jnp.bfloat16]


def twin(name: str) -> dl.Shaped:
    return dl.Shaped(function=name, a=A)


def softplus_of_mine(x):
    return jnp.log1p(jnp.exp(x))


def test_shaped_relu_has_its_slopes():
    expected = 0.9 * np.maximum(X, 0) - 0.2 * np.minimum(X, 0)
    np.testing.assert_allclose(jax.jit(shaped_relu)(X, 0.9, -0.2), expected, rtol=1e-6)
    slopes = jax.vmap(jax.grad(shaped_relu), (0, None, None))(jnp.array([-2.0, 3.0]), 0.9, -0.2)
    np.testing.assert_allclose(slopes, [-0.2, 0.9], rtol=1e-6)
    to_slopes = jax.grad(lambda slope: shaped_relu(jnp.array(-2.0), 1.0, slope))(0.5)
    assert to_slopes == -2.0


@pytest.mark.parametrize("half", HALVES)
def test_slopes_are_not_rounded_to_half_precision(half):
    x, slope = jnp.asarray(X, half), 1 - 1 / np.sqrt(1000)
    made = shaped_relu(x, slope, slope)
    assert made.dtype == half
    exact = (np.asarray(x, dtype=np.float64) * slope).astype(np.float32)
    assert (made == jnp.asarray(exact).astype(half)).all()
    assert (made != x * jnp.asarray(slope, half)).any()  # which rounds twice


@pytest.mark.parametrize("name", NAMED_FUNCTIONS)
def test_shaped_functions_are_those_of_the_library(name: str):
    scale = twin(name).scale(WIDTH, 1)
    expected = twin(name).at(WIDTH, 1)(X)
    function = shaped(name, scale)
    np.testing.assert_allclose(function(X), expected, rtol=1e-5)
    with jax.enable_x64(True):
        np.testing.assert_allclose(jax.jit(function)(X), expected, rtol=1e-12)
    for half in HALVES:
        x = jnp.asarray(X, half)
        made, exact = function(x), twin(name).at(WIDTH, 1)(np.asarray(x, dtype=float))
        assert made.dtype == half
        np.testing.assert_allclose(np.asarray(made, dtype=float), exact, rtol=float(jnp.finfo(half).eps) * 0.51)


@pytest.mark.parametrize("name", NAMED_FUNCTIONS)
def test_shaped_functions_have_the_derivatives_that_limits_use(name: str):
    scale, derivatives = twin(name).scale(WIDTH, 1), twin(name).derivatives
    function = shaped(name, scale)
    orders = [function, jax.grad(function), jax.grad(jax.grad(function)), jax.grad(jax.grad(jax.grad(function)))]
    found = jax.jit(lambda x: [order(x) for order in orders])(0.0)
    assert found[0] == 0.0
    assert found[1] == pytest.approx(1.0, rel=1e-6)
    assert found[2] == pytest.approx(derivatives.second / scale, rel=1e-5, abs=1e-7)
    assert found[3] == pytest.approx(derivatives.third / scale**2, rel=1e-5, abs=1e-7)


def test_a_shaped_function_keeps_its_digits_as_its_argument_vanishes():
    x = jnp.float32(1e-9)
    assert shaped("softplus", 5.0)(x) == pytest.approx(1e-9, rel=1e-6)
    plain = 2 * 5.0 * (jax.nn.softplus(x / 5.0) - jnp.float32(np.log(2)))
    assert abs(plain - 1e-9) > 1e-10


def test_a_function_of_yours_is_normalised_wherever_it_is_met():
    mine, named = shaped(softplus_of_mine, 3.0), shaped("softplus", 3.0)
    np.testing.assert_allclose(mine(X), named(X), rtol=1e-5, atol=1e-7)
    inside = jax.jit(lambda x, s: shaped(lambda u: softplus_of_mine(u), s)(x))(X, 3.0)
    np.testing.assert_allclose(inside, named(X), rtol=1e-5, atol=1e-7)
    assert jax.vmap(mine)(jnp.ones((2, 3), jnp.bfloat16)).dtype == jnp.bfloat16
    assert not jax.config.jax_enable_x64


def test_an_affine_activation_is_its_formula():
    numbers = {"input_scale": 0.7, "input_shift": 0.3, "output_scale": 1.9, "output_shift": -0.2}
    expected = 1.9 * (np.tanh(0.7 * X + 0.3) - 0.2)
    np.testing.assert_allclose(jax.jit(transformed("tanh", **numbers))(X), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(transformed(jax.nn.relu, output_scale=2.0)(X), 2 * np.maximum(X, 0), rtol=1e-6)
    assert jax.grad(transformed("tanh", **numbers))(0.0) == pytest.approx(1.9 * 0.7 / np.cosh(0.3) ** 2, rel=1e-5)
    x = jnp.asarray(X, jnp.bfloat16)
    made = transformed("softplus", output_shift=-np.log(2))(x)
    exact = np.logaddexp(0, np.asarray(x, dtype=float)) - np.log(2)
    np.testing.assert_allclose(np.asarray(made, dtype=float), exact, rtol=2**-8, atol=1e-6)


def test_a_scaled_residual_sum_is_its_formula():
    x, branch = jnp.array([1.0, 2.0]), jnp.array([3.0, -1.0])
    np.testing.assert_allclose(jax.jit(scaled_residual)(x, branch, 0.1, 0.5), [0.8, 0.9], rtol=1e-6)
    np.testing.assert_allclose(scaled_residual(x, branch, 0.1), [1.3, 1.9], rtol=1e-6)
    half = scaled_residual(x.astype(jnp.bfloat16), branch.astype(jnp.bfloat16), 0.1)
    assert half.dtype == jnp.bfloat16
    assert (half == jnp.array([1.3, 1.9]).astype(jnp.bfloat16)).all()


ACTIVATIONS = [
    dl.ReLU(),
    dl.LeakyReLU(slope=0.3),
    dl.ShapedReLU(c_plus=1, c_minus=-1),
    dl.Elementwise(function="silu"),
    dl.Shaped(function="gelu", a=1.3, rate="depth"),
    dl.Transformed(function="softplus", input_scale=0.7, input_shift=0.4, output_scale=2.1, output_shift=-0.9),
]


@pytest.mark.parametrize("chosen", ACTIVATIONS, ids=str)
def test_a_network_gives_its_activation(chosen):
    network = dl.MLP(width=WIDTH, depth=20, activation=chosen)
    if network.homogeneous:
        s_plus, s_minus = network.slopes
        expected = s_plus * np.maximum(X, 0) + s_minus * np.minimum(X, 0)
    else:
        expected = network.function(X)
    np.testing.assert_allclose(activation(network)(X), expected, rtol=1e-5, atol=1e-7)


def test_whole_numbers_become_floats_and_complex_ones_are_refused():
    assert shaped("tanh", 2.0)(jnp.arange(3)).dtype == jnp.float32
    with pytest.raises(InputError, match="give real numbers"):
        shaped_relu(jnp.ones(2, jnp.complex64), 1.0, 0.0)


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (lambda: shaped("tan", 2.0), "the function 'tan' is not known; use tanh, sin"),
        (lambda: shaped("tanh", -1.0), "^scale=-1.0 was given; give a finite number above 0"),
        (lambda: shaped("tanh", float("nan")), "^scale=nan was given"),
        (lambda: shaped(partial(jax.nn.leaky_relu, negative_slope=0.1), 2.0), "is not smooth at 0"),
        (lambda: shaped(jnp.cos, 2.0), "cos has derivative 0 at 0"),
        (lambda: transformed("tan"), "the function 'tan' is not known"),
        (lambda: activation(3), "^3 was given for a network; give a dl.MLP or dl.ResNet"),
        (lambda: activation("tanh"), "^'tanh' was given for a network"),
        (
            lambda: activation(dl.MLP(width=9, depth=3, activation=dl.Elementwise(function="numpy:arctan"))),
            "which JAX cannot trace; write it with jax.numpy",
        ),
    ],
)
def test_what_cannot_be_shaped_is_refused_in_a_sentence(made, told):
    with pytest.raises(SpecError, match=told):
        made()
