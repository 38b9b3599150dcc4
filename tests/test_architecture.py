"""Networks: derived numbers, the JSON round trip, and one sentence for everything that is no network."""

import json
import re
from collections.abc import Callable
from math import inf, nan, sqrt
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import refused_as_spec as refusal

import deeplim
from deeplim.activations import Elementwise, LeakyReLU, ReLU, ShapedReLU
from deeplim.architecture import MLP, Network, ResNet, read_network
from deeplim.errors import DeeplimError

fixed = settings(derandomize=True, deadline=None, database=None, max_examples=80)
SIZE = "a whole number from 1 to 10,000,000"
shapings = st.floats(0.1, 5).flatmap(lambda c: st.sampled_from([c, -c]))
ACTIVATIONS: st.SearchStrategy[Any] = st.one_of(
    st.just(ReLU()),
    st.builds(LeakyReLU, slope=st.floats(-1, 1)),
    st.builds(ShapedReLU, c_plus=shapings, c_minus=st.just(0.1), rate=st.sampled_from(["width", "depth"])),
    st.sampled_from([Elementwise(function=place) for place in ("numpy:tanh", "numpy:sin", "scipy.special:erf")]),
)
sizes = st.integers(1, 10_000_000)
numbers = st.floats(allow_nan=False, allow_infinity=False)
branches = st.one_of(numbers, st.builds("{}/sqrt(depth)".format, numbers.map(repr)))
VARIANCES: dict[str, st.SearchStrategy[Any]] = {
    "weight_variance": st.none() | st.floats(0, exclude_min=True, allow_infinity=False),
    "bias_variance": st.floats(0, allow_infinity=False),
}
NETWORKS: dict[type, st.SearchStrategy[Any]] = {
    MLP: st.builds(MLP, width=sizes, depth=sizes, activation=ACTIVATIONS, **VARIANCES),
    ResNet: st.builds(
        ResNet,
        width=sizes,
        depth=sizes,
        activation=ACTIVATIONS,
        skip=numbers.filter(bool),
        branch=branches,
        **VARIANCES,
    ),
}
any_network = st.one_of(*NETWORKS.values())


def test_the_strategies_cover_every_kind() -> None:
    assert set(NETWORKS) == set(get_args(Network))


@fixed
@given(any_network)
def test_json_reads_back(network: Any) -> None:
    text = network.to_json()
    assert read_network(text) == network
    assert type(network).from_json(text) == network
    assert read_network(json.dumps(json.loads(text), indent=2)) == network
    assert hash(read_network(text)) == hash(network)
    assert str(read_network(text)) == str(network)


@fixed
@given(any_network)
def test_networks_are_frozen(network: Any) -> None:
    before = hash(network)
    for field in ("width", "activation", "gain", "unheard_of"):
        assert "cannot be changed" in refusal(lambda: setattr(network, field, 3))  # noqa: B023
        assert "cannot be changed" in refusal(lambda: delattr(network, field))  # noqa: B023
    assert hash(network) == before


def test_a_copy_with_another_size_has_the_gain_of_that_size() -> None:
    network = MLP(width=4, depth=9, activation=ShapedReLU(c_plus=0, c_minus=-1))
    assert network.gain == pytest.approx(2 / (1 + 0.5**2))
    wider = network.model_copy(update={"width": 100})
    assert wider == MLP(width=100, depth=9, activation=network.activation)
    assert wider.gain == pytest.approx(2 / (1 + 0.9**2))
    assert SIZE in refusal(lambda: network.model_copy(update={"width": 0}))


def test_what_follows_from_the_fields() -> None:
    network = MLP(width=25, depth=100, activation=ShapedReLU(c_plus=5, c_minus=-5))
    assert (network.aspect, network.slopes, network.gain) == (4.0, (2.0, 0.0), 0.5)
    assert network.homogeneous
    assert MLP(width=25, depth=100).activation == ReLU()
    tanh = MLP(width=25, depth=100, activation=Elementwise(function="numpy:tanh"))
    assert not tanh.homogeneous
    assert refusal(lambda: tanh.slopes).startswith("numpy:tanh is not given by two slopes")


