"""What the disk refuses to a run is told by its file and by what mends it; only a full disk asks for space."""

import errno
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from fourfold import execution
from fourfold.execution.disk_failures import disk_failure, told_of
from fourfold.record import PruneSpec, RunStore, Trust, UserError
from lottery_samples import tiny_spec

SPEC = replace(tiny_spec(levels=2, epochs=1), prune=PruneSpec(fraction=0.5, rewind="continue"))

FOLDERS, FILES = ("masks", "states", "weights"), ("masks/0-1.safetensors", "weights/0-1.safetensors")
OBSTACLES = [*((name, kind) for name in FOLDERS for kind in ("file", "link")), *((name, "folder") for name in FILES)]
"""What lies where a run has a folder or a file; a link that leads nowhere is replaced where a file belongs."""


def put(path: Path, kind: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("") if kind == "file" else path.mkdir() if kind == "folder" else path.symlink_to("nowhere")


@pytest.mark.parametrize(("name", "kind"), OBSTACLES)
def test_what_lies_in_the_way_is_named_and_the_run_ends_once_it_is_gone(name, kind, tmp_path):
    store = RunStore.create(tmp_path, SPEC)
    obstacle = store.path / name
    put(obstacle, kind)
    settings = {"trials": 1, "out": tmp_path, "device": "cpu", "workers": 0, "keep": [1]}
    with pytest.raises(UserError) as raised:
        execution.run([SPEC], **settings)
    assert str(raised.value).startswith(f"{obstacle}: expected a {'folder' if name in FOLDERS else 'file'}, found a ")
    assert "space" not in str(raised.value)
    shutil.rmtree(obstacle) if obstacle.is_dir() else obstacle.unlink()
    assert [row.level for row in execution.run([SPEC], **settings)] == [0, 1]


@pytest.mark.parametrize("number", sorted(set(errno.errorcode)))
def test_every_error_is_one_sentence_and_only_a_full_disk_wants_space(number, tmp_path):
    store = RunStore.create(tmp_path / "runs", SPEC)
    for file in (None, store.path / "masks" / "0-1.safetensors", tmp_path / "roads.py", b"roads.py", 3):
        error = OSError(number, os.strerror(number), file) if file else OSError(number, os.strerror(number))
        sentence = str(disk_failure(store, error))
        assert "\n" not in sentence
        full = number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        assert ("free some space" in sentence) == full
        if "roads.py" in str(file) and not full:
            assert "roads.py" in sentence
            assert "cannot write" not in sentence
    (store.path / "spec.json").unlink()
    assert "safe" not in str(disk_failure(store, OSError(number, os.strerror(number))))


def test_what_the_disk_refuses_to_the_user_s_code_stays_an_error_of_that_code(tmp_path):
    (tmp_path / "roads.py").write_text("def net():\n    open('weights.txt')\n")
    spec = replace(SPEC, model=replace(SPEC.model, name="roads.py:net")).trusted(Trust(folder=str(tmp_path)))
    store = RunStore.create(tmp_path / "runs", SPEC)
    scope: dict = {}
    exec(compile((tmp_path / "roads.py").read_text(), str(tmp_path / "roads.py"), "exec"), scope)
    with pytest.raises(FileNotFoundError), told_of(store, spec):
        scope["net"]()
    with pytest.raises(UserError, match="cannot read"), told_of(store, spec):
        (tmp_path / "gone.py").read_bytes()
