"""References to user code: what they may be, that only a trust imports them, and that what goes wrong is one sentence."""

import hashlib
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fourfold.record import DataSpec, ModelSpec, TaskSpec, Trust, UserError
from fourfold.record.references import is_code, parse, resolve

WORKS = """
import helper_of_roads
LOADED = []
def net(algebra, inputs, outputs):
    return [algebra, inputs, outputs, helper_of_roads.VALUE]
def bad(algebra, inputs, outputs):
    return [
        1 / 0]
number = 3
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "roads.py").write_text(WORKS)
    (tmp_path / "helper_of_roads.py").write_text("VALUE = 7\n")
    before = list(sys.path)
    yield tmp_path
    sys.path[:] = before
    sys.modules.pop("helper_of_roads", None)


@pytest.mark.parametrize("name", ["roads.py:net", "some/where/roads.py:net", "a.b.c:net", "roads:net", "/abs/roads.py:net"])
def test_references_are_files_or_modules(name):
    reference = parse(name)
    assert str(reference) == name
    assert reference.attribute == "net"
    assert reference.is_file == (".py" in name)
    assert is_code(name)


def test_names_without_a_colon_are_no_code():
    assert parse("conv-4") is None
    assert not is_code("conv-4")
    assert resolve("conv-4", "model", None) is None


@pytest.mark.parametrize("name", [":net", "roads.py:", "roads.py:3", "a b:net", ".py:net", "roads.py:net()"])
def test_other_names_with_a_colon_are_one_sentence(name):
    for part, spec in (("model", ModelSpec), ("data", DataSpec), ("task", TaskSpec)):
        with pytest.raises(UserError, match=rf"^`{part}\.name` \(=.*\) must be a name, or code such as roads.py:{part}"):
            spec(name=name)


@given(st.text(max_size=20))
def test_any_text_is_a_name_a_reference_or_one_sentence(text):
    try:
        ModelSpec(name=text)
    except UserError as error:
        sentences = str(error).splitlines()
        if len(sentences) != 1:
            raise
    else:
        assert is_code(text) == (parse(text) is not None)


def test_code_is_imported_by_trust_alone(folder):
    (folder / "roads.py").write_text(f"import pathlib; pathlib.Path({str(folder / 'ran')!r}).touch()\ndef net(): ...\n")
    (folder / "other.py").write_text("")
    for trust in (None, Trust(folder=str(folder), only=("other.py",))):
        with pytest.raises(UserError, match=r"^`model\.name` \(='roads\.py:net'\) .*--trust-code"):
            resolve("roads.py:net", "model", trust)
    assert not (folder / "ran").exists()
    resolve("roads.py:net", "model", Trust(folder=str(folder), only=("roads.py",)))
    assert (folder / "ran").exists()


def test_what_is_imported_is_what_the_digest_is_of(folder):
    trust = Trust(folder=str(folder))
    code = resolve("roads.py:net", "model", trust)
    assert code.call("real", (3,), 2, takes="algebra, inputs, outputs") == ["real", (3,), 2, 7]
    assert code.sha256 == hashlib.sha256((folder / "roads.py").read_bytes()).hexdigest()
    assert resolve("roads.py:LOADED", "data", trust).value is code.value.__globals__["LOADED"]  # of one module
    (folder / "roads.py").write_text(WORKS.replace("return [algebra", "return ['new'"))
    assert resolve("roads.py:net", "model", trust).call("real", (3,), 2, takes="")[0] == "new"


IMPORTS = {
    "at the top": "import helper_of_roads\ndef net(): return helper_of_roads.VALUE\n",
    "a name": "from helper_of_roads import VALUE\ndef net(): return VALUE\n",
    "when it is called": "def net():\n    import helper_of_roads\n    return helper_of_roads.VALUE\n",
    "by another helper": "import between_roads\ndef net(): return between_roads.VALUE\n",
    "in a package": "from package_of_helpers import inner\ndef net(): return inner.VALUE\n",
    "in a package, by its path": "import package_of_helpers.inner as helper\ndef net(): return helper.VALUE\n",
}
"""Ways to import `VALUE` of helper_of_roads.py, from roads.py."""


@pytest.fixture
def helpers(folder):
    """Files beside roads.py, each of which has its value from helper_of_roads.py."""
    (folder / "between_roads.py").write_text("from helper_of_roads import VALUE\n")
    (folder / "package_of_helpers").mkdir()
    (folder / "package_of_helpers" / "__init__.py").touch()
    (folder / "package_of_helpers" / "inner.py").write_text("from .innermost import VALUE\n")
    (folder / "package_of_helpers" / "innermost.py").write_text("import helper_of_roads\nVALUE = helper_of_roads.VALUE\n")
    yield folder
    for name in [name for name in sys.modules if "of_helpers" in name or name == "between_roads"]:
        del sys.modules[name]


@pytest.mark.parametrize("way", IMPORTS)
@pytest.mark.parametrize("kind", ["file", "module"])
def test_what_code_imports_from_beside_it_is_hashed_and_is_what_runs(helpers, way, kind):
    """A change is refused before anything runs, and what is accepted is what is on disk, in this very process, too."""
    name = f"roads{sum(map(ord, way)) if kind == 'module' else ''}"  # a module has one name in a process
    (helpers / f"{name}.py").write_text(IMPORTS[way])
    reference = f"{name}.py:net" if kind == "file" else f"{name}:net"
    trust = Trust(folder=str(helpers))
    helper = helpers / "helper_of_roads.py"
    code = resolve(reference, "model", trust)
    assert code.call(takes="") == 7
    key = "helper_of_roads.py" if kind == "file" else "helper_of_roads"
    assert code.digests[key] == hashlib.sha256(helper.read_bytes()).hexdigest()
    assert len(code.digests) == 2 + {"by another helper": 1}.get(way, 2 if "package" in way else 0)
    pinned = trust.expecting(code.digests)
    helper.write_text("VALUE = 8\n")  # of the same length, in the same second
    with pytest.raises(UserError, match=rf"^the code of {key} has changed since the run began"):
        resolve(reference, "model", pinned)
    changed = resolve(reference, "model", trust)
    assert changed.digests[key] != code.digests[key]
    assert changed.call(takes="") == 8


def test_files_that_are_not_imported_are_not_looked_at(helpers):
    (helpers / "roads.py").write_text("import json, random, torch\ndef net(): return 3\n")
    (helpers / "random.py").write_text("raise RuntimeError('not the random that is meant')\n")
    code = resolve("roads.py:net", "model", Trust(folder=str(helpers)))
    assert list(code.digests) == ["roads.py"]
    assert code.call(takes="") == 3


def test_two_folders_with_helpers_of_one_name_are_told_apart(helpers, tmp_path):
    """Python knows one module of a name: a second file that means another one is refused, not given the first."""
    resolve("roads.py:net", "model", Trust(folder=str(helpers)))
    other = tmp_path / "other"
    other.mkdir()
    (other / "paths.py").write_text("import helper_of_roads\ndef net(): return helper_of_roads.VALUE\n")
    (other / "helper_of_roads.py").write_text("VALUE = 9\n")
    with pytest.raises(UserError, match=r"paths\.py: expected `helper_of_roads` to be .*other.*, found .*; rename one of them"):
        resolve("paths.py:net", "model", Trust(folder=str(other)))


def test_changed_code_is_refused_before_it_runs(folder):
    sha256 = resolve("roads.py:net", "model", Trust(folder=str(folder))).sha256
    trust = Trust(folder=str(folder)).expecting({"roads.py": sha256})
    assert Trust.from_json(trust.to_json()) == trust
    assert resolve("roads.py:net", "model", trust).sha256 == sha256
    (folder / "roads.py").write_text(f"import pathlib; pathlib.Path({str(folder / 'ran')!r}).touch()\n")
    with pytest.raises(UserError, match=rf"^the code of roads\.py has changed .*{sha256[:8]}, now [0-9a-f]{{8}}\)"):
        resolve("roads.py:net", "model", trust)
    assert not (folder / "ran").exists()


@pytest.mark.parametrize(
    ("content", "name", "found"),
    [
        ("def net(:\n", "net", r"roads\.py:1: expected Python code, found a syntax error \("),
        ("\n\nimport no_such_module\n", "net", r"roads\.py:3: expected code .*ModuleNotFoundError: No module named"),
        (
            "def f():\n  raise ValueError('a\\nb')\nf()\n",
            "net",
            r"roads\.py:2: expected code that can be imported, found ValueEr",
        ),
        ("raise SystemExit(3)\n", "net", r"roads\.py:1: expected code that can be imported, found SystemExit: 3"),
        ("def nett(): ...\n", "net", r"roads\.py: expected `net`, found no such name; did you mean 'nett'\?"),
        ("x = '\\x00'", "net", r"roads\.py: expected `net`, found no such name$"),
        (b"\xff\xfe", "net", r"roads\.py:\S+ expected Python code"),
    ],
)
def test_code_that_cannot_be_imported_is_one_sentence(folder, content, name, found):
    (folder / "roads.py").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=found) as caught:
        resolve(f"roads.py:{name}", "model", Trust(folder=str(folder)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("bad", r"roads\.py:8: expected `bad` to return, found ZeroDivisionError: division by zero"),
        ("number", r"roads\.py: expected `number` to be a function of \(a, b, c\), found a int"),
        ("net", r"roads\.py:4: expected `net` to take \(a, b, c\), found \(algebra, inputs, outputs\)"),
    ],
)
def test_calls_that_fail_are_one_sentence(folder, name, found):
    code = resolve(f"roads.py:{name}", "model", Trust(folder=str(folder)))
    arguments = (1, 2, 3) if name == "bad" else (1,)
    with pytest.raises(UserError, match=found):
        code.call(*arguments, takes="a, b, c")


def test_a_missing_file_and_a_missing_module_are_one_sentence(folder):
    with pytest.raises(UserError, match=r"paths\.py: expected a file of Python code, found none \(No such file"):
        resolve("paths.py:net", "model", Trust(folder=str(folder)))
    with pytest.raises(UserError, match=r"^`no_such.module` must be a module that Python finds, installed or in /"):
        resolve("no_such.module:net", "model", Trust(folder=str(folder)))


def test_modules_are_hashed_and_their_errors_have_lines(folder):
    package = folder / "package_of_roads"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "nets.py").write_text("def net(): return 5\n")
    (package / "broken.py").write_text("\n1 / 0\n")
    code = resolve("package_of_roads.nets:net", "model", Trust(folder=str(folder)))
    assert code.sha256 == hashlib.sha256((package / "nets.py").read_bytes()).hexdigest()
    assert code.call(takes="") == 5
    with pytest.raises(UserError, match=r"broken\.py:2: expected a module that can be imported, found ZeroDivisionError"):
        resolve("package_of_roads.broken:net", "model", Trust(folder=str(folder)))


def test_entry_points_are_names_of_packages(folder, monkeypatch):
    package = folder / "roads_package-1.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: roads-package\nVersion: 1\n")
    (package / "entry_points.txt").write_text("[fourfold.models]\nroad-net = module_of_roads:net\n")
    (folder / "module_of_roads.py").write_text("def net(): return 6\n")
    monkeypatch.syspath_prepend(folder)
    assert resolve("road-net", "data", Trust()) is None
    with pytest.raises(UserError, match=r"^`model\.name` \(='road-net'\) is code"):
        resolve("road-net", "model", None)
    assert resolve("road-net", "model", Trust()).call(takes="") == 6