@pytest.mark.parametrize(
    ("branch", "factor", "scale"),
    [
        ("1/sqrt(depth)", 1.0, 1 / 3),
        ("-0.6/sqrt(depth)", -0.6, -0.2),
        (".5/sqrt(depth)", 0.5, 0.5 / 3),
        ("2. / sqrt( depth )", 2.0, 2 / 3),
        (" 3e-1/sqrt(depth) ", 0.3, 0.1),
        ("0/sqrt(depth)", 0.0, 0.0),
        ("0.25", None, 0.25),
        (0.25, None, 0.25),
        (2, None, 2.0),
        (np.float32(0.5), None, 0.5),
    ],
)
def test_branches_are_numbers_or_scale_with_the_depth(branch: object, factor: float | None, scale: float) -> None:
    network = ResNet(width=5, depth=9, branch=branch)
    assert network.branch_factor == factor
    assert network.branch_scale == pytest.approx(scale, rel=1e-15)
    assert read_network(network.to_json()) == network


def test_one_branch_written_in_two_ways_is_one_network() -> None:
    assert ResNet(width=5, depth=9, branch="1 / sqrt( depth )") == ResNet(width=5, depth=9)


@fixed
@given(st.floats(-1e3, 1e3), st.integers(1, 10_000))
def test_a_branch_factor_is_divided_by_the_root_of_the_depth(factor: float, depth: int) -> None:
    network = ResNet(width=5, depth=depth, branch=f"{factor!r}/sqrt(depth)")
    assert network.branch_scale == pytest.approx(factor / sqrt(depth), rel=1e-15)


@pytest.mark.parametrize("network", [MLP, ResNet])
@pytest.mark.parametrize("size", ["width", "depth"])
@pytest.mark.parametrize(
    "value",
    [0, -1, 1.5, 10_000_001, nan, inf, None, True, False, np.True_, "x", "1.5", [3], {}, np.ones(3), 1j],
)
def test_sizes_that_are_not_allowed(network: Callable[..., Any], size: str, value: object) -> None:
    message = refusal(lambda: network(**{"width": 3, "depth": 3, size: value}))
    assert message.startswith(f"{size} = ")
    assert message.endswith(f" is not allowed; it must be {SIZE}.")


@pytest.mark.parametrize("value", [3, 3.0, np.int64(3), np.float64(3), "3", np.array(3)])
def test_whole_numbers_of_every_type_are_sizes(value: object) -> None:
    assert MLP(width=value, depth=value) == MLP(width=3, depth=3)


@pytest.mark.parametrize(
    "branch",
    [
        "2/depth",
        "2/depth^-1",
        "2/depth^nan",
        "2/depth^1e9",
        "nan",
        "inf",
        "-inf",
        "1e400",
        "1e400/sqrt(depth)",
        "nan/sqrt(depth)",
        "1/sqrt(width)",
        "sqrt(depth)",
        "1/sqrt(depth)/2",
        "1/(sqrt(depth))",
        "1//sqrt(depth)",
        "",
        " ",
        "x",
        nan,
        inf,
        None,
        True,
        [1],
        {},
        1j,
    ],
)
def test_branches_that_are_not_allowed(branch: object) -> None:
    message = refusal(lambda: ResNet(width=3, depth=3, branch=branch))
    assert message.startswith("branch = ")
    assert "it must be a finite number, or 'a/sqrt(depth)' or 'a/depth^alpha' with finite a, alpha" in message


@pytest.mark.parametrize("skip", [nan, inf, None, "x", True, [1.0]])
def test_skips_that_are_not_allowed(skip: object) -> None:
    assert refusal(lambda: ResNet(width=3, depth=3, skip=skip)).endswith(
        "it must be a finite number or 'norm-preserving'."
    )


def test_branch_exponents_and_norm_preserving_skips() -> None:
    network = ResNet(width=3, depth=16, branch="2 / depth ^ 0.75", skip="norm-preserving")
    assert network.branch == "2/depth^0.75"
    assert network.branch_scale == pytest.approx(2 / 8)
    assert network.branch_exponent == 0.75
    assert network.skip_scale == pytest.approx(np.sqrt(1 - 1 / 16))
    assert str(network).startswith("ResNet, relu, norm-preserving, branch 2/depth^0.75, ")
    assert read_network(network.to_json()) == network
    assert ResNet(width=3, depth=16, branch="1/depth^0.5") == ResNet(width=3, depth=16, branch="1/sqrt(depth)")
    assert ResNet(width=3, depth=16, branch=0.5).branch_exponent == 0
    assert "give a branch from -1 to 1" in refusal(lambda: ResNet(width=3, depth=3, branch=2, skip="norm-preserving"))


