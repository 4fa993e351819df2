"""Finding the system's C compiler, and compiling this package's C files with it.

A library lies in the user's cache under a name of two hashes: that of its source, the compiler and its target, so that a file
is compiled once a machine and never taken for another's; and that of its own content, so that one that a full disk or a crash
has cut short is compiled again. Loaded, it would end the process with a bus error.
"""

import contextlib
import ctypes
import functools
import hashlib
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

FLAGS = ("-std=gnu11", "-O3", "-march=native", "-ffp-contract=fast", "-fno-math-errno", "-fPIC", "-shared", "-pthread")

SWITCH = "FOURFOLD_NATIVE"
"""The environment variable that, set to 0, turns native code off."""

COMPILERS = ("cc", "gcc", "clang")

TIME_LIMIT = 120.0
"""Seconds that a compiler may take."""


class NoCompilerError(Exception):
    """Native code is off, or cannot be compiled here; the message says why."""


@functools.cache
def compiler() -> str:
    """Return the C compiler's own description of itself, such as `cc (Debian 12.2.0-14) 12.2.0`.

    Raises:
        NoCompilerError: there is none, or it does not run.
    """
    return run_tool([*_command(), "--version"]).partition("\n")[0]


@functools.cache
def library(name: str, before: str = "") -> ctypes.CDLL:
    """Compile a C file of this package, unless it has been, and load it.

    Args:
        name: The file's name without its ending.
        before: Lines that stand before the file's own.

    Raises:
        NoCompilerError: native code is switched off, there is no C compiler, or it fails.
    """
    return compiled(before.encode() + resources.files("fourfold.native").joinpath(f"{name}.c").read_bytes(), name)


Signatures = Mapping[str, tuple[Any, Sequence[Any]]]
"""The result and the arguments of functions, as `ctypes` has them, by name."""


def functions(name: str, signatures: Signatures, before: str = "") -> ctypes.CDLL:
    """Return a `library` whose functions know their results and arguments.

    Raises:
        NoCompilerError: native code is switched off, there is no C compiler, or it fails.
    """
    loaded = library(name, before)
    for function_name, (result, arguments) in signatures.items():
        function = getattr(loaded, function_name)
        function.restype, function.argtypes = result, arguments
    return loaded


def compiles(load: Callable[[], ctypes.CDLL]) -> bool:
    """Whether functions can be had here."""
    try:
        load()
    except NoCompilerError:
        return False
    return True


def joined(*names: str) -> str:
    """Return all files but the last one, which follows them, as one in which a compiler's messages still name each."""
    folder = resources.files("fourfold.native")
    texts = [f'#line 1 "{name}.c"\n{folder.joinpath(f"{name}.c").read_text(encoding="utf-8")}' for name in names[:-1]]
    return "".join([*texts, f'#line 1 "{names[-1]}.c"\n'])


def compiled(source: bytes, name: str) -> ctypes.CDLL:
    """Compile C, unless it has been, and load it.

    Args:
        source: One C file.
        name: What the library's file begins with.

    Raises:
        NoCompilerError: native code is switched off, there is no C compiler, or it fails.
    """
    if os.environ.get(SWITCH) == "0":
        raise NoCompilerError(f"native code is off (${SWITCH}=0)")
    # What -march=native means is asked of the compiler, so that a cache on a shared disk serves different processors.
    target = run_tool([*_command(), *FLAGS, "-dM", "-E", "-x", "c", os.devnull])
    about = b"\0".join([source, compiler().encode(), " ".join(FLAGS).encode(), target.encode()])
    folder, prefix = _cache(), f"{name}-{_hash(about)}"
    try:
        path = _kept(folder, prefix) or _compile(source, folder, prefix)
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise NoCompilerError(f"cannot keep or load compiled code in {folder} ({error})") from error


def run_compiler(*arguments: str) -> str:
    """Run the C compiler with arguments of the caller's, and return what it prints.

    Raises:
        NoCompilerError: native code is switched off, there is no C compiler, or it fails.
    """
    if os.environ.get(SWITCH) == "0":
        raise NoCompilerError(f"native code is off (${SWITCH}=0)")
    return run_tool([*_command(), *arguments])


def _kept(folder: Path, prefix: str) -> Path | None:
    """Return the library that was compiled before, if it still is what the compiler wrote; remove what is not."""
    for path in folder.glob(f"{prefix}-*.so"):
        if path.name == _file_name(prefix, path.read_bytes()):
            return path
        path.unlink(missing_ok=True)
    return None


def _compile(source: bytes, folder: Path, prefix: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as unfinished_folder:
        unfinished = Path(unfinished_folder) / f"{prefix}.so"
        run_tool([*_command(), *FLAGS, "-x", "c", "-", "-o", str(unfinished), "-lm"], source)
        path = folder / _file_name(prefix, unfinished.read_bytes())
        unfinished.replace(path)  # whole or not there, also when several processes compile at once
    return path


def _file_name(prefix: str, content: bytes) -> str:
    return f"{prefix}-{_hash(content)}.so"


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _command() -> list[str]:
    if os.environ.get("CC"):
        return shlex.split(os.environ["CC"])
    for name in COMPILERS:
        if shutil.which(name):
            return [name]
    raise NoCompilerError(f"no C compiler is here (none of {', '.join(COMPILERS)}, and $CC is not set)")


def run_tool(command: list[str], source: bytes | None = None, time_limit: float | None = None) -> str:
    """Return what a command prints.

    Args:
        command: The program and its arguments.
        source: What it reads.
        time_limit: Seconds after which it is ended, with all processes that it started; `TIME_LIMIT` where None.

    Raises:
        NoCompilerError: it does not start, takes too long, or fails.
    """
    pipe = subprocess.PIPE
    try:
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True) as process:
            try:
                output, errors = process.communicate(source, TIME_LIMIT if time_limit is None else time_limit)
            except BaseException:  # a driver such as gcc leaves the work to others, which would run without it
                _end_group(process)
                raise
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoCompilerError(f"`{shlex.join(command)}` does not run: {error}") from error
    if process.returncode:
        message = errors.decode(errors="replace").strip().partition("\n")[0]
        raise NoCompilerError(f"`{shlex.join(command)}` failed: {message}")
    return output.decode(errors="replace")


def _end_group(process: "subprocess.Popen[bytes]") -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _cache() -> Path:
    import pooch  # imports requests: only where it is needed

    return Path(pooch.os_cache("fourfold")) / "native"
