"""Convolutions in C: a tile of output pixels stays in registers while the weights of one group of outputs are walked."""

import math

import numpy as np

from fourfold.deploy.c.layout import Margins, Plane, beyond, plane, slides
from fourfold.deploy.c.lists import Integers, Lists, Pattern, make_lists
from fourfold.deploy.c.step import Draft, Step
from fourfold.deploy.c.text import array
from fourfold.deploy.program import Convolution

REGISTERS = {16: 32, 8: 16, 4: 16, 1: 16}
"""Registers that hold vectors, by the lanes of a vector."""

WALK = 4
"""What an entry costs beside its multiply-adds, in multiply-adds: its step, its weight and the loop."""


def add_convolution(draft: Draft, operation: Convolution) -> None:
    """Append the steps of a convolution."""
    source, made = draft.planes[operation.inputs[0]], draft.planes[operation.output]
    buffer = draft.buffers[operation.inputs[0]]
    if not slides(operation):
        source, buffer = _add_phases(draft, operation, source, buffer, made)
    where = _places(operation, source)
    lists = make_lists(operation.product, where, operation.groups)
    draft.buffers[operation.output] = draft.buffer(made.size)
    draft.steps.append(_walk(operation, lists, source, made, buffer, draft.buffers[operation.output]))


def _add_phases(draft: Draft, operation: Convolution, source: Plane, buffer: int, made: Plane) -> tuple[Plane, int]:
    """Append the step that sorts pixels by their place modulo the stride, so that an output's step is one number again.

    Each of the stride's phases that the kernel reads becomes a plane with the pitch of the output.
    """
    (row_phases, column_phases), (rows, columns) = _phases(operation), beyond(operation)
    top, _, left, _ = operation.padding
    height, width = made.height + rows, made.width + columns
    phases = len(row_phases) * len(column_phases)
    sorted_plane = plane((source.channels * phases, height, width), made.pitch, Margins())
    target = draft.buffer(sorted_plane.size)
    row_step, column_step = operation.stride
    body = [
        f"const int first = part * {source.channels} / parts, last = (part + 1) * {source.channels} / parts;",
        f"static const int row_phase[] = {{{', '.join(map(str, row_phases))}}};",
        f"static const int column_phase[] = {{{', '.join(map(str, column_phases))}}};",
        f"y += first * {phases * sorted_plane.length};",
        "for (int channel = first; channel < last; channel++)",
        f"    for (int phase = 0; phase < {phases}; phase++, y += {sorted_plane.length}) {{",
        f"        const float *from = x + channel * {source.length} + {source.origin};",
        f"        const int left = column_phase[phase % {len(column_phases)}] - {left};",
        f"        for (int row = 0; row < {height}; row++) {{",
        f"            const int at = row * {row_step} + row_phase[phase / {len(column_phases)}] - {top};",
        f"            for (int column = 0; column < {sorted_plane.pitch}; column++) {{",
        f"                const int beside = column * {column_step} + left;",
        f"                const int inside = at >= 0 && at < {source.height} && beside >= 0 && beside < {source.width};",
        f"                if (row < {height - 1} || column < {width})",
        f"                    y[row * {sorted_plane.pitch} + column] = inside ? from[at * {source.pitch} + beside] : 0;",
        "            }",
        "        }",
        "    }",
    ]
    comment = f"{operation.name}: pixels sorted for a stride of {row_step} × {column_step}"
    draft.steps.append(Step(comment=comment, reads=(buffer,), writes=target, body=tuple(body)))
    return sorted_plane, target


def _phases(operation: Convolution) -> tuple[list[int], list[int]]:
    """Return the remainders, modulo the stride, of the kernel's rows and columns."""
    kernel = operation.product.weight.shape[3:]
    rows, columns = (
        sorted({place * dilation % stride for place in range(size)})
        for size, dilation, stride in zip(kernel, operation.dilation, operation.stride, strict=True)
    )
    return rows, columns


def _places(operation: Convolution, source: Plane) -> Integers:
    """Return for each input number (of all groups) and place of the kernel how far it lies from the buffer's start."""
    product = operation.product
    kernel_rows, kernel_columns = (np.arange(size) for size in product.weight.shape[3:])
    numbers = product.weight.shape[2] * operation.groups
    row_gap, column_gap = operation.dilation
    if slides(operation):
        top, _, left, _ = operation.padding
        rows = (kernel_rows * row_gap - top) * source.pitch
        columns = kernel_columns * column_gap - left + source.origin
        channels = np.arange(numbers) * source.length
    else:
        row_phases, column_phases = _phases(operation)
        row_step, column_step = operation.stride
        row_plane = np.searchsorted(row_phases, kernel_rows * row_gap % row_step)
        column_plane = np.searchsorted(column_phases, kernel_columns * column_gap % column_step)
        rows = kernel_rows * row_gap // row_step * source.pitch + row_plane * len(column_phases) * source.length
        columns = kernel_columns * column_gap // column_step + column_plane * source.length
        channels = np.arange(numbers) * source.length * len(row_phases) * len(column_phases)
    places: Integers = channels[:, None, None] + rows[:, None] + columns
    return places


