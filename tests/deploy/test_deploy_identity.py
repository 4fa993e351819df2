"""What fixed programs become is known byte by byte: C, ONNX and artifacts change only where somebody meant it.

`python tests/deploy/test_deploy_identity.py` writes the digests anew, after a change that was meant.
"""

import hashlib
import json
import sys
import tempfile
from pathlib import Path

import pytest
from artifact_mutations import ordered
from fixed_programs import fixed_programs

from fourfold.deploy.artifact.container import seal
from fourfold.deploy.artifact.values import VALUES
from fourfold.deploy.artifact.writing import write
from fourfold.deploy.backends.c.emit import generate
from fourfold.deploy.backends.onnx import to_onnx
from fourfold.deploy.ir.program import Program

DIGESTS = Path(__file__).with_name("identity.json")


def files_of(name: str, program: Program, folder: Path) -> dict[str, bytes]:
    """Return what a program becomes, by kind."""
    generated = generate(program, "network")
    files = {"source": generated.source.encode(), "header": generated.header.encode()}
    files["harness"] = generated.with_harness().encode()
    files |= {
        f"artifact-{values}{'-entropy' * entropy}": ordered(seal(*write(program, values, entropy)))
        for values in VALUES
        for entropy in (False, True)
    }
    if not program.ranges:
        files["onnx"] = to_onnx(program, folder / "a.onnx").SerializeToString(deterministic=True)
    return files


def digests_of(name: str, program: Program, folder: Path) -> dict[str, str]:
    files = files_of(name, program, folder)
    return {kind: hashlib.sha256(content).hexdigest()[:16] for kind, content in files.items()}


@pytest.mark.parametrize("name", sorted(fixed_programs()))
def test_files_are_the_same_byte_by_byte(name, tmp_path):
    pytest.importorskip("onnx")
    assert digests_of(name, fixed_programs()[name], tmp_path) == json.loads(DIGESTS.read_text())[name]


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    with tempfile.TemporaryDirectory() as temporary:
        found = {name: digests_of(name, program, Path(temporary)) for name, program in fixed_programs().items()}
    DIGESTS.write_text(json.dumps(found, indent=1) + "\n")
