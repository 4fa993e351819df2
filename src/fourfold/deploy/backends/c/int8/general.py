"""Operations of bytes along any axes in C: tables of a level for each level, sums of levels times integer factors."""

import math

import numpy as np

from fourfold.deploy.backends.c.float32.general import (
    block_loops,
    broadcast,
    outer_and_inner,
    window_tables,
)
from fourfold.deploy.backends.c.plan import Draft
from fourfold.deploy.backends.c.strided import append, indices, loops, shared, view
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
from fourfold.deploy.ir.ops.normalize import POINT_BITS
from fourfold.deploy.ir.ops.resize import SHARE_BITS
from fourfold.deploy.ir.ops.softmax import LOG_BITS, UNIT_BITS
from fourfold.deploy.ir.ops.softmax import POINT_BITS as LOG_POINT_BITS


def add_int8_activation(draft: Draft, operation: Activation) -> None:
    """Append the step of a table of a level for each level."""
    assert draft.quantized is not None
    source, target = view(draft, operation.inputs[0]), view(draft, operation.output)
    names = indices(len(target.shape))
    lines = [f"y[{target.at(*names)}] = @table[x[{source.at(*names)}]];"]
    tables = array("uint8_t", "@table", operation.table(draft.quantized))
    append(draft, operation, shared(names, target.shape, lines), comment=operation.function, tables=tables)


def add_int8_prelu(draft: Draft, operation: PRelu) -> None:
    """Append the step of a table for each channel."""
    assert draft.quantized is not None
    source, target = view(draft, operation.inputs[0]), view(draft, operation.output)
    names, table = indices(len(target.shape)), operation.table(draft.quantized)
    lines = [f"y[{target.at(*names)}] = @table[i0 * {table.shape[1]} + x[{source.at(*names)}]];"]
    append(draft, operation, shared(names, target.shape, lines), tables=array("uint8_t", "@table", table))


def add_int8_binary(draft: Draft, operation: Binary) -> None:
    """Append the step of a function of two values."""
    quantized = draft.quantized
    assert quantized is not None
    operation.check_int8(quantized)
    first, second = (view(draft, value) for value in operation.inputs)
    target = view(draft, operation.output)
    names, tables, largest = indices(len(target.shape)), "", quantized.levels[operation.output].largest
    a, b = f"x[{broadcast(first, names)}]", f"other[{broadcast(second, names)}]"
    if operation.function in ("maximum", "minimum"):
        for name, table in zip("ab", operation.tables(quantized), strict=True):
            tables += array("uint8_t", f"@table_{name}", table)
        sign = ">" if operation.function == "maximum" else "<"
        lines = [f"const uint8_t a = @table_a[{a}], b = @table_b[{b}];", f"y[{target.at(*names)}] = a {sign} b ? a : b;"]
    elif operation.function == "multiply":
        zeros = [quantized.levels[value].zero for value in operation.inputs]
        factor, shift, bits = operation.product_factor(quantized)
        product = f"({a} - {zeros[0]}) * ({b} - {zeros[1]}) * {factor} + {shift}"
        lines = [f"y[{target.at(*names)}] = level_from(({product}) >> {bits}, {largest});"]
    else:
        one, other, shift, bits = operation.sum_factors(quantized)
        lines = [f"y[{target.at(*names)}] = level_from(({a} * {one} + {b} * {other} + {shift}) >> {bits}, {largest});"]
    append(draft, operation, shared(names, target.shape, lines), comment=operation.function, tables=tables)


def add_int8_reduce(draft: Draft, operation: Reduce) -> None:
    """Append the step of a sum, mean or extreme along axes."""
    quantized = draft.quantized
    assert quantized is not None
    source, target = view(draft, operation.inputs[0]), view(draft, operation.output)
    outside, inside, outer, inner = outer_and_inner(source, operation.axes)
    names, shape, tables = indices(len(source.shape)), source.shape, ""
    value = f"x[{source.at(*names)}]"
    place = f"y[{target.at(*('0' if axis in operation.axes else name for axis, name in enumerate(names)))}]"
    if operation.function in ("max", "min"):
        sign, start = (">", 0) if operation.function == "max" else ("<", 255)
        body = [f"int result = {start};"]
        lines, end = [f"result = {value} {sign} result ? {value} : result;"], "@table[result]"
        tables = array("uint8_t", "@table", operation.table(quantized))
    else:
        factor, shift, bits = operation.sum_factor(quantized)
        body, lines = ["int32_t sum = 0;"], [f"sum += {value} - {quantized.levels[operation.inputs[0]].zero};"]
        end = f"level_from((sum * {factor} + {shift}) >> {bits}, {quantized.levels[operation.output].largest})"
    body += [*loops(inside, [shape[axis] for axis in inner], lines), f"{place} = {end};"]
    lines = shared(outside, [shape[axis] for axis in outer], body)
    append(draft, operation, lines, comment=operation.function, tables=tables, by_channel=bool(outer) and outer[0] == 0)


