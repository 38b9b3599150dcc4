"""JAX functions that shape a network."""
