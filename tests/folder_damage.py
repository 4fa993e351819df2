"""A finished run with a file of every kind, and ways to damage its folder."""

import contextlib
import random
import shutil
import struct
from pathlib import Path

import torch

from file_mutations import bytes_changed, header_changed, json_changed, lines_changed
from fourfold import lottery
from fourfold.lottery import Line
from fourfold.lottery._stability import run_stability
from fourfold.record import RunStore, Spec
from fourfold.train import single_thread


def make_run(out: Path, spec: Spec) -> RunStore:
    """Make a run of two trials with controls, kept weights, connectivity, overlaps, a failure and a state."""
    run = RunStore.create(out, spec)
    experiment = lottery.Experiment.prepare(spec, None, torch.device("cpu"))
    with single_thread():
        for trial in (0, 1):
            lottery.run_trial(experiment, run, trial, keep=[1])
        lottery.run_controls(experiment, run, 0, ["inverted", "equal-macs"], [1])
        run_stability(experiment, run, 0, Line(levels=(1,), points=2), lambda row: None)
    run.save_overlaps(lottery.overlaps(run))
    run.fail(2, 0, "the loss became nan")
    run.save_state(0, 5, {"point/fc1.bias": run.weights(0, 1)["fc1.bias"]})
    assert {file.parent.name for file in run.path.rglob("*.safetensors")} == {"masks", "weights", "states"}
    return run


def damage(folder: Path, draw: random.Random) -> str:
    """Damage a file of a run in one way or another, and say which."""
    files = sorted(file for file in folder.rglob("*") if file.is_file() and not file.name.endswith(".lock"))
    file = draw.choice(files)
    how = draw.choice([*HOW, "removed", "another", "a folder", "a link to itself", "another name", "mutated", "mutated"])
    content = file.read_bytes() or b"x"
    file.unlink()
    if how == "another":
        shutil.copy(draw.choice([other for other in files if other != file]), file)
    elif how == "a folder":
        file.mkdir()
    elif how == "a link to itself":
        file.symlink_to(file)
    elif how == "another name":
        other = file.with_name(draw.choice(["\n", "é" * 40, "0-1.safetensors", "rows-00.jsonl", "failed-0.json"]))
        with contextlib.suppress(OSError):  # what was damaged before may lie there
            other.write_bytes(content)
    elif how == "mutated":
        file.write_bytes(_mutated(file, content, draw))
    elif how != "removed":
        file.write_bytes(HOW[how](content, draw))
    return f"{file.relative_to(folder)}: {how}"


def _mutated(file: Path, content: bytes, draw: random.Random) -> bytes:
    """Change what a file holds where its kind is known; its digests fit again. What was damaged before is changed by bytes."""
    change = {".jsonl": lines_changed, ".json": json_changed, ".safetensors": header_changed}.get(file.suffix, bytes_changed)
    try:
        return change(content, draw)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError, struct.error):
        return bytes_changed(content, draw)


def _flipped(content: bytes, draw: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(draw.choice([1, 1, 3])):
        changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def _replaced(content: bytes, draw: random.Random) -> bytes:
    text = draw.choice(
        [b"", b"\n", b"{}\n", b"[" * 10**5, b"null\n", b"\xff\xfe\x00\n", b'{"level":1e999}\n', content * 2, b"\0" * 999]
    )
    return text if draw.random() < 0.5 else content[: draw.randrange(len(content))] + text


def _other_value(content: bytes, draw: random.Random) -> bytes:
    """Another value in JSON, where there is JSON."""
    values = [b"null", b"-1", b'"x"', b"[]", b"{}", b"1e400", b"NaN", b"10" * 400, b"0.5", b'"\\u001b[31m</script>"']
    places = [place for place, byte in enumerate(content) if byte == ord(":")]
    if not places:
        return _flipped(content, draw)
    place = draw.choice(places) + 1
    end = min((found for mark in b",}]" if (found := content.find(mark, place)) > 0), default=len(content))
    return content[:place] + draw.choice(values) + content[end:]


HOW = {"flipped": _flipped, "replaced": _replaced, "other value": _other_value}
"""Ways to change the bytes of a file, whatever it is."""
