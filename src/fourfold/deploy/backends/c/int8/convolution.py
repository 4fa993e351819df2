"""Convolutions of bytes in C: entries are walked by twos or fours, whose products with a tile of pixels stay in registers."""

import math

import numpy as np

from fourfold.deploy.backends.c.input_offsets import read_places
from fourfold.deploy.backends.c.int8.block_convolution import BlockLayer, Written, with_blocks
from fourfold.deploy.backends.c.int8.kernel_choice import list_work
from fourfold.deploy.backends.c.int8.runs import FLUSH, Runs, make_runs, own_entries
from fourfold.deploy.backends.c.int8.swar_convolution import PIXELS, WordRuns, WordWalk, word_tables
from fourfold.deploy.backends.c.memory import Plane
from fourfold.deploy.backends.c.plan import Draft, Step, wiped
from fourfold.deploy.backends.c.sparse_lists import Integers, Lists, Pattern, component_lists, make_lists
from fourfold.deploy.backends.c.targets import BYTE_KERNELS, ByteKernel
from fourfold.deploy.backends.c.text import array, share_of
from fourfold.deploy.ir.ops import Convolution
from fourfold.deploy.quantize import Codes

LARGEST_SIGNED = 2**7 - 1
"""Of a level that can be read as a signed byte."""

LARGEST_BYTE = 2**8 - 1


def add_int8_convolution(draft: Draft, operation: Convolution) -> None:
    """Append the steps of a convolution in integers."""
    assert draft.quantized is not None
    target, (source, buffer, where) = draft.planes[operation.output], read_places(draft, operation)
    codes = draft.quantized.codes(operation)
    lists = own_entries(make_lists(codes.product, where, operation.groups))
    runs = make_runs(lists, draft.quantized.levels[operation.inputs[0]].largest)
    draft.buffers[operation.output] = draft.buffer(target.size)
    draft.steps.append(_walk(draft, operation, lists, runs, codes, where, source, target, buffer))


def _walk(
    draft: Draft,
    operation: Convolution,
    lists: Lists,
    runs: Runs,
    codes: Codes,
    where: Integers,
    source: Plane,
    target: Plane,
    reads: int,
) -> Step:
    assert draft.quantized is not None
    span, numbers, patterns = target.span, range(lists.outputs), len(lists.patterns)
    group_step, output_step = lists.channel_steps
    input_step = source.size // codes.product.n
    bias = codes.bias - draft.quantized.zero_sums(operation, codes)
    largest, zero = draft.quantized.levels[operation.output].largest, draft.zero(operation.output)
    signed = draft.quantized.levels[operation.inputs[0]].largest <= LARGEST_SIGNED
    least = max(pixels for pixels in (64, 32, 1) if pixels <= span)
    kernel = f"{least}_{LARGEST_SIGNED if signed else LARGEST_BYTE}" if least > 1 else "1"
    name = f"KERNEL_{kernel}"
    picks = ", ".join(f"vectors_{kernel.name} = {tile(span, lists, kernel)}" for kernel in BYTE_KERNELS)
    entries = (
        array("uint8_t", "@runs", np.array(runs.counts))
        + array("uint16_t", "@steps", np.array(runs.steps))
        + array("int8_t", "@weights", np.array(runs.weights))
    )
    described = lists.described(codes.product)
    widest = next(each for each in BYTE_KERNELS if each.pixels == least)
    work = list_work(lists, tile(span, lists, widest), widest.pixels, span)
    scaling = array("int32_t", "@bias", bias[lists.channels]) + array("float", "@factor", codes.factor[lists.channels])
    body = [
        *(f"typedef {name}({kind}) {kind};" for kind in ("pair", "words", "totals")),
        f"enum {{ {picks} }};",
        f"enum {{ CARRIES = {int(runs.carries)} }};",
        f"enum {{ WIDTH = {name}(lanes), VECTORS = {name}(vectors), TILE = WIDTH * VECTORS }};",
        share_of(lists.groups),
        "const uint8_t *first_run = @runs;",
        f"const uint32_t skipped = skip_runs(&first_run, first * {patterns});",
        f"for (int tile = 0; tile < {span}; tile += TILE) {{",
        f"    const int at = tile < {span} - TILE ? tile : {span} - TILE;",
        "    const uint8_t *run = first_run;",
        "    const uint16_t *step = @steps + 2 * skipped;",
        f"    const int8_t *weight = @weights + skipped * {2 * lists.patterns[0].weights};",
        "    for (int group = first; group < last; group++) {",
        f"        words {', '.join(f'sum{a}[VECTORS]' for a in numbers)};",
        f"        totals {', '.join(f'total{a}[VECTORS]' for a in numbers)};",
        "        UNROLL",
        "        for (int v = 0; v < VECTORS; v++) {",
        *(f"            sum{a}[v] = {name}(no_words)(), total{a}[v] = {name}(no_totals)();" for a in numbers),
        "        }",
    ]
    for pattern in lists.patterns:
        body += _list(pattern, lists.outputs, input_step, kernel)
    body += [
        f"        uint8_t *to = y + group * {group_step * target.length} + at + {target.origin};",
        f"        const int32_t *const bias = @bias + group * {lists.outputs};",
        f"        const float *const factor = @factor + group * {lists.outputs};",
        "        UNROLL",
        "        for (int v = 0; v < VECTORS; v++) {",
        *(
            f"            {name}(store)(to + {a * output_step * target.length} + v * WIDTH, total{a}[v], sum{a}[v], bias[{a}], "
            f"factor[{a}], {largest}, CARRIES);"
            for a in numbers
        ),
        "        }",
        "    }",
        "}",
    ]
    if span >= PIXELS:
        input_largest = draft.quantized.levels[operation.inputs[0]].largest
        if not WordRuns.fits(lists, input_largest):  # elements of an image's levels
            lists = component_lists(codes.product, where, operation.groups)
        walk = WordWalk(
            lists=lists,
            runs=WordRuns(lists, input_largest),
            span=span,
            input_step=input_step,
            output_step=output_step * target.length,
            group_step=group_step * target.length,
            to=f"y + {target.origin}",
            largest=largest,
        )
        body = ["#if defined(WORDS_OF_PIXELS)", *walk.body(), "#else", *body, "#endif"]
        entries = f"#if defined(WORDS_OF_PIXELS)\n{word_tables(lists, walk.runs)}#else\n{entries}#endif\n"
    if output_step == 1:  # a group's outputs are neighbours
        body += wiped(target, zero, f"first * {group_step}", f"(last - first) * {group_step}")
    else:
        body += [line for a in numbers for line in wiped(target, zero, f"first + {a * output_step}", "last - first")]
    listed = Written(
        comment=f"{operation.name}: convolution, {described}", body=tuple(body), tables=entries + scaling, work=work
    )
    layer = BlockLayer(operation=operation, codes=codes, bias=bias, where=where, input_step=input_step)
    written = with_blocks(draft, layer, listed)
    writes = draft.buffers[operation.output]
    return Step(comment=written.comment, reads=(reads,), writes=writes, body=written.body, tables=written.tables)


