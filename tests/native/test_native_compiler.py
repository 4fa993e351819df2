"""Compiling: once, by content, with a sentence where it cannot be done; and the C code under sanitizers."""

import os
import subprocess
from importlib import resources
from pathlib import Path

import pytest

from fourfold.native import NoCompilerError, compiler, library, linear
from fourfold.native.compiling import _command, run_tool
from fourfold.native.compiling import compiled as compile_source
from fourfold.native.perceptron import FILES, joined
from processes import is_alive, wait_until

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


on_linux = pytest.mark.skipif(os.name != "posix" or os.uname().sysname != "Linux", reason="the cache's place is that of Linux")


@pytest.mark.slow
@on_linux
def test_a_file_is_compiled_once(tmp_path, monkeypatch):
    library("perceptron", BEFORE)
    (path,) = compiled(tmp_path)
    library.cache_clear()
    monkeypatch.setattr("fourfold.native.compiling._compile", lambda *_: pytest.fail("compiled again"))
    library("perceptron", BEFORE)
    assert compiled(tmp_path) == [path]
    assert [p.name for p in path.parent.iterdir()] == [path.name]  # nothing unfinished is left


DAMAGES = {
    "empty": lambda content: b"",
    "cut to a half": lambda content: content[: len(content) // 2],
    "cut by a byte": lambda content: content[:-1],
    "a byte changed": lambda content: content[:-1] + bytes([content[-1] ^ 1]),
    "zeros after a crash": lambda content: bytes(len(content)),
    "not a library": lambda content: b"not a library",
}


@on_linux
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_library_is_compiled_again(tmp_path, damage):
    source = f"int answer(void) {{ return 42; }} /* {damage} */".encode()  # a library of its own: a loaded one stays in memory
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ctypes.CDLL", str)  # never loaded whole, so that what is loaded below has been compiled again
        compile_source(source, "answer")
    (path,) = compiled(tmp_path)
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    assert compile_source(source, "answer").answer() == 42
    assert len(compiled(tmp_path)) == 1


@on_linux
def test_a_compiler_ends_with_all_its_children_at_the_time_limit(tmp_path):
    """A driver such as gcc leaves the work to children, which keep its output open and would go on for minutes."""
    pid_file = tmp_path / "pid"
    driver = f"sleep 60 & echo $! > {pid_file}; wait"
    with pytest.raises(NoCompilerError, match=r"does not run: .* timed out after 1"):
        run_tool(["sh", "-c", driver], time_limit=1.0)
    pid = int(pid_file.read_text())
    wait_until(lambda: not is_alive(pid), "the compiler's child has ended", 20)  # of its 60


def test_it_can_be_switched_off(monkeypatch):
    monkeypatch.setenv("FOURFOLD_NATIVE", "0")
    with pytest.raises(NoCompilerError, match=r"native code is off \(\$FOURFOLD_NATIVE=0\)"):
        library("perceptron", BEFORE)


def test_no_compiler(monkeypatch, tmp_path):
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoCompilerError, match="no C compiler is here"):
        library("perceptron", BEFORE)


