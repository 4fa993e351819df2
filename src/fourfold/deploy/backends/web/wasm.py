"""`to_wasm`: a program compiled to WebAssembly by clang."""

import os
import shutil
import tempfile
from importlib import resources
from pathlib import Path

from fourfold.deploy.backends.c.emit import Generated, generate
from fourfold.deploy.ir.program import Program
from fourfold.native import NoCompilerError, run_tool
from fourfold.record.errors import UserError

NAME = "network"

FLAGS = (
    "--target=wasm32",
    "-std=gnu11",
    "-O2",
    "-msimd128",
    "-mbulk-memory",
    "-fno-math-errno",
    "-nostdlib",
    "-Wl,--no-entry",
    "-Wl,--strip-all",
    "-Wl,-z,stack-size=65536",
)
"""SIMD128 and bulk memory are in all browsers since 2023. -O3 takes up to twice the bytes, and is no faster."""

VERSIONS = range(30, 12, -1)
"""Of clang that are looked for by name, the newest first, where there is no plain `clang`."""


def compile_wasm(program: Program) -> bytes:
    """Return a WebAssembly module that needs nothing around it.

    It exports its `memory`; `numbers()`, the address of an image's float32 numbers as the network sees them, and
    `run_numbers()`; `logits()`, the address of the float32 numbers that come out; and where the network has an encoding,
    `image()`, the address of an image's bytes (height, width, channels), and `run()`.

    Raises:
        UserError: clang and its linker are not here, or fail.
    """
    return compile_generated(generate(program, NAME))


def compile_generated(generated: Generated) -> bytes:
    """Return the WebAssembly module of a network that is C already; see `compile_wasm`."""
    exports = _file("exports.c")
    for word, replacement in generated.words.items():
        exports = exports.replace(f"@{word}@", replacement)
    source = generated.source.replace(f'#include "{NAME}.h"', generated.header) + exports
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for header in ("string.h", "math.h"):
            (folder / header).write_text(_file(header))
        module = folder / "network.wasm"
        try:
            run_tool([clang(), *FLAGS, "-isystem", str(folder), "-x", "c", "-", "-o", str(module)], source.encode())
        except NoCompilerError as error:
            raise UserError(f"cannot compile to WebAssembly: {error}; it takes clang with its linker lld") from error
        return module.read_bytes()


def clang() -> str:
    """Return the clang to call: $CLANG, or the first on the path.

    Raises:
        UserError: there is none.
    """
    names = [os.environ["CLANG"]] if os.environ.get("CLANG") else ["clang", *(f"clang-{version}" for version in VERSIONS)]
    for name in names:
        if shutil.which(name):
            return name
    raise UserError(
        "cannot compile to WebAssembly: there is no clang, and $CLANG does not name one (on Debian: apt install clang lld)"
    )


def _file(name: str) -> str:
    return resources.files("fourfold.deploy.backends.web").joinpath(name).read_text()
