"""Networks as self-contained C."""

from fourfold.deploy.c.source import to_c

__all__ = ["to_c"]