def test_a_compiler_that_does_not_run(monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(NoCompilerError, match=r"`no-such-compiler .*` does not run"):
        library("perceptron", BEFORE)


def test_a_compiler_that_fails_says_why():
    with pytest.raises(NoCompilerError, match=r"failed: .*error"):
        run_tool([*_command(), "-x", "c", "-c", "-", "-o", os.devnull], b"this is not C")


def test_a_cache_that_cannot_be_written(tmp_path):
    (tmp_path / "cache").write_text("a file, not a folder")
    with pytest.raises(NoCompilerError, match="cannot keep or load compiled code"):
        library("perceptron", BEFORE)


BEFORE = joined(*FILES, "perceptron")

FLOATS = r"""
#include <stdlib.h>
static float *floats(int64_t count)
{
    float *x = aligned_alloc(64, (count * sizeof *x + 63) / 64 * 64);
    for (int64_t i = 0; i < count; i++) x[i] = (i * 7 % 11) / 11.0f - 0.4f;
    return x;
}
"""

SPARSE = r"""
int main(void)
{
    enum { FEATURES = 21, HIDDEN = 3, CLASSES = 5, IMAGES = 40 };
    /* Two blocks of columns; a weight that is met twice, once with the other sign; rows and columns that meet nothing. */
    int32_t start1[] = {0, 2, 2, 7, 7, 7, 8}, column1[] = {0, 4, 1, 2, 3, 4, 5, 20}, source1[] = {0, 1, 4, 2, 2, 0, 3, 3};
    int32_t start2[] = {0, 1, 1, 1, 6, 7}, column2[] = {2, 0, 1, 2, 0, 1, 2}, source2[] = {0, 1, 0, 2, 3, 1, 0};
    int32_t startt[] = {0, 3, 5, 7}, columnt[] = {3, 3, 3, 0, 3, 3, 4}, sourcet[] = {1, 3, 0, 0, 1, 2, 0};
    uint8_t met[FEATURES] = {1, 1, 1, 1, 1, 1, [20] = 1};
    int64_t weights1 = 4, weights2 = 4, count = weights1 + HIDDEN + weights2 + CLASSES, right;
    for (int64_t batch = 1; batch < 100; batch += 13) {
        int64_t width = (batch + 15) / 16 * 16;
        float *all[] = {floats(count), floats(count), floats(count), floats(count), floats(8), floats(8),
                        floats(FEATURES * width), floats(HIDDEN * width), floats(CLASSES * width),
                        floats(FEATURES * width), floats(HIDDEN * width), floats(CLASSES * width),
                        floats(FEATURES), floats(FEATURES), floats(batch * FEATURES)};
        float **v = all + 6, *w = all[0], *g = all[1];
        struct layer layers[] = {
            {FEATURES, HIDDEN, NULL, {2, HIDDEN, start1, column1, source1}, {0}, weights1, w, w + 4, g, g + 4, all[4], all[5],
             v[0], v[1], v[3], v[4]},
            {HIDDEN, CLASSES, NULL, {1, CLASSES, start2, column2, source2}, {1, HIDDEN, startt, columnt, sourcet}, weights2,
             w + 7, w + 11, g + 7, g + 11, NULL, NULL, v[1], v[2], v[4], v[5]},
        };
        uint8_t *pixels = malloc(IMAGES * FEATURES);
        memset(pixels, 200, IMAGES * FEATURES);
        struct images images = {FEATURES, pixels, all[12], all[13]};
        int64_t *members = malloc(IMAGES * sizeof *members), *labels = malloc((IMAGES + batch) * sizeof *labels);
        double *rates = malloc(IMAGES * sizeof *rates);
        for (int64_t i = 0; i < IMAGES; i++) members[i] = i * 7 % IMAGES, rates[i] = 1e-3;
        for (int64_t i = 0; i < IMAGES + batch; i++) labels[i] = i % CLASSES;
        for (int adam = 0; adam < 2; adam++) {
            struct perceptron of = {2, layers, met, count, all[0], all[1], all[2], all[3], adam, 1, 0.9, 0.999, 1e-8, 0.9, 0.1};
            for (int64_t i = 0; i < count; i++) all[3][i] = 1;
            take(&of, batch, FEATURES, FEATURES, 1, all[14], labels, 1, 1e-3);
            take(&of, batch, FEATURES, 1, batch, all[14], labels, 2, 1e-3);
            take_many(&of, &images, IMAGES, members, labels, batch, 3, rates, 0);
            evaluate(&of, &images, IMAGES, members, labels, batch, &right);
        }
        for (unsigned i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
        free(pixels), free(members), free(labels), free(rates);
    }
    return 0;
}
"""

DENSE = r"""
int main(void)
{
    /* Complex layers by three products and with an expanded matrix, and a real one of which weights are pruned. */
    enum { FEATURES = 130, HIDDEN = 10, NEXT = 14, CLASSES = 5, COUNT = 650 + HIDDEN + 70 + NEXT + 70 + CLASSES };
    float inputs[] = {1, 0, 0, 1, 1, 1}, outputs[] = {1, -1, 0, -1, -1, 1};
    int32_t table[] = {1, -2, 2, 1};
    for (int64_t batch = 1; batch < 200; batch += 19) {
        int64_t width = (batch + 15) / 16 * 16, sizes[] = {FEATURES, HIDDEN, NEXT, CLASSES};
        float *all[32] = {floats(COUNT), floats(COUNT), floats(COUNT), floats(COUNT)}, *w = all[0], *g = all[1];
        for (int i = 0; i < 4; i++) all[4 + i] = floats(sizes[i] * width), all[8 + i] = floats(sizes[i] * width);
        int64_t rooms[] = {3 * 65 * 5, 3 * 65 * 5, 3 * 65 * width, 3 * 5 * width, width * 3 * 65,
                           140, 140, width * HIDDEN, 70, width * NEXT, batch * FEATURES,
                           FEATURES * HIDDEN, FEATURES * HIDDEN, width * FEATURES, FEATURES, HIDDEN, 4 * width};
        for (int i = 0; i < 17; i++) all[12 + i] = floats(rooms[i]);
        float **v = all + 4, **u = all + 8, **room = all + 12;
        struct dense matrix = {{1, 1, NULL, NULL, NULL, 2, table}, NULL, room[11], room[12], NULL, NULL, room[13], NULL};
        struct watched watched = {&matrix, room[14], room[15], room[16], 0, 0};
        struct dense dense[] = {
            {{2, 3, inputs, inputs, outputs, 2, NULL}, NULL, room[0], room[1], room[2], room[3], room[4], &watched},
            {{1, 1, NULL, NULL, NULL, 2, table}, NULL, room[5], room[6], NULL, NULL, room[7], NULL},
            {{1, 1, NULL, NULL, NULL, 1, NULL}, room[8], w + 744, g + 744, NULL, NULL, room[9], NULL},
        };
        int64_t weights[] = {650, 70, 70}, at = 0;
        struct layer layers[3];
        for (int i = 0; i < 3; i++) {
            int64_t bias = at + weights[i];
            layers[i] = (struct layer){sizes[i], sizes[i + 1], dense + i, {0}, {0}, weights[i], w + at, w + bias, g + at,
                                       g + bias, NULL, NULL, v[i], v[i + 1], u[i], u[i + 1]};
            at = bias + sizes[i + 1];
        }
        int64_t *labels = malloc(batch * sizeof *labels);
        for (int64_t i = 0; i < batch; i++) labels[i] = i % CLASSES;
        struct perceptron of = {3, layers, NULL, COUNT, all[0], all[1], all[2], all[3], 0, 1, 0.9, 0.999, 1e-8, 0.9, 0.1};
        take(&of, batch, FEATURES, FEATURES, 1, room[10], labels, 1, 1e-3);
        take(&of, batch, FEATURES, 1, batch, room[10], labels, 2, 1e-3);
        for (int i = 0; i < 325; i++) w[i] = 0; /* one component alone: the products are taken with the matrix */
        take(&of, batch, FEATURES, FEATURES, 1, room[10], labels, 3, 1e-3);
        for (int i = 0; i < 32; i++) free(all[i]);
        free(labels);
    }
    return 0;
}
"""

LINEAR = r"""
int main(void)
{
    int32_t table[] = {1, -2, 2, 1};
    for (int64_t rows = 1; rows < 140; rows += 23)
        for (int64_t inputs = 2; inputs < 140; inputs += 46)
            for (int components = 1; components < 3; components++) {
                int64_t outputs = 70;
                struct algebra algebra = {1, 1, NULL, NULL, NULL, components, components == 2 ? table : NULL};
                float *x = floats(rows * inputs), *weight = floats(outputs * inputs / components), *bias = floats(outputs),
                      *y = floats(rows * outputs), *room = floats(linear_room(&algebra, rows, inputs, outputs)),
                      *of_x = floats(rows * inputs), *of_weight = floats(outputs * inputs / components),
                      *of_bias = floats(outputs);
                linear_forward(&algebra, rows, inputs, outputs, x, weight, bias, y, room);
                linear_forward(&algebra, rows, inputs, outputs, x, weight, NULL, y, room);
                linear_backward(&algebra, rows, inputs, outputs, x, weight, y, of_x, of_weight, of_bias, room);
                float *all[] = {x, weight, bias, y, room, of_x, of_weight, of_bias};
                for (int i = 0; i < 8; i++) free(all[i]);
            }
    return 0;
}
"""


def as_one(*names: str) -> str:
    """Return C files as one."""
    return joined(*names) + resources.files("fourfold.native").joinpath(f"{names[-1]}.c").read_text()


PERCEPTRON = as_one(*FILES, "perceptron")


@pytest.mark.slow
@pytest.mark.parametrize("lanes", [[], ["-D__AVX512F__"]], ids=["8 lanes", "16 lanes"])  # which compilers can do with less
@pytest.mark.parametrize(
    "code",
    [PERCEPTRON + FLOATS + SPARSE, PERCEPTRON + FLOATS + DENSE, as_one(*linear.FILES, "linear") + FLOATS + LINEAR],
    ids=["sparse", "dense", "linear"],
)
def test_no_undefined_behaviour_and_no_byte_outside(code, lanes, tmp_path):
    source, program = tmp_path / "harness.c", tmp_path / "harness"
    source.write_text(code)
    flags = ["-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-march=native", "-fno-sanitize-recover=all", *lanes]
    build = [*_command(), *flags, "-fsanitize=address,undefined", str(source), "-o", str(program), "-lm"]
    built = subprocess.run(build, capture_output=True, text=True, check=False)
    if "cannot find" in built.stderr:
        pytest.skip("the compiler came without its sanitizers")
    assert built.returncode == 0, built.stderr
    ran = subprocess.run([program], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
