"""Linear layers in C: the components of a number lie side by side, so one index serves a vector of multiply-adds."""

import numpy as np

from fourfold.deploy.backends.c.memory import Plane
from fourfold.deploy.backends.c.plan import Draft, Step
from fourfold.deploy.backends.c.sparse_lists import Lists, component_patterns, make_lists, turned_lists
from fourfold.deploy.backends.c.text import array, share_of
from fourfold.deploy.ir.ops import Linear
from fourfold.deploy.ir.product import Product

SUMS = 4
"""Sums that a list is spread over, so that a multiply-add need not wait for the one before it."""

DENSE = 1 / 4
"""Kept weights of a real layer from which on it is walked without an index, in whole vectors."""

NEAR = 2**13
"""Numbers that stay in the first-level cache beside the lists that are walked."""


def add_linear(draft: Draft, operation: Linear) -> None:
    """Append the steps of a linear layer."""
    source, target = draft.planes[operation.inputs[0]], draft.planes[operation.output]
    buffer, product = draft.buffers[operation.inputs[0]], operation.product
    draft.buffers[operation.output] = writes = draft.buffer(target.size)
    if product.n == 1:
        draft.steps.append(product_step(operation, buffer, writes))
        return
    lists = make_lists(product, np.arange(product.weight.shape[2]))
    turns = len(lists.patterns) > 1 and product.n * source.size <= NEAR
    beside = draft.buffer(source.size * (product.n if turns else 1))
    draft.steps.append((turn if turns else interleave)(operation, source, buffer, beside))
    draft.steps.append(_numbers(operation, turned_lists(product) if turns else lists, beside, writes))


def product_step(operation: Linear, reads: int, writes: int) -> Step:
    """Return the step of a linear layer whose input elements have their components side by side."""
    product = operation.product
    if product.n == 1 and np.count_nonzero(product.weight) >= DENSE * product.weight.size:
        return _rows(operation, reads, writes)
    lists = make_lists(product, np.arange(product.weight.shape[2]))
    return (_real if product.n == 1 else _numbers)(operation, lists, reads, writes)


def turn(operation: Linear, source: Plane, reads: int, writes: int) -> Step:
    """Return the step that puts side by side what each component of a weight, as a factor, makes of each input element."""
    product, numbers = operation.product, source.size // operation.product.n
    n = product.n
    body = [
        share_of(numbers),
        "for (int i = first; i < last; i++) {",
    ]
    for pattern in component_patterns(product):
        c = product.table[pattern.terms[0].output][pattern.terms[0].input][0]
        for term in pattern.terms:
            sign = "-" if term.sign < 0 else ""
            body.append(f"    y[{n * n} * i + {n * c + term.output}] = {sign}x[i + {term.input * numbers}];")
    comment = f"{operation.name}: each element as each of {n} components turns it"
    return Step(comment=comment, reads=(reads,), writes=writes, body=(*body, "}"), work=n * source.size)


def interleave(operation: Linear, source: Plane, reads: int, writes: int) -> Step:
    """Return the step that brings the components of each input element side by side."""
    n, numbers = operation.product.n, source.size // operation.product.n
    body = [
        share_of(numbers),
        "for (int i = first; i < last; i++) {",
        *(f"    y[{n} * i + {b}] = x[i + {b * numbers}];" for b in range(n)),
        "}",
    ]
    comment = f"{operation.name}: the {n} components of a number side by side"
    return Step(comment=comment, reads=(reads,), writes=writes, body=tuple(body), work=source.size)


def multiply_adds(product: Product) -> int:
    """Return the multiply-adds of a linear layer that keeps its weights."""
    return product.n * int(np.count_nonzero(product.weight))


