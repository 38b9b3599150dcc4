"""Findings a person can act on: what was measured, what was predicted, and the remedy."""