def test_normalizations_and_their_places() -> None:
    network = MLP(width=3, depth=3, normalization="layernorm", placement="after-activation")
    assert str(network) == "MLP, relu, layernorm after the activation, width 3, depth 3"
    assert network.gain == 1
    assert network.model_copy(update={"placement": "before-activation"}).gain == 2
    assert read_network(network.to_json()) == network
    assert "residual sum" in refusal(lambda: MLP(width=3, depth=3, placement="after-sum"))
    assert "single neuron" in refusal(lambda: ResNet(width=1, depth=3, normalization="layernorm"))
    assert "normalization = 'x' is not allowed" in refusal(lambda: MLP(width=3, depth=3, normalization="x"))


@pytest.mark.parametrize("branch", [0, "0", "0/sqrt(depth)", -0.0])
def test_a_network_that_passes_nothing_on(branch: object) -> None:
    assert "pass nothing on" in refusal(lambda: ResNet(width=3, depth=3, skip=0, branch=branch))
    assert ResNet(width=3, depth=3, skip=1, branch=branch).branch_scale == 0


@pytest.mark.parametrize("activation", ["relu", "leaky:0.2", None, 3, True, ReLU, np.tanh, {}, {"kind": "x"}, [ReLU()]])
def test_activations_that_are_none(activation: object) -> None:
    message = refusal(lambda: MLP(width=3, depth=3, activation=activation))
    assert message.startswith("activation = ")
    assert "it must be ReLU(), LeakyReLU(slope=0.2), ShapedReLU(), Shaped(" in message
    assert "'relu', 'leaky', 'shaped-relu', 'shaped', 'transformed' or 'function'" in message


@pytest.mark.parametrize(
    ("activation", "said"),
    [
        ({"kind": "leaky", "slope": 7}, "slope = 7 is not allowed; it must be a number from -1 to 1."),
        ({"kind": "leaky"}, "slope is missing; give a number from -1 to 1."),
        ({"kind": "relu", "slope": 1}, "ReLU has no field slope; it has none."),
        ({"kind": "shaped-relu", "rate": "x"}, "rate = 'x' is not allowed; it must be 'width' or 'depth'."),
        (
            {"kind": "shaped-relu", "c_plus": True},
            "c_plus = True is not allowed; it must be a finite number.",
        ),
        ({"kind": "function", "function": "no_such_module_at_all:f"}, None),
        ({"kind": "function", "function": "numpy:sum"}, None),
    ],
)
def test_what_is_wrong_inside_the_activation_is_said_alone(activation: dict[str, Any], said: str | None) -> None:
    fields = {"width": 3, "depth": 3, "activation": activation}
    message = refusal(lambda: MLP(**fields))
    assert message == (said or refusal(lambda: Elementwise(function=activation["function"])))
    text = json.dumps({"kind": "resnet", **fields})
    assert refusal(lambda: read_network(text)) == refusal(lambda: ResNet.from_json(text)) == message


def test_an_activation_without_a_gain_at_this_size_is_refused() -> None:
    zero = ShapedReLU(c_plus=-4, c_minus=-4)
    message = refusal(lambda: MLP(width=16, depth=3, activation=zero))
    assert message.startswith(f"the mean square of {zero} at width 16 and depth 3 is 0 ")
    assert MLP(width=64, depth=3, activation=zero).slopes == (0.5, 0.5)
    assert "at width 5 and depth 3 is inf " in refusal(
        lambda: ResNet(width=5, depth=3, activation=ShapedReLU(c_plus=1e308))
    )


def test_fields_that_are_missing_or_unknown() -> None:
    assert refusal(lambda: MLP(width=3)) == f"depth is missing; give {SIZE}."
    assert (
        refusal(lambda: MLP(wdith=3, depth=3))
        == "MLP has no field wdith; it has width, depth, activation, normalization, placement, "
        "weight_variance, bias_variance."
    )
    assert refusal(lambda: MLP(width=3, depth=3, skip=1)).startswith("MLP has no field skip; ")
    assert refusal(lambda: ResNet(width=3, depth=3, bias=1)).endswith(
        "it has width, depth, activation, normalization, placement, weight_variance, bias_variance, skip, branch."
    )
    assert refusal(lambda: MLP(width=3, depth=3, kind="resnet")) == "kind = 'resnet' is not allowed; it must be 'mlp'."


