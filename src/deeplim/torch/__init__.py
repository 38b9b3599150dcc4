"""PyTorch modules that shape a network, and a function that shapes a model in place."""

from deeplim.torch.application import apply_, shape_
from deeplim.torch.edits import Change
from deeplim.torch.modules import ScaledLinear, ScaledResidual, ShapedActivation, ShapedReLU, TransformedActivation

__all__ = [
    "Change",
    "ScaledLinear",
    "ScaledResidual",
    "ShapedActivation",
    "ShapedReLU",
    "TransformedActivation",
    "apply_",
    "shape_",
]
