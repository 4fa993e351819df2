"""Every example of an experiment runs as it is, with its own metric, and imports nothing but public names."""

import ast
import sys
from pathlib import Path

import pytest

import fourfold
from fourfold.cli import main
from fourfold.record import find_runs

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*/experiment.py"))
METRICS = {"custom_task": "mae"}
QUICK = ("--trials", "1", "--max-level", "1", "--epochs", "1", "--workers", "0")


@pytest.fixture(autouse=True)
def _as_it_was():
    before = list(sys.path)
    yield
    sys.path[:] = before


@pytest.mark.slow
@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.parent.name)
def test_an_example_runs_as_it_is(file, tmp_path, monkeypatch, quick_plan):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FOURFOLD_DATA", str(tmp_path / "cache"))
    main(["run", str(file), *QUICK])
    stores = find_runs(tmp_path / "runs")
    assert len(stores) >= 2
    for store in stores:
        dense, ticket = store.rows(0)
        assert dense.metric.name == METRICS.get(file.parent.name, "top1")
        assert ticket.weights < dense.weights == dense.weights_total
        assert dense.macs > 0
        helpers = sorted(path.name for path in file.parent.glob("*.py"))
        assert sorted(dense.provenance.code) == helpers
        assert (dense.per_class is None) == (dense.metric.name != "top1")


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.parent.name)
def test_an_example_imports_public_names_alone(file):
    tree = ast.parse(file.read_text())
    imported = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    for node in imported:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [str(node.module)]
        assert all(not name.startswith("fourfold.") for name in names)
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "ff"}
    assert used
    assert used <= set(fourfold.__all__)
    assert file.read_text().startswith('"""')
    assert f"fourfold run {file.relative_to(file.parents[2])} --trials 3" in ast.get_docstring(tree)
