"""Experiments as functions that return a `Spec`: those of the papers, of their released code, studies beyond, and one's own."""

from fourfold.presets import studies
from fourfold.presets._new import new
from fourfold.presets.papers import PRESETS, get

__all__ = ["PRESETS", "get", "new", "studies"]