def _bias(operation: Linear, outputs: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.zeros(outputs, np.float32) if operation.product.bias is None else operation.product.bias


def _rows(operation: Linear, reads: int, writes: int) -> Step:
    """Dense and real: a row at a time, in vectors along the inputs."""
    _, outputs, inputs = operation.product.weight.shape
    cap = max(lanes for lanes in (16, 8, 4, 1) if lanes <= inputs)
    relu = "relu_1(sum)" if operation.relu else "sum"
    body = [
        f"typedef CAP{cap}(vector) vector;",
        f"typedef CAP{cap}(loose) loose;",
        f"enum {{ WIDTH = CAP{cap}(lanes), WHOLE = {inputs} / WIDTH * WIDTH }};",
        share_of(outputs),
        "for (int row = first; row < last; row++) {",
        f"    const float *const weight = @weights + row * {inputs};",
        "    vector sums = {0}, more = {0};",
        "    int i = 0;",
        "    for (; i + WIDTH < WHOLE; i += 2 * WIDTH) {",
        "        sums += *(const loose *)(weight + i) * *(const loose *)(x + i);",
        "        more += *(const loose *)(weight + i + WIDTH) * *(const loose *)(x + i + WIDTH);",
        "    }",
        "    if (i < WHOLE)",
        "        sums += *(const loose *)(weight + i) * *(const loose *)(x + i);",
        f"    float sum = @bias[row] + CAP{cap}(total)(sums + more);",
        f"    for (i = WHOLE; i < {inputs}; i++)",
        "        sum += weight[i] * x[i];",
        f"    y[row] = {relu};",
        "}",
    ]
    tables = array("float", "@weights", operation.product.weight) + array("float", "@bias", _bias(operation, outputs))
    comment = f"{operation.name}: linear, dense, {inputs} → {outputs}"
    work = multiply_adds(operation.product)
    return Step(comment=comment, reads=(reads,), writes=writes, body=tuple(body), tables=tables, work=work)


def _walk_tables(lists: Lists, bias: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> str:
    return (
        ("" if lists.shared else array("COUNT", "@counts", lists.counts))
        + array("uint16_t", "@steps", lists.steps)
        + array("float", "@weights", lists.weights)
        + array("float", "@bias", bias[lists.channels])
    )


def start_groups(lists: Lists, weights: str) -> list[str]:
    """Return the lines before the loop over groups: which groups are ours, and where their entries begin."""
    patterns, per_entry = len(lists.patterns), lists.patterns[0].weights
    lines = [share_of(lists.groups)]
    if lists.shared:
        return [*lines, f"const {weights} *weight = @weights + first * {int(lists.counts.sum()) * per_entry};"]
    return [
        *lines,
        f"const COUNT *count = @counts + first * {patterns};",
        f"const uint32_t skipped = entries_of(@counts, first * {patterns});",
        "const uint16_t *step = @steps + skipped;",
        f"const {weights} *weight = @weights + skipped * {per_entry};",
    ]


def _real(operation: Linear, lists: Lists, reads: int, writes: int) -> Step:
    """Sparse and real: a number at a time, since its inputs lie anywhere."""
    _, outputs, inputs = operation.product.weight.shape
    body = [
        *start_groups(lists, "float"),
        "for (int row = first; row < last; row++) {",
        f"    float {', '.join(f'sum{s} = 0' for s in range(SUMS))};",
        *real_list(lists, "float", [f"sum{s}" for s in range(SUMS)]),
        f"    const float sum = ({' + '.join(f'sum{s}' for s in range(SUMS))}) + @bias[row];",
        f"    y[row] = {'relu_1(sum)' if operation.relu else 'sum'};",
        "}",
    ]
    stored = int(np.count_nonzero(operation.product.weight))
    comment = f"{operation.name}: linear, {inputs} → {outputs}, {stored} weights"
    tables = _walk_tables(lists, _bias(operation, outputs))
    work = multiply_adds(operation.product)
    return Step(comment=comment, reads=(reads,), writes=writes, body=tuple(body), tables=tables, work=work)


def real_list(lists: Lists, numbers: str, sums: list[str]) -> list[str]:
    """Return the walk over a row of single weights: as many entries in a turn as there are names of sums, each to its own."""
    turn = len(sums)
    return [
        *begin_list(lists, numbers),
        f"        for (; left >= {turn}; left -= {turn}, step += {turn}, weight += {turn}) {{",
        *(f"            {name} += weight[{s}] * *(from += step[{s}]);" for s, name in enumerate(sums)),
        "        }",
        "        for (; left; left--)",
        f"            {sums[0]} += *weight++ * *(from += *step++);",
        "    }",
    ]


def _numbers(operation: Linear, lists: Lists, reads: int, writes: int) -> Step:
    """Sparse over an algebra: each component of the weights has a sum of entire input elements, combined at a row's end."""
    product = operation.product
    n, rows, inputs = product.weight.shape
    body = [*start_groups(lists, "float"), "for (int row = first; row < last; row++) {"]
    body += ["#if LANES > 1", *_vector_lists(lists, n), *_combined(operation, lists), "#else"]
    body += [*_scalar_lists(lists, n), "#endif"]
    relu = "relu_1({})" if operation.relu else "{}"
    body += [f"    y[row + {a * rows}] = {relu.format(f'@bias[row * {n} + {a}] + sum{a}')};" for a in range(n)]
    body += ["}"]
    comment = f"{operation.name}: linear, {n * inputs} → {n * rows}, {lists.described(product)}"
    tables = _walk_tables(lists, _bias(operation, n * rows))
    return Step(comment=comment, reads=(reads,), writes=writes, body=tuple(body), tables=tables, work=multiply_adds(product))


def begin_list(lists: Lists, numbers: str) -> list[str]:
    """Return the lines at a list's beginning."""
    shared = lists.shared
    return [
        "    {",
        f"        const {numbers} *from = x;",
        *(["        const uint16_t *step = @steps;"] if shared else []),
        f"        uint32_t left = {int(lists.counts.sum()) if shared else '*count++'};",
    ]


def _vector_lists(lists: Lists, n: int) -> list[str]:
    """Return the walk over a row's lists: `by` holds the sum of each component, added up from several."""
    sums_kept = max(len(lists.patterns), lists.patterns[0].weights)
    lines = [f"    numbers_{n} {', '.join(f'by{c} = {{0}}' for c in range(sums_kept))};"]
    for number, pattern in enumerate(lists.patterns):
        components = [number] if pattern.weights == 1 else list(range(n))
        together = SUMS if pattern.weights == 1 else 2
        lines += begin_list(lists, "float")
        sums = [[f"sum{c}_{s}" for s in range(together)] for c in components]
        lines += [f"        numbers_{n} {', '.join(f'{name} = {{0}}' for names in sums for name in names)};"]
        lines += [f"        for (; left >= {together}; left -= {together}) {{"]
        lines += [line for s in range(together) for line in _entry(lists, [names[s] for names in sums], n)]
        lines += ["        }", "        for (; left; left--) {", *_entry(lists, [names[0] for names in sums], n), "        }"]
        lines += [f"        by{c} += {_paired(names)};" for c, names in zip(components, sums, strict=True)]
        lines += ["    }"]
    return lines


def _to_input(lists: Lists, n: int) -> str:
    """Return the line that goes to the next entry's input."""
    return f"            from {'= x +' if lists.placed else f'+= {n} *'} *step++;"


def _entry(lists: Lists, sums: list[str], n: int) -> list[str]:
    """Return the lines that add an entry's input, times its weights, to a sum for each of them."""
    return [
        _to_input(lists, n),
        *(f"            {name} += weight[{w}] * *(const loose_numbers_{n} *)from;" for w, name in enumerate(sums)),
        f"            weight += {len(sums)};",
    ]


def _paired(names: list[str]) -> str:
    """Return a sum whose terms are added by twos."""
    half = len(names) // 2
    return names[0] if len(names) == 1 else f"({_paired(names[:half])} + {_paired(names[half:])})"


def _combined(operation: Linear, lists: Lists) -> list[str]:
    """Return the lines that bring each component's sum to its outputs: output a takes the input that the algebra says."""
    table = operation.product.table
    n = range(len(table))
    if lists.placed:  # among inputs that have been turned
        return [f"    const float sum{a} = by0[{a}];" for a in n]
    lines = []
    for a in n:
        terms = [("+" if sign > 0 else "-") + f" by{component}[{b}]" for b, (component, sign) in enumerate(table[a])]
        lines += [f"    const float sum{a} = {' '.join(terms).removeprefix('+ ')};"]
    return lines


def _scalar_lists(lists: Lists, n: int) -> list[str]:
    lines = [f"    float {', '.join(f'sum{a} = 0' for a in range(n))};"]
    for pattern in lists.patterns:
        lines += begin_list(lists, "float")
        lines += ["        for (; left; left--) {", _to_input(lists, n)]
        lines += [
            f"            sum{term.output} {'+' if term.sign > 0 else '-'}= weight[{term.weight}] * from[{term.input}];"
            for term in pattern.terms
        ]
        lines += [f"            weight += {pattern.weights};", "        }", "    }"]
    return lines
