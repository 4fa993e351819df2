"""`export --verify` proves that the C computes what the network does, and says so where it does not."""

import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from cli_samples import call, make_row, make_spec

from fourfold import data, lottery, pruning
from fourfold.cli.export import TARGETS
from fourfold.deploy.backends.c import emit
from fourfold.native import compiling
from fourfold.parts import build
from fourfold.record import RunStore, UserError

pytestmark = pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not here")


@pytest.fixture
def run(here):
    """A run of quaternion Lenet-12 on the digits whose level 1 of trial 0 was kept."""
    spec = make_spec("quaternion")
    store = RunStore.create(here / "runs", spec)
    network = build(spec, lottery.derive_seed(0, "weights"))
    masks = pruning.prune(network, density=0.5)
    store.save_mask(0, 1, pruning.pack(masks))
    store.save_weights(0, 1, pruning.compress(network.state_dict(), masks))
    store.append(make_row(spec, 0, 0, 81.25))
    store.append(replace(make_row(spec, 0, 1, 81.25), mask=pruning.fingerprint(pruning.pack(masks))))
    return store


def export(store, *words):
    return call("export", store.path, "--level", 1, *words)


def figures(out):
    """The rows of the table by name."""
    return dict(re.split(r"\s{2,}", line.strip(), maxsplit=1) for line in out.splitlines() if re.search(r"\S\s{2,}\S", line))


@pytest.mark.slow
@pytest.mark.parametrize("count", [[], ["7"]], ids=["all", "seven"])
@pytest.mark.parametrize(
    "words",
    [
        ["--to", "c"],
        ["--to", "c", "--values", "int8"],
        ["--to", "artifact"],
        ["--to", "artifact", "--values", "int8", "--entropy"],
        ["--to", "artifact", "--values", "codebook"],
    ],
    ids=" ".join,
)
def test_what_is_exported_computes_what_the_network_does(run, words, count):
    ended = export(run, *words, "--out", "x", "--verify", *count)
    assert (ended.code, ended.err) == (0, "")
    found = figures(ended.out)
    images = int(count[0]) if count else len(data.load("digits").test_images)
    assert found["test images"] == f"{images:,}"
    assert found["top-1 in Python"] == found["top-1 in C"]
    if "int8" in words:
        assert found["logits equal bit for bit"] == f"{images:,} of {images:,}"
    else:
        difference, allowed = map(float, re.findall(r"[\d.e-]+\d", found["largest difference of a logit"]))
        assert difference <= allowed < 1e-2
    for name in ("flash, code and constants", "RAM, arena", "RAM, stack"):
        assert int(found[name].removesuffix(" bytes").replace(",", "")) > 100


def test_the_arena_and_accuracy_are_those_of_the_network(run):
    found = figures(export(run, "--to", "c", "--out", "x", "--verify").out)
    header = (run.path.parent.parent / "x" / "network.h").read_text()
    arena = re.search(r"_ARENA (\d+)", header)[1]
    assert found["RAM, arena"] == f"{int(arena):,} bytes"
    images = data.load("digits")
    splits = data.prepare(images, make_spec("quaternion").inputs, 4, "cpu")
    network, right = lottery.load_trained(run, 0, 1), 0
    for batch, labels in splits.test.batches(100):
        right += int((network(batch).argmax(1) == labels).sum())
    assert found["top-1 in Python"] == f"{100 * right / len(images.test_images):.2f} %"


@pytest.mark.parametrize("words", [["--to", "c"], ["--to", "artifact"], ["--to", "c", "--values", "int8"]], ids=" ".join)
def test_c_that_computes_something_else_ends_with_status_1(run, monkeypatch, words):
    made = emit.generate

    def wrong(program, name, **options):
        generated = made(program, name, **options)
        source = generated.source
        place = source.index("network_run_bytes(const uint8_t")
        body = source.index("}", place)
        return replace(generated, source=source[:body] + "    logits[3] += 1;\n" + source[body:])

    monkeypatch.setattr(emit, "generate", wrong)
    ended = export(run, *words, "--out", "x", "--verify", "20")
    assert ended.code == 1
    assert "the C does not compute what the network does" in ended.err
    assert figures(ended.out)["logits equal bit for bit"] == "0 of 20"


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_is_verified_or_refused_before_it_is_written(run, here, target):
    ended = export(run, "--to", target, "--out", "x", "--verify", "3")
    if target in ("c", "artifact"):
        assert ended.code == 0
        return
    assert (ended.code, len(ended.err.splitlines())) == (2, 1)
    assert f"`--verify` cannot be combined with `--to` (={target})" in ended.err
    assert not (here / "x").exists()


MISSING = {
    "no compiler": (["--verify"], "`--verify` must have a C compiler: no C compiler is here"),
    "native code off": (["--verify"], "`--verify` must have a C compiler: native code is off"),
    "no data": (["--verify"], "`--verify` must have the test images: digits is not here; --data-dir says where"),
    "none": (["--verify", "0"], "`--verify` (=0) must be one number of images, at least 1"),
    "two": (["--verify", "5", "6"], "`--verify` (=5 6) must be one number"),
    "text": (["--verify", "many"], "--verify"),
}


@pytest.mark.parametrize("case", MISSING)
@pytest.mark.parametrize("target", ["artifact", "c"])
def test_what_is_missing_is_one_sentence_and_nothing_is_written(run, here, monkeypatch, case, target):
    words, sentence = MISSING[case]
    if case == "no compiler":
        monkeypatch.delenv("CC", raising=False)
        monkeypatch.setenv("PATH", str(here))
    elif case == "native code off":
        monkeypatch.setenv(compiling.SWITCH, "0")
    elif case == "no data":
        monkeypatch.setattr(data, "load", absent, raising=False)
    ended = export(run, "--to", target, "--out", "x", *words)
    assert (ended.code, len(ended.err.splitlines())) == (2, 1)
    assert sentence in ended.err
    assert not (here / "x").exists()


def absent(*arguments, **named):
    raise UserError("missing")


def test_a_number_that_is_none_never_agrees():
    from fourfold.deploy.verification import Proof

    settings = {"images": 1, "equal": 0, "largest": 1.0, "reference_top1": 0.0, "c_top1": 0.0}
    settings |= {"flash": None, "arena": 0, "stack": None, "compiler": ""}
    assert not Proof(exact=False, difference=np.nan, **settings).agrees
    assert not Proof(exact=True, difference=0.0, **settings).agrees