def tile(span: int, lists: Lists, kernel: ByteKernel) -> int:
    """Return the vectors of a tile: of those whose sums stay in registers, the number that wastes least at a plane's end."""
    most = max(1, min(kernel.sums // lists.outputs, span // kernel.pixels))
    if kernel.pixels == 1:
        return most
    return min(range(1, most + 1), key=lambda size: (math.ceil(span / (kernel.pixels * size)) * size, -size))


def _list(pattern: Pattern, outputs: int, input_step: int, kernel: str) -> list[str]:
    name, by_twos = f"KERNEL_{kernel}", _entries(pattern, input_step, kernel, 2)
    if kernel != "1":
        by_twos = [
            f"#if FOURS_{kernel}",
            "                while (*run) /* sums of 32 bits are never full */",
            f"                    left += *run++ % {FLUSH};",
            *_entries(pattern, input_step, kernel, 4),
            *_entries(pattern, input_step, kernel, 4, rest=True),
            "#else",
            *by_twos,
            "#endif",
        ]
    return [
        "        {",
        "            const uint8_t *from = x + at;",
        "            for (int length; (length = *run++) != 0;) {",
        f"                int left = length % {FLUSH};",
        *by_twos,
        f"                if (length < {FLUSH})",
        "                    continue;",
        *(f"                {line}" for line in _flush(outputs, name)),
        "            }",
        "        }",
    ]


def _entries(pattern: Pattern, input_step: int, kernel: str, at_once: int, rest: bool = False) -> list[str]:
    """Return the loop over the entries of a run, two or four at once, or over the last two, `rest`, as if they were four."""
    pairs = 1 if rest else at_once // 2
    froms = ["one", "other", "third", "fourth"][: 2 * pairs]
    lines = [f"                for (; left >= {pairs}; left -= {pairs}) {{"]
    for index, (before, place) in enumerate(zip(["from", *froms], froms, strict=False)):
        lines += [f"                    const uint8_t *const {place} = {before} + step[{index}];"]
    lines += [
        f"                    from = {froms[-1]};",
        f"                    step += {2 * pairs};",
        "                    UNROLL",
        "                    for (int v = 0; v < VECTORS; v++) {",
    ]
    for b in pattern.inputs:
        read = (froms + froms[1:] * 2)[:at_once]
        joined = ", ".join(f"{place} + {b * input_step} + v * WIDTH" for place in read)
        lines += [f"                        const pair input{b} = KERNEL_{kernel}(join)({joined});"]
        for term in (term for term in pattern.terms if term.input == b):
            weight = f"weight + {2 * term.weight}"
            if at_once == 4:
                following = 0 if rest else f"weight + {2 * (pattern.weights + term.weight)}"
                weight = f"KERNEL_{kernel}(weights)({weight}, {following})"
            change = f"KERNEL_{kernel}({'gain' if term.sign > 0 else 'lose'})(sum{term.output}[v], input{b}, {weight})"
            lines += [f"                        sum{term.output}[v] = {change};"]
    return [
        *lines,
        "                    }",
        f"                    weight += {2 * pairs * pattern.weights};",
        "                }",
    ]


def _flush(outputs: int, name: str) -> list[str]:
    each = [f"    {name}(flush)(&total{a}[v], &sum{a}[v], CARRIES);" for a in range(outputs)]
    return ["UNROLL", "for (int v = 0; v < VECTORS; v++) {", *each, "}"]
