"""Sixteen numbers at a time: SIMD vectors for Numba, and the random streams made of them."""
