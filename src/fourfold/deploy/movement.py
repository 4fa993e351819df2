"""How far rounding to a few bits moves a network's logits."""

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fourfold.deploy.backends import numpy as reference
from fourfold.deploy.ir.operation import Array
from fourfold.deploy.ir.program import Program

MOST_IMAGES = 128
"""That are compared, however many calibrate."""

LARGE = 0.25
"""Of the logits' own size: packing such a network raises a warning."""


@dataclass(frozen=True, kw_only=True)
class Movement:
    """What became of the logits of some images."""

    images: int
    outputs: int
    relative: float
    """Size of an image's change by that of its logits, in the mean over images: one outlier among them changes little."""
    same_class: int
    """Images whose largest logit is still the same one."""

    def __str__(self) -> str:
        text = f"{self.relative:.1%} of their size"
        return text if self.outputs == 1 else f"{text}; {self.same_class} of {self.images} images keep their largest"


def moved(exact: Program, packed: Program, images: Array | NDArray[np.uint8]) -> Movement:
    """Return how far the logits of a packed network lie from those of the network that was packed.

    Args:
        exact: The network, computed in floats.
        packed: What became of it: computed in int8 where it is calibrated.
        images: uint8 (N, H, W, C), to be encoded, or (N, channels, height, width); the first 128 are taken.
    """
    images = images[:MOST_IMAGES]
    packed_logits = reference.run_int8(packed, images) if packed.ranges else reference.run(packed, _encoded(packed, images))
    exact_logits = reference.run(exact, _encoded(exact, images))
    after, before = (logits.reshape(len(images), -1).astype(np.float64) for logits in (packed_logits, exact_logits))
    size = np.linalg.norm(before, axis=1)
    change = np.linalg.norm(after - before, axis=1)
    return Movement(
        images=len(images),
        outputs=before.shape[1],
        relative=float((change / np.where(size > 0, size, 1)).mean()),
        same_class=int((after.argmax(1) == before.argmax(1)).sum()),
    )


def warn_if_large(movement: Movement) -> None:
    """Warn of a network that rounding has changed much."""
    if movement.relative > LARGE:
        warnings.warn(
            f"rounding moved the logits by {movement}; other `ranges` (max, percentile, mse) or `values` may move them less",
            UserWarning,
            stacklevel=3,
        )


def _encoded(program: Program, images: Array | NDArray[np.uint8]) -> Array:
    if images.dtype != np.uint8:
        return images.astype(np.float32)
    assert program.encoding is not None
    return reference.encode(program.encoding, images.astype(np.uint8))
