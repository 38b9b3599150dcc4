"""PyTorch modules that shape a network, and a function that shapes a model in place."""
