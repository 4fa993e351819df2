"""Linear layers of bytes in C: sums of 32 bits, walked an entry at a time."""

import numpy as np

from fourfold.deploy.backends.c.float32.linear import DENSE, begin_list, interleave, multiply_adds, start_groups
from fourfold.deploy.backends.c.int8.swar_linear import has_halves, run_tables, start_runs, walk_by_halves
from fourfold.deploy.backends.c.plan import LOGITS, Draft, Step
from fourfold.deploy.backends.c.sparse_lists import Lists, make_lists
from fourfold.deploy.backends.c.text import array, share_of
from fourfold.deploy.ir.ops import Linear
from fourfold.deploy.quantize import Codes

QUATERNION = 4
"""Components of a number, for which there are vectors."""


def add_int8_linear(draft: Draft, operation: Linear) -> None:
    """Append the steps of a linear layer in integers; the network's last one gives its logits to the caller."""
    assert draft.quantized is not None
    source, target = draft.planes[operation.inputs[0]], draft.planes[operation.output]
    buffer, codes = draft.buffers[operation.inputs[0]], draft.quantized.codes(operation)
    product = codes.product
    last = operation is draft.quantized.program.operations[-1]
    draft.buffers[operation.output] = writes = LOGITS if last else draft.buffer(target.size)
    if product.n > 1:
        side_by_side = draft.buffer(source.size)
        draft.steps.append(interleave(operation, source, buffer, side_by_side))
        buffer = side_by_side
    body, tables, kind = row_sums(codes, draft.quantized.levels[operation.inputs[0]].largest)
    bias = codes.bias - draft.quantized.zero_sums(operation, codes)
    tables += array("int32_t", "@bias", bias) + array("float", "@factor", codes.factor)
    relu, largest = "relu_1" if operation.relu else "", draft.quantized.levels[operation.output].largest
    for a in range(product.n):  # each by its name: an array that a loop goes over stays in memory
        at = f"row + {a * product.weight.shape[1]}"
        sum_and_factor = f"sum{a} + @bias[{at}]", f"@factor[{at}]"
        if last:
            body.append(f"    y[{at}] = {relu}((float)({sum_and_factor[0]}) * {sum_and_factor[1]});")
        else:
            body.append(f"    y[{at}] = level_of({sum_and_factor[0]}, {sum_and_factor[1]}, {largest});")
    comment = f"{operation.name}: linear, {source.size} → {target.size}, {kind}"
    step = Step(
        comment=comment,
        reads=(buffer,),
        writes=writes,
        body=(*body, "}"),
        tables=tables,
        writes_type="float" if last else "NUMBER",
        work=multiply_adds(product),
    )
    draft.steps.append(step)


def row_sums(codes: Codes, largest: int) -> tuple[list[str], str, str]:
    """Return the lines that begin a loop over rows and make the sums of each, `sum0` and so on, their tables, and their kind.

    Args:
        codes: The layer, whose input elements have their components side by side.
        largest: Level of an input.
    """
    product = codes.product
    if product.n == 1 and np.count_nonzero(product.weight) >= DENSE * product.weight.size:
        return *_dense(codes), "dense"
    lists = make_lists(product, np.arange(product.weight.shape[2]))
    return *_lists(codes, lists, largest), lists.described(product)


def _dense(codes: Codes) -> tuple[list[str], str]:
    _, outputs, inputs = codes.product.weight.shape
    body = [
        share_of(outputs),
        "for (int row = first; row < last; row++) {",
        f"    const int8_t *const weight = @weights + row * {inputs};",
        "    int32_t sum0 = 0;",
        f"    for (int i = 0; i < {inputs}; i++)",
        "        sum0 += weight[i] * x[i];",
    ]
    return body, array("int8_t", "@weights", codes.product.weight.astype(np.int8))


