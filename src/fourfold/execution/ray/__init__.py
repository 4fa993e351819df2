"""Trials on a Ray cluster. `bridge` runs in a process of its own, the only one that imports Ray."""
