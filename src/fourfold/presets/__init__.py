"""Experiments as functions that return a `Spec`: those of the papers, of their released code, and studies beyond them."""

from fourfold.presets import studies
from fourfold.presets.papers import PRESETS, get

__all__ = ["PRESETS", "get", "studies"]
