"""Experiments of every kind that a checkpoint must hold the whole state of, and an end that comes at any step."""

import random
from dataclasses import replace
from pathlib import Path

from fourfold import lottery, presets
from fourfold.lottery.controls import run_controls
from fourfold.record import DataSpec, EarlyStopping, PruneSpec, RunStore, Spec
from fourfold.train import OutOfTimeError, single_thread
from fourfold.train.saving import Rule, Saving
from lottery_samples import prepared, tiny_spec

LEVELS = 3
CONTROLS = {"perceptron in native code": ("random-init", "small-dense", "equal-macs")}


def specs() -> dict[str, Spec]:
    """One spec a kind of state, by what is special about it."""
    perceptron = tiny_spec("quaternion", levels=LEVELS, epochs=2, batch_size=128)
    convolutions = presets.get("digits-conv2", algebra="real")
    residual = presets.get("digits-resnet8", algebra="quaternion")

    def small(spec: Spec, **changes) -> Spec:
        train = replace(spec.train, **{"epochs": 2, "batch_size": 500, **changes})
        return replace(spec, train=train, prune=PruneSpec(fraction=0.5), stop=replace(perceptron.stop, max_level=1))

    rewound = {"rewind": "epoch", "rewind_to": 1}
    made = {
        "perceptron in native code": perceptron,
        "momentum": replace(perceptron, train=replace(perceptron.train, optimizer="sgd", learning_rate=0.05, momentum=0.9)),
        "augmentation": replace(perceptron, data=replace(perceptron.data, crop=1, flip=True)),
        "rewound to a step": replace(perceptron, prune=PruneSpec(fraction=0.5, rewind="step", rewind_to=5)),
        "rewound to an epoch": replace(perceptron, prune=PruneSpec(fraction=0.5, **rewound)),
        "continued": replace(perceptron, prune=PruneSpec(fraction=0.5, rewind="continue")),
        "fine-tuned": replace(perceptron, prune=PruneSpec(fraction=0.5, rewind="fine-tune")),
        "gradual": replace(perceptron, prune=PruneSpec(fraction=0.5, schedule="gradual")),
        "one-shot": replace(perceptron, prune=PruneSpec(fraction=0.5, schedule="one-shot")),
        "search": replace(perceptron, prune=PruneSpec(fraction=0.5, search="continue")),
        "early stopping": replace(
            perceptron,
            data=replace(perceptron.data, validation=200),
            train=replace(perceptron.train, epochs=4, early_stopping=EarlyStopping(every=3, patience=2), learning_rate=0.03),
        ),
        "convolutions": small(convolutions),
        "bf16": small(convolutions, precision="bf16"),
        "batch norm": replace(small(residual), data=DataSpec(name="digits", encoding="pixels", crop=1, flip=True)),
    }
    return {name: replace(spec, preset="checkpoint") for name, spec in made.items()}


class EndsAtSteps:
    """Ends a training after a random number of pauses, and then does not until it is told to again."""

    def __init__(self, seed: int, most: int) -> None:
        self._draw, self._most = random.Random(seed), most
        self.rearm()

    def rearm(self) -> None:
        self.left = self._draw.randint(1, self._most)

    def late(self, ahead_seconds: float) -> bool:
        self.left -= 1
        return self.left == 0


def run(spec: Spec, out: Path, controls=(), saving=None) -> RunStore:
    """Run trial 0 of a spec and some controls of its last level."""
    store = RunStore.create(out, spec)
    with single_thread():
        lottery.run_trial(prepared(spec), store, 0, saving=saving)
        run_controls(prepared(spec), store, 0, controls, [1], saving=saving)
    return store


def run_in_pieces(spec: Spec, out: Path, controls=(), seed: int = 0, **settings) -> tuple[RunStore, int]:
    """Run it as `run` does, ended again and again; return how often it was."""
    ends = EndsAtSteps(seed, 20 if "lenet" in spec.model.name else 5)
    store, count = RunStore.create(out, spec), 0
    saving = Saving(store=store, trial=0, ends=ends, rule=Rule("epoch"), **settings)
    while True:
        try:
            run(spec, out, controls, saving)
        except OutOfTimeError:
            count += 1
            ends.rearm()
        else:
            return store, count
