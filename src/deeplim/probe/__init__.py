"""Real models: how signals propagate through a PyTorch or JAX model at initialization, layer by layer."""
