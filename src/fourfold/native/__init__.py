"""C code compiled on the user's machine for the user's processor, once, and kept by content."""

from fourfold.native.compiling import NoCompilerError, compiled, compiler, library, run_compiler, run_tool

__all__ = ["NoCompilerError", "compiled", "compiler", "library", "run_compiler", "run_tool"]
