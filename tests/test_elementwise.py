"""Activations that are any function: where they are looked for, and one sentence for functions that are none."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from refusals import refused_as_spec as refusal

from deeplim.activations import Elementwise, gain, parse_activation
from deeplim.architecture import MLP, read_network
from deeplim.errors import SpecError
from deeplim.gaussian import mean_square
from deeplim.loading import load_function

Write = Callable[..., str]
IDENTITY = "def f(x):\n    return x"


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write a module into the current directory, which is not on the import path, and return its name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    written = []

    def file(text: str, name: str = "") -> str:
        name = name or f"written_{tmp_path.name}_{len(written)}"
        (tmp_path / f"{name}.py").write_text(text)
        written.append(name)
        return name

    yield file
    for name in written:
        sys.modules.pop(name, None)
    load_function.cache_clear()
    gain.cache_clear()


BAD_FUNCTIONS = {
    "raises lines": (
        "def f(x):\n    raise ValueError('a\\nb.')",
        "could not be applied to an array (ValueError: a b)",
    ),
    "raises": (
        "def f(x):\n    raise KeyError('a\\nb')",
        "could not be applied to an array (KeyError: 'a\\nb')",
    ),
    "takes two": ("def f(x, y):\n    return x", "could not be applied to an array (TypeError: f() missing 1"),
    "wants a number": ("from math import tanh as f", "could not be applied to an array (TypeError: "),
    "nothing": ("def f(x):\n    pass", "maps an array to None"),
    "a list": ("def f(x):\n    return list(x)", "maps an array to a list"),
    "one number": ("def f(x):\n    return x.sum()", "maps an array to a float64"),
    "too few": (
        "def f(x):\n    return x[1:]",
        "of shape (5,) and type float64 to shape (4,) and type float64",
    ),
    "complex": ("def f(x):\n    return x * 1j", "to shape (5,) and type complex128"),
    "bool": ("def f(x):\n    return x > 0", "to shape (5,) and type bool"),
    "text": ("def f(x):\n    return x.astype(str)", "to shape (5,) and type <U"),
    "NaN": ("import numpy\ndef f(x):\n    return numpy.sqrt(x)", "maps -2 to nan"),
    "infinity": ("def f(x):\n    return 1 / x", "maps 0 to inf"),
    "in place": ("def f(x):\n    x[x < 0] = 0\n    return x", "changes the array it is given"),
    "normalises": ("def f(x):\n    return x - x.mean()", "is not elementwise"),
    "softmax": ("from scipy.special import softmax as f", "is not elementwise"),
    "position": ("def f(x):\n    return x * range(x.shape[-1])", "is not elementwise"),
    "chance": ("import random\ndef f(x):\n    return x * random.random()", "is not elementwise"),
    "one dimension": (
        "def f(x):\n    return x[:, None][:, 0].ravel() if x.ndim == 1 else x[0]",
        "is not elementwise",
    ),
    "zero": ("def f(x):\n    return 0 * x", "is 0 for standard normal preactivations"),
    "no mean square": ("import numpy\ndef f(x):\n    return numpy.exp(x * x)", "is inf for standard normal"),
    "overflows": ("def f(x):\n    return 1e200 * x", "is inf for standard normal"),
    "underflows": ("def f(x):\n    return 1e-200 * x", "is 0 for standard normal"),
    "no function": ("f = 3", "is no function but 3"),
    "no such name": ("g = 3", "could not be imported (AttributeError: module"),
    "syntax": ("def f(x) return x", "could not be imported (SyntaxError: "),
    "fails": ("1 / 0", "could not be imported (ZeroDivisionError: division by zero)"),
    "exits": ("raise SystemExit", "could not be imported (SystemExit)"),
    "needs what is not there": ("import no_such_module_at_all", "No module named 'no_such_module_at_all'"),
}


@pytest.mark.parametrize("name", BAD_FUNCTIONS)
def test_functions_that_are_no_activation(name: str, write: Write) -> None:
    text, said = BAD_FUNCTIONS[name]
    message = refusal(lambda: parse_activation(f"{write(text)}:f"))
    assert said in message
    assert "written_" in message


@pytest.mark.parametrize(
    "function", ["", "numpy", "numpy:", ":f", "numpy:linalg.norm", "no pe:f", "1:f", "numpy:tanh\n"]
)
def test_places_that_are_not_of_the_form(function: str) -> None:
    message = refusal(lambda: Elementwise(function=function))
    assert "is not allowed; it must be a function's place, package.module:function, or one of tanh" in message


@pytest.mark.parametrize("function", [None, 3, np.tanh, ["numpy:tanh"]])
def test_places_that_are_no_text(function: object) -> None:
    assert "it must be a function's place" in refusal(lambda: Elementwise(function=function))


@pytest.mark.parametrize("place", ["no_such_module_at_all:f", "numpy.no_such_module:f", "numpy:no_such_function"])
def test_a_function_that_is_not_there(place: str) -> None:
    assert "could not be imported" in refusal(lambda: load_function(place))


@pytest.mark.parametrize("place", ["numpy", "numpy:", ":tanh", ":", "", "numpy.tanh"])
def test_a_place_without_its_module_or_its_function(place: str) -> None:
    told = f"the model {place!r} names no function of a module; give PACKAGE.MODULE:FUNCTION, in an installed package"
    assert refusal(lambda: load_function(place, what="model")).startswith(told)


@pytest.mark.parametrize(
    "text",
    [
        "import numpy as np\ndef f(x):\n    return np.maximum(x, 0)",
        "import numpy as np\nf = np.vectorize(lambda x: x if x > 0 else 0.1 * x)",
        "def f(x):\n    return x * (x * x - 1) * (x * x - 4)",  # zero at the five numbers it is tried on
        "def f(x):\n    return x.astype('float32')",
        "import numpy as np\ndef f(x):\n    return np.floor(x).astype(int)",
    ],
)
def test_functions_in_the_current_directory_are_found(text: str, write: Write) -> None:
    activation = Elementwise(function=f"{write(text)}:f")
    assert gain(activation, 1, 1) == pytest.approx(1 / mean_square(activation.load()), rel=1e-12)


def test_the_import_path_is_left_as_it_was(write: Write, tmp_path: Path) -> None:
    before = list(sys.path)
    Elementwise(function=f"{write(IDENTITY)}:f")
    refusal(lambda: Elementwise(function=f"{write('1 / 0')}:f"))
    assert sys.path == before
    assert str(tmp_path) not in before


def test_a_module_in_the_current_directory_finds_those_beside_it(write: Write) -> None:
    beside = write("def g(x):\n    return 2 * x")
    activation = Elementwise(function=f"{write(f'from {beside} import g as f')}:f")
    assert activation.load()(np.ones(3)).tolist() == [2, 2, 2]


def test_a_package_in_the_current_directory_is_found(write: Write, tmp_path: Path) -> None:
    (tmp_path / "written_package").mkdir()
    (tmp_path / "written_package" / "inner.py").write_text(IDENTITY)
    assert Elementwise(function="written_package.inner:f").load()(np.ones(2)).tolist() == [1, 1]
    for name in ("written_package", "written_package.inner"):
        sys.modules.pop(name)


def test_an_installed_module_goes_before_one_in_the_current_directory(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    write(IDENTITY, "colorsys")
    assert "module 'colorsys' has no attribute 'f'" in refusal(lambda: load_function("colorsys:f"))
    sys.modules.pop("colorsys")
    user = write("from colorsys import rgb_to_hsv\ndef f(x):\n    return x")
    assert load_function(f"{user}:f")(3) == 3


READERS = [read_network, MLP.from_json, MLP.model_validate_json]
TEXT = '{"kind": "mlp", "width": 8, "depth": 3, "activation": {"kind": "function", "function": "PLACE"}}'


@pytest.mark.parametrize("read", READERS)
def test_a_text_imports_nothing(read, write: Write, tmp_path: Path) -> None:
    """A network as JSON may come from anybody: what it names is not imported, and nothing installed is called."""
    ran = tmp_path / "ran"
    place = write(f"open({str(ran)!r}, 'w').close()\n{IDENTITY}") + ":f"
    for name in (place, "os:abort", "numpy:save", "numpy:load", "builtins:exec", "deeplim.functions:special"):
        with pytest.raises(ValueError, match=r"trust=True \(--trust\)"):
            read(TEXT.replace("PLACE", name))
    assert not ran.exists()
    assert place.partition(":")[0] not in sys.modules
    for name in ("tanh", "deeplim.functions:elu", "numpy:tanh", "scipy.special:erf"):
        assert str(read(TEXT.replace("PLACE", name)).activation) in (name, name.rpartition(":")[2])


def test_a_trusted_text_imports_what_it_names_and_may_name_it_again(write: Write) -> None:
    text = TEXT.replace("PLACE", f"{write(IDENTITY)}:f")
    refusal(lambda: read_network(text))
    assert read_network(text, trust=True) == MLP.from_json(text, trust=True) == read_network(text)
    again = MLP(width=8, depth=3, activation=Elementwise(function=f"{write(IDENTITY)}:f"))
    assert read_network(again.to_json()) == again
    with pytest.raises(SpecError, match="is named by a text"):
        read_network(TEXT.replace("PLACE", f"{write(IDENTITY)}:f"))
