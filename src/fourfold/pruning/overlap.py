"""How much two masks agree, against chance."""

import math
from collections.abc import Mapping

import numpy as np

from fourfold.record import Overlap


def mask_overlap(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray], sizes: Mapping[str, int]) -> Overlap:
    """Return the overlap of two masks.

    Args:
        one: Bit-packed, as `pack` returns them and runs keep them.
        other: Of the same network.
        sizes: Weights of each layer, by the masks' names.

    Raises:
        ValueError: the masks or sizes are those of different networks.
    """
    if not set(one) == set(other) == set(sizes):
        raise ValueError(f"the masks are of different networks: {sorted(set(one) ^ set(other) | set(one) ^ set(sizes))}")
    both = either = 0
    expected = variance = 0.0
    for name, total in sizes.items():
        a, b = (np.unpackbits(packed[name], count=total).astype(bool) for packed in (one, other))
        kept_a, kept_b = int(a.sum()), int(b.sum())
        both += int((a & b).sum())
        either += int((a | b).sum())
        expected += kept_a * kept_b / total
        if total > 1:
            variance += kept_a * kept_b * (total - kept_a) * (total - kept_b) / (total**2 * (total - 1))
    return Overlap(both=both, either=either, expected=expected, deviation=math.sqrt(variance))
