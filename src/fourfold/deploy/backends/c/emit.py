"""`to_c`: a program as one C99 file and its header."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fourfold.deploy.artifact.file import opened
from fourfold.deploy.backends.c import recurrent
from fourfold.deploy.backends.c.float32 import general
from fourfold.deploy.backends.c.float32.convolution import add_convolution
from fourfold.deploy.backends.c.float32.linear import add_linear
from fourfold.deploy.backends.c.float32.maps import add_flatten, add_output, add_pointwise, add_pool, encode_step, input_step
from fourfold.deploy.backends.c.int8 import general as int8
from fourfold.deploy.backends.c.int8.convolution import add_int8_convolution
from fourfold.deploy.backends.c.int8.kernel_choice import KERNELS, Choice
from fourfold.deploy.backends.c.int8.linear import add_int8_linear
from fourfold.deploy.backends.c.int8.maps import (
    add_int8_mean,
    add_int8_output,
    add_int8_pointwise,
    int8_encode_step,
    int8_input_step,
)
from fourfold.deploy.backends.c.int8.runs import CARRIED
from fourfold.deploy.backends.c.memory import lay_out, place
from fourfold.deploy.backends.c.moving import add_concat, add_constant, add_movement, add_reshape
from fourfold.deploy.backends.c.norm_pool import add_norm_pool
from fourfold.deploy.backends.c.plan import IMAGE, LOGITS, SHARED, Draft
from fourfold.deploy.backends.c.sparse_lists import LARGEST_STEP
from fourfold.deploy.backends.c.targets import X86_WIDTHS, kernel_ladders, lanes_ladder
from fourfold.deploy.backends.c.text import filled, indent, template
from fourfold.deploy.backends.c.types import described
from fourfold.deploy.backends.numpy import UNSUPPORTED_INT8
from fourfold.deploy.ir.bounds import BOUNDS, check
from fourfold.deploy.ir.operation import Operation, Shape, named
from fourfold.deploy.ir.ops import (
    Activation,
    AdaptivePool,
    Add,
    Affine,
    AveragePool,
    Binary,
    Concat,
    Constant,
    Convolution,
    Embedding,
    Flatten,
    InsertZeros,
    Linear,
    MatMul,
    MaxPool,
    Normalize,
    NormPool,
    Pad,
    Permute,
    PRelu,
    Recurrent,
    Reduce,
    Relu,
    Reshape,
    Resize,
    Slice,
    Softmax,
)
from fourfold.deploy.ir.product import ProductOperation
from fourfold.deploy.ir.program import Encoding, Program
from fourfold.deploy.quantize import Quantized
from fourfold.record.errors import UserError, unknown
from fourfold.record.files import write_atomically

if TYPE_CHECKING:
    from torch import nn

EMIT_FLOAT32: dict[type[Operation], Callable[[Draft, Any], None]] = {
    Convolution: add_convolution,
    Linear: add_linear,
    MaxPool: add_pool,
    AveragePool: add_pool,
    Affine: add_pointwise,
    Add: add_pointwise,
    Relu: add_pointwise,
    Flatten: add_flatten,
    **dict.fromkeys((Permute, Slice, Pad, InsertZeros), add_movement),
    Reshape: add_reshape,
    Concat: add_concat,
    Constant: add_constant,
    Activation: general.add_activation,
    PRelu: general.add_prelu,
    Binary: general.add_binary,
    Resize: general.add_resize,
    AdaptivePool: general.add_adaptive_pool,
    Reduce: general.add_reduce,
    Normalize: general.add_normalize,
    Softmax: general.add_softmax,
    MatMul: general.add_matmul,
    Recurrent: recurrent.add_recurrent,
    Embedding: general.add_embedding,
    NormPool: add_norm_pool,
}

EMIT_INT8: dict[type[Operation], Callable[[Draft, Any], None]] = {
    **{operation: emit for operation, emit in EMIT_FLOAT32.items() if operation not in UNSUPPORTED_INT8},
    Convolution: add_int8_convolution,
    Linear: add_int8_linear,
    AveragePool: add_int8_mean,
    Affine: add_int8_pointwise,
    Add: add_int8_pointwise,
    Relu: add_int8_pointwise,
    Activation: int8.add_int8_activation,
    PRelu: int8.add_int8_prelu,
    Binary: int8.add_int8_binary,
    Resize: int8.add_int8_resize,
    AdaptivePool: int8.add_int8_adaptive_pool,
    Reduce: int8.add_int8_reduce,
    Normalize: int8.add_int8_normalize,
    Softmax: int8.add_int8_softmax,
    MatMul: int8.add_int8_matmul,
    Embedding: int8.add_int8_embedding,
}

UNSUPPORTED_FLOAT32: dict[type[Operation], str] = {}
"""Operations that become no C, and why."""

WITH_FUNCTIONS = (Activation, Softmax, Normalize, Recurrent, Embedding)
"""Operations of floats that call functions of runtime/functions.h."""


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """What the values of a network are made of."""

    size: int
    """Bytes."""
    words: dict[str, str]


INT8_KERNELS = ("int8_vectors.h", "int8_sdot.h", "int8_swar.h", "int8_quaternions.h")
"""The int8 kernels of machines other than x86, and those of linear layers."""

MOST_FILLERS = BOUNDS["value"].largest // LARGEST_STEP + 1
"""Entries of zero in a list, which bridge ways that are too long for a step."""

MOST_INLINED = 128
"""Steps that a compiler may join to one function, for which its time grows with the square."""

STEP = """
#if defined(__GNUC__)
#define STEP static __attribute__((noinline))
#else
#define STEP static
#endif
"""
"""What stands before the functions of more steps."""

FLOATS = Numbers(size=4, words={"NUMBER": "float", "LOWEST": "-INFINITY", "VALUES": "float32"})
BYTES = Numbers(size=1, words={"NUMBER": "uint8_t", "LOWEST": "0", "VALUES": "int8"})


def to_c(
    network: "Program | nn.Module | str | Path",
    folder: str | Path,
    *,
    name: str = "network",
    shape: Any = None,
    encoding: Encoding | None = None,
    kernels: str = "auto",
) -> tuple[Path, Path]:
    """Write a network as one C99 file and its header, and return their paths.

    The C needs no heap, no files and of the libraries only string.h and math.h's constants; docs/c.md describes it.

    Args:
        network: An artifact's path, a program or a network of torch; calibrated ones become int8.
        folder: Made if it is not there.
        name: Of the files, and the beginning of every name that they export.
        shape: Of an image that a network of torch takes: channels, height and width; see `lower`, as the encoding.
        encoding: How an image's bytes become that.
        kernels: What computes int8 convolutions on AVX-512 with VNNI: `lists` of weights, `elements` with the zeros in them,
            `dense`, or `auto`, for each layer the one that should take least time. All give the same bits.

    Raises:
        UserError: unknown `kernels`, a name that C does not allow, a network that is neither a file nor a program, or a folder
            or a file that cannot be written.
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        raise UserError(f"`name` (={name!r}) must begin with a letter and have only letters, digits and underscores")
    folder = Path(folder)
    source, header = folder / f"{name}.c", folder / f"{name}.h"
    generated = generate(opened(network, shape=shape, encoding=encoding), name, kernels=kernels)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(source, generated.source.encode())
        write_atomically(header, generated.header.encode())
    except OSError as error:
        raise UserError(f"cannot write {source} ({error.strerror})") from error
    return source, header


