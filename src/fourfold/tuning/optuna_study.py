"""Optuna chooses the points of a sweep: the same number of evaluations for every algebra, each algebra by its own study.

The studies lie beside the runs as JSON lines that Optuna's tools can open. An evaluation is drawn from the study's seed, its
number and what came of those before it, so a study that is interrupted and called again chooses what it would have chosen.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from filelock import FileLock, Timeout

from fourfold import tasks
from fourfold.lottery.seeds import derive_seed
from fourfold.record import Spec, UserError, parse_value
from fourfold.record.files import make_folder
from fourfold.tuning.space import Range, Settings, Space, at_point
from fourfold.tuning.sweep import Outcome, Run, check_same_data, outcome

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution

FOLDER = "studies"
"""Below the runs' folder."""


def check_study(evaluations: int) -> None:
    """Raise `UserError` for a study of no evaluations, or if Optuna is not installed."""
    if evaluations < 1:
        raise UserError(f"`optuna` (={evaluations}) must be at least 1 evaluation")
    try:
        import optuna  # noqa: F401
    except ImportError:
        raise UserError("a study needs Optuna, which is not installed; `pip install 'fourfold[sweep]'` adds it") from None


def run_study(
    bases: Sequence[Spec], space: Space, *, evaluations: int, trials: int, seed: int, out: Path, run: Run
) -> dict[str, list[Outcome]]:
    """Evaluate points that a study chooses in every algebra, and return what came of those that are done, by algebra.

    A point's value is its mean validation metric over the trials. Points of the same number are run at the same time.

    Args:
        bases: What `base_of` returns, one spec an algebra.
        space: The values of each field, or the range that they come from.
        evaluations: Points of each algebra; more of them continue the same study.
        trials: Trials of each point.
        seed: Decides the choice.
        out: Where `run` puts its runs.
        run: Runs what is missing of some specs.

    Raises:
        UserError: Optuna is not installed, the folder cannot be written, or another process is at the same study.
    """
    check_study(evaluations)
    with contextlib.ExitStack() as stack:
        studies = [stack.enter_context(_opened(base, space, trials, seed, out)) for base in bases]
        known = [_settings_done(study, space)[:evaluations] for study in studies]
        run([at_point(base, settings) for base, points in zip(bases, known, strict=True) for settings in points])
        by_algebra: dict[str, list[Outcome | None]] = {
            base.model.algebra: [outcome(base, settings, trials=trials, out=out) for settings in points]
            for base, points in zip(bases, known, strict=True)
        }
        done: dict[str, list[Outcome]] = {
            algebra: [each for each in outcomes if each is not None] for algebra, outcomes in by_algebra.items()
        }
        check_same_data(done)
        if any(
            None in outcomes for outcomes in by_algebra.values()
        ):  # rows were deleted, and there was no time to run them again
            return done
        for number in range(min(map(len, known)), evaluations):
            next_points = [
                (base, study, *_ask(study, space, derive_seed(seed, "study", number)))
                for base, study in zip(bases, studies, strict=True)
                if len(done[base.model.algebra]) <= number
            ]
            run([at_point(base, settings) for base, _, _, settings in next_points])
            for base, study, trial, settings in next_points:
                result = outcome(base, settings, trials=trials, out=out)
                if result is None:
                    return done
                study.tell(trial, result.mean)
                done[base.model.algebra].append(result)
        return done


def study_name(base: Spec, space: Space, trials: int, seed: int) -> str:
    """Return the name of an algebra's study: readable, with a hash of everything that it depends on."""
    values = {name: asdict(each) if isinstance(each, Range) else list(each) for name, each in space.items()}
    text = json.dumps([base.to_json(), values, trials, seed], sort_keys=True)
    return f"{base.preset}-{base.model.algebra}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


@contextlib.contextmanager
def _opened(base: Spec, space: Space, trials: int, seed: int, out: Path) -> "Iterator[Study]":
    """Open an algebra's study, alone, and mend what a process that was killed in it has left."""
    name = study_name(base, space, trials, seed)
    file = out / FOLDER / f"{name}.jsonl"
    with contextlib.ExitStack() as stack:
        try:
            make_folder(file.parent, parents=True)
            stack.enter_context(FileLock(file.parent / f".{name}.lock", timeout=0))
            _mend(file)
            study = _load(name, file, "maximize" if tasks.get(base).metric.higher_is_better else "minimize")
        except Timeout:
            raise UserError(f"another process is working on the study {file}; wait for it, or use another --out") from None
        except json.JSONDecodeError as error:
            raise UserError(
                f"{file} is damaged ({error}); delete it, and the study begins again with the runs there are"
            ) from error
        except OSError as error:
            raise UserError(f"cannot write the study to {file} ({error.strerror or error}); choose another --out") from error
        yield study


def _load(name: str, file: Path, direction: Literal["maximize", "minimize"]) -> "Study":
    """Return the study of a file; a point without a result is asked for again, with the same number."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend
    from optuna.trial import TrialState

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = JournalStorage(JournalFileBackend(str(file)))
    study = optuna.create_study(study_name=name, storage=storage, direction=direction, load_if_exists=True)
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
    return study


def _mend(file: Path) -> None:
    """Drop a line that a crash tore off, and the lock of a process that is gone: this one holds the study alone."""
    file.with_name(f"{file.name}.lock").unlink(missing_ok=True)
    if file.exists():
        with file.open("r+b") as stream:
            stream.truncate(stream.read().rfind(b"\n") + 1)


def _ask(study: "Study", space: Space, seed: int) -> tuple[Any, Settings]:
    import optuna

    # A sampler of its own for every point: where a generator stood when a process ended is not on disk.
    study.sampler = optuna.samplers.TPESampler(seed=seed % 2**32)
    trial = study.ask({name: _distribution(name, values) for name, values in space.items()})
    return trial, _settings(space, trial.params)


def _settings_done(study: "Study", space: Space) -> list[Settings]:
    from optuna.trial import TrialState

    return [_settings(space, trial.params) for trial in study.get_trials(states=(TrialState.COMPLETE,))]


def _settings(space: Space, params: dict[str, Any]) -> Settings:
    """Return the values of a point in the order of the space; of a list, Optuna knows the texts alone."""
    return {
        name: params[name] if isinstance(values, Range) else dict(zip(map(str, values), values, strict=True))[params[name]]
        for name, values in space.items()
    }


def _distribution(name: str, values: Any) -> "BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if not isinstance(values, Range):
        return CategoricalDistribution(list(map(str, values)))
    if _is_whole(name):
        return IntDistribution(int(values.low), int(values.high), log=values.log)
    return FloatDistribution(values.low, values.high, log=values.log)


def _is_whole(name: str) -> bool:
    return isinstance(parse_value(name, "1"), int)
