"""The errors deeplim raises on purpose: one sentence each, saying what came, what is allowed and the cure."""


class DeeplimError(Exception):
    """Base of every error that deeplim raises on purpose."""


class SpecError(DeeplimError, ValueError):
    """A network or activation that cannot exist: width 0, a slope that is not a number, an unknown name."""


class InputError(DeeplimError, ValueError):
    """Inputs, layers, counts or files that cannot be used as given."""


class ClockError(DeeplimError, ValueError):
    """Two sets of paths whose depth is measured on different clocks (layer, layer/width, layer/depth)."""


class LimitError(DeeplimError, ValueError):
    """A limit asked to describe a network, or inputs, that it does not describe."""
