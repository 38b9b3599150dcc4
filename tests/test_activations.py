"""Activations: what they are, how they are written and read, and what is said of those that are wrong."""

import copy
import pickle
import re
from math import inf, nan, pi
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import refused_as_spec as refusal

from deeplim import activations
from deeplim.activations import (
    NAMED_FUNCTIONS,
    Activation,
    Elementwise,
    LeakyReLU,
    ReLU,
    Shaped,
    ShapedReLU,
    Transformed,
    gain,
    parse_activation,
)
from deeplim.loading import load_function
from deeplim.specs import Spec, brief, number

fixed = settings(derandomize=True, deadline=None, database=None, max_examples=60)
finite = st.floats(allow_nan=False, allow_infinity=False)
STRATEGIES: dict[type[Spec], st.SearchStrategy[Any]] = {
    ReLU: st.builds(ReLU),
    LeakyReLU: st.builds(LeakyReLU, slope=st.floats(-1, 1)),
    ShapedReLU: st.builds(
        ShapedReLU, c_plus=finite, c_minus=finite, rate=st.sampled_from(["width", "depth"]), exponent=st.floats(0, 4)
    ),
    Shaped: st.builds(
        Shaped,
        function=st.sampled_from([*NAMED_FUNCTIONS, "numpy:arctan"]),
        a=st.floats(1e-3, 1e3),
        rate=st.sampled_from(["width", "depth"]),
        exponent=st.floats(0, 4),
    ),
    Elementwise: st.builds(Elementwise, function=st.sampled_from([*NAMED_FUNCTIONS.values(), "numpy:arctan"])),
    Transformed: st.builds(
        Transformed,
        function=st.sampled_from([*NAMED_FUNCTIONS, "numpy:arctan"]),
        input_scale=st.floats(0.01, 4),
        input_shift=st.floats(-2, 2),
        output_scale=st.floats(0.1, 100),
        output_shift=st.floats(1, 2),
    ),
}
EVERY_KIND = get_args(get_args(Activation)[0])
any_activation = st.one_of(*STRATEGIES.values())


def test_the_strategies_cover_every_kind() -> None:
    assert set(STRATEGIES) == set(EVERY_KIND)


@fixed
@given(any_activation)
def test_the_word_of_an_activation_reads_back(activation: Any) -> None:
    assert parse_activation(str(activation)) == activation


@fixed
@given(any_activation)
def test_json_reads_back(activation: Any) -> None:
    assert type(activation).from_json(activation.to_json()) == activation


@fixed
@given(any_activation)
def test_equal_activations_hash_alike_and_survive_copies_and_pickles(activation: Any) -> None:
    for twin in (pickle.loads(pickle.dumps(activation)), copy.deepcopy(activation), activation.model_copy()):
        assert twin == activation
        assert hash(twin) == hash(activation)


@pytest.mark.parametrize(
    ("text", "activation"),
    [
        ("relu", ReLU()),
        ("leaky:0.2", LeakyReLU(slope=0.2)),
        ("leaky:-1", LeakyReLU(slope=-1)),
        ("leaky:1e-3", LeakyReLU(slope=0.001)),
        ("shaped-relu", ShapedReLU(c_plus=0, c_minus=-1, rate="width")),
        ("shaped-relu:c_minus=-2", ShapedReLU(c_minus=-2)),
        ("shaped-relu:rate=depth,c_plus=1", ShapedReLU(c_plus=1, rate="depth")),
        ("shaped-relu: c_plus = 1, rate = depth", ShapedReLU(c_plus=1, rate="depth")),
        ("tanh", Elementwise(function="deeplim.functions:tanh")),
        ("gelu", Elementwise(function="gelu")),
        ("shaped:tanh", Shaped(function="tanh")),
        ("shaped:gelu,a=0.5,rate=depth", Shaped(function="gelu", a=0.5, rate="depth")),
        ("shaped:numpy:arctan,exponent=0.3", Shaped(function="numpy:arctan", exponent=0.3)),
        ("scipy.special:expit", Elementwise(function="scipy.special:expit")),
    ],
)
def test_every_form_of_word(text: str, activation: Spec) -> None:
    assert parse_activation(text) == activation


@pytest.mark.parametrize(
    "text",
    [
        "",
        "relu6",
        "shaped",
        "shaped:",
        "ReLU",
        " relu",
        "relu:",
        "relu:1",
        "leaky",
        "leaky:",
        "a:b:c",
        ".os:f",
        "os.:f",
        "os..path:f",
        ":f",
        "x" * 500,
        "numpy:",
        "numpy:1",
        "two words",
        "new\nline",
    ],
)
def test_words_that_name_nothing_are_answered_with_those_that_do(text: str) -> None:
    message = refusal(lambda: parse_activation(text))
    assert brief(text) in message
    assert "relu, leaky:0.2, shaped-relu:c_plus=0,c_minus=-1,rate=width, tanh, sin, erf" in message