def _lists(codes: Codes, lists: Lists, largest: int) -> tuple[list[str], str]:
    product, entire = codes.product, lists.patterns[0].weights > 1
    start, walk, tables = start_groups(lists, "int8_t"), _one_at_a_time(lists, product.n), _tables(lists)
    if has_halves(product, lists):
        start = _either("HALVES", start_runs(lists), start)
        walk = _either("HALVES", walk_by_halves(lists, product.n), walk)
        tables = _either("HALVES", run_tables(lists, product.n, largest), tables)
    if product.n == QUATERNION:
        walk = _either("ALL_NUMBERS_4" if entire else "NUMBERS_4", _by_fours(codes, lists), walk)
    sums = ", ".join(f"sum{a} = 0" for a in range(product.n))
    body = [*start, "for (int row = first; row < last; row++) {", f"    int32_t {sums};", *walk]
    return body, "".join(f"{line}\n" for line in tables)


def _tables(lists: Lists) -> list[str]:
    tables = [array("uint16_t", "@steps", lists.steps), array("int8_t", "@weights", lists.weights.astype(np.int8))]
    return tables if lists.shared else [array("COUNT", "@counts", lists.counts), *tables]


def _one_at_a_time(lists: Lists, n: int) -> list[str]:
    if n == 1:
        return [
            *begin_list(lists, "uint8_t"),
            "        for (; left >= 4; left -= 4, step += 4, weight += 4)",
            "            sum0 = gain_four(sum0, &from, step, weight);",
            "        for (; left; left--)",
            "            sum0 += *weight++ * *(from += *step++);",
            "    }",
        ]
    lines = []
    for pattern in lists.patterns:
        lines += begin_list(lists, "uint8_t")
        lines += ["        for (; left; left--) {", f"            from += {n} * *step++;"]
        lines += [
            f"            sum{term.output} {'+' if term.sign > 0 else '-'}= weight[{term.weight}] * from[{term.input}];"
            for term in pattern.terms
        ]
        lines += [f"            weight += {pattern.weights};", "        }", "    }"]
    return lines


def _either(macro: str, lines: list[str], others: list[str]) -> list[str]:
    return [f"#ifdef {macro}", *lines, "#else", *others, "#endif"]


def _by_fours(codes: Codes, lists: Lists) -> list[str]:
    """Return the lines that add four entries at once to a sum of entire input elements for each component of the weights."""
    n, entire = range(QUATERNION), lists.patterns[0].weights == QUATERNION
    lines = (
        ["    all_sums_4 by_all = no_all_sums_4();"]
        if entire
        else [f"    sums_4 {', '.join(f'by{c} = no_sums_4()' for c in n)};"]
    )
    froms = ("one", "other", "third", "from")
    for number, pattern in enumerate(lists.patterns):
        size = pattern.weights
        gain = "by_all = gain_all_4(by_all" if entire else f"by{number} = gain_4(by{number}"
        weights = "all_weight{}_of_4" if entire else "weight{}_of_4"
        lines += begin_list(lists, "uint8_t")
        lines += ["        for (; left >= 4; left -= 4, step += 4) {"]
        lines += [
            f"            {'' if to == 'from' else 'const uint8_t *const '}{to} = {before} + {QUATERNION} * step[{index}];"
            for index, (before, to) in enumerate(zip(("from", *froms), froms, strict=False))
        ]
        lines += [
            f"            {gain}, join_4({', '.join(froms)}), {weights.format('s')}(weight));",
            f"            weight += {4 * size};",
            "        }",
            "        for (; left; left--) {",
            f"            from += {QUATERNION} * *step++;",
            f"            {gain}, join_4(from, from, from, from), {weights.format('')}(weight));",
            f"            weight += {size};",
            "        }",
            "    }",
        ]
    lines += [f"    int32_t by[{QUATERNION}][{QUATERNION}];"]
    lines += ["    memcpy(by, &by_all, sizeof by);"] if entire else [f"    memcpy(by[{c}], &by{c}, sizeof by[{c}]);" for c in n]
    for a, row in enumerate(codes.product.table):
        terms = [f"{'+' if sign > 0 else '-'} by[{component}][{b}]" for b, (component, sign) in enumerate(row)]
        lines.append(f"    sum{a} = {' '.join(terms).removeprefix('+ ')};")
    return lines
