"""Experiments on the digits drawn at random from all that a spec can say, and runs that are interrupted at random."""

import random
from dataclasses import replace
from typing import get_args

from fourfold import execution, presets
from fourfold.record import EarlyStopping, PruneSpec, Spec, StopSpec, UserError
from fourfold.record.prune_spec import Budget, Rewind, Schedule, Scope, Score, Search, Unit

NETWORKS = {"lenet-12": "digits", "lenet-300-100": "digits", "conv-2": "digits-conv2", "resnet-8": "digits-resnet8"}
ALGEBRAS = ("real", "complex", "quaternion", "octonion", "phm")
LAST_LEVEL = 2


def draw_spec(seed: int) -> Spec:
    """Draw until there is an experiment that makes sense."""
    draw = random.Random(seed)
    while True:
        try:
            spec = _draw(draw)
            execution.check(execution.Job(specs=(spec,), workers=1, device="cpu"))
        except UserError:
            continue
        return spec


def _draw(draw: random.Random) -> Spec:
    model = draw.choice([*NETWORKS, "lenet-12", "lenet-12"])
    preset = presets.get(NETWORKS[model], algebra=draw.choice(ALGEBRAS))
    early = EarlyStopping(every=draw.choice([1, 5]), patience=draw.choice([1, 3])) if draw.random() < 0.2 else None
    optimizer = draw.choice(["adam", "sgd"])
    train = replace(
        preset.train,
        epochs=draw.choice([1, 2]),
        optimizer=optimizer,
        learning_rate=0.001 if optimizer == "adam" else 0.05,
        momentum=0.0 if optimizer == "adam" else draw.choice([0, 0.9]),
        batch_size=draw.choice([60, 128, 500]),
        weight_decay=draw.choice([0, 0, 1e-3]),
        warmup_steps=draw.choice([0, 0, 5]),
        precision=draw.choice([None, None, None, "bf16"]),
        early_stopping=early,
        **draw.choice([{}, {"cosine_steps": 7}, {"milestones": (1,)}]),
    )
    rewind = draw.choice(get_args(Rewind))
    prune = PruneSpec(
        fraction=draw.choice([0.2, 0.5, 0.7]),
        score=draw.choice(get_args(Score)),
        unit=draw.choice(get_args(Unit)),
        scope=draw.choice(get_args(Scope)),
        budget=draw.choice(get_args(Budget)),
        schedule=draw.choice(get_args(Schedule)),
        search=draw.choice(get_args(Search)),
        rewind=rewind,
        rewind_to=draw.choice([1, 3]) if rewind in ("step", "epoch") else None,
        score_images=draw.choice([1, 64]),
    )
    data = replace(
        preset.data,
        crop=draw.choice([None, None, 1]),
        flip=draw.random() < 0.2,
        classes=draw.choice([None, None, None, 4]),
        validation=137 if early else draw.choice([0, 0, 137]),
    )
    spec = replace(preset, preset="random", data=data, train=train, prune=prune)
    return replace(spec, model=replace(spec.model, name=model), stop=StopSpec(accuracy=0, max_level=LAST_LEVEL))


class InterruptedRunError(Exception):
    """What ends a run before its time."""


class Interruptions:
    """Ends a run after a few epochs, again and again, until it has been ended `at_most` times."""

    def __init__(self, seed: int, at_most: int = 12) -> None:
        self._draw, self._left, self._epochs = random.Random(seed), at_most, 0

    def until_done(self, go) -> int:
        """Call `go` with something to call after every epoch until it comes to its end; return how often it did not."""
        count = 0
        while True:
            self._epochs = self._draw.randint(0, 2)
            try:
                go(self._tick)
            except InterruptedRunError:
                count, self._left = count + 1, self._left - 1
            else:
                return count

    def _tick(self, *_: object) -> None:
        if self._left and not self._epochs:
            raise InterruptedRunError
        self._epochs -= 1
