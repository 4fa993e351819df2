"""Networks as WebAssembly, in node and in a real browser: the same numbers as the references, bit for bit in int8."""

import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from general_programs import general_int8_program, general_program
from general_programs import tolerance as general_tolerance
from random_programs import bytes_for, images_for, magnitude, random_program

from fourfold import deploy
from fourfold.deploy import quantize
from fourfold.deploy.backends import numpy as reference
from fourfold.deploy.backends.web.wasm import clang, compile_wasm
from fourfold.deploy.ir.program import Encoding, Program
from fourfold.record.errors import UserError

RUN_IN_NODE = """
const { module, images, bytes } = JSON.parse(require("fs").readFileSync(0, "utf8"));
WebAssembly.instantiate(Buffer.from(module, "hex")).then(({ instance: { exports: e } }) => {
  const rows = images.map((image) => {
    if (bytes) new Uint8Array(e.memory.buffer, e.image(), image.length).set(image), e.run();
    else new Float32Array(e.memory.buffer, e.numbers(), image.length).set(image), e.run_numbers();
    return Array.from(new Float32Array(e.memory.buffer, e.logits(), LOGITS));
  });
  console.log(JSON.stringify(rows));
});
"""

SEEDS = range(int(os.environ.get("FOURFOLD_SWEEP", "5")))


def missing_tools() -> str:
    try:
        clang()
    except UserError as error:
        return str(error)
    return "" if shutil.which("wasm-ld") else "no wasm-ld on this machine (Debian: lld)"


needs_clang = pytest.mark.skipif(bool(missing_tools()), reason=missing_tools())
needs_node = pytest.mark.skipif(not shutil.which("node"), reason="no node on this machine")


def in_node(program: Program, images: np.ndarray) -> np.ndarray:
    """Return what a program gives in node's WebAssembly."""
    given = {"module": compile_wasm(program).hex(), "bytes": images.dtype == np.uint8}
    given["images"] = images.reshape(len(images), -1).tolist()
    shape = program.shapes[program.operations[-1].output]
    script = RUN_IN_NODE.replace("LOGITS", str(int(np.prod(shape))))
    done = subprocess.run(["node", "-e", script], input=json.dumps(given), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return np.array(json.loads(done.stdout), np.float32).reshape(len(images), *shape)


def ticket(channels: int = 1, seed: int = 0) -> Program:
    """Return a pruned quaternion network for pictures of 16 × 16, calibrated."""
    import torch

    import fourfold
    from fourfold import nn as fnn

    torch.manual_seed(seed)
    model = torch.nn.Sequential(
        fnn.Conv2d(4 * channels, 16, 3, padding=1, algebra="quaternion"),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
        torch.nn.Flatten(),
        torch.nn.Linear(16 * 8 * (2 if channels == 1 else 8), 3),
    )
    fourfold.pruning.prune(model, density=0.3)
    kind, mean = ("pixels", (0.2,)) if channels == 1 else ("zero", (0.5, 0.4, 0.3))
    size = (channels, 16, 16)
    encoding = Encoding(kind=kind, n=4, shape=size, mean=mean, std=(0.5,) * channels)
    if channels == 3:
        model[0] = fnn.Conv2d(4, 16, 3, padding=1, algebra="quaternion")
    names = ("cat", "</script><script>alert(1)</script>", "dog & <b>")
    shape = (4, 16, 4) if channels == 1 else (4, 16, 16)
    program = deploy.lower(model, shape, encoding=encoding, class_names=names)
    images = np.random.default_rng(seed).integers(0, 256, (16, 16, 16, channels), dtype=np.uint8)
    return quantize.calibrate(program, images)


@needs_clang
@needs_node
@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_random_networks_are_the_same_in_webassembly(seed):
    program = random_program(seed)
    images = images_for(program, seed)
    got, expected = in_node(program, images), reference.run(program, images)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-4 * max(magnitude(program, images), 1e-3))
    integers = quantize.calibrate(program, images)
    np.testing.assert_array_equal(in_node(integers, images), reference.run_int8(integers, images))
    if program.encoding is not None:
        coded = bytes_for(program, seed)
        np.testing.assert_array_equal(in_node(integers, coded), reference.run_int8(integers, coded))


@needs_clang
@needs_node
@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_other_operations_are_the_same_in_webassembly(seed):
    program = general_program(seed)
    images = images_for(program, seed)
    np.testing.assert_allclose(
        in_node(program, images), reference.run(program, images), rtol=0, atol=general_tolerance(program, images)
    )
    integers = general_int8_program(seed)
    if integers is not None:
        images = images_for(integers, seed)
        np.testing.assert_array_equal(in_node(integers, images), reference.run_int8(integers, images))


