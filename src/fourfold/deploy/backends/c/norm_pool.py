"""Max pooling by norm in C, of floats and of bytes: the place of the largest norm, then a copy of its components."""

from fourfold.deploy.backends.c.plan import Draft
from fourfold.deploy.backends.c.strided import append, indices, loops, shared, view
from fourfold.deploy.ir.ops import NormPool


def add_norm_pool(draft: Draft, operation: NormPool) -> None:
    """Append the step of a pooling by norm."""
    source, target = view(draft, operation.inputs[0]), view(draft, operation.output)
    zero = draft.zero(operation.inputs[0])
    kind, numbers = "int32_t" if draft.quantized else "float", target.shape[0] // operation.n
    names = indices(3)
    step = numbers * source.strides[0]
    value = f"x[at + k * {step}]" + (f" - {zero}" if zero else "")
    lines = [
        f"const int row = i1 * {operation.stride[0]} + r * {operation.dilation[0]} - {operation.padding[0]};",
        f"const int column = i2 * {operation.stride[1]} + c * {operation.dilation[1]} - {operation.padding[1]};",
        f"if (row < 0 || row >= {source.shape[1]} || column < 0 || column >= {source.shape[2]})",
        "    continue;",
        f"const int at = {source.at('i0', 'row', 'column')};",
        f"{kind} norm = 0;",
        *loops(["k"], [operation.n], [f"const {kind} v = {value};", "norm += v * v;"]),
        "if (best < 0 || norm > largest)",
        "    best = at, largest = norm;",
    ]
    body = ["int best = -1;", f"{kind} largest = 0;", *loops(["r", "c"], list(operation.kernel), lines)]
    place = target.at(*names)
    body += loops(["k"], [operation.n], [f"y[{place} + k * {numbers * target.strides[0]}] = x[best + k * {step}];"])
    work = operation.work(target.shape)
    append(draft, operation, shared(names, (numbers, *target.shape[1:]), body), by_channel=False, work=work)
