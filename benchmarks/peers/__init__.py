"""Libraries that draw the networks of exact_ensembles.py, each served from a process of its own."""
