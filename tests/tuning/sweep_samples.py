"""Sweeps without any training: what a point reaches is a function of its learning rate."""

import math
from dataclasses import replace
from pathlib import Path

from fourfold.record import RunStore, Spec
from fourfold.tuning import sweep
from lottery_samples import BOTH, run_alone, tiny_spec

PEAK = {"real": 3e-3, "quaternion": 1e-3}
"""The learning rate at which a network of the algebra is best here."""


def bases(level: int = 0) -> list[Spec]:
    return [sweep.base_of(tiny_spec(algebra), level=level, validation=100) for algebra in BOTH]


def reached(spec: Spec, trial: int) -> float:
    return 90 - abs(math.log(spec.train.learning_rate / PEAK[spec.model.algebra])) + trial


class FakeRun:
    """Runs points by writing the rows that `reached` says; `fails` names learning rates whose training breaks off."""

    def __init__(self, out: Path, trials: int = 1, fails: tuple[float, ...] = (), most: int | None = None) -> None:
        self.out, self.trials, self.fails, self.most = out, trials, fails, most
        self.asked: list[list[Spec]] = []
        self.ran: list[str] = []
        template = run_alone(replace(tiny_spec(levels=1), preset="template"), out / "template").rows(0)[0]
        self.template = replace(template, promised=None)  # no row made of it is that of another mask

    def __call__(self, specs) -> None:
        self.asked.append(list(specs))
        for spec in specs:
            store = RunStore.create(self.out, spec)
            for trial in range(self.trials):
                if store.finished(trial) or store.failure(trial):
                    continue
                if self.most is not None and len(self.ran) >= self.most:
                    return
                self.ran.append(spec.id)
                if spec.train.learning_rate in self.fails:
                    store.fail(trial, 0, "the loss became nan")
                    continue
                value = reached(spec, trial)
                for level in range(spec.stop.max_level + 1):
                    about = {"run": spec.id, "preset": spec.preset, "algebra": spec.model.algebra}
                    row = replace(self.template, **about, trial=trial, level=level)
                    store.append(replace(row, validation=value - 10 * (spec.stop.max_level - level), top1=99 - value))
