"""Real models: how signals propagate through a PyTorch or JAX model at initialization, layer by layer."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "gaps": ["norms_and_gaps"],
        "torch_points": ["observable"],
        "reading": ["LayerWeights", "Reading", "read_architecture"],
        "record": ["RoundingWarning", "record", "record_gradients"],
        "signals": ["Signals"],
    },
)
