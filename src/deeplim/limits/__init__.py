"""The limits deeplim knows, and which of them describe a given network.

A new limit is: its file in this folder, one line in ``catalogue.ALL``, its test, its page, a changelog line.
"""

from deeplim.limits.base import AbstractLimit
from deeplim.limits.catalogue import ALL, explain, find, named
from deeplim.limits.derivation import derive
from deeplim.limits.recommendation import recommend
from deeplim.limits.unsampled import law

__all__ = ["ALL", "AbstractLimit", "derive", "explain", "find", "law", "named", "recommend"]
