"""`to_web`: one HTML file in which a network runs, from the disk, without anything around it."""

import base64
import json
import zlib
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
from markupsafe import Markup

from fourfold.deploy.artifact.file import opened
from fourfold.deploy.backends.c.emit import generate
from fourfold.deploy.backends.web.wasm import NAME, compile_generated
from fourfold.deploy.ir.encoding import encoded_shape
from fourfold.deploy.ir.program import Encoding, Program
from fourfold.record.errors import UserError
from fourfold.record.files import write_atomically

if TYPE_CHECKING:
    from torch import nn

PICTURES = (1, 3)
"""Channels of images that a page can draw or decode: grey, or red, green and blue."""


def to_web(
    network: "Program | nn.Module | str | Path",
    path: str | Path,
    *,
    title: str = "",
    shape: Any = None,
    encoding: Encoding | None = None,
) -> Path:
    """Write a page that classifies images with a network, and return its path.

    The page is one HTML file that works offline, opened from the disk, on a phone too. Draw, drop, paste or choose an image: it
    shows the probability of each class, the time of a run and the network's bytes. clang compiles the network to WebAssembly;
    it must be here with its linker (on Debian: `apt install clang lld`). Calibrated networks compute in int8, bit for bit as
    everywhere else.

    Args:
        network: An artifact's path, a program or a network of torch, which classifies grey or RGB images.
        path: The file to write.
        title: Of the page; default: what the network's provenance says, or the file's name.
        shape: Of an image that a network of torch takes: channels, height and width; see `lower`, as the encoding.
        encoding: How an image's bytes become that.

    Raises:
        UserError: the network does not take the bytes of grey or RGB images or gives no number a class, there is no clang, or
            the file cannot be written.
    """
    path = Path(path)
    program = opened(network, shape=shape, encoding=encoding)
    _check_classifier(program)
    page = _page(program, title or _title(program) or path.stem)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, page.encode())
    except OSError as error:
        raise UserError(f"cannot write {path} ({error.strerror})") from error
    return path


def _check_classifier(program: Program) -> None:
    """Raise unless a page can show what the network takes and gives.

    Raises:
        UserError: the network does not take the bytes of grey or RGB images, or gives no number a class.
    """
    outputs = program.shapes[program.operations[-1].output]
    if program.encoding is None:
        raise UserError("a network for the browser must take the bytes of images; give `encoding=`, as `fourfold export` does")
    encoded_shape(program.encoding)
    if program.encoding.shape[0] not in PICTURES:
        raise UserError(f"a network for the browser must take images of 1 or 3 channels, not of {program.encoding.shape[0]}")
    if program.inputs or program.outputs or len(outputs) != 1:
        raise UserError(f"a network for the browser must classify: it gives numbers of shape {outputs}, not one a class")


def _page(program: Program, title: str) -> str:
    assert program.encoding is not None
    generated = generate(program, NAME)
    module = compile_generated(generated)
    channels, height, width = program.encoding.shape
    kept, weights = int(generated.words["STORED"]), int(generated.words["WEIGHTS"])
    arithmetic = "8-bit integers" if program.ranges else "float32"
    about = {
        "title": title,
        "summary": f"A network of {kept:,} weights that runs in this page, in {arithmetic}.",
        "channels": channels,
        "height": height,
        "width": width,
        "outputs": program.shapes[program.operations[-1].output][0],
        "class_names": list(program.class_names),
        "module_size": f"{len(module) / 1000:,.1f} kB",
        "arena": f"{generated.arena / 1000:,.1f} kB",
        "accuracy": _percent(program.provenance.get("top1", "")),
        "weights": f"{kept:,} of {weights:,} ({100 * kept / weights:.3g} %)" if weights else "0",
    }
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    return environment.from_string(_file("page.html")).render(
        about=about,
        about_json=Markup(json.dumps(about).replace("<", "\\u003c")),  # no text of it can end the script
        module=base64.b64encode(zlib.compress(module, 9)).decode(),
        style=Markup(_file("page.css")),
        script=Markup(_file("page.js")),
    )


def _title(program: Program) -> str:
    """Return a title of what is known of the network's making, or nothing."""
    known = [program.provenance.get(key, "") for key in ("dataset", "algebra")]
    return ", ".join(word for word in known if word)


def _percent(top1: str) -> str:
    """Return an accuracy of the provenance as the page shows it; nothing where it is not a number."""
    try:
        return f"{float(top1):.1f} %"
    except ValueError:
        return ""


def _file(name: str) -> str:
    return resources.files("fourfold.deploy.backends.web").joinpath(name).read_text(encoding="utf-8")
