"""Masks: True where a stored weight is kept. One pruned quaternion component removes four real connections."""

import hashlib
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

Masks = dict[str, Tensor]
"""Bool tensors by weight name, of the weights' shapes and on their device."""


def dense(weights: Mapping[str, Tensor]) -> Masks:
    """Return the masks that keep everything."""
    return {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in weights.items()}


def apply_(weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> None:
    """Set the pruned weights to exactly zero, in place."""
    with torch.no_grad():
        for name, weight in weights.items():
            weight.masked_fill_(~masks[name], 0)


def kept(masks: Masks) -> dict[str, int]:
    """Return the number of kept weights by name."""
    return {name: int(mask.sum()) for name, mask in masks.items()}


def collapsed(masks: Masks) -> tuple[str, ...]:
    """Return the weights of which nothing is kept while something is kept of others: a layer that passes nothing on."""
    counts = kept(masks)
    return tuple(name for name, count in counts.items() if count == 0 and any(counts.values()))


def pack(masks: Masks) -> dict[str, np.ndarray]:
    """Return the masks as bits, eight weights a byte, first weight in the highest bit."""
    return {name: np.packbits(mask.cpu().numpy().reshape(-1)) for name, mask in masks.items()}


def unpack(packed: Mapping[str, np.ndarray], weights: Mapping[str, Tensor]) -> Masks:
    """Return the masks of `weights` from their bits.

    Raises:
        ValueError: the bits are those of another network.
    """
    if set(packed) != set(weights):
        raise ValueError(f"the mask is of another network: it lacks or adds {sorted(set(packed) ^ set(weights))}")
    masks: Masks = {}
    for name, weight in weights.items():
        bits, count = packed[name], weight.numel()
        if bits.dtype != np.uint8 or bits.shape != (-(-count // 8),):
            raise ValueError(f"the mask of {name!r} has shape {bits.shape}, not the {-(-count // 8)} bytes of {count} weights")
        flat = np.unpackbits(bits, count=count).astype(bool)
        masks[name] = torch.from_numpy(flat).view(weight.shape).to(weight.device)
    return masks


def compress(state: Mapping[str, Tensor], masks: Masks) -> dict[str, np.ndarray]:
    """Return a network's state as arrays, of each masked weight the kept values alone, in row-major order."""
    return {name: (value[masks[name]] if name in masks else value).detach().cpu().numpy() for name, value in state.items()}


def expand_(state: Mapping[str, Tensor], arrays: Mapping[str, np.ndarray], masks: Masks) -> None:
    """Fill a network's state in place from `compress`ed arrays; pruned weights become zero.

    Raises:
        ValueError: the arrays are those of another network or mask.
    """
    if set(arrays) != set(state):
        raise ValueError(f"the weights are of another network: they lack or add {sorted(set(arrays) ^ set(state))}")
    with torch.no_grad():
        for name, value in state.items():
            given = torch.from_numpy(arrays[name]).to(value.device)
            expected = (int(masks[name].sum()),) if name in masks else tuple(value.shape)
            if tuple(given.shape) != expected:
                raise ValueError(f"{name!r} has shape {tuple(given.shape)}, not {expected}")
            if name in masks:
                value.zero_()[masks[name]] = given
            else:
                value.copy_(given)


def fingerprint(packed: Mapping[str, np.ndarray]) -> str:
    """Return the SHA-256 of packed masks, names included: equal for equal masks on every machine."""
    digest = hashlib.sha256()
    for name in sorted(packed):
        digest.update(name.encode() + b"\0" + packed[name].tobytes())
    return digest.hexdigest()


def stored_bytes(masks: Masks, other_numbers: int) -> int:
    """Return the bytes that a device must store for a pruned network of 32-bit floats.

    Each weight tensor takes the cheapest of three forms: all values; a bitmap and the kept values; or the kept values
    and a byte each for the gap to the one before (a gap of 255 and more takes a byte more per 255). Everything else
    (`other_numbers`: biases, normalisation) is stored as it is.
    """
    total = 4 * other_numbers
    for mask in masks.values():
        positions = np.flatnonzero(mask.cpu().numpy())
        gaps = np.diff(positions, prepend=-1) - 1
        values = 4 * positions.size
        total += min(4 * mask.numel(), values + -(-mask.numel() // 8), values + positions.size + int((gaps // 255).sum()))
    return total
