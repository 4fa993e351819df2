"""A run's folder of a stranger: however its spec names code, and wherever that lies, reading runs none of it.

`FOURFOLD_SWEEP=1` names data, networks and tasks one by one.
"""

import importlib
import os
import sys
from dataclasses import replace

import pytest
from cli_samples import call, make_row, make_spec

from fourfold.record import RunStore, find_runs

NAMES = {
    "a file": "hostile.py:net",
    "a file by its whole path": "FOLDER/hostile.py:net",
    "a file above": "../hostile.py:net",
    "a file in the run": "runs/RUN/hostile.py:net",
    "a link": "link.py:net",
    "a module": "hostile:net",
    "a package": "hostile_package.hostile:net",
    "a module of Python's": "antigravity:net",
    "an entry point": "hostile-net",
    "a pipe": "pipe.py:net",
}
"""How a spec may name code. Files lie in the current folder, above it, beside the runs and in the run."""

PARTS = {
    "model": lambda spec, name: replace(spec, model=replace(spec.model, name=name)),
    "data": lambda spec, name: replace(spec, data=replace(spec.data, name=name)),
    "task": lambda spec, name: replace(spec, task=replace(spec.task, name=name)),
}

READING = (
    ("status", "runs"),
    ("report", "runs"),
    ("check", "runs"),
    ("reproduce", "claims", "runs"),
    ("predict", "RUN/spec.json", "picture.png"),
    ("export", "RUN", "--level", 0),
    ("export", "RUN", "--level", 0, "--to", "pt2"),
    ("stability", "RUN", "--levels", 0),
    ("check", "runs", "--repair"),
)
"""Commands that read a folder, and those that would build its network, without leave to."""

POINTS = "".join(f"[fourfold.{group}]\nhostile-net = hostile_package.hostile:net\n" for group in ("models", "data", "tasks"))


@pytest.fixture
def stranger(here, monkeypatch):
    """Return a function that makes a stranger's run, and one that says whether its code has run."""
    folder = here / "below"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [*sys.path, str(folder)])
    marker = here / "ran"
    code = f"import pathlib\npathlib.Path({str(marker)!r}).touch()\ndef net(*_): raise SystemExit(3)\n"

    def make(part, name):
        spec, name = make_spec(), name.replace("FOLDER", str(folder))
        for each in PARTS if part == "all" else [part]:
            spec = PARTS[each](spec, name)
        source = name.rpartition(":")[0] or "hostile_package.hostile"
        store = RunStore.create(folder / "runs", spec, None, {source: "0" * 64})
        row = make_row(spec, 0, 0, 90)
        store.append(replace(row, provenance=replace(row.provenance, code={source: "0" * 64})))
        for place in (folder, here, store.path, folder / "runs", folder / "hostile_package"):
            place.mkdir(exist_ok=True)
            (place / "hostile.py").write_text(code)
        (folder / "hostile_package" / "__init__.py").write_text(code)
        about = folder / "hostile_package-1.dist-info"
        about.mkdir()
        (about / "METADATA").write_text("Metadata-Version: 2.1\nName: hostile-package\nVersion: 1\n")
        (about / "entry_points.txt").write_text(POINTS)
        (folder / "link.py").symlink_to(here / "hostile.py")
        os.mkfifo(folder / "pipe.py")
        importlib.invalidate_caches()
        return store

    yield make, lambda: marker.exists() or "antigravity" in sys.modules
    sys.modules.pop("hostile_package", None)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("part", ["all", *PARTS] if "FOURFOLD_SWEEP" in os.environ else ["all"])
@pytest.mark.parametrize("kind", NAMES)
def test_reading_runs_no_code_however_it_is_named(stranger, part, kind):
    make, ran = stranger
    store = make(part, NAMES[kind])
    for words in READING:
        ended = call(*(str(word).replace("RUN", str(store.path)) for word in words))
        assert not ran(), words
        assert "Traceback" not in ended.err + ended.out, (words, ended.err)
        assert ended.code in (0, 1, 2), (words, ended.err)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("part", PARTS if "FOURFOLD_SWEEP" in os.environ else ["model"])
@pytest.mark.parametrize("kind", sorted(set(NAMES) - {"a module of Python's"}))
def test_code_with_another_digest_is_refused_with_leave_too(stranger, part, kind):
    make, ran = stranger
    store = make(part, NAMES[kind])
    for words in (("export", store.path, "--level", 0, "--to", "pt2"), ("stability", store.path, "--levels", 0)):
        for leave in (("--trust-code",), ("--code", "hostile.py"), ("--code", "link.py")):
            ended = call(*words, *leave)
            assert not ran(), (words, leave)
            assert ended.code == 2, (words, leave, ended.err)
            assert len(ended.err.strip().splitlines()) == 1


def test_the_hostile_code_would_be_noticed(stranger):
    """What the tests above look for is there when code does run."""
    make, ran = stranger
    make("model", NAMES["a file"])
    importlib.import_module("hostile")
    sys.modules.pop("hostile")
    assert ran()


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ["pipe.npz", "../outside.npz", "/dev/zero", "folder/", "runs/", "/"])
def test_reading_opens_no_data_that_a_folder_names(stranger, here, name):
    make, _ = stranger
    store = make("data", name)
    os.mkfifo("pipe.npz")
    for words in READING[:4]:
        ended = call(*(str(word).replace("RUN", str(store.path)) for word in words))
        assert "Traceback" not in ended.err + ended.out, (words, ended.err)
        assert ended.code in (0, 1, 2)
    assert len(find_runs(here / "below" / "runs")) == 1


@pytest.mark.slow
def test_a_row_without_digests_is_no_leave(stranger):
    """A stranger's rows may say nothing of code, or that it was built in."""
    make, ran = stranger
    store = make("model", NAMES["a file"])
    store.append(make_row(store.spec(), 1, 0, 90))
    for words in READING:
        call(*(str(word).replace("RUN", str(store.path)) for word in words))
        assert not ran(), words