BAD_JSON = {
    "": "the text '' is not JSON (",
    "{": "the text '{' is not JSON (",
    "width = 3": "is not JSON (",
    '{"kind": "mlp", "width": 3, "depth": 3}}': "is not JSON (",
    "\n{\n\n": "is not JSON (",
    "[]": "[] was given; give an object such as ",
    "3": "3 was given; give an object such as ",
    "null": "None was given; give an object such as ",
    '"mlp"': "'mlp' was given; give an object such as ",
    "{}": "{} was given; give an object such as ",
    '{"width": 3, "depth": 3}': "was given; give an object such as ",
    '{"kind": "cnn", "width": 3, "depth": 3}': "the kind 'cnn' was given; give an object such as ",
    '{"kind": null, "width": 3, "depth": 3}': " was given; give an object such as ",
    '{"kind": "mlp", "width": 3}': f"depth is missing; give {SIZE}.",
    '{"kind": "mlp", "width": 0, "depth": 3}': f"width = 0 is not allowed; it must be {SIZE}.",
    '{"kind": "mlp", "width": 1.5, "depth": 3}': f"width = 1.5 is not allowed; it must be {SIZE}.",
    '{"kind": "mlp", "width": true, "depth": 3}': f"width = True is not allowed; it must be {SIZE}.",
    '{"kind": "mlp", "width": NaN, "depth": 3}': f"width = nan is not allowed; it must be {SIZE}.",
    '{"kind": "mlp", "width": 3, "depth": 3, "skip": 1}': "MLP has no field skip; it has width, depth, activ",
    '{"kind": "mlp", "width": 3, "depth": 3, "activation": "relu"}': "activation = 'relu' is not allowed; it must be",
    '{"kind": "mlp", "width": 3, "depth": 3, "activation": null}': "activation = None is not allowed; it must be",
    '{"kind": "mlp", "width": 3, "depth": 3, "self": 1}': "MLP has no field self; it has width, depth, activ",
    '{"kind": "mlp", "width": 3, "depth": 3, "a\\nb": 1}': "MLP has no field 'a\\nb'; it has width, depth, act",
    '{"kind": "resnet", "width": 3, "depth": 3, "branch": "2/depth"}': "branch = '2/depth' is not allowed; it must",
    '{"kind": "resnet", "width": 3, "depth": 3, "branch": NaN}': "branch = nan is not allowed; it must be a finite",
    '{"kind": "resnet", "width": 3, "depth": 3, "branch": 0, "skip": 0}': "skip = 0 and branch = 0 pass nothing on",
}


@pytest.mark.parametrize("text", BAD_JSON)
def test_json_that_is_no_network(text: str) -> None:
    assert BAD_JSON[text] in refusal(lambda: read_network(text))


def test_json_of_another_kind_of_network() -> None:
    text = ResNet(width=3, depth=3).to_json()
    assert refusal(lambda: MLP.from_json(text)) == "kind = 'resnet' is not allowed; it must be 'mlp'."


@pytest.mark.parametrize("value", [None, 3, {"kind": "mlp", "width": 3, "depth": 3}])
def test_json_that_is_no_text(value: Any) -> None:
    assert " was given; give an object such as " in refusal(lambda: read_network(value))
    assert " was given; give what to_json writes." in refusal(lambda: MLP.from_json(value))


@settings(fixed, max_examples=150)
@given(
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*"abc", "kind"]), inner, max_size=3)
        ),
        max_leaves=8,
    )
)
def test_any_json_in_place_of_any_field_is_a_network_or_one_sentence(value: Any) -> None:
    good = {"kind": "resnet", "width": 3, "depth": 3, "activation": {"kind": "relu"}, "skip": 1, "branch": 1}
    for field in [*good, str(value)]:
        text = json.dumps(good | {field: value})
        try:
            network = read_network(text)
        except DeeplimError:
            refusal(lambda: read_network(text))  # noqa: B023
        else:
            assert read_network(network.to_json()) == network


def test_the_example_in_the_error_message_is_a_network() -> None:
    found = re.search(r'\{"kind".*?\}', refusal(lambda: read_network("[]")))
    assert found is not None
    assert read_network(found.group()) == MLP(width=64, depth=20)


def test_networks_are_told_in_words_that_name_every_field() -> None:
    assert str(MLP(width=3, depth=4)) == "MLP, relu, width 3, depth 4"
    assert str(ResNet(width=3, depth=4)) == "ResNet, relu, branch 1/sqrt(depth), width 3, depth 4"
    network = ResNet(width=3, depth=4, skip=0.123456789, branch=1, activation=LeakyReLU(slope=1 / 3))
    assert str(network) == "ResNet, leaky:0.3333333333333333, skip 0.123456789, branch 1, width 3, depth 4"


def test_the_public_names_are_these() -> None:
    assert (deeplim.MLP, deeplim.ResNet, deeplim.read_network) == (MLP, ResNet, read_network)
