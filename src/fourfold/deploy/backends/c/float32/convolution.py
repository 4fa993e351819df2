"""Convolutions in C: a tile of output pixels stays in registers while the weights of one group of outputs are walked."""

import math

import numpy as np

from fourfold.deploy.backends.c.input_offsets import read_places
from fourfold.deploy.backends.c.memory import Plane
from fourfold.deploy.backends.c.plan import Draft, Step, wiped
from fourfold.deploy.backends.c.sparse_lists import Lists, Pattern, Term, make_lists
from fourfold.deploy.backends.c.targets import VECTORS
from fourfold.deploy.backends.c.text import array, share_of
from fourfold.deploy.ir.ops import Convolution

REGISTERS = {vectors.lanes: vectors.registers for vectors in VECTORS}
"""That hold vectors, by the lanes of a vector."""

WALK = 4
"""What an entry costs beside its multiply-adds, in multiply-adds: its step, its weight and the loop."""


def add_convolution(draft: Draft, operation: Convolution) -> None:
    """Append the steps of a convolution."""
    target, (source, buffer, where) = draft.planes[operation.output], read_places(draft, operation)
    lists = make_lists(operation.product, where, operation.groups)
    draft.buffers[operation.output] = draft.buffer(target.size)
    draft.steps.append(_walk(operation, lists, source, target, buffer, draft.buffers[operation.output]))


def tile(span: int, lists: Lists, lanes: int) -> int:
    """Return the vectors of a tile: those that waste least at the end of a plane and walk the lists least often."""
    pattern, vectors = lists.patterns[0], math.ceil(span / lanes)
    beside_sums = pattern.weights + len(pattern.inputs) if pattern.reuses else 2
    most = max(1, min((REGISTERS[lanes] - beside_sums) // lists.outputs, span // lanes))
    return min(range(1, most + 1), key=lambda size: (math.ceil(vectors / size) * (lists.outputs * size + WALK), -size))


def _walk(operation: Convolution, lists: Lists, source: Plane, target: Plane, reads: int, writes: int) -> Step:
    product, span = operation.product, target.span
    bias = np.zeros(lists.channels.size, np.float32) if product.bias is None else product.bias
    cap = max(lanes for lanes in REGISTERS if lanes <= span)
    picks = [tile(span, lists, min(cap, lanes)) for lanes in (16, 8, 4, 1)]
    numbers = range(lists.outputs)
    group_step, output_step = lists.channel_steps
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
        share_of(lists.groups),
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
        f"        float *to = y + group * {group_step * target.length} + at + {target.origin};",
        "        UNROLL",
        "        for (int v = 0; v < VECTORS; v++) {",
        *(f"            *(loose *)(to + {a * output_step * target.length} + v * WIDTH) = {store.format(a)};" for a in numbers),
        "        }",
        "    }",
        "}",
    ]
    if output_step == 1:  # a group's outputs are neighbours
        body += wiped(target, 0, f"first * {group_step}", f"(last - first) * {group_step}")
    else:
        body += [line for a in numbers for line in wiped(target, 0, f"first + {a * output_step}", "last - first")]
    comment = f"{operation.name}: convolution, {lists.described(product)}"
    return Step(comment=comment, reads=(reads,), writes=writes, body=tuple(body), tables=tables)


def _list(pattern: Pattern, shared: bool, entries: int, input_step: int) -> list[str]:
    lines = ["        {", "            const float *from = x + at;"]
    lines += ["            const uint16_t *step = @steps;"] if shared else []
    lines += [
        f"            for (uint32_t left = {entries if shared else '*count++'}; left; left--) {{",
        "                from += *step++;",
        *(_either_order if pattern.reuses else _vector_by_vector)(pattern, input_step),
        "            }",
        "        }",
    ]
    return lines


def _either_order(pattern: Pattern, input_step: int) -> list[str]:
    """Return the multiply-adds of an entry whose inputs serve several sums, in the order that a machine likes better.

    With AVX a load broadcasts a weight: loaded for each of its uses it leaves registers to the sums, and neighbours in the code
    do not wait for each other. With vectors of 128 bits weights stay in registers.
    """
    return [
        "#if LANES >= 8",
        *_input_by_input(pattern, input_step),
        "#else",
        *_vector_by_vector(pattern, input_step),
        "#endif",
    ]


def _input_by_input(pattern: Pattern, input_step: int) -> list[str]:
    lines = ["                vector input[VECTORS];"]
    for b in pattern.inputs:
        lines += [
            "                UNROLL",
            "                for (int v = 0; v < VECTORS; v++) {",
            f"                    input[v] = *(const loose *)(from + {b * input_step} + v * WIDTH);",
            "                    KEEP(input[v]);",
            "                }",
        ]
        for term in (term for term in pattern.terms if term.input == b):
            lines += [
                "                {",
                f"                    vector by = weight[{term.weight}] - (vector){{0}};",
                "                    KEEP(by);",
                "                    UNROLL",
                "                    for (int v = 0; v < VECTORS; v++)",
                f"                        sum{term.output}[v] {_sign(term)}= by * input[v];",
                "                }",
            ]
    return [*lines, f"                weight += {pattern.weights};"]


def _vector_by_vector(pattern: Pattern, input_step: int) -> list[str]:
    loads = {b: f"*(const loose *)(from + {b * input_step} + v * WIDTH)" for b in pattern.inputs}
    lines = [
        *(f"                const float weight{w} = weight[{w}];" for w in range(pattern.weights)),
        f"                weight += {pattern.weights};",
        "                UNROLL",
        "                for (int v = 0; v < VECTORS; v++) {",
    ]
    if pattern.reuses:
        for b, load in loads.items():
            lines += [f"                    vector input{b} = {load};", f"                    KEEP(input{b});"]
            loads[b] = f"input{b}"
    lines += [
        f"                    sum{term.output}[v] {_sign(term)}= weight{term.weight} * {loads[term.input]};"
        for term in pattern.terms
    ]
    return [*lines, "                }"]


def _sign(term: Term) -> str:
    return "+" if term.sign > 0 else "-"
