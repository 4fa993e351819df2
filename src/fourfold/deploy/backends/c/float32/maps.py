"""Operations without weights in C: pooling, sums, scales, and the way into and out of the network."""

from fourfold.deploy.backends.c.memory import Plane
from fourfold.deploy.backends.c.plan import IMAGE, LOGITS, Draft, Step, wiped
from fourfold.deploy.backends.c.text import array, number, share_of
from fourfold.deploy.ir.encoding import encoded_terms
from fourfold.deploy.ir.operation import Operation, Shape
from fourfold.deploy.ir.ops import Add, Affine, AveragePool, Flatten, MaxPool, Relu
from fourfold.deploy.ir.program import Encoding


def by_channel(target: Plane, lines: list[str], zero: int = 0, number_type: str = "NUMBER") -> tuple[str, ...]:
    """Return the body of a step that works channel by channel: `lines` see `channel`, and `to`, its first pixel."""
    return (
        share_of(target.channels),
        "for (int channel = first; channel < last; channel++) {",
        f"    {number_type} *const to = y + channel * {target.length} + {target.origin};",
        *(f"    {line}" for line in lines),
        "}",
        *wiped(target, zero, "first", "last - first"),
    )


def begin(source: Plane, name: str = "x") -> str:
    """Return the C of the first pixel of `channel`."""
    return f"{name} + channel * {source.length} + {source.origin}"


def pixels(target: Plane, lines: list[str]) -> list[str]:
    """Return a loop over the pixels of the map that is made; `lines` see `row` and `column`."""
    return [
        f"for (int row = 0; row < {target.height}; row++)",
        f"    for (int column = 0; column < {target.width}; column++) {{",
        *(f"        {line}" for line in lines),
        "    }",
    ]


def add_pointwise(draft: Draft, operation: Add | Affine | Relu) -> None:
    """Append the step of a sum, a scale and shift, or a ReLU."""
    target = draft.planes[operation.output]
    names = ("x", "other")[: len(operation.inputs)]
    values = []
    lines = []
    for name, value in zip(names, operation.inputs, strict=True):
        source = draft.planes[value]
        lines.append(f"const NUMBER *const from_{name} = {begin(source, name)};")
        values.append(f"from_{name}[row * {source.pitch} + column]")
    tables, result = "", " + ".join(values)
    if isinstance(operation, Affine):
        tables = array("float", "@scale", operation.scale) + array("float", "@shift", operation.shift)
        result = f"@scale[channel] * {result} + @shift[channel]"
    relu = isinstance(operation, Relu) or operation.relu
    lines += pixels(target, [f"to[row * {target.pitch} + column] = {f'relu_1({result})' if relu else result};"])
    append(draft, operation, type(operation).__name__.lower(), lines, tables)


def add_pool(draft: Draft, operation: MaxPool | AveragePool) -> None:
    """Append the step of a pooling."""
    source, target = draft.planes[operation.inputs[0]], draft.planes[operation.output]
    (height, width), (row_step, column_step), (top, left) = operation.kernel, operation.stride, operation.padding
    largest = isinstance(operation, MaxPool)
    row_gap, column_gap = operation.dilation if isinstance(operation, MaxPool) else (1, 1)
    fits = (target.height - 1) * row_step + (height - 1) * row_gap - top < source.height and (
        target.width - 1
    ) * column_step + (width - 1) * column_gap - left < source.width
    lines = [f"const NUMBER *const from = {begin(source)};"]
    if top == left == 0 and fits and height * width <= 9:
        window = [
            f"from[(row * {row_step} + {r * row_gap}) * {source.pitch} + column * {column_step} + {c * column_gap}]"
            for r in range(height)
            for c in range(width)
        ]
        lines += pixels(target, _inside(window, largest, target))
    else:
        lines += pixels(target, _at_the_edge(operation, source, target))
    append(draft, operation, "largest of windows" if largest else "mean of windows", lines)


def _inside(window: list[str], largest: bool, target: Plane) -> list[str]:
    """Return the lines for a window that lies on the map."""
    place = f"to[row * {target.pitch} + column]"
    if not largest:
        return [f"{place} = ({' + '.join(window)}) * {number(1 / len(window))};"]
    values = [f"const NUMBER value{i} = {pixel};" for i, pixel in enumerate(window)]
    lines, names = values, [f"value{i}" for i in range(len(window))]
    while len(names) > 1:  # by pairs, which a compiler turns into vectors
        paired = []
        for left, right in zip(names[::2], names[1::2], strict=False):
            lines.append(f"const NUMBER {left}_{right} = {left} > {right} ? {left} : {right};")
            paired.append(f"{left}_{right}")
        names = paired + names[len(paired) * 2 :]
    return [*lines, f"{place} = {names[0]};"]


def _at_the_edge(operation: MaxPool | AveragePool, source: Plane, target: Plane) -> list[str]:
    """Return the lines for a window of which a part may lie outside the map."""
    (height, width), (row_step, column_step), (top, left) = operation.kernel, operation.stride, operation.padding
    row_gap, column_gap = operation.dilation if isinstance(operation, MaxPool) else (1, 1)
    largest = isinstance(operation, MaxPool)
    lines = [
        f"{'NUMBER' if largest else 'float'} result = {'LOWEST' if largest else '0'};",
        f"for (int r = 0; r < {height}; r++)",
        f"    for (int c = 0; c < {width}; c++) {{",
        f"        const int at = row * {row_step} - {top} + r * {row_gap};",
        f"        const int beside = column * {column_step} - {left} + c * {column_gap};",
        f"        if (at < 0 || at >= {source.height} || beside < 0 || beside >= {source.width})",
        "            continue;",
        f"        const NUMBER value = from[at * {source.pitch} + beside];",
        "        result = value > result ? value : result;" if largest else "        result += value;",
        "    }",
    ]
    if isinstance(operation, MaxPool):
        return [*lines, f"to[row * {target.pitch} + column] = result;"]
    lines += window_counts(operation, source)
    return [*lines, f"to[row * {target.pitch} + column] = result / (float)(rows * columns);"]


