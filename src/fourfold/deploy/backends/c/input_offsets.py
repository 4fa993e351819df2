"""Where a convolution finds its inputs: in the value's own planes, or sorted by the phases of its stride."""

import numpy as np

from fourfold.deploy.backends.c.memory import Margins, Plane, beyond, plane, slides
from fourfold.deploy.backends.c.plan import Draft, Step
from fourfold.deploy.backends.c.sparse_lists import Integers
from fourfold.deploy.backends.c.text import share_of
from fourfold.deploy.ir.ops import Convolution


def read_places(draft: Draft, operation: Convolution) -> tuple[Plane, int, Integers]:
    """Return the plane and the buffer that a convolution reads, after appending the step that makes it where one is needed.

    The third is (numbers, *kernel): how far the inputs of the first output lie from the buffer's start.
    """
    source, buffer = draft.planes[operation.inputs[0]], draft.buffers[operation.inputs[0]]
    if not slides(operation):
        source, buffer = _add_phases(draft, operation)
    return source, buffer, _places(operation, source)


def _add_phases(draft: Draft, operation: Convolution) -> tuple[Plane, int]:
    """Append the step that sorts pixels by their place modulo the stride, so that an output's step is one number again.

    Each of the stride's phases that the kernel reads becomes a plane with the pitch of the output.
    """
    source, output = draft.planes[operation.inputs[0]], draft.planes[operation.output]
    (row_phases, column_phases), (rows, columns) = _phases(operation), beyond(operation)
    top, _, left, _ = operation.padding
    height, width = output.height + rows, output.width + columns
    phases = len(row_phases) * len(column_phases)
    sorted_plane = plane((source.channels * phases, height, width), output.pitch, Margins())
    target = draft.buffer(sorted_plane.size)
    (row_step, column_step), zero = operation.stride, draft.zero(operation.inputs[0])
    body = [
        share_of(source.channels),
        f"static const int row_phase[] = {{{', '.join(map(str, row_phases))}}};",
        f"static const int column_phase[] = {{{', '.join(map(str, column_phases))}}};",
        f"y += first * {phases * sorted_plane.length};",
        "for (int channel = first; channel < last; channel++)",
        f"    for (int phase = 0; phase < {phases}; phase++, y += {sorted_plane.length}) {{",
        f"        const NUMBER *from = x + channel * {source.length} + {source.origin};",
        f"        const int left = column_phase[phase % {len(column_phases)}] - {left};",
        f"        for (int row = 0; row < {height}; row++) {{",
        f"            const int at = row * {row_step} + row_phase[phase / {len(column_phases)}] - {top};",
        f"            for (int column = 0; column < {sorted_plane.pitch}; column++) {{",
        f"                const int beside = column * {column_step} + left;",
        f"                const int inside = at >= 0 && at < {source.height} && beside >= 0 && beside < {source.width};",
        f"                if (row < {height - 1} || column < {width})",
        f"                    y[row * {sorted_plane.pitch} + column] = inside ? from[at * {source.pitch} + beside] : {zero};",
        "            }",
        "        }",
        "    }",
    ]
    comment = f"{operation.name}: pixels sorted for a stride of {row_step} × {column_step}"
    draft.steps.append(Step(comment=comment, reads=(draft.buffers[operation.inputs[0]],), writes=target, body=tuple(body)))
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
    """Return for each input element (of all groups) and place of the kernel how far it lies from the buffer's start."""
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
