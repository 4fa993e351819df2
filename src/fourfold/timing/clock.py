"""How long a level takes on this machine, from training its network for an instant on random images.

On a CPU, processor time is measured, not the clock's: what comes out is of a machine that has nothing else to do.
"""

import math
import time
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from fourfold import data, parts, pruning
from fourfold.data.counting import Counts, counts_here
from fourfold.data.images import Images, Labels
from fourfold.data.subset import chosen_classes
from fourfold.lottery.levels import training_task
from fourfold.models import Sizes
from fourfold.nn import named_weights
from fourfold.parts import build, measure, splits_of, user_code
from fourfold.record import PruneSpec, Spec, StopSpec, TrainSpec
from fourfold.train import single_thread, steps_per_epoch, train
from fourfold.train.engines import Setup, start_engine
from fourfold.train.evaluation import evaluating, forward

DENSITIES = (1.0, 0.5, 0.1, 0.02)
"""At which perceptrons are timed: on a CPU they train at the price of the weights that are left; other networks do not."""

_PROBE_MACS = 5 * 10**9
"""MACs of a timed batch on a CPU, half a second; larger batches are extrapolated from two smaller ones."""

_BATCHES, _BATCHES_OF_MAPS = 100, 20
"""Timed at most, of perceptrons and on a GPU, and of networks with convolutions on a CPU."""

_OWN_STEPS, _OWN_SECONDS = 10, 1.0
"""Timed at most on the user's own data."""

_LEARNING_RATE = 1e-9
"""So small that no loss becomes nan; it costs what any other does."""