def add_int8_adaptive_pool(draft: Draft, operation: AdaptivePool) -> None:
    """Append the step of a pooling to a size."""
    quantized = draft.quantized
    assert quantized is not None
    source, target = view(draft, operation.inputs[0]), view(draft, operation.output)
    names, tables = indices(3), window_tables(operation, source)
    value, spans = f"x[{source.at('i0', 'r', 'c')}]", [(f"@starts_{k}[i{k + 1}]", f"@ends_{k}[i{k + 1}]") for k in (0, 1)]
    if operation.function == "max":
        tables += array("uint8_t", "@table", operation.table(quantized))
        line, end = f"result = {value} > result ? {value} : result;", "@table[result]"
    else:
        factor, shift, bits = operation.mean_factor(quantized)
        count = " * ".join(f"({end} - {start})" for start, end in spans)
        line = f"result += {value} - {quantized.levels[operation.inputs[0]].zero};"
        scaled = f"(result * ({factor} / ({count})) + {shift}) >> {bits}"
        end = f"level_from({scaled}, {quantized.levels[operation.output].largest})"
    body = ["int32_t result = 0;", *loops(["r", "c"], spans, [line]), f"y[{target.at(*names)}] = {end};"]
    append(draft, operation, shared(names, target.shape, body), tables=tables)


def add_int8_resize(draft: Draft, operation: Resize) -> None:
    """Append the step of a map of another size."""
    source, target = view(draft, operation.inputs[0]), view(draft, operation.output)
    names, tables = indices(3), ""
    for axis, name in enumerate("rc"):
        first, second, share = operation.int8_shares(axis, source.shape[axis + 1])
        tables += array("int32_t", f"@{name}_first", first) + array("int32_t", f"@{name}_second", second)
        tables += array("uint8_t", f"@{name}_share", share)
    unit = 1 << SHARE_BITS
    at = [[f"x[{source.at('i0', f'@r_{r}[i1]', f'@c_{c}[i2]')}]" for c in ("first", "second")] for r in ("first", "second")]
    lines = [
        "const int down = @r_share[i1], right = @c_share[i2];",
        f"const int above = {at[0][0]} * ({unit} - right) + {at[0][1]} * right;",
        f"const int below = {at[1][0]} * ({unit} - right) + {at[1][1]} * right;",
        f"const int sum = above * ({unit} - down) + below * down + {unit * unit // 2};",
        f"y[{target.at(*names)}] = (uint8_t)(sum >> {2 * SHARE_BITS});",
    ]
    append(draft, operation, shared(names, target.shape, lines), comment=operation.mode, tables=tables)


