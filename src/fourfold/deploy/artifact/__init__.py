"""Artifacts: a trained network as one small file, documented in docs/artifact.md."""

from fourfold.deploy.artifact.file import opened, pack, parse, read

__all__ = ["opened", "pack", "parse", "read"]
