"""Exact finite networks at initialization."""
