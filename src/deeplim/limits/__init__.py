"""The limits deeplim knows, and which of them describe a given network.

A new limit is: its file in this folder, one line in ``catalogue.ALL``, its test, its page, a changelog line.
"""

from typing import TYPE_CHECKING

import lazy_loader

# Loaded on first use: finding a limit needs no compiler, and deriving or sampling one does.
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["kernels"],
    submod_attrs={
        "base": ["AbstractLimit"],
        "catalogue": ["ALL", "explain", "find", "named"],
        "derivation": ["derive"],
        "recommendation": ["recommend"],
        "unsampled": ["law"],
    },
)

if TYPE_CHECKING:
    from deeplim.limits import kernels as kernels
    from deeplim.limits.base import AbstractLimit as AbstractLimit
    from deeplim.limits.catalogue import ALL as ALL
    from deeplim.limits.catalogue import explain as explain
    from deeplim.limits.catalogue import find as find
    from deeplim.limits.catalogue import named as named
    from deeplim.limits.derivation import derive as derive
    from deeplim.limits.recommendation import recommend as recommend
    from deeplim.limits.unsampled import law as law
