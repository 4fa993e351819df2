"""What the numbers of a network are, in words for the header of its C."""

from fourfold.deploy.backends.c.text import harmless
from fourfold.deploy.ir.ops import Convolution, Linear
from fourfold.deploy.quantize import WEIGHT_LEVELS, Quantized


def described(quantized: Quantized | None) -> list[str]:
    """Return lines that say which types values and weights have, and with which scales they are to be read."""
    if quantized is None:
        return ["Values, weights and logits are float32."]
    lines = ["Values are uint8; a level of one stands for scale * (level - zero):"]
    operations = quantized.program.operations
    for name, levels in zip(["the image", *(o.name for o in operations)], quantized.levels, strict=True):
        if name != operations[-1].name or not isinstance(operations[-1], Linear):
            lines.append(f"  {harmless(name)}: 0 to {levels.largest}, scale {levels.scale:.9g}, zero {levels.zero}")
    lines.append(f"Weights are int8, -{WEIGHT_LEVELS} to {WEIGHT_LEVELS}, times a scale for each output:")
    for operation in operations:
        if isinstance(operation, Convolution | Linear):
            scales = quantized.scales(operation)
            lines.append(f"  {harmless(operation.name)}: {scales.min():.9g} to {scales.max():.9g}")
    return [*lines, "Sums are int32, logits float32."]
