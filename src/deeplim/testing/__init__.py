"""Hypothesis strategies for tests of programs that use deeplim: networks, inputs, paths, wrong values, damaged files.

All that they make is small, so that a case takes some ten milliseconds. They need the extra ``testing``. See
docs/testing.md.
"""

try:
    import hypothesis as _hypothesis
except ImportError as error:
    raise ImportError('deeplim.testing needs Hypothesis; run pip install "deeplim[testing]".') from error

from deeplim.testing.files import archives, damaged, files
from deeplim.testing.strategies import (
    activations,
    inputs,
    layers,
    limits,
    networks,
    paths,
    summaries,
    wrong_values,
)
from deeplim.testing.words import command_lines

__all__ = [
    "activations",
    "archives",
    "command_lines",
    "damaged",
    "files",
    "inputs",
    "layers",
    "limits",
    "networks",
    "paths",
    "summaries",
    "wrong_values",
]
del _hypothesis
