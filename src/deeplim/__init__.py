"""deeplim: differential-equation scaling limits of deep neural networks at initialization."""

from typing import TYPE_CHECKING

import lazy_loader

__version__ = "0.1.0"

# Every name loads its module on first use, so that `import deeplim` costs next to nothing.
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["limits", "observables", "rates", "routes", "spectra"],
    submod_attrs={
        "activations": ["Elementwise", "LeakyReLU", "ReLU", "Shaped", "ShapedReLU"],
        "architecture": ["MLP", "ResNet", "read_network"],
        "comparison": ["compare"],
        "ensemble": ["predict", "simulate", "summarize"],
        "inputs": ["digits", "gram", "read_inputs"],
        "ladder": ["climb"],
        "paths": ["Paths"],
        "planning": ["plan"],
        "reporting": ["report"],
        "summary": ["Summary"],
    },
)

if TYPE_CHECKING:
    from deeplim import limits as limits
    from deeplim import observables as observables
    from deeplim import rates as rates
    from deeplim import routes as routes
    from deeplim import spectra as spectra
    from deeplim.activations import Elementwise as Elementwise
    from deeplim.activations import LeakyReLU as LeakyReLU
    from deeplim.activations import ReLU as ReLU
    from deeplim.activations import Shaped as Shaped
    from deeplim.activations import ShapedReLU as ShapedReLU
    from deeplim.architecture import MLP as MLP
    from deeplim.architecture import ResNet as ResNet
    from deeplim.architecture import read_network as read_network
    from deeplim.comparison import compare as compare
    from deeplim.ensemble import predict as predict
    from deeplim.ensemble import simulate as simulate
    from deeplim.ensemble import summarize as summarize
    from deeplim.inputs import digits as digits
    from deeplim.inputs import gram as gram
    from deeplim.inputs import read_inputs as read_inputs
    from deeplim.ladder import climb as climb
    from deeplim.paths import Paths as Paths
    from deeplim.planning import plan as plan
    from deeplim.reporting import report as report
    from deeplim.summary import Summary as Summary