@dataclass(frozen=True, kw_only=True)
class Generated:
    """A network as C."""

    name: str
    header: str
    source: str
    arena: int
    """Bytes of memory that a run works in."""
    words: dict[str, str]
    """What stands for @WORDS@ in the C files of this package."""
    choices: tuple[Choice, ...] = ()
    """Of layers for which there are several kernels on AVX-512 with VNNI: which was chosen, and why."""

    def with_harness(self) -> str:
        """Return one file that also has what the runtime calls: batches and threads."""
        alone = self.source.replace(f'#include "{self.name}.h"', self.header)
        return alone + filled(template("harness.c"), self.words)


def generate(program: Program, name: str, *, kernels: str = "auto") -> Generated:
    """Return a network as C, with `name` before all that it exports; in int8 where it has been calibrated.

    Raises:
        UserError: something of it is beyond its bound, a number is not finite, or unknown `kernels`, which `to_c` describes.
    """
    if kernels not in KERNELS:
        raise unknown("kernels", kernels, KERNELS)
    weights = [operation.product.weight for operation in program.operations if isinstance(operation, ProductOperation)]
    check("layers", len(weights))
    draft = _draft(program, kernels)
    numbers = BYTES if draft.quantized else FLOATS
    offsets, arena = place(draft.lifetimes(numbers.size))
    check("arena", arena)
    places = {buffer: f"arena + {offset // numbers.size}" for buffer, offset in enumerate(offsets)}
    places[LOGITS] = "logits"
    definitions, calls = _taking(draft, program, places)
    many = len(draft.steps) > MOST_INLINED
    for index, step in enumerate(draft.steps, 1):
        definitions.append(step.definition(f"step_{index}", "STEP" if many else "static"))
        calls.append(step.call(f"step_{index}", places))
    encoding = program.encoding
    declared, defined = (template(file) if encoding else "" for file in ("bytes.h", "bytes.c"))
    words = {
        "DECLARE_BYTES": declared,
        "DEFINE_BYTES": defined,
        "PRELUDE": _prelude()
        + (_int8_prelude(draft) if draft.quantized else "")
        + _functions(program)
        + (STEP if many else ""),
        "FUNCTIONS": "\n".join(definitions),
        "CASES": indent((f"case {index}: {call} break;" for index, call in enumerate(calls))),
        "NAME": name,
        "GUARD": name.upper(),
        "SHAPES": f"{_times(program.shapes[0])} → {_times(program.shapes[-1])}",
        "INPUTS": str(math.prod(program.shapes[0])),
        "SHAPE": "channels × height × width" if len(program.shapes[0]) == 3 else "features",
        "BYTES": str(math.prod(encoding.shape)) if encoding else "0",
        "BYTES_SHAPE": ": height × width × channels" if encoding else "",
        "OUTPUTS": str(math.prod(program.shapes[-1])),
        "ARENA": str(arena),
        "STEPS": str(len(calls)),
        "ALONE": ", ".join(["0", *(str(int(step.work < SHARED)) for step in draft.steps)]),
        "TYPES": "\n".join(f" * {line}".rstrip() for line in described(draft.quantized)),
        "COUNT": "uint16_t" if all(weight[0, 0].size + MOST_FILLERS < 2**16 for weight in weights) else "uint32_t",
        "STORED": str(sum(int(np.count_nonzero(weight)) for weight in weights)),
        "WEIGHTS": str(sum(weight.size for weight in weights)),
        **numbers.words,
    }
    header, source = (filled(template(file), words) for file in ("network.h", "network.c"))
    return Generated(name=name, header=header, source=source, arena=arena, words=words, choices=tuple(draft.choices))


