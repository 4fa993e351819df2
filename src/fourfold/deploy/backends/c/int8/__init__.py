"""Kernels of bytes."""
