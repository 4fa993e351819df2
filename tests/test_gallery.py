"""The examples of the gallery and the notebooks run as they are, without a warning, and use public names alone."""

import ast
import json
from importlib import import_module
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
import torch

import fourfold

ROOT = Path(__file__).parent.parent
GALLERY = sorted((ROOT / "examples" / "gallery").glob("*.py"))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def source_of(file: Path) -> str:
    """Return the Python of an example, or of a notebook's cells but for those that install packages."""
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".py":
        return text
    cells = ["".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    assert cells[0] == "%pip install -q git+https://github.com/fourfold-team/fourfold"
    return "\n".join(cells[1:])


@pytest.fixture
def quiet_screen(tmp_path, monkeypatch, quick_plan):
    """Figures are drawn and not shown; forecasts time nothing."""
    monkeypatch.setattr(plt, "show", lambda: [figure.canvas.draw() for figure in map(plt.figure, plt.get_fignums())])
    monkeypatch.chdir(tmp_path)
    yield
    plt.close("all")


@pytest.mark.slow
@pytest.mark.parametrize("file", [*GALLERY, *NOTEBOOKS], ids=lambda file: file.stem)
def test_it_runs_as_it_is(file, quiet_screen, capsys):
    with torch.random.fork_rng(), plt.rc_context({"backend": "agg"}):
        torch.manual_seed(0)
        exec(compile(source_of(file), file.name, "exec"), {"__name__": "example"})
    assert plt.get_fignums() or file.stem == "layers"
    assert list(Path().iterdir()) == []


def test_there_are_ten_examples_and_two_notebooks():
    assert (len(GALLERY), len(NOTEBOOKS)) == (10, 2)


ROOMS = ("algebra", "data", "deploy", "lottery", "models", "nn", "presets", "pruning", "record", "report", "tasks", "train")
NAMES = {"fourfold": "fourfold", "ff": "fourfold", "fnn": "fourfold.nn"}
"""What examples call our packages."""


def dotted(node: ast.AST) -> list[str]:
    """Return the names of a chain such as `ff.nn.Linear`, or none for any other expression."""
    if isinstance(node, ast.Name):
        return NAMES.get(node.id, "").split(".")
    return [*chain, node.attr] if isinstance(node, ast.Attribute) and (chain := dotted(node.value)) != [""] else [""]


def is_public(chain: list[str]) -> bool:
    """Whether the first names of a chain are public: of `fourfold` or of one of its rooms, then of that."""
    _, first, *rest = [*chain, *[""] * (2 - len(chain))]
    if first not in ROOMS:
        return first in ("", *fourfold.__all__)
    return not rest or rest[0] in import_module(f"fourfold.{first}").__all__


def private(tree: ast.Module) -> list[str]:
    """Return the names of fourfold that a program uses and that are not public."""
    chains = [dotted(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            chains += [[*(node.module or "").split("."), name.name] for name in node.names]
        elif isinstance(node, ast.Import):
            chains += [name.name.split(".") for name in node.names]
    return [".".join(chain) for chain in chains if chain[0] == "fourfold" and not is_public(chain)]


@pytest.mark.parametrize("file", [*GALLERY, *NOTEBOOKS], ids=lambda file: file.stem)
def test_it_uses_public_names_alone(file):
    assert private(ast.parse(source_of(file))) == []


@pytest.mark.parametrize(
    "line",
    [
        "ff.nn.few_products.usable(1)",
        "from fourfold.nn.linear import Linear",
        "import fourfold.execution.run",
        "ff.native.tiles",
    ],
)
def test_a_private_name_would_be_seen(line):
    assert private(ast.parse(line)) != []
