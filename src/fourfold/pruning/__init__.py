"""Which weights are kept: scores, masks, counts and what they cost to store. Pure functions on `dict[str, Tensor]`."""

from fourfold.pruning.masks import Masks, apply_, compress, dense, expand_, fingerprint, kept, pack, stored_bytes, unpack
from fourfold.pruning.select import keep_largest, magnitude, num_kept, prune

__all__ = [
    "Masks",
    "apply_",
    "compress",
    "dense",
    "expand_",
    "fingerprint",
    "keep_largest",
    "kept",
    "magnitude",
    "num_kept",
    "pack",
    "prune",
    "stored_bytes",
    "unpack",
]