def add_int8_softmax(draft: Draft, operation: Softmax) -> None:
    """Append the step of a softmax or its logarithm."""
    quantized = draft.quantized
    assert quantized is not None
    source, target = view(draft, operation.inputs[0]), view(draft, operation.output)
    outside, inside, outer, _ = outer_and_inner(source, (operation.axis,))
    names, size = indices(len(source.shape)), [source.shape[operation.axis]]
    value, place, largest = f"x[{source.at(*names)}]", f"y[{target.at(*names)}]", quantized.levels[operation.output].largest
    tables = array("uint16_t", "@terms", operation.exponentials(quantized))
    body = ["int most = 0;", "uint32_t sum = 0;", *loops(inside, size, [f"most = {value} > most ? {value} : most;"])]
    body += loops(inside, size, [f"sum += @terms[most - {value}];"])
    if operation.log:
        factor, shift, bits = operation.log_factor(quantized)
        tables += array("int32_t", "@logs", operation.logarithms()) + array(
            "int32_t", "@distances", operation.distances(quantized)
        )
        step = round(np.log(2) * 2**LOG_POINT_BITS)
        body += [
            "int exponent = 31;",
            "while (!(sum >> exponent & 1))",
            "    exponent--;",
            f"const uint32_t mantissa = (uint32_t)(((uint64_t)sum << 31 >> exponent) >> {31 - LOG_BITS}) & {2**LOG_BITS - 1};",
            f"const int32_t log = @logs[mantissa] + (exponent - {UNIT_BITS}) * {step};",
        ]
        result = f"(((@distances[most - {value}] + log) >> 8) * {factor} + {shift}) >> {bits}"
        body += loops(inside, size, [f"{place} = level_from({result}, {largest});"])
    else:
        term = f"((uint64_t)@terms[most - {value}] * {operation.share(quantized)}u + (sum >> 1)) / sum"
        body += loops(
            inside, size, [f"const uint64_t level = {term};", f"{place} = (uint8_t)(level > {largest} ? {largest} : level);"]
        )
    lines = shared(outside, [source.shape[axis] for axis in outer], body)
    append(draft, operation, lines, tables=tables, by_channel=bool(outer) and outer[0] == 0)


def add_int8_normalize(draft: Draft, operation: Normalize) -> None:
    """Append the step of a norm, its root in integers."""
    quantized = draft.quantized
    assert quantized is not None
    source, target = view(draft, operation.inputs[0]), view(draft, operation.output)
    outside, extents, inside, spans = block_loops(source.shape, operation.blocks)
    names, count = indices(len(source.shape)), math.prod(source.shape) // operation.blocks
    eps, finer = operation.integers(quantized)
    factor, shift, bits = operation.factor(quantized)
    level = f"(x[{source.at(*names)}] - {quantized.levels[operation.inputs[0]].zero})"
    body = ["int64_t sum = 0, squares = 0;"]
    body += loops(inside, spans, [f"sum += {level};", f"squares += {level} * {level};"])
    body += [] if operation.center else ["sum = 0;"]
    body += [f"const int64_t root = root_of((uint64_t)({count} * squares - sum * sum + {eps}) << {finer});"]
    top = f"({count} * (int64_t){level} - sum) * {1 << (POINT_BITS + finer // 2)}"
    scaled = f"((int32_t)({top} / root) * {factor} + {shift}) >> {bits}"
    body += loops(
        inside, spans, [f"y[{target.at(*names)}] = level_from({scaled}, {quantized.levels[operation.output].largest});"]
    )
    append(draft, operation, shared(outside, extents, body), by_channel=outside[:1] == ["i0"])


def add_int8_matmul(draft: Draft, operation: MatMul) -> None:
    """Append the step of a product of matrices."""
    quantized = draft.quantized
    assert quantized is not None
    first, second = (view(draft, value) for value in operation.inputs)
    target = view(draft, operation.output)
    *before, row, column = indices(len(target.shape))
    zeros, terms = [quantized.levels[value].zero for value in operation.inputs], first.shape[-1]
    bias, factor = operation.factor(quantized)
    a, b = f"x[{first.at(*before, row, 'k')}] - {zeros[0]}", f"other[{second.at(*before, 'k', column)}] - {zeros[1]}"
    body = ["int32_t sum = 0;", *loops(["k"], [terms], [f"sum += ({a}) * ({b});"])]
    place = f"y[{target.at(*before, row, column)}]"
    body += [f"{place} = level_of(sum + {bias}, {number(float(factor))}, {quantized.levels[operation.output].largest});"]
    work = math.prod(target.shape) * terms
    append(draft, operation, shared([*before, row, column], target.shape, body), work=work)


def add_int8_embedding(draft: Draft, operation: Embedding) -> None:
    """Append the step that looks rows up."""
    assert draft.quantized is not None
    source, target = view(draft, operation.inputs[0]), view(draft, operation.output)
    names, width, last = indices(len(target.shape)), target.shape[-1], operation.rows - 1
    lines = [f"const int index = x[{source.at(*names[:-1])}];"]
    lines += [f"y[{target.at(*names)}] = @table[(index < {last} ? index : {last}) * {width} + {names[-1]}];"]
    append(
        draft,
        operation,
        shared(names, target.shape, lines),
        tables=array("uint8_t", "@table", operation.table(draft.quantized)),
    )
