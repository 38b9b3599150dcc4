"""deeplim: differential-equation scaling limits of deep neural networks at initialization."""

from typing import TYPE_CHECKING, Any

import lazy_loader

__version__ = "0.1.0"

# Every name loads its module on first use, so that `import deeplim` costs next to nothing.
_load, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["diagnosis", "limits", "mean_field", "observables", "probe", "rates", "routes", "spectra"],
    submod_attrs={
        "activations": ["Elementwise", "LeakyReLU", "ReLU", "Shaped", "ShapedReLU", "Transformed"],
        "architecture": ["MLP", "ResNet", "read_network"],
        "comparison": ["compare"],
        "diagnosis": ["Thresholds", "assert_healthy", "diagnose"],
        "ensemble": ["predict", "simulate", "summarize"],
        "inputs": ["digits", "gram", "read_inputs"],
        "ladder": ["climb"],
        "mean_field": ["edge_of_chaos"],
        "paths": ["Paths"],
        "planning": ["plan"],
        "reporting": ["report"],
        "shaping.design": ["shape"],
        "shaping.target": ["Target"],
        "summary": ["Summary"],
    },
)


def __getattr__(name: str) -> Any:
    if name in __all__:
        from deeplim.memory import check_address_space

        check_address_space()
    return _load(name)


if TYPE_CHECKING:
    from deeplim import diagnosis as diagnosis
    from deeplim import limits as limits
    from deeplim import mean_field as mean_field
    from deeplim import observables as observables
    from deeplim import probe as probe
    from deeplim import rates as rates
    from deeplim import routes as routes
    from deeplim import spectra as spectra
    from deeplim.activations import Elementwise as Elementwise
    from deeplim.activations import LeakyReLU as LeakyReLU
    from deeplim.activations import ReLU as ReLU
    from deeplim.activations import Shaped as Shaped
    from deeplim.activations import ShapedReLU as ShapedReLU
    from deeplim.activations import Transformed as Transformed
    from deeplim.architecture import MLP as MLP
    from deeplim.architecture import ResNet as ResNet
    from deeplim.architecture import read_network as read_network
    from deeplim.comparison import compare as compare
    from deeplim.diagnosis import Thresholds as Thresholds
    from deeplim.diagnosis import assert_healthy as assert_healthy
    from deeplim.diagnosis import diagnose as diagnose
    from deeplim.ensemble import predict as predict
    from deeplim.ensemble import simulate as simulate
    from deeplim.ensemble import summarize as summarize
    from deeplim.inputs import digits as digits
    from deeplim.inputs import gram as gram
    from deeplim.inputs import read_inputs as read_inputs
    from deeplim.ladder import climb as climb
    from deeplim.mean_field import edge_of_chaos as edge_of_chaos
    from deeplim.paths import Paths as Paths
    from deeplim.planning import plan as plan
    from deeplim.reporting import report as report
    from deeplim.shaping.design import shape as shape
    from deeplim.shaping.target import Target as Target
    from deeplim.summary import Summary as Summary
