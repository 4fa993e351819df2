"""The tables of docs/deploy.md and docs/artifact.md are those of the code.

`python tests/deploy/test_deploy_docs.py` writes the table of operations anew.
"""

import re
from pathlib import Path

from fourfold.deploy.backends import numpy
from fourfold.deploy.frontend.calls import CALLS
from fourfold.deploy.frontend.composites import COMPOSITES
from fourfold.deploy.frontend.layers import LAYERS
from fourfold.deploy.frontend.whole_layers import WHOLE_LAYERS
from fourfold.deploy.ir.ops import OPS

DOCS = Path(__file__).parents[2] / "docs"

BEGIN, END = "<!-- operations: written by tests/deploy/test_deploy_docs.py -->\n", "<!-- end -->"


def table() -> str:
    """Return the operations, and what of torch they stand for."""
    lines = ["| operation | what it computes | int8 |", "|---|---|---|"]
    for operation in OPS:
        first = re.split(r"[.;:] |[.;:]\n|\.$", (operation.__doc__ or "").strip())[0].replace("|", "\\|").replace("\n   ", "")
        lines.append(f"| `{operation.kind}` | {first} | {'no' if operation in numpy.UNSUPPORTED_INT8 else 'yes'} |")
    layers = sorted({kind.__name__ for kind in (*LAYERS, *WHOLE_LAYERS)} - {"ScriptModule"})
    functions = sorted({*CALLS, *COMPOSITES} - {"data", "requires_grad", "rdiv", "rmatmul", "rsub", "iter"})
    return "\n".join(
        [
            *lines,
            "",
            "Layers known by their class, and all others whose forward calls these functions, tensor methods and operators:",
            "",
            ", ".join(f"`{name}`" for name in layers) + ".",
            "",
            ", ".join(f"`{name}`" for name in functions) + ".",
            "",
        ]
    )


def test_the_table_of_operations_is_that_of_the_code():
    text = (DOCS / "deploy.md").read_text()
    assert text[text.index(BEGIN) + len(BEGIN) : text.index(END)] == table()


def test_artifacts_name_all_kinds():
    text = (DOCS / "artifact.md").read_text()
    assert all(f"`{operation.kind}`" in text for operation in OPS)


if __name__ == "__main__":
    path = DOCS / "deploy.md"
    text = path.read_text()
    path.write_text(text[: text.index(BEGIN) + len(BEGIN)] + table() + text[text.index(END) :])
