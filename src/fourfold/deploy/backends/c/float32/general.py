"""Operations of floats along any axes in C."""

import math

import numpy as np

from fourfold.deploy.backends.c.plan import Draft
from fourfold.deploy.backends.c.strided import View, append, indices, loops, shared, view
from fourfold.deploy.backends.c.text import array, number
from fourfold.deploy.ir.ops import (
    Activation,
    AdaptivePool,
    Binary,
    Embedding,
    MatMul,
    Normalize,
    PRelu,
    Reduce,
    Resize,
    Softmax,
)
from fourfold.deploy.ir.ops.normalize import block_split

FUNCTIONS = {
    "sigmoid": "sigmoid_1(v)",
    "tanh": "tanh_1(v)",
    "gelu": "0.5f * v * (1 + erf_1(v * 0.70710678f))",
    "gelu_tanh": "v * sigmoid_1(1.5957691f * (v + 0.044715f * v * v * v))",
    "silu": "v * sigmoid_1(v)",
    "hardswish": "v * clip_1(v * 0.16666667f + 0.5f, 0, 1)",
    "hardsigmoid": "clip_1(v * 0.16666667f + 0.5f, 0, 1)",
    "clip": "clip_1(v, A, B)",
    "leaky_relu": "v < 0 ? A * v : v",
    "elu": "B * (v > 0 ? v : A * expm1_1(v))",
    "mish": "v * tanh_1(log1pexp_1(v))",
    "softplus": "A * v > B ? v : log1pexp_1(A * v) / A",
    "softsign": "v / (1 + (v < 0 ? -v : v))",
    "abs": "v < 0 ? -v : v",
    "square": "v * v",
    "sqrt": "sqrt_1(v)",
    "exp": "exp_1(v)",
    "log": "log_1(v)",
    "reciprocal": "1 / v",
    "power": "power_1(v, A, IS_INTEGER, IS_ODD)",
}
"""The C of each function of v, with A and B for its settings."""

BINARY = {
    "add": "a + b",
    "subtract": "a - b",
    "multiply": "a * b",
    "divide": "a / b",
    "maximum": "a > b ? a : b",
    "minimum": "a < b ? a : b",
}
"""The C of each function of a and b."""


def add_activation(draft: Draft, operation: Activation) -> None:
    """Append the step of a function of single numbers."""
    source, target = view(draft, operation.inputs[0]), view(draft, operation.output)
    names, alpha = indices(len(target.shape)), operation.alpha
    result = FUNCTIONS[operation.function]
    words = {
        "IS_INTEGER": str(int(alpha == round(alpha))),
        "IS_ODD": str(int(alpha == round(alpha) and round(alpha) % 2)),
        "A": f"({number(alpha)})",
        "B": f"({number(operation.beta)})",
    }
    for word, meaning in words.items():
        result = result.replace(word, meaning)
    lines = [f"const float v = x[{source.at(*names)}];", f"y[{target.at(*names)}] = {result};"]
    append(draft, operation, shared(names, target.shape, lines), comment=operation.function)


def add_prelu(draft: Draft, operation: PRelu) -> None:
    """Append the step of a ReLU with slopes."""
    source, target = view(draft, operation.inputs[0]), view(draft, operation.output)
    names = indices(len(target.shape))
    lines = [f"const float v = x[{source.at(*names)}];", f"y[{target.at(*names)}] = v < 0 ? @slope[i0] * v : v;"]
    append(draft, operation, shared(names, target.shape, lines), tables=array("float", "@slope", operation.slope))


def broadcast(source: View, names: list[str]) -> str:
    """Return the place of a number of a value that is repeated along its axes of length 1."""
    return source.at(*("0" if size == 1 else name for name, size in zip(names, source.shape, strict=True)))


def add_binary(draft: Draft, operation: Binary) -> None:
    """Append the step of a function of two values."""
    first, second = (view(draft, value) for value in operation.inputs)
    target = view(draft, operation.output)
    names = indices(len(target.shape))
    lines = [f"const float a = x[{broadcast(first, names)}], b = other[{broadcast(second, names)}];"]
    lines += [f"y[{target.at(*names)}] = {BINARY[operation.function]};"]
    append(draft, operation, shared(names, target.shape, lines), comment=operation.function)


