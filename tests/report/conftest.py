"""One folder of runs, one report of it, one browser, for all tests of the room."""

from pathlib import Path

import pytest
import synthetic_runs as synthetic

import fourfold.report as report


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real and quaternion, 3 trials of 7 levels, one trial ended early, one failed; and a preset with an evil name."""
    out = tmp_path_factory.mktemp("runs")
    synthetic.write(out, synthetic.spec("real"), 3, 7)
    quaternion = synthetic.write(out, synthetic.spec("quaternion"), 2, 7)
    for level in range(5):
        quaternion.append(synthetic.row(synthetic.spec("quaternion"), 2, level))
    quaternion.fail(2, 5, "the loss became nan")
    # Such a name has slashes, so the folder cannot be called after the run.
    evil = synthetic.spec("real", preset=synthetic.EVIL)
    synthetic.write_as(out / "evil", evil, 1, 2)
    return out


@pytest.fixture(scope="session")
def built(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the report on `runs`."""
    return report.build([runs], tmp_path_factory.mktemp("report") / "out").parent


@pytest.fixture(scope="session")
def experiment(runs: Path) -> report.Experiment:
    """The Conv-4 experiment of `runs`."""
    return next(one for one in report.experiments(report.read_runs([runs])) if one.preset == "conv4-cifar10")
