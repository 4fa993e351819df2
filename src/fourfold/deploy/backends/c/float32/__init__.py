"""Kernels of floats."""
