"""An encoding as sums: each channel that a network sees is a weighted sum of an image's bytes."""

from fourfold.data.encoding import GREY
from fourfold.deploy.program import Encoding, Shape


def encoded_terms(encoding: Encoding, shape: Shape) -> list[tuple[float, dict[int, float]]]:
    """Return for each channel that the network sees a constant, and the factor of each byte of its group of pixels.

    A group is one pixel, or for `pixels` the n neighbours that become one number.
    """
    channels = encoding.shape[0]
    scale = [1 / (255 * std) for std in encoding.std]
    shift = [-mean / std for mean, std in zip(encoding.mean, encoding.std, strict=True)]
    pixels = encoding.n if encoding.kind == "pixels" else 1
    made = [(shift[c], {pixel * channels + c: scale[c]}) for pixel in range(pixels) for c in range(channels)]
    if encoding.kind == "grey":
        grey = {c: weight * scale[c] for c, weight in enumerate(GREY)}
        made.append((sum(weight * shift[c] for c, weight in enumerate(GREY)), grey))
    return made + [(0.0, {})] * (shape[0] - len(made))
