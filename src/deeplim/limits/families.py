"""The names of the drifts that covariance SDEs and ODEs have; ``deeplim.limits.drifts`` steps them, compiled.

NUHAT            d rho / da = nuhat(rho)                     shaped ReLU
CENTRED_NUHAT    d rho / da = nuhat(rho) - 1 + rho           shaped ReLU, LayerNorm after it
QUADRATIC        d rho / da = (1 - rho)(1 - 2 rho)           smooth shaping, norms held at one
CENTRED_SQUARE   d rho / da = -2 rho (1 - rho)               smooth shaping, LayerNorm after it
SMOOTH           the covariances of smooth shaping, with their norms
"""

NUHAT, CENTRED_NUHAT, QUADRATIC, CENTRED_SQUARE, SMOOTH = range(5)