def _prelude() -> str:
    """Return the types of vectors and what all kernels of floats share."""
    return filled(template("vectors.h"), {"LANES_LADDER": lanes_ladder()})


def _functions(program: Program) -> str:
    """Return what operations call that are in few networks."""
    kinds, int8 = {type(operation) for operation in program.operations}, bool(program.ranges)
    functions = template("int8_functions.h" if int8 else "functions.h")
    called = kinds & ({Normalize} if int8 else set(WITH_FUNCTIONS))
    return (functions if called else "") + (recurrent.prelude(int8) if Recurrent in kinds else "")


def _int8_prelude(draft: Draft) -> str:
    """Return the int8 kernels: for a pixel at a time, and for whatever machine it will be compiled for."""
    x86 = [filled(template("int8_x86.h"), width.words) for width in X86_WIDTHS]
    kernels = [*INT8_KERNELS, *(["int8_blocks.h"] if any(choice.kernel != "lists" for choice in draft.choices) else [])]
    return "".join([filled(template("int8.h"), {"CARRIED": str(CARRIED)}), *x86, *map(template, kernels), kernel_ladders()])


def _draft(program: Program, kernels: str) -> Draft:
    quantized = Quantized(program) if program.ranges else None
    draft = Draft(planes=lay_out(program), shapes=program.shapes, quantized=quantized, kernels=kernels)
    draft.buffers[0] = draft.buffer(draft.planes[0].size)
    for operation in program.operations:
        if draft.quantized and type(operation) in UNSUPPORTED_INT8:
            raise UserError(f"{named(operation)}: {UNSUPPORTED_INT8[type(operation)]}")
        (EMIT_INT8 if draft.quantized else EMIT_FLOAT32)[type(operation)](draft, operation)
    last = program.operations[-1].output
    if draft.quantized is None:
        add_output(draft, last)
    elif draft.buffers[last] != LOGITS:
        add_int8_output(draft, last)
    return draft


def _taking(draft: Draft, program: Program, places: dict[int, str]) -> tuple[list[str], list[str]]:
    """Return the functions that take an image, and the call of step 0."""
    numbers = int8_input_step(draft) if draft.quantized else input_step(draft)
    definitions, call = [numbers.definition("take_numbers")], numbers.call("take_numbers", places | {IMAGE: "image"})
    encoding = program.encoding
    if encoding is None:
        return definitions, [f"(void)bytes; {call}"]
    encode = int8_encode_step(draft, encoding) if draft.quantized else encode_step(draft, encoding, program.shapes[0])
    definitions.append(encode.definition("take_bytes"))
    return definitions, [f"if (bytes) {encode.call('take_bytes', places | {IMAGE: 'bytes'})} else {call}"]


def _times(shape: Shape) -> str:
    return " × ".join(map(str, shape))
