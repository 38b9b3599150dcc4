"""Shaping chosen for a finite width and depth, so that a stated quantile stays inside a stated bound."""
