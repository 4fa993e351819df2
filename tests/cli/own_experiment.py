"""One experiment of the user's own, of numbers to predict, named in each way that a spec can name its parts."""

from pathlib import Path

CODE = """
import numpy as np
from torch import nn

import fourfold as ff


def data():
    x = np.random.default_rng(0).standard_normal((90, 8)).astype("float32")
    return ff.data.from_arrays((x, x[:, :3] @ np.ones((3, 1), "float32")), validation=0.2)


def net(algebra, inputs, outputs):
    layers = ff.models.Layers(algebra=algebra)
    return nn.Sequential(layers.linear(inputs[0], 8), nn.ReLU(), nn.Linear(8, outputs))


class Task(ff.tasks.Regression):
    pass


def experiment():
    return ff.presets.new("own", **NAMES, epochs=2, batch_size=30, max_level=1, fraction=0.5)
"""

NAMES = {
    "file": {part: f"own.py:{name}" for part, name in (("data", "data"), ("model", "net"), ("task", "Task"))},
    "module": {part: f"own_package.own:{name}" for part, name in (("data", "data"), ("model", "net"), ("task", "Task"))},
    "entry point": {"data": "own-data", "model": "own-net", "task": "own-task"},
}
"""What the parts are called in a spec, by kind of reference."""

PRESET = {"file": "own.py", "module": "own_package.own:experiment", "entry point": "own-experiment"}
"""What the experiment is called on a command line."""

POINTS = """[fourfold.presets]
own-experiment = own_package.own:experiment
[fourfold.data]
own-data = own_package.own:data
[fourfold.models]
own-net = own_package.own:net
[fourfold.tasks]
own-task = own_package.own:Task
"""


def write(folder: Path, kind: str) -> str:
    """Write the experiment into a folder, and return what a command line calls it."""
    code = CODE.replace("NAMES", repr(NAMES[kind]))
    if kind == "file":
        (folder / "own.py").write_text(code)
        return PRESET[kind]
    package = folder / "own_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "own.py").write_text(code)
    if kind == "entry point":
        about = folder / "own_package-1.dist-info"
        about.mkdir()
        (about / "METADATA").write_text("Metadata-Version: 2.1\nName: own-package\nVersion: 1\n")
        (about / "entry_points.txt").write_text(POINTS)
    return PRESET[kind]