@pytest.mark.parametrize(
    "rest", [":", ":c_plus", ":c_plus=", ":=1", ":c_plus=1,", ":c_plus=1,c_plus=2", ":c_plus:1", ":,"]
)
def test_shaping_that_cannot_be_read(rest: str) -> None:
    assert "not of the form shaped-relu:c_plus=0" in refusal(lambda: parse_activation(f"shaped-relu{rest}"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("leaky:2", "slope = '2' is not allowed; it must be a number from -1 to 1."),
        ("leaky:x", "slope = 'x' is not allowed; it must be a number from -1 to 1."),
        ("leaky:nan", "slope = 'nan' is not allowed; it must be a number from -1 to 1."),
        ("shaped-relu:c_plus=inf", "c_plus = 'inf' is not allowed; it must be a finite number."),
        ("shaped-relu:rate=height", "rate = 'height' is not allowed; it must be 'width' or 'depth'."),
        ("shaped-relu:c=1", "ShapedReLU has no field c; it has c_plus, c_minus, rate, exponent."),
    ],
)
def test_words_with_a_value_that_is_not_allowed(text: str, said: str) -> None:
    assert refusal(lambda: parse_activation(text)) == said


@pytest.mark.parametrize("value", [2, -1.5, nan, inf, -inf, None, "x", True, False, np.True_, [0.1], 1j, np.ones(9)])
def test_slopes_that_are_not_allowed(value: object) -> None:
    message = refusal(lambda: LeakyReLU(slope=value))
    assert message.startswith("slope = ")
    assert message.endswith(" is not allowed; it must be a number from -1 to 1.")


@pytest.mark.parametrize("value", [nan, inf, None, "x", True, [0.1]])
def test_shapings_that_are_not_allowed(value: object) -> None:
    assert "it must be a finite number." in refusal(lambda: ShapedReLU(c_plus=value))
    assert "it must be a finite number." in refusal(lambda: ShapedReLU(c_minus=value))


@pytest.mark.parametrize("value", ["height", "", None, 1, True, "Width"])
def test_rates_that_are_not_allowed(value: object) -> None:
    assert refusal(lambda: ShapedReLU(rate=value)) == f"rate = {value!r} is not allowed; it must be 'width' or 'depth'."


def test_fields_that_are_missing_or_unknown() -> None:
    assert refusal(LeakyReLU) == "slope is missing; give a number from -1 to 1."
    assert refusal(lambda: LeakyReLU(slop=0.1)) == "LeakyReLU has no field slop; it has slope."
    assert refusal(lambda: ReLU(slope=0.1)) == "ReLU has no field slope; it has none."
    assert refusal(lambda: ReLU(kind="leaky")) == "kind = 'leaky' is not allowed; it must be 'relu'."
    assert refusal(Elementwise).startswith("function is missing; give a function's place, package.module:function, or")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "not json",
        "[]",
        "3",
        "null",
        '"relu"',
        '{"kind": "relu"}',
        '{"slope": 2}',
        '{"slope": NaN}',
        '{"slope": true}',
        '{"slope": null}',
        '{"slope": 0.1, "rate": 1}',
        "{}",
        '{"slope": 0.1} {}',
        "\n\n{\n\n",
    ],
)
def test_json_that_is_no_leaky_relu(text: str) -> None:
    refusal(lambda: LeakyReLU.from_json(text))


@pytest.mark.parametrize("value", [None, 3, {"slope": 0.1}])
def test_json_that_is_no_text(value: Any) -> None:
    assert "what to_json writes" in refusal(lambda: LeakyReLU.from_json(value))


@fixed
@given(any_activation)
def test_activations_are_frozen(activation: Any) -> None:
    before = activation.to_json()
    for field in ("kind", "slope", "unheard_of"):
        assert refusal(lambda: setattr(activation, field, "relu")).startswith(f"{field} of this ")  # noqa: B023
        assert "model_copy" in refusal(lambda: delattr(activation, field))  # noqa: B023
    assert activation.to_json() == before


def test_a_copy_with_other_fields_is_checked_like_a_new_one() -> None:
    assert ShapedReLU(c_plus=1).model_copy(update={"rate": "depth"}) == ShapedReLU(c_plus=1, rate="depth")
    assert "number from -1 to 1" in refusal(lambda: LeakyReLU(slope=0.1).model_copy(update={"slope": 7}))
    assert "no field" in refusal(lambda: LeakyReLU(slope=0.1).model_copy(update={"slop": 0.2}))


