"""What a checkpoint costs: bytes, time and peak memory of one, and the part of a level that goes into all of them.

    python benchmarks/checkpoints.py [--preset conv4-cifar10 lenet-300-100-mnist] [--out FOLDER] [--seconds 10]

A network trains on random images of the data set's size for some seconds, in which it is saved again and again. How long
a level takes `fourfold.timing.clock` says, and how many checkpoints it has by default, `fourfold.train.saving.Rule`.
Then levels of the digits, which last about a second, are timed with checkpoints (of which such a level has none) and
without, in turns.
"""

import argparse
import contextlib
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from fourfold import data, lottery, presets, pruning
from fourfold.execution.serving import Clock
from fourfold.lottery.levels import run_level
from fourfold.nn import named_weights
from fourfold.parts import build, splits_of
from fourfold.record import RunStore, Spec
from fourfold.timing import clock
from fourfold.train import OutOfTimeError, Wanted, describe_device, single_thread, train, versions
from fourfold.train.saving import Rule, Saving

CPU = torch.device("cpu")
ROUNDS = 9


class Measured:
    """Saves at every pause until some seconds have passed, and notes what each checkpoint costs."""

    def __init__(self, saver, seconds: float) -> None:
        self.saver, self.end = saver, time.perf_counter() + seconds
        self.seconds, self.peak_bytes = [], 0

    def wants(self, **_) -> Wanted:
        late = time.perf_counter() > self.end
        return Wanted(save=not late, end=late)

    def save(self, checkpoint) -> None:
        Path("/proc/self/clear_refs").write_text("5")  # the peak is what there is now
        before, start = memory("VmHWM"), time.perf_counter()
        self.saver.save(checkpoint)
        self.seconds.append(time.perf_counter() - start)
        self.peak_bytes = max(self.peak_bytes, memory("VmHWM") - before)


def memory(field: str) -> int:
    """Return a figure of this process in bytes."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return 1024 * int(lines[field].split()[0])


def random_images(spec: Spec, count: int) -> data.ImageSet:
    about, draw = data.info_for(spec.data), np.random.default_rng(0)
    shape = (count, about.channels, about.size, about.size)
    images, labels = draw.integers(0, 256, shape, dtype=np.uint8), draw.integers(0, about.num_classes, count)
    return data.ImageSet(
        info=about, train_images=images, train_labels=labels, test_images=images[:100], test_labels=labels[:100]
    )


def checkpoints_by_default(epochs: int, epoch_seconds: float, write_seconds: float) -> int:
    """Return how many a level has."""
    rule, since, count = Rule(), 0.0, 0
    pauses = max(1, round(epoch_seconds))  # about one a second
    for _ in range(epochs):
        for pause in range(pauses):
            since += epoch_seconds / pauses
            if rule.due(epoch_ended=pause == pauses - 1, since_seconds=since, write_seconds=write_seconds):
                since, count = 0.0, count + 1
    return count


def measure(spec: Spec, folder: Path, seconds: float) -> None:
    spec = replace(spec, data=replace(spec.data, validation=0), train=replace(spec.train, early_stopping=None, epochs=10_000))
    images = random_images(spec, 10 * spec.train.batch_size)
    splits, network = splits_of(images, spec, CPU), build(spec, seed=0, device=CPU)
    weights = named_weights(network)
    masks = pruning.dense(weights)
    settings = {"seed_of_epoch": lambda epoch: epoch, "weights": weights, "masks": masks}
    saving = Saving(store=RunStore.create(folder, spec), trial=0, ends=Clock(None), rule=Rule("epoch"))
    measured = Measured(saving.of(0, network, masks), seconds)
    with contextlib.suppress(OutOfTimeError):
        train(network, splits, spec.train, saver=measured, **settings)
    (file,) = saving.store.checkpoints.path.iterdir()
    write_seconds = statistics.median(measured.seconds)
    low, _, high = statistics.quantiles(measured.seconds, n=4)
    state = sum(t.numel() * t.element_size() for t in network.state_dict().values())
    print(
        f"{spec.preset} {spec.model.algebra}: {file.stat().st_size / 1e6:.2f} MB ({file.stat().st_size / state:.2f} times the "
        f"network), written in {1000 * write_seconds:.1f} ms ({1000 * low:.1f}-{1000 * high:.1f}; "
        f"{len(measured.seconds)} times), {measured.peak_bytes / 1e6:.2f} MB of memory more"
    )
    full = presets.get(spec.preset, algebra=spec.model.algebra)
    level = clock.Clock(CPU).level_seconds(full)
    epoch_seconds = level / full.train.epochs
    count = checkpoints_by_default(full.train.epochs, epoch_seconds, write_seconds)
    print(
        f"  a level of {full.train.epochs} epochs, about {level:.0f} s: {count} checkpoints, "
        f"{100 * count * write_seconds / level:.3f} % of it, {count * file.stat().st_size / 1e6:.0f} MB written"
    )


def short_levels(folder: Path) -> None:
    """Time levels of about a second with and without the means to save them."""
    spec = presets.get("digits", algebra="quaternion")
    experiment = lottery.Experiment.prepare(spec, None, CPU)
    store = RunStore.create(folder, spec)
    ratios, times = [], []
    for _ in range(ROUNDS):
        pair = []
        for saving in (None, Saving(store=store, trial=0, ends=Clock(None))):
            start = time.perf_counter()
            run_level(experiment, 0, 0, None, saving=saving)
            pair.append(time.perf_counter() - start)
        times.append(pair[0])
        ratios.append(pair[1] / pair[0])
    low, middle, high = statistics.quantiles(ratios, n=4)
    print(
        f"digits quaternion: a level of {statistics.median(times):.2f} s takes {middle:.3f} ({low:.3f}-{high:.3f}) of that "
        f"with checkpoints, and has {len(list(store.checkpoints.positions()))}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", nargs="+", default=["conv4-cifar10", "lenet-300-100-mnist"])
    parser.add_argument("--out", type=Path, help="folder on the disk to measure; default the system's for temporary files")
    parser.add_argument("--seconds", type=float, default=10)
    arguments = parser.parse_args()
    with single_thread(), tempfile.TemporaryDirectory(dir=arguments.out) as folder:
        print(f"{describe_device(CPU)}, {versions()}")
        for preset in arguments.preset:
            for algebra in ("real", "quaternion"):
                measure(presets.get(preset, algebra=algebra), Path(folder), arguments.seconds)
        short_levels(Path(folder))


if __name__ == "__main__":
    main()
