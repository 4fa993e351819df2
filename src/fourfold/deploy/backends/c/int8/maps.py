"""Operations without weights on bytes in C, and the way from an image to levels and from levels to logits."""

from fourfold.deploy.backends.c.float32.maps import append, begin, by_channel, output_step, pixels, window_counts
from fourfold.deploy.backends.c.memory import Plane
from fourfold.deploy.backends.c.plan import IMAGE, Draft, Step, wiped
from fourfold.deploy.backends.c.text import array, number, share_of
from fourfold.deploy.ir.levels import FRACTION_BITS, LARGEST_INPUT
from fourfold.deploy.ir.ops import Add, Affine, AveragePool, Relu
from fourfold.deploy.ir.program import Encoding
from fourfold.deploy.quantize import image_factors


def add_int8_pointwise(draft: Draft, operation: Add | Affine | Relu) -> None:
    """Append the step of a sum, a scale and shift, or a ReLU."""
    assert draft.quantized is not None
    factors, shifts, bits = operation.int8_factors(draft.quantized)
    target, lines, terms = draft.planes[operation.output], [], []
    names = ("x", "other")[: len(operation.inputs)]
    place = "[channel]" if isinstance(operation, Affine) else "[0]"
    tables = array("int32_t", "@shift", shifts)
    for name, value, factor in zip(names, operation.inputs, factors, strict=True):
        source = draft.planes[value]
        tables += array("int32_t", f"@factor_{name}", factor)
        lines.append(f"const uint8_t *const from_{name} = {begin(source, name)};")
        terms.append(f"@factor_{name}{place} * from_{name}[row * {source.pitch} + column]")
    result = f"({' + '.join(terms)} + @shift{place}) >> {bits}"
    largest = draft.quantized.levels[operation.output].largest
    lines += pixels(target, [f"to[row * {target.pitch} + column] = level_from({result}, {largest});"])
    append(draft, operation, type(operation).__name__.lower(), lines, tables)


def add_int8_mean(draft: Draft, operation: AveragePool) -> None:
    """Append the step of a mean of windows."""
    assert draft.quantized is not None
    source, target = draft.planes[operation.inputs[0]], draft.planes[operation.output]
    (height, width), (row_step, column_step), (top, left) = operation.kernel, operation.stride, operation.padding
    factor, shift, bits = operation.mean_factor(draft.quantized)
    largest = draft.quantized.levels[operation.output].largest
    window = [
        "int32_t sum = 0;",
        f"for (int r = 0; r < {height}; r++)",
        f"    for (int c = 0; c < {width}; c++) {{",
        f"        const int at = row * {row_step} - {top} + r, beside = column * {column_step} - {left} + c;",
        f"        if (at >= 0 && at < {source.height} && beside >= 0 && beside < {source.width})",
        f"            sum += from[at * {source.pitch} + beside] - {draft.zero(operation.inputs[0])};",
        "    }",
        *window_counts(operation, source),
        f"to[row * {target.pitch} + column] = "
        f"level_from((sum * ({factor} / (rows * columns)) + {shift}) >> {bits}, {largest});",
    ]
    lines = [f"const uint8_t *const from = {begin(source)};", *pixels(target, window)]
    append(draft, operation, "mean of windows", lines)


def add_int8_output(draft: Draft, value: int) -> None:
    """Append the step that makes numbers of the last value's levels, where no layer made them itself."""
    assert draft.quantized is not None
    source, levels = draft.planes[value], draft.quantized.levels[value]
    target = Plane.of_map(source.channels, source.height, source.width)
    lines = [f"const uint8_t *const from = {begin(source)};"]
    result = f"(float)(from[row * {source.pitch} + column] - {levels.zero}) * {number(levels.scale)}"
    lines += pixels(target, [f"to[row * {target.pitch} + column] = {result};"])
    draft.steps.append(output_step(draft, value, by_channel(target, lines, number_type="float")))


def int8_input_step(draft: Draft) -> Step:
    """Return the step that cuts an image as the network sees it to levels."""
    assert draft.quantized is not None
    target, levels = draft.planes[0], draft.quantized.levels[0]
    start = (levels.zero << FRACTION_BITS) + (1 << FRACTION_BITS >> 1)

    def cut(to: str, number_from: str) -> list[str]:
        return [
            f"const float fine = {number((1 << FRACTION_BITS) / levels.scale)} * {number_from};",
            f"const float above = fine > -{LARGEST_INPUT} ? fine : -{LARGEST_INPUT};",  # two steps, of which vectors are made
            f"const float cut = above < {LARGEST_INPUT} ? above : {LARGEST_INPUT};",
            f"{to} = level_from(((int32_t)cut + {start}) >> {FRACTION_BITS}, {levels.largest});",
        ]

    if target.compact:  # one loop, however few numbers a channel has
        body: tuple[str, ...] = (
            share_of(target.size),
            "for (int i = first; i < last; i++) {",
            *(f"    {line}" for line in cut("y[i]", "x[i]")),
            "}",
        )
    else:
        from_map = f"const float *const from = x + channel * {target.height * target.width};"
        lines = cut(f"to[row * {target.pitch} + column]", f"from[row * {target.width} + column]")
        body = by_channel(target, [from_map, *pixels(target, lines)], levels.zero)
    writes = draft.buffers[0]
    return Step(comment="the image as the network sees it", reads=(IMAGE,), writes=writes, body=body, reads_type="float")


def int8_encode_step(draft: Draft, encoding: Encoding) -> Step:
    """Return the step that makes levels of an image's bytes."""
    assert draft.quantized is not None
    target, levels = draft.planes[0], draft.quantized.levels[0]
    factors, shifts, bits = image_factors(draft.quantized)
    lines = []
    for channel, (row, shift) in enumerate(zip(factors.tolist(), shifts.tolist(), strict=True)):
        terms = [f"{factor} * from[{byte}]" for byte, factor in enumerate(row) if factor]
        place = f"to[{channel * target.length} + row * {target.pitch} + column]"
        lines.append(f"{place} = level_from(({' + '.join([*terms, str(shift)])}) >> {bits}, {levels.largest});")
    if not factors.any():  # of an image so dark, or of so large a range, that all is zero
        lines.append("(void)from;")
    body = (
        share_of(target.height),
        f"uint8_t *const to = y + {target.origin};",
        "for (int row = first; row < last; row++)",
        f"    for (int column = 0; column < {target.width}; column++) {{",
        f"        const uint8_t *const from = x + (row * {target.width} + column) * {factors.shape[1]};",
        *(f"        {line}" for line in lines),
        "    }",
        "if (part == 0) {",
        *(f"    {line}" for line in wiped(target, levels.zero, "0", str(target.channels))),
        "}",
    )
    writes = draft.buffers[0]
    return Step(comment="the image's bytes, encoded", reads=(IMAGE,), writes=writes, body=body, reads_type="uint8_t")
