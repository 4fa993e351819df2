"""Finding the system's C compiler, and compiling this package's C files with it.

A library lies in the user's cache under a name that is a hash of its source, the compiler and its target, so a file is
compiled once a machine and never taken for another's.
"""

import ctypes
import functools
import hashlib
import os
import shlex
import shutil
import subprocess
import tempfile
from importlib import resources
from pathlib import Path

FLAGS = ("-std=gnu11", "-O3", "-march=native", "-ffp-contract=fast", "-fno-math-errno", "-fPIC", "-shared", "-pthread")

SWITCH = "FOURFOLD_NATIVE"
"""The environment variable that, set to 0, turns native code off."""

COMPILERS = ("cc", "gcc", "clang")


class NoCompilerError(Exception):
    """Native code is off, or cannot be compiled here; the message says why."""


@functools.cache
def compiler() -> str:
    """Return the C compiler's own description of itself, such as `cc (Debian 12.2.0-14) 12.2.0`.

    Raises:
        NoCompilerError: there is none, or it does not run.
    """
    return _run([*_command(), "--version"]).partition("\n")[0]


@functools.cache
def library(name: str) -> ctypes.CDLL:
    """Compile a C file of this package, unless it has been, and load it.

    Raises:
        NoCompilerError: native code is switched off, there is no C compiler, or it fails.
    """
    return compiled(resources.files("fourfold.native").joinpath(f"{name}.c").read_bytes(), name)


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
    target = _run([*_command(), *FLAGS, "-dM", "-E", "-x", "c", os.devnull])
    digest = hashlib.sha256(b"\0".join([source, compiler().encode(), " ".join(FLAGS).encode(), target.encode()])).hexdigest()
    path = _cache() / f"{name}-{digest[:16]}.so"
    try:
        if not path.is_file():
            _compile(source, path)
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise NoCompilerError(f"cannot keep or load compiled code in {path.parent} ({error})") from error


def _compile(source: bytes, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        unfinished = Path(folder) / path.name
        _run([*_command(), *FLAGS, "-x", "c", "-", "-o", str(unfinished), "-lm"], source)
        unfinished.replace(path)  # whole or not there, also when several processes compile at once


def _command() -> list[str]:
    if os.environ.get("CC"):
        return shlex.split(os.environ["CC"])
    for name in COMPILERS:
        if shutil.which(name):
            return [name]
    raise NoCompilerError(f"no C compiler is here (none of {', '.join(COMPILERS)}, and $CC is not set)")


def _run(command: list[str], source: bytes | None = None) -> str:
    try:
        done = subprocess.run(command, input=source, capture_output=True, timeout=120, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoCompilerError(f"`{shlex.join(command)}` does not run: {error}") from error
    if done.returncode:
        message = done.stderr.decode(errors="replace").strip().partition("\n")[0]
        raise NoCompilerError(f"`{shlex.join(command)}` failed: {message}")
    return done.stdout.decode(errors="replace")


def _cache() -> Path:
    import pooch  # imports requests: only where it is needed

    return Path(pooch.os_cache("fourfold")) / "native"
