"""Sixteen numbers at a time: SIMD vectors for Numba, and the random streams made of them."""

from deeplim.memory import check_address_space

check_address_space()  # before Numba is loaded, whose compiler aborts the process where it finds no room
