"""Data that the package bundles: digits.csv, ten images from the UCI optical digits set (CC BY 4.0)."""