def window_counts(operation: AveragePool, source: Plane) -> list[str]:
    """Return the lines that make `rows` and `columns`, whose product a window's sum is divided by."""
    (height, width), (row_step, column_step), (top, left) = operation.kernel, operation.stride, operation.padding
    lines = []
    margins = operation.padding if operation.count_padding else (0, 0)
    for name, place, size, step, kernel, padding, margin in (
        ("rows", "row", source.height, row_step, height, top, margins[0]),
        ("columns", "column", source.width, column_step, width, left, margins[1]),
    ):  # the mean counts the padding if asked to, but never what lies beyond it
        lines += [
            f"const int {name}_from = {place} * {step} - {padding}, {name}_to = {name}_from + {kernel};",
            f"const int {name} = ({name}_to < {size + margin} ? {name}_to : {size + margin}) - "
            f"({name}_from > {-margin} ? {name}_from : {-margin});",
        ]
    return lines


def add_flatten(draft: Draft, operation: Flatten) -> None:
    """Let the vector be the map's own buffer where nothing lies between its pixels, else append a step that copies it."""
    source, target = draft.planes[operation.inputs[0]], draft.planes[operation.output]
    if source.compact:
        draft.buffers[operation.output] = draft.buffers[operation.inputs[0]]
        return
    draft.buffers[operation.output] = writes = draft.buffer(target.size)
    reads, comment = (draft.buffers[operation.inputs[0]],), f"{operation.name}: flatten"
    draft.steps.append(Step(comment=comment, reads=reads, writes=writes, body=_copied(source), work=target.size))


def add_output(draft: Draft, value: int) -> None:
    """Append the step that gives the last value to the caller."""
    draft.steps.append(output_step(draft, value, _copied(draft.planes[value])))


def output_step(draft: Draft, value: int, body: tuple[str, ...]) -> Step:
    """Return the step that gives a value to the caller, from what does it."""
    reads, work = (draft.buffers[value],), draft.planes[value].size
    return Step(comment="to the caller", reads=reads, writes=LOGITS, body=body, writes_type="float", work=work)


def _copied(source: Plane) -> tuple[str, ...]:
    channels, pixels = source.channels, source.height * source.width
    return (
        share_of(channels),
        "for (int channel = first; channel < last; channel++)",
        f"    for (int row = 0; row < {source.height}; row++)",
        f"        memcpy(y + channel * {pixels} + row * {source.width}, {begin(source)} + row * {source.pitch},",
        f"               {source.width} * sizeof *y);",
    )


def input_step(draft: Draft) -> Step:
    """Return the step that takes an image as the network sees it, channel by channel and row by row."""
    target = draft.planes[0]
    lines = [
        f"const float *const from = x + channel * {target.height * target.width};",
        *pixels(target, [f"to[row * {target.pitch} + column] = from[row * {target.width} + column];"]),
    ]
    body = by_channel(target, lines)
    return Step(
        comment="the image as the network sees it", reads=(IMAGE,), writes=draft.buffers[0], body=body, reads_type="float"
    )


def encode_step(draft: Draft, encoding: Encoding, shape: Shape) -> Step:
    """Return the step that takes an image's bytes, pixel by pixel, and encodes them."""
    target = draft.planes[0]
    group = encoding.shape[0] * (encoding.n if encoding.kind == "pixels" else 1)
    lines = []
    for channel, (constant, factors) in enumerate(encoded_terms(encoding, shape)):
        terms = [f"{number(factor)} * from[{byte}]" for byte, factor in factors.items()]
        place = f"to[{channel * target.length} + row * {target.pitch} + column]"
        lines.append(f"{place} = {' + '.join([*terms, number(constant)])};")
    body = (
        share_of(target.height),
        f"NUMBER *const to = y + {target.origin};",
        "for (int row = first; row < last; row++)",
        f"    for (int column = 0; column < {target.width}; column++) {{",
        f"        const uint8_t *const from = x + (row * {target.width} + column) * {group};",
        *(f"        {line}" for line in lines),
        "    }",
        "if (part == 0) {",  # what is wiped lies between the rows that others write
        *(f"    {line}" for line in wiped(target, 0, "0", str(target.channels))),
        "}",
    )
    return Step(comment="the image's bytes, encoded", reads=(IMAGE,), writes=draft.buffers[0], body=body, reads_type="uint8_t")


def append(draft: Draft, operation: Operation, comment: str, lines: list[str], tables: str = "") -> None:
    """Append a step that works channel by channel."""
    target = draft.planes[operation.output]
    reads = tuple(draft.buffers[value] for value in operation.inputs)
    draft.buffers[operation.output] = writes = draft.buffer(target.size)
    comment = f"{operation.name}: {comment}"
    draft.steps.append(
        Step(
            comment=comment,
            reads=reads,
            writes=writes,
            body=by_channel(target, lines, draft.zero(operation.output)),
            tables=tables,
        )
    )