@dataclass
class Clock:
    """Times networks, each one once."""

    device: torch.device
    data_dir: Path | None = None
    """Where data sets lie, of which levels take as many images as are there; None means `$FOURFOLD_DATA`, else the cache."""
    _known: dict[str, float] = field(default_factory=dict)
    _own: dict[str, tuple[float, float]] = field(default_factory=dict)
    _engines: dict[Spec, str] = field(default_factory=dict)
    _counts: dict[str, Counts | None] = field(default_factory=dict)

    def level_seconds(self, spec: Spec, density: float = 1.0) -> float:
        """Return the time of one level of a network that keeps a density of its weights: training and evaluation.

        With early stopping it is that of training to the last epoch.
        """
        epochs = spec.train.epochs * (2 if spec.prune.search == "continue" else 1)  # which trains a second network
        if density == 1 or not is_perceptron(spec):
            return epochs * self._epoch_seconds(spec, 1.0)
        seconds = [epochs * self._epoch_seconds(spec, known) for known in DENSITIES]
        return float(np.interp(-math.log(density), [-math.log(known) for known in DENSITIES], seconds))

    def engine(self, spec: Spec) -> str | None:
        """Return the name of the engine that a spec was timed with; None if it was not."""
        return self._engines.get(spec)

    def narrow_seconds(self, spec: Spec, density: float) -> float:
        """Return the time of one level of a narrower dense network, of as many weights as a density leaves of the whole one."""
        seconds = self.level_seconds(spec, density)
        return seconds if is_perceptron(spec) else seconds * density

    def _epoch_seconds(self, spec: Spec, density: float) -> float:
        with user_code(spec, "code that runs"):
            return self._epoch_seconds_of(spec, density)

    def _epoch_seconds_of(self, spec: Spec, density: float) -> float:
        train_items, test_items = self.items(spec)
        steps = steps_per_epoch(max(1, train_items - spec.data.validation), spec.train.batch_size)
        if parts.is_own_data(spec):
            step, of_a_test_item = self._own_seconds(spec, density)
            return steps * step + test_items * of_a_test_item
        affordable = max(1, _PROBE_MACS // (3 * sizes_of(spec).macs)) if self.device.type == "cpu" else spec.train.batch_size
        if affordable >= spec.train.batch_size:
            return steps * self._step_seconds(spec, spec.train.batch_size, density)
        # The cost of a step that does not grow with its images is the optimiser's; the rest is proportional to them. A busy
        # machine may time the larger batch as the faster one: a quarter of its step is taken to grow in any case.
        small, large = affordable, 2 * affordable
        first, second = (self._step_seconds(spec, size, density) for size in (small, large))
        an_image = max(second - first, second / 4) / (large - small)
        return steps * (max(0.0, first - small * an_image) + spec.train.batch_size * an_image)

    def items(self, spec: Spec) -> tuple[int, int]:
        """Return how many training and test items a spec has: of the files that lie there, else of the official data.

        Of some classes, those in proportion.
        """
        facts = parts.facts(spec)
        if parts.is_own_data(spec) or spec.data.name not in data.DATASETS:
            return facts.train_items, facts.test_items
        if spec.data.name not in self._counts:
            self._counts[spec.data.name] = counts_here(spec.data.name, self.data_dir)
        counts = self._counts[spec.data.name]
        if counts is None:
            return facts.train_items, facts.test_items
        part = facts.train_items / data.info(spec.data.name).train_images
        return max(1, round(part * counts.train)), max(1, round(part * counts.test))

    def _now(self) -> float:
        return time.process_time() if self.device.type == "cpu" else time.perf_counter()

    def _own_seconds(self, spec: Spec, density: float) -> tuple[float, float]:
        """Return the time of a step on the user's own data and of the evaluation of an item, after a step that is not timed.

        Steps are timed until there are enough or a second has gone, so that a slow network is not waited for. What its code
        waits for (a file, a process of a `DataLoader`) is a part of it.
        """
        key = f"{spec.id} {density}"
        if key not in self._own:
            splits: Any = splits_of(parts.load(spec), spec, self.device)
            network = build(spec, seed=0, device=self.device)
            weights = named_weights(network)
            masks = pruning.magnitude(weights, pruning.dense(weights), density)
            task = training_task(parts.task_of(spec), splits)
            plain = replace(spec.train, learning_rate=_LEARNING_RATE, milestones=(), early_stopping=None)
            setup = Setup(
                network=network,
                splits=splits,
                spec=plain,
                weights=weights,
                masks=masks,
                loss=nn.functional.cross_entropy if task is None else task.loss,
                task=task,
                step_by_step=spec.prune.schedule == "gradual",
            )
            with single_thread():
                engine = start_engine(setup)
                network.train()
                count = steps_per_epoch(len(splits.train), spec.train.batch_size)
                engine.begin(0, torch.full((count,), _LEARNING_RATE, dtype=torch.float64))
                start = _busy_or_waiting()
                engine.advance(1)
                first, num_steps, start = _busy_or_waiting() - start, 0, _busy_or_waiting()
                while num_steps < min(_OWN_STEPS, count - 1) and (not num_steps or _busy_or_waiting() - start < _OWN_SECONDS):
                    engine.advance(1)
                    num_steps += 1
                step = (_busy_or_waiting() - start) / num_steps if num_steps else first
                tests = min(len(splits.test), spec.train.batch_size)
                engine.sync()
                with evaluating(network):
                    start = _busy_or_waiting()
                    forward(network, splits.test.batch(splits.test.in_order(), slice(0, tests))[0])
                    self._own[key] = step, (_busy_or_waiting() - start) / tests
            self._engines[spec] = engine.name
        return self._own[key]

    def _step_seconds(self, spec: Spec, batch_size: int, density: float) -> float:
        """Return the time of a step and of its share of the evaluation, in the second of two short epochs."""
        probe = replace(
            spec,
            preset="probe",
            data=replace(spec.data, validation=0),
            train=replace(
                spec.train, batch_size=batch_size, epochs=2, early_stopping=None, milestones=(), learning_rate=_LEARNING_RATE
            ),
        )
        key = f"{probe.id} {density}"
        if key not in self._known:
            affordable = _PROBE_MACS // (3 * sizes_of(spec).macs * batch_size) if self.device.type == "cpu" else _BATCHES
            most = _BATCHES if is_perceptron(spec) or self.device.type != "cpu" else _BATCHES_OF_MAPS
            count = batch_size * min(max(1, affordable), most)
            train_items, test_items = self.items(spec)
            tests = max(1, round(count * test_items / train_items))
            splits = splits_of(_random_images(spec, count, tests), probe, self.device)
            network = build(probe, seed=0, device=self.device)
            weights = named_weights(network)
            masks = pruning.magnitude(weights, pruning.dense(weights), density)
            ended: list[float] = []
            with single_thread():
                trained = train(
                    network,
                    splits,
                    probe.train,
                    seed_of_epoch=lambda epoch: epoch,
                    weights=weights,
                    masks=masks,
                    on_epoch=lambda epoch: ended.append(self._now()),
                    on_step=(lambda step: None) if spec.prune.schedule == "gradual" else None,
                )
            self._known[key] = (ended[1] - ended[0]) / (count / batch_size)
            self._engines[spec] = trained.engine
        return self._known[key]


def _busy_or_waiting() -> float:
    """Return seconds of this thread, without those in which it could have run and other programs did."""
    try:
        waited = int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):  # not Linux
        waited = 0.0
    return time.perf_counter() - waited


def is_perceptron(spec: Spec) -> bool:
    """Return whether all weights of the network are those of linear layers, which native code may train."""
    if parts.is_own_data(spec):
        return False
    return all(layer.kind == "Linear" for layer in sizes_of(spec).layers if layer.weights)


def sizes_of(spec: Spec) -> Sizes:
    """Return the sizes of a spec's network, measured once for all specs that have it."""
    if parts.is_own_model(spec) or parts.is_own_data(spec):
        return measure(spec)  # which knows them already
    return _sizes(replace(spec, preset="sizes", train=TrainSpec(), prune=PruneSpec(), stop=StopSpec()))


@cache
def _sizes(spec: Spec) -> Sizes:
    return measure(spec)


def _random_images(spec: Spec, count: int, tests: int) -> data.ImageSet:
    info, random = data.info_for(spec.data), np.random.default_rng(0)
    classes = chosen_classes(spec.data)
    labels = np.arange(info.num_classes) if classes is None else classes  # as the files count them

    def draw(number: int) -> tuple[Images, Labels]:
        shape = (number, info.channels, info.size, info.size)
        return random.integers(0, 256, shape, dtype=np.uint8), random.choice(labels, number)

    (train_images, train_labels), (test_images, test_labels) = draw(count), draw(tests)
    return data.ImageSet(
        info=info, train_images=train_images, train_labels=train_labels, test_images=test_images, test_labels=test_labels
    )
