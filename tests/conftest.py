"""Array shapes in the annotations are checked at run time, in the tests only.

In the modules past the border: those that users call refuse bad input themselves, with a sentence of their own, and
the modules that Numba compiles have Numba's types.
"""

from beartype import BeartypeConf, beartype
from jaxtyping import install_import_hook

CHECKED = [
    "bins",
    "differences",
    "finite.rowwise",
    "finite.start",
    "finite.weights",
    "gaussian",
    "limits.covariance_ode",
    "limits.covariance_sde",
    "limits.flow",
    "limits.infinite_width",
    "limits.kernels",
    "limits.laws",
    "limits.sde",
    "limits.speeds",
    "limits.unshaped_sde",
    "normalization",
    "observables",
    "probe.weights_law",
    "shaping.target",
    "shaping.transformation",
    "spectra",
    "statistics",
    "summary",
    "tally",
    "walk",
]

typecheck = beartype(conf=BeartypeConf(is_pep484_tower=True))
install_import_hook([f"deeplim.{module}" for module in CHECKED], "conftest.typecheck")
