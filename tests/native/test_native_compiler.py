"""Compiling: once, by content, with a sentence where it cannot be done; and the C code under sanitizers."""

import os
import subprocess
from importlib import resources
from pathlib import Path

import pytest

from fourfold.native import NoCompilerError, compiler, library
from fourfold.native.compiling import _command, _run

try:
    compiler()
except NoCompilerError as reason:
    pytest.skip(str(reason), allow_module_level=True)


@pytest.fixture(autouse=True)
def _forget(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    library.cache_clear()
    compiler.cache_clear()
    yield
    library.cache_clear()
    compiler.cache_clear()


def compiled(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "cache").rglob("*.so"))


@pytest.mark.skipif(os.name != "posix" or os.uname().sysname != "Linux", reason="the cache's place is that of Linux")
def test_a_file_is_compiled_once(tmp_path, monkeypatch):
    library("perceptron")
    (path,) = compiled(tmp_path)
    library.cache_clear()
    monkeypatch.setattr("fourfold.native.compiling._compile", lambda *_: pytest.fail("compiled again"))
    library("perceptron")
    assert compiled(tmp_path) == [path]
    assert [p.name for p in path.parent.iterdir()] == [path.name]  # nothing unfinished is left


def test_it_can_be_switched_off(monkeypatch):
    monkeypatch.setenv("FOURFOLD_NATIVE", "0")
    with pytest.raises(NoCompilerError, match=r"native code is off \(\$FOURFOLD_NATIVE=0\)"):
        library("perceptron")


def test_no_compiler(monkeypatch, tmp_path):
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoCompilerError, match="no C compiler is here"):
        library("perceptron")


def test_a_compiler_that_does_not_run(monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(NoCompilerError, match=r"`no-such-compiler .*` does not run"):
        library("perceptron")


def test_a_compiler_that_fails_says_why():
    with pytest.raises(NoCompilerError, match=r"failed: .*error"):
        _run([*_command(), "-x", "c", "-c", "-", "-o", os.devnull], b"this is not C")


def test_a_cache_that_cannot_be_written(tmp_path):
    (tmp_path / "cache").write_text("a file, not a folder")
    with pytest.raises(NoCompilerError, match="cannot keep or load compiled code"):
        library("perceptron")


HARNESS = r"""
#include <stdlib.h>
static float *floats(int64_t count)
{
    float *x = aligned_alloc(64, (count * sizeof *x + 63) / 64 * 64);
    for (int64_t i = 0; i < count; i++) x[i] = (i * 7 % 11) / 11.0f - 0.4f;
    return x;
}
int main(void)
{
    for (int64_t batch = 1; batch < 100; batch += 13) {
        int64_t width = (batch + 15) / 16 * 16;
        int32_t start[] = {0, 2, 2, 3}, column[] = {0, 4, 1}, source[] = {0, 1, 1};
        float sign[] = {1, -1, 1};
        float *weight = floats(2), *value = floats(3), *bias = floats(3), *x = floats(batch * 5), *columns = floats(5 * width);
        float *y = floats(3 * width), *g = floats(3 * width), *dw = floats(2), *db = floats(3), *m = floats(2), *v = floats(2);
        int64_t *labels = calloc(batch, sizeof *labels);
        double loss;
        to_columns(batch, 5, 5, 1, x, width, columns);
        to_columns(batch, 5, 1, batch, x, width, columns);
        spread(3, source, sign, weight, value);
        product(3, start, column, value, bias, columns, width, y);
        relu(3 * width, y);
        cross_entropy(batch, 3, width, y, labels, g, &loss);
        relu_backward(3 * width, y, g);
        gradient(3, start, column, source, sign, g, columns, width, 2, dw, db);
        for (int i = 0; i < 2; i++) v[i] = 1;
        adam(2, 1, 1e-3, 0.9, 0.999, 1e-8, 0, weight, dw, m, v);
        sgd(2, 1, 1e-3, 0.9, 1, 0, weight, dw, m);
        float *all[] = {weight, value, bias, x, columns, y, g, dw, db, m, v};
        for (unsigned i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
        free(labels);
    }
    return 0;
}
"""


def test_no_undefined_behaviour_and_no_byte_outside(tmp_path):
    source, program = tmp_path / "harness.c", tmp_path / "harness"
    source.write_text(resources.files("fourfold.native").joinpath("perceptron.c").read_text() + HARNESS)
    flags = ["-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-march=native", "-fno-sanitize-recover=all"]
    build = [*_command(), *flags, "-fsanitize=address,undefined", str(source), "-o", str(program), "-lm"]
    built = subprocess.run(build, capture_output=True, text=True, check=False)
    if "cannot find" in built.stderr:
        pytest.skip("the compiler came without its sanitizers")
    assert built.returncode == 0, built.stderr
    ran = subprocess.run([program], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