def outer_and_inner(target: View, axes: tuple[int, ...]) -> tuple[list[str], list[str], list[int], list[int]]:
    """Return names and extents of the axes that stay, and of those that are walked for each of their places."""
    names = indices(len(target.shape))
    outer = [axis for axis in range(len(names)) if axis not in axes]
    return [names[k] for k in outer], [names[k] for k in axes], outer, list(axes)


def add_reduce(draft: Draft, operation: Reduce) -> None:
    """Append the step of a sum, mean or extreme along axes."""
    source, target = view(draft, operation.inputs[0]), view(draft, operation.output)
    outside, inside, outer, inner = outer_and_inner(source, operation.axes)
    names, shape = indices(len(source.shape)), source.shape
    extreme = operation.function in ("max", "min")
    start = {"max": "-INFINITY", "min": "INFINITY"}.get(operation.function, "0")
    sign = {"max": ">", "min": "<"}.get(operation.function)
    lines = ["const float v = " + f"x[{source.at(*names)}];"]
    lines += [f"result = v {sign} result ? v : result;" if extreme else "result += v;"]
    factor = f" * {number(1 / operation.count(shape))}" if operation.function == "mean" else ""
    places = ["0" if axis in operation.axes else name for axis, name in enumerate(names)]
    body = [f"float result = {start};", *loops(inside, [shape[axis] for axis in inner], lines)]
    body += [f"y[{target.at(*places)}] = result{factor};"]
    by_channel = bool(outer) and outer[0] == 0
    append(
        draft,
        operation,
        shared(outside, [shape[axis] for axis in outer], body),
        comment=operation.function,
        by_channel=by_channel,
    )


def add_adaptive_pool(draft: Draft, operation: AdaptivePool) -> None:
    """Append the step of a pooling to a size."""
    source, target = view(draft, operation.inputs[0]), view(draft, operation.output)
    names, largest = indices(3), operation.function == "max"
    lines = [
        "const float v = " + f"x[{source.at('i0', 'r', 'c')}];",
        "result = v > result ? v : result;" if largest else "result += v;",
    ]
    spans = [(f"@starts_{k}[i{k + 1}]", f"@ends_{k}[i{k + 1}]") for k in (0, 1)]
    count = " * ".join(f"({end} - {start})" for start, end in spans)
    body = [f"float result = {'-INFINITY' if largest else '0'};", *loops(["r", "c"], spans, lines)]
    body += [f"y[{target.at(*names)}] = result{'' if largest else f' / (float)({count})'};"]
    append(draft, operation, shared(names, target.shape, body), tables=window_tables(operation, source))


def window_tables(operation: AdaptivePool, source: View) -> str:
    """Return where windows begin and end along rows (0) and columns (1)."""
    tables = ""
    for axis in (0, 1):
        starts, ends = operation.windows(axis, source.shape[axis + 1])
        tables += array("int32_t", f"@starts_{axis}", np.array(starts)) + array("int32_t", f"@ends_{axis}", np.array(ends))
    return tables


def add_resize(draft: Draft, operation: Resize) -> None:
    """Append the step of a map of another size."""
    source, target = view(draft, operation.inputs[0]), view(draft, operation.output)
    names, tables = indices(3), ""
    for axis, name in enumerate("rc"):
        first, second, share = operation.neighbours(axis, source.shape[axis + 1])
        tables += array("int32_t", f"@{name}_first", first)
        if operation.mode != "nearest":
            tables += array("int32_t", f"@{name}_second", second) + array("float", f"@{name}_share", share)
    at = {
        f"{r}{c}": f"x[{source.at('i0', f'@r_{r}[i1]', f'@c_{c}[i2]')}]"
        for r in ("first", "second")
        for c in ("first", "second")
    }
    if operation.mode == "nearest":
        lines = [f"y[{target.at(*names)}] = {at['firstfirst']};"]
    else:
        lines = ["const float down = @r_share[i1], right = @c_share[i2];"]
        lines += [f"const float above = {at['firstfirst']} * (1 - right) + {at['firstsecond']} * right;"]
        lines += [f"const float below = {at['secondfirst']} * (1 - right) + {at['secondsecond']} * right;"]
        lines += [f"y[{target.at(*names)}] = above * (1 - down) + below * down;"]
    append(draft, operation, shared(names, target.shape, lines), comment=operation.mode, tables=tables)


