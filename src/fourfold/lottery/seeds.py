"""Every random number of a trial comes from the trial's number, by name."""

import hashlib


def derive_seed(trial: int, stream: str, *indices: int) -> int:
    """Return a seed below 2⁶³ for one use of randomness in a trial.

    Streams: `weights` (once a trial), `images` (order and augmentation, by level and epoch), `network` (what layers of the
    user's own network draw in training, by level). The algebra is not part of it: real and quaternion networks of one trial
    see the same images in the same order.
    """
    text = "/".join(["fourfold", str(trial), stream, *map(str, indices)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
