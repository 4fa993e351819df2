"""Masks: True where a stored weight is kept. One pruned quaternion component removes four real connections."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from fourfold.nn import named_weights
from fourfold.record import UserError
from fourfold.record.arrays import mask_digest

Masks = dict[str, Tensor]
"""Bool tensors by weight name, of the weights' shapes and on their device."""

WRAPPERS = frozenset({"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
"""Parts of names that `DataParallel`, `torch.compile` and others put before those of the network that they wrap."""


def dense(weights: Mapping[str, Tensor]) -> Masks:
    """Return the masks that keep everything."""
    return {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in weights.items()}


def apply_(weights: Mapping[str, Tensor] | nn.Module, masks: Mapping[str, Tensor]) -> None:
    """Set the pruned weights to exactly zero, in place.

    Args:
        weights: By name, or the network that has them.
        masks: Of these weights; the names may differ by what wrappers add, see `matched`.

    Raises:
        UserError: the masks are of other weights, or of weights that a layer computes.
    """
    if isinstance(weights, nn.Module):
        weights = named_weights(weights, leave_computed=True)
    if not isinstance(weights, Mapping):
        raise UserError(f"`weights` (={type(weights).__name__}) must be a network, or its weights by name")
    masks = matched(masks, weights)
    with torch.no_grad():
        for name, weight in weights.items():
            weight.masked_fill_(~masks[name], 0)


def matched(masks: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> Masks:
    """Return the masks of some weights: bool, by the weights' names and on their devices.

    Names may differ by what `DataParallel`, `torch.compile` and activation checkpoints put around a network (`WRAPPERS`).

    Raises:
        UserError: the masks are of another network: names or shapes differ, or one has values other than 0 and 1.
    """
    if not isinstance(masks, Mapping):
        raise UserError(
            f"`masks` (={type(masks).__name__}) must be a dict of bool tensors by weight name, as `prune` returns it"
        )
    if set(masks) != set(weights):
        masks = _unwrapped(masks, weights)
    return {name: _fitting(name, masks[name], weight) for name, weight in weights.items()}


def _unwrapped(masks: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the masks by the names of the weights, both without the names of wrappers."""
    own = {_without_wrappers(name): name for name in weights}
    unwrapped = {_without_wrappers(name): mask for name, mask in masks.items()}
    if set(own) != set(unwrapped) or len(own) < len(weights) or len(unwrapped) < len(masks):
        others = sorted(str(name) for name in set(own) ^ set(unwrapped)) or ["several weights of one name"]
        more = f" and {len(others) - 3} more" if len(others) > 3 else ""
        raise UserError(f"`masks` must be those of this network: they lack or add {', '.join(others[:3])}{more}")
    return {own[name]: mask for name, mask in unwrapped.items()}


def _without_wrappers(name: str) -> str:
    return ".".join(part for part in str(name).split(".") if part not in WRAPPERS)


def _fitting(name: str, mask: Tensor, weight: Tensor) -> Tensor:
    """Return a mask as bool on its weight's device."""
    if not isinstance(mask, Tensor):
        raise UserError(f"`masks[{name!r}]` (={type(mask).__name__}) must be a tensor of bool")
    if mask.shape != weight.shape:
        shapes = f"has shape {tuple(mask.shape)}, its weight {tuple(weight.shape)}"
        raise UserError(f"`masks` must be those of this network: that of {name!r} {shapes}")
    if mask.is_meta and not weight.is_meta:
        raise UserError(f"`masks[{name!r}]` lies on the device 'meta', where tensors have no values")
    return as_bool(name, mask.to_dense()).to(weight.device)


def as_bool(name: str, mask: Tensor) -> Tensor:
    """Return a mask as bool.

    Raises:
        UserError: it has values other than 0 and 1.
    """
    if mask.dtype == torch.bool:
        return mask
    if not mask.is_meta and not bool(((mask == 0) | (mask == 1)).all()):
        raise UserError(f"`masks[{name!r}]` ({str(mask.dtype).removeprefix('torch.')}) must hold 0 and 1 alone")
    return mask.bool()


def kept(masks: Masks) -> dict[str, int]:
    """Return the number of kept weights by name."""
    return {name: int(mask.sum()) for name, mask in masks.items()}


def collapsed(masks: Masks) -> tuple[str, ...]:
    """Return the weights of which nothing is kept, though there were some, while something is kept of others."""
    counts = kept(masks)
    return tuple(name for name, count in counts.items() if count == 0 < masks[name].numel() and any(counts.values()))


def pack(masks: Masks) -> dict[str, np.ndarray]:
    """Return the masks as bits, eight weights a byte, first weight in the highest bit."""
    return {name: np.packbits(as_bool(name, mask).cpu().numpy().reshape(-1)) for name, mask in masks.items()}


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
    kept_values = {name: value[_fitting(name, masks[name], value)] if name in masks else value for name, value in state.items()}
    return {name: value.detach().cpu().numpy() for name, value in kept_values.items()}


def expand_(state: Mapping[str, Tensor], arrays: Mapping[str, np.ndarray], masks: Masks) -> None:
    """Fill a network's state in place from `compress`ed arrays; pruned weights become zero.

    Raises:
        ValueError: the arrays are those of another network or mask.
    """
    if set(arrays) != set(state):
        raise ValueError(f"the weights are of another network: they lack or add {sorted(set(arrays) ^ set(state))}")
    with torch.no_grad():
        for name, value in state.items():
            values = torch.from_numpy(arrays[name]).to(value.device)
            expected = (int(masks[name].sum()),) if name in masks else tuple(value.shape)
            if tuple(values.shape) != expected:
                raise ValueError(f"{name!r} has shape {tuple(values.shape)}, not {expected}")
            if name in masks:
                value.zero_()[_fitting(name, masks[name], value)] = values
            else:
                value.copy_(values)


def fingerprint(packed: Mapping[str, np.ndarray]) -> str:
    """Return the SHA-256 of packed masks, names included: equal for equal masks on every machine."""
    return mask_digest(packed)


def stored_bytes(masks: Masks, other_numbers: int) -> int:
    """Return the bytes that a device must store for a pruned network of 32-bit floats.

    Each weight tensor takes the cheapest of three forms: all values; a bitmap and the kept values; or the kept values
    and a byte each for the gap to the one before (a gap of 255 and more takes a byte more per 255). Everything else
    (`other_numbers`: biases, normalisation) is stored as it is.
    """
    total = 4 * other_numbers
    for name, mask in masks.items():
        positions = np.flatnonzero(as_bool(name, mask).cpu().numpy())
        gaps = np.diff(positions, prepend=-1) - 1
        values = 4 * positions.size
        total += min(4 * mask.numel(), values + -(-mask.numel() // 8), values + positions.size + int((gaps // 255).sum()))
    return total