@needs_clang
@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 3])
def test_a_page_computes_what_the_runtime_does(channels, browser_page, tmp_path):
    program = ticket(channels)
    page_file = deploy.to_web(program, tmp_path / "new folder" / "ticket.html", title="Three <animals>")
    browser_page.troubles.clear()
    browser_page.requests.clear()
    browser_page.open(page_file, width=1100)
    browser_page.run("fourfold.ready")
    images = np.random.default_rng(1).integers(0, 256, (20, 16, 16, channels), dtype=np.uint8)
    script = f"{json.dumps(images.reshape(20, -1).tolist())}.map((image) => Array.from(fourfold.run(Uint8Array.from(image))))"
    np.testing.assert_array_equal(np.array(browser_page.run(script), np.float32), deploy.load(program)(images))
    assert browser_page.troubles == []
    assert browser_page.requests == [page_file.resolve().as_uri()]  # nothing is fetched
    assert browser_page.run("document.querySelector('h1').textContent") == "Three <animals>"


def shares(page) -> dict[str, str]:
    """Return what the page shows of each class."""
    script = "[...document.querySelectorAll('#classes li')].map((i) => [i.children[0].textContent, i.children[2].textContent])"
    return dict(page.run(script))


@needs_clang
@pytest.mark.slow
def test_a_drawing_is_classified_and_can_be_cleared(browser_page, tmp_path):
    program = ticket()
    browser_page.open(deploy.to_web(program, tmp_path / "ticket.html"), width=1100)
    browser_page.run("fourfold.ready")
    blank = shares(browser_page)
    assert blank == dict.fromkeys(program.class_names, "–")  # names from data are text, not markup
    x, y = browser_page.place("#canvas")
    for kind, dx, dy in [
        ("mousePressed", -60, -80),
        ("mouseMoved", 0, 80),
        ("mouseMoved", 60, -80),
        ("mouseReleased", 60, -80),
    ]:
        browser_page.send("Input.dispatchMouseEvent", type=kind, x=x + dx, y=y + dy, button="left", buttons=1, clickCount=1)
    browser_page.settle()
    seen = np.array(browser_page.run("Array.from(fourfold.seen())"), np.uint8).reshape(1, 16, 16, 1)
    assert seen.max() > 200
    logits = deploy.load(program)(seen)[0].astype(np.float64)
    powers = np.exp(logits - logits.max())
    expected = {name: f"{100 * share:.1f} %" for name, share in zip(program.class_names, powers / powers.sum(), strict=True)}
    assert shares(browser_page) == expected
    assert browser_page.run("document.getElementById('time').textContent").endswith(("µs", "ms"))
    browser_page.click("#clear")
    assert shares(browser_page) == blank


@needs_clang
@pytest.mark.slow
def test_a_picture_that_is_chosen_is_classified(browser_page, tmp_path):
    from PIL import Image

    program = ticket(channels=3)
    picture = np.random.default_rng(2).integers(0, 256, (16, 16, 3), dtype=np.uint8).repeat(28, 0).repeat(28, 1)
    Image.fromarray(picture).save(tmp_path / "photo.png")
    (tmp_path / "notes.png").write_text("no picture")
    browser_page.open(deploy.to_web(program, tmp_path / "ticket.html"), width=390, touch=True, dark=True)
    browser_page.run("fourfold.ready")
    width = browser_page.run("document.documentElement.scrollWidth")
    assert width <= 390
    for name in ("photo.png", "notes.png"):
        document = browser_page.send("DOM.getDocument")["root"]["nodeId"]
        node = browser_page.send("DOM.querySelector", nodeId=document, selector="#file")["nodeId"]
        browser_page.send("DOM.setFileInputFiles", nodeId=node, files=[str(tmp_path / name)])
        browser_page.run("new Promise((done) => setTimeout(done, 300))")
        if name == "photo.png":
            seen = np.array(browser_page.run("Array.from(fourfold.seen())"), np.uint8).reshape(16, 16, 3)
            np.testing.assert_array_equal(seen, picture[::28, ::28])
    message = browser_page.run("document.getElementById('message').textContent")
    assert "notes.png is not an image" in message


@pytest.mark.slow
@needs_clang
def test_a_ticket_of_mnist_is_a_page_below_40_kilobytes(tmp_path):
    import fourfold

    images = np.random.default_rng(0).integers(0, 256, (16, 28, 28, 1), dtype=np.uint8)
    for algebra, kind in (("real", "none"), ("quaternion", "pixels")):
        model = fourfold.models.build("lenet-300-100", algebra=algebra, seed=0)
        fourfold.pruning.prune(model, density=0.03, scope="layer")
        encoding = Encoding(kind=kind, n=1 if algebra == "real" else 4, shape=(1, 28, 28), mean=(0.13,), std=(0.31,))
        program = deploy.pack(model, tmp_path / "a.safetensors", values="int8", calibrate=images, encoding=encoding)
        assert deploy.to_web(program, tmp_path / "a.html").stat().st_size < 40_000


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"encoding": None}, "encoding"),
        ({"encoding": Encoding(kind="none", n=1, shape=(2, 4, 4), mean=(0, 0), std=(1, 1))}, "channels"),
    ],
)
def test_networks_that_no_page_can_show(change, named, tmp_path):
    program = replace(ticket(), **change)
    with pytest.raises(UserError, match=named):
        deploy.to_web(program, tmp_path / "a.html")
    assert not Path(tmp_path / "a.html").exists()


def test_without_clang_the_sentence_names_it(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CLANG", raising=False)
    with pytest.raises(UserError, match="clang"):
        deploy.to_web(ticket(), tmp_path / "a.html")
