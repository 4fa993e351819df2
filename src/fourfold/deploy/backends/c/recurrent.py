"""Recurrent layers in C: a step's features and the state lie side by side, one product makes all gates, and they the state."""

from fourfold.deploy.backends.c.float32.linear import product_step
from fourfold.deploy.backends.c.int8.linear import row_sums
from fourfold.deploy.backends.c.plan import Begin, Draft, Step
from fourfold.deploy.backends.c.strided import View, append, loops, shared, view
from fourfold.deploy.backends.c.text import array, filled, template
from fourfold.deploy.ir.ops import Linear, Recurrent
from fourfold.deploy.ir.ops._gates import ENDS, GATE_ZERO, GATES, LARGEST_GATE, LARGEST_MEMORY, SIGMOIDS, state_factor
from fourfold.deploy.quantize import Quantized

WIDTHS = {False: (1, 1), True: (4, 2)}
"""Of a number of a cell's memory and of a gate, in the numbers of buffers, by whether those are bytes."""


def prelude(int8: bool) -> str:
    """Return the C of the cells."""
    if not int8:
        return template("recurrent.h")
    numbers = {"ENDS": ENDS, "ZERO": GATE_ZERO, "LARGEST": LARGEST_GATE, "LARGEST_MEMORY": LARGEST_MEMORY}
    words = {word: str(number) for word, number in numbers.items()}
    return filled(template("int8_recurrent.h"), words | {"SIGMOIDS": array("int16_t", "sigmoids", SIGMOIDS).rstrip()})


def add_recurrent(draft: Draft, operation: Recurrent) -> None:
    """Append the step of a recurrent layer, which one thread takes: a time step after the other."""
    source, target, quantized = view(draft, operation.inputs[0]), view(draft, operation.output), draft.quantized
    n, features, hidden = operation.product.n, operation.features, operation.hidden
    cell_width, gate_width = WIDTHS[quantized is not None]
    gates = cell_width * hidden
    joined = gates + gate_width * GATES[operation.cell] * hidden
    memory = draft.buffer(joined + features + hidden)
    begins = (
        Begin(first=0, numbers=gates),
        Begin(first=joined + features, numbers=hidden, byte=draft.zero(operation.output)),
    )
    if operation.streaming:
        draft.kept[memory] = begins
    each, of_gates = hidden // n, GATES[operation.cell] * hidden // n
    names, place, first = (["u"], "u", "") if n == 1 else (["a", "u"], f"a * {each} + u", f"a * {of_gates} + ")
    state = f"gates[{first}u]" if quantized is None else _level(quantized, operation, f"gate_at(gates + 2 * ({first}u))")
    states = [
        f"const NUMBER state = {state};",
        f"joined[{features} + {'u' if n == 1 else f'{n} * u + a'}] = state;",
        f"y[{target.at('i0', place)}] = state;",
    ]
    cells = [
        f"{operation.cell}_states(gates + {a * gate_width * of_gates}, {each}, memory + {a * cell_width * each});"
        for a in range(n)
    ]
    step = [
        f"const int i0 = {f'{source.shape[0] - 1} - count' if operation.reverse else 'count'};",
        *_beside(source, n, features),
        "@gates(joined, gates, 0, 1);",
        *cells,
        *loops(names, [hidden] if n == 1 else [n, each], states),
    ]
    lines = [
        f"NUMBER *const gates = memory + {gates}, *const joined = memory + {joined};",
        *([] if operation.streaming else [begin.line("memory") for begin in begins]),
        *loops(["count"], [source.shape[0]], step),
    ]
    gates_step = _int8_gates(quantized, operation) if quantized else _gates(operation)
    append(
        draft,
        operation,
        shared((), (), lines),
        comment=operation.cell,
        tables=gates_step.definition("@gates"),
        by_channel=False,
        work=0,
        memory=memory,
    )


def _beside(source: View, n: int, features: int) -> list[str]:
    """Return the lines that bring the components of each of a step's elements side by side."""
    each = features // n
    places = [source.at("i0", f"i + {a * each}" if a else "i") for a in range(n)]
    lines = [f"joined[{f'{n} * i + {a}' if n > 1 else 'i'}] = x[{place}];" for a, place in enumerate(places)]
    return loops(["i"], [each], lines)


def _level(quantized: Quantized, operation: Recurrent, state: str) -> str:
    levels = quantized.levels[operation.output]
    factor, shift, bits = state_factor(levels)
    return f"level_from(({state} * {factor} + {shift}) >> {bits}, {levels.largest})"


def _gates(operation: Recurrent) -> Step:
    return product_step(Linear(name=f"{operation.name}, gates", inputs=(0,), output=1, product=operation.product), 0, 1)


def _int8_gates(quantized: Quantized, operation: Recurrent) -> Step:
    codes, before = quantized.codes(operation), quantized.levels[operation.inputs[0]]
    body, tables, kind = row_sums(codes, max(before.largest, quantized.levels[operation.output].largest))
    tables += array("int32_t", "@bias", codes.bias) + array("float", "@factor", codes.factor)
    for a in range(codes.product.n):
        row = f"row + {a * codes.product.weight.shape[1]}"
        body.append(f"    put_gate(y + 2 * ({row}), gate_of(sum{a} + @bias[{row}], @factor[{row}]));")
    return Step(comment=f"{operation.name}, gates: {kind}", reads=(0,), writes=1, body=(*body, "}"), tables=tables)