def tile(span: int, lists: Lists, lanes: int) -> int:
    """Return the vectors of a tile: those that waste least at the end of a plane and walk the lists least often."""
    pattern, vectors = lists.patterns[0], math.ceil(span / lanes)
    beside_sums = pattern.weights + len(pattern.inputs) if pattern.reuses else 2
    most = max(1, min((REGISTERS[lanes] - beside_sums) // lists.outputs, span // lanes))
    return min(range(1, most + 1), key=lambda size: (math.ceil(vectors / size) * (lists.outputs * size + WALK), -size))


def _walk(operation: Convolution, lists: Lists, source: Plane, made: Plane, reads: int, writes: int) -> Step:
    product, span = operation.product, made.span
    bias = np.zeros(lists.channels.size, np.float32) if product.bias is None else product.bias
    cap = max(lanes for lanes in REGISTERS if lanes <= span)
    picks = [tile(span, lists, min(cap, lanes)) for lanes in (16, 8, 4, 1)]
    numbers = range(lists.outputs)
    group_step, output_step = _channel_steps(lists)
    input_step = source.size // product.n
    tables = (
        ("" if lists.shared else array("COUNT", "@counts", lists.counts))
        + array("uint16_t", "@steps", lists.steps)
        + array("float", "@weights", lists.weights)
        + array("float", "@bias", bias[lists.channels])
    )
    per_group = lists.patterns[0].weights * (int(lists.counts.sum()) if lists.shared else 0)
    body = [
        f"typedef CAP{cap}(vector) vector;",
        f"typedef CAP{cap}(loose) loose;",
        f"enum {{ WIDTH = CAP{cap}(lanes), VECTORS = PICK({', '.join(map(str, picks))}), TILE = WIDTH * VECTORS }};",
        f"const int first = part * {lists.groups} / parts, last = (part + 1) * {lists.groups} / parts;",
    ]
    if lists.shared:
        body += [f"const float *const first_weight = @weights + first * {per_group};"]
    else:
        body += [
            f"const COUNT *const first_count = @counts + first * {len(lists.patterns)};",
            f"const uint32_t skipped = entries_of(@counts, first * {len(lists.patterns)});",
            f"const float *const first_weight = @weights + skipped * {lists.patterns[0].weights};",
        ]
    body += [
        f"for (int tile = 0; tile < {span}; tile += TILE) {{",
        f"    const int at = tile < {span} - TILE ? tile : {span} - TILE;",
        *([] if lists.shared else ["    const COUNT *count = first_count;"]),
        *([] if lists.shared else ["    const uint16_t *step = @steps + skipped;"]),
        "    const float *weight = first_weight;",
        "    for (int group = first; group < last; group++) {",
        f"        vector {', '.join(f'sum{a}[VECTORS]' for a in numbers)};",
        "        UNROLL",
        "        for (int v = 0; v < VECTORS; v++) {",
        *(f"            sum{a}[v] = (vector){{0}} + @bias[group * {lists.outputs} + {a}];" for a in numbers),
        "        }",
    ]
    for pattern in lists.patterns:
        body += _list(pattern, lists.shared, int(lists.counts.sum()), input_step)
    store = f"CAP{cap}(relu)(sum{{0}}[v])" if operation.relu else "sum{0}[v]"
    body += [
        f"        float *to = y + group * {group_step * made.length} + at + {made.origin};",
        "        UNROLL",
        "        for (int v = 0; v < VECTORS; v++) {",
        *(f"            *(loose *)(to + {a * output_step * made.length} + v * WIDTH) = {store.format(a)};" for a in numbers),
        "        }",
        "    }",
        "}",
    ]
    if output_step == 1:  # a group's outputs are neighbours
        body += wiped(made, f"first * {group_step}", f"(last - first) * {group_step}")
    else:
        body += [line for a in numbers for line in wiped(made, f"first + {a * output_step}", "last - first")]
    stored = int(np.count_nonzero(product.weight))
    kind = "dense" if lists.shared else "components" if lists.patterns[0].weights == 1 else "whole numbers"
    comment = f"{operation.name}: convolution, {stored} of {product.weight.size} weights, walked as {kind}"
    return Step(comment=comment, reads=(reads,), writes=writes, body=tuple(body), tables=tables)


def wiped(made: Plane, channel: str, channels: str) -> list[str]:
    """Return the line that puts zeros around the maps of some channels, where there is room for them."""
    if made.compact:
        return []
    shape = f"{made.height}, {made.width}, {made.pitch}, {made.origin}, {made.length}"
    return [f"wipe(y + ({channel}) * {made.length}, {channels}, {shape});"]


def _channel_steps(lists: Lists) -> tuple[int, int]:
    """Return the channels from one group to the next, and from one output of a group to the next."""
    group = int(lists.channels[1, 0] - lists.channels[0, 0]) if lists.groups > 1 else lists.outputs
    output = int(lists.channels[0, 1] - lists.channels[0, 0]) if lists.outputs > 1 else 1
    return group, output


def _list(pattern: Pattern, shared: bool, entries: int, input_step: int) -> list[str]:
    inputs = pattern.inputs
    loads = {b: f"*(const loose *)(from + {b * input_step} + v * WIDTH)" for b in inputs}
    lines = ["        {", "            const float *from = x + at;"]
    lines += ["            const uint16_t *step = @steps;"] if shared else []
    lines += [
        f"            for (uint32_t left = {entries if shared else '*count++'}; left; left--) {{",
        "                from += *step++;",
        *(f"                const float weight{w} = weight[{w}];" for w in range(pattern.weights)),
        f"                weight += {pattern.weights};",
        "                UNROLL",
        "                for (int v = 0; v < VECTORS; v++) {",
        *(
            [
                line
                for b in inputs
                for line in (f"                    vector input{b} = {loads[b]};", f"                    KEEP(input{b});")
            ]
            if pattern.reuses
            else []
        ),
        *(
            f"                    sum{term.output}[v] {'+' if term.sign > 0 else '-'}= weight{term.weight} * "
            f"{f'input{term.input}' if pattern.reuses else loads[term.input]};"
            for term in pattern.terms
        ),
        "                }",
        "            }",
        "        }",
    ]
    return lines