def add_softmax(draft: Draft, operation: Softmax) -> None:
    """Append the step of a softmax or its logarithm."""
    source, target = view(draft, operation.inputs[0]), view(draft, operation.output)
    outside, inside, outer, _ = outer_and_inner(source, (operation.axis,))
    names, size = indices(len(source.shape)), [source.shape[operation.axis]]
    value, place = f"x[{source.at(*names)}]", f"y[{target.at(*names)}]"
    result = f"{value} - largest - logarithm" if operation.log else f"{place} * share"
    body = ["float largest = -INFINITY, sum = 0;"]
    body += loops(inside, size, [f"largest = {value} > largest ? {value} : largest;"])
    body += loops(inside, size, [f"sum += {place} = exp_1({value} - largest);"])
    body += ["const float logarithm = log_1(sum);" if operation.log else "const float share = 1 / sum;"]
    body += loops(inside, size, [f"{place} = {result};"])
    by_channel = bool(outer) and outer[0] == 0
    append(draft, operation, shared(outside, [source.shape[axis] for axis in outer], body), by_channel=by_channel)


def block_loops(shape: tuple[int, ...], blocks: int) -> tuple[list[str], list[int], list[str], list[int | tuple[str, str]]]:
    """Return names and extents of the loops over blocks of a value, and of those within a block."""
    split = block_split(shape, blocks)
    assert split is not None
    axis, parts = split
    names = indices(len(shape))
    outside, extents = names[:axis], list(shape[:axis])
    inside: list[int | tuple[str, str]] = list(shape[axis:])
    if parts > 1:
        outside, extents = [*outside, "block"], [*extents, parts]
        size = shape[axis] // parts
        inside[0] = (f"block * {size}", f"(block + 1) * {size}")
    return outside, extents, names[axis:], inside


def add_normalize(draft: Draft, operation: Normalize) -> None:
    """Append the step of a norm: mean, variance of what is left, and the quotient."""
    source, target = view(draft, operation.inputs[0]), view(draft, operation.output)
    outside, extents, inside, spans = block_loops(source.shape, operation.blocks)
    names, count = indices(len(source.shape)), math.prod(source.shape) // operation.blocks
    value, place = f"x[{source.at(*names)}]", f"y[{target.at(*names)}]"
    body = ["float mean = 0, variance = 0;"]
    if operation.center:
        body += [*loops(inside, spans, [f"mean += {value};"]), f"mean *= {number(1 / count)};"]
    body += loops(inside, spans, [f"const float v = {value} - mean;", "variance += v * v;"])
    body += [f"const float factor = 1 / sqrt_1(variance * {number(1 / count)} + {number(operation.eps)});"]
    body += loops(inside, spans, [f"{place} = ({value} - mean) * factor;"])
    by_channel = outside[:1] == ["i0"]
    append(draft, operation, shared(outside, extents, body), by_channel=by_channel)


def add_matmul(draft: Draft, operation: MatMul) -> None:
    """Append the step of a product of matrices."""
    first, second = (view(draft, value) for value in operation.inputs)
    target = view(draft, operation.output)
    *before, row, column = indices(len(target.shape))
    terms = first.shape[-1]
    lines = [f"sum += x[{first.at(*before, row, 'k')}] * other[{second.at(*before, 'k', column)}];"]
    body = ["float sum = 0;", *loops(["k"], [terms], lines), f"y[{target.at(*before, row, column)}] = sum;"]
    work = math.prod(target.shape) * terms
    append(draft, operation, shared([*before, row, column], target.shape, body), work=work)


def add_embedding(draft: Draft, operation: Embedding) -> None:
    """Append the step that looks rows up."""
    source, target = view(draft, operation.inputs[0]), view(draft, operation.output)
    names, width = indices(len(target.shape)), target.shape[-1]
    lines = [f"const float index = clip_1(x[{source.at(*names[:-1])}], 0, {number(operation.rows - 1)});"]
    lines += [f"y[{target.at(*names)}] = @table[(index > 0 ? (int)index : 0) * {width} + {names[-1]}];"]
    append(draft, operation, shared(names, target.shape, lines), tables=array("float", "@table", operation.numbers))
