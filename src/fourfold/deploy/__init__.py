"""Trained tickets made small and fast: artifacts, generated C, and a runtime."""