@pytest.mark.parametrize("kind", [float, np.float32, np.float64, int])
def test_numbers_of_every_type_are_plain_floats_inside(kind: type) -> None:
    slope = LeakyReLU(slope=kind(1)).slope
    assert slope == 1.0
    assert str(LeakyReLU(slope=kind(1))) == "leaky:1"


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.0, "1"), (-0.25, "-0.25"), (1 / 3, "0.3333333333333333"), (1e-5, "1e-05"), (1e22, "1e+22")],
)
def test_numbers_are_written_short_and_whole(value: float, text: str) -> None:
    assert number(value) == text
    assert float(text) == value


def test_slopes_are_those_of_the_formula() -> None:
    assert ReLU().slopes(9, 4) == (1, 0)
    assert LeakyReLU(slope=-0.3).slopes(9, 4) == (1, -0.3)
    assert ShapedReLU(c_plus=3, c_minus=-6).slopes(9, 4) == (1 + 3 / 3, 1 - 6 / 3)
    assert ShapedReLU(c_plus=3, c_minus=-6, rate="depth").slopes(9, 4) == (1 + 3 / 2, 1 - 6 / 2)


@pytest.mark.parametrize(
    ("activation", "value"),
    [
        (ReLU(), 2.0),
        (LeakyReLU(slope=1), 1.0),
        (LeakyReLU(slope=-1), 1.0),
        (LeakyReLU(slope=0.5), 2 / 1.25),
        (ShapedReLU(c_plus=0, c_minus=-3), 2.0),
        (Elementwise(function="scipy.special:erf"), pi / 2 / np.arcsin(2 / 3)),
        (Elementwise(function="numpy:sin"), 2 / (1 - np.exp(-2))),
        (Elementwise(function="numpy:sign"), 1.0),
        (Elementwise(function="numpy:exp"), np.exp(-2)),
    ],
)
def test_the_gain_is_the_inverse_mean_square(activation: Any, value: float) -> None:
    assert gain(activation, 9, 4) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("c", [-3.0, 1e200, -1e308])
def test_slopes_whose_mean_square_is_zero_or_overflows_have_no_gain(c: float) -> None:
    message = refusal(lambda: gain(ShapedReLU(c_plus=c, c_minus=c), 9, 4))
    assert f"at width 9 and depth 4 is {'0' if c == -3 else 'inf'} " in message


def test_named_functions_are_what_they_are_called() -> None:
    x = np.linspace(-3, 3, 7)
    assert set(NAMED_FUNCTIONS) == {"tanh", "sin", "erf", "logistic", "softplus", "silu", "gelu"}
    for name, place in NAMED_FUNCTIONS.items():
        assert load_function(place).__name__ == name
        assert parse_activation(name).load()(x).shape == x.shape


def test_brief_is_one_short_line() -> None:
    assert brief("a\nb") == r"'a\nb'"
    assert brief(np.eye(2)) == "array([[1., 0.], [0., 1.]])"
    assert len(brief("x" * 1000)) == 60
    assert brief("x" * 1000).endswith("...")


def test_the_words_of_the_documentation_are_read() -> None:
    doc = activations.parse_activation.__doc__
    assert doc is not None
    words = [word for word in re.findall(r"``(.*?)``", doc) if word != "package.module:function"]
    assert len(words) == 6
    assert [str(parse_activation(word)) for word in words] == words


def test_shaping_a_smooth_function_brings_it_to_the_identity() -> None:
    x = np.linspace(-2, 2, 9)
    for name in NAMED_FUNCTIONS:
        shaped = Shaped(function=name, a=1.0)
        bent, nearly = shaped.at(100, 7)(x), shaped.at(10_000_000, 7)(x)
        np.testing.assert_allclose(nearly, x, atol=2e-3)
        phi = shaped.derivatives
        # the Taylor series of s phi(x / s) to third order, s = 10
        np.testing.assert_allclose(bent, x + phi.second * x**2 / 20 + phi.third * x**3 / 600, atol=0.01)
    assert Shaped(function="tanh", a=2.0, rate="depth").scale(100, 9) == 6
    assert Shaped(function="tanh", a=2.0, exponent=1).scale(100, 9) == 200


@pytest.mark.parametrize("function", ["numpy:abs", "numpy:sign", "numpy:square", "numpy:cos"])
def test_functions_that_cannot_be_shaped(function: str) -> None:
    message = refusal(lambda: Shaped(function=function))
    assert "smooth" in message or "slope" in message or "derivative" in message


@pytest.mark.parametrize("text", ["shaped:tanh,", "shaped:tanh,b", "shaped:tanh,a=1,a=2"])
def test_smooth_shaping_that_cannot_be_read(text: str) -> None:
    assert "not of the form shaped:tanh,a=1.2" in refusal(lambda: parse_activation(text))
