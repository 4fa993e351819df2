"""The former home of `fourfold.deploy.artifact.container`, for scripts that import from here."""

from fourfold.deploy.artifact.container import FORMAT, VERSION, digest, seal, unseal

__all__ = ["FORMAT", "VERSION", "digest", "seal", "unseal"]
