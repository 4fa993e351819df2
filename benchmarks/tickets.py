"""Sizes and accuracies of trained tickets: level by level, in float32, int8 and a codebook, through the generated C.

    python benchmarks/tickets.py [lenet | conv2 | conv4] [--out FOLDER] [--data-dir DIR]
    python benchmarks/tickets.py --run RUN…

Trains a short chain of tickets, or takes runs whose weights were kept: `lenet` is Lenet-300-100 on MNIST in four epochs a
level, `conv2` is Conv-2 on CIFAR-10 in one epoch of 10,000 images, both real and quaternion and pruned by 60 % a level; `conv4`
is the quaternion Conv-4 in four such epochs a level, pruned by half three times, by components and by whole quaternions: what
global magnitude pruning leaves of a trained network. What is on disk already is not trained again. Accuracies are those of all
test images through compiled C; int8 is calibrated with training images; bytes are those of the entropy-coded artifact.
"""

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from fourfold import deploy, execution, lottery, presets
from fourfold.cli.tickets import calibration_images, program_of, test_set
from fourfold.deploy.bench import benchmark
from fourfold.native import compiler
from fourfold.record import RunStore, Spec, UserError, find_runs
from fourfold.train import versions

CODINGS = ("fp32", "int8", "codebook")
ALGEBRAS = ("real", "quaternion")


def lenet() -> list[Spec]:
    specs = [presets.get("lenet-300-100-mnist", algebra=algebra) for algebra in ALGEBRAS]
    return [shortened(spec, epochs=4, fraction=0.6, levels=4) for spec in specs]


def conv2() -> list[Spec]:
    specs = [fewer_images(presets.get("conv2-cifar10", algebra=algebra)) for algebra in ALGEBRAS]
    return [shortened(spec, epochs=1, fraction=0.6, levels=3) for spec in specs]


def conv4() -> list[Spec]:
    components = fewer_images(presets.get("conv4-cifar10", algebra="quaternion"))
    whole = replace(components, prune=replace(components.prune, unit="element"))
    return [shortened(spec, epochs=4, fraction=0.5, levels=3) for spec in (components, whole)]


def fewer_images(spec: Spec) -> Spec:
    return replace(spec, data=replace(spec.data, validation=40_000))


def shortened(spec: Spec, *, epochs: int, fraction: float, levels: int) -> Spec:
    train, prune = replace(spec.train, epochs=epochs), replace(spec.prune, fraction=fraction)
    return replace(spec, train=train, prune=prune, stop=replace(spec.stop, max_level=levels))


CHAINS = {"lenet": lenet, "conv2": conv2, "conv4": conv4}


def trained(chain: str, out: Path, data_dir: Path | None) -> list[RunStore]:
    specs = CHAINS[chain]()
    levels = range((specs[0].stop.max_level or 0) + 1)
    execution.run(specs, trials=1, out=out, data_dir=data_dir, workers=1, keep=levels)
    return [RunStore(out / spec.id) for spec in specs]


def lines(store: RunStore, data_dir: Path | None) -> Iterator[str]:
    spec = store.spec()
    tests, seen = test_set(spec.data.name, data_dir), calibration_images(spec.data.name, data_dir)
    if tests is None or seen is None:
        raise UserError(f"{spec.data.name} is not here; --data-dir says where it is")
    rows = {row.level: row for row in store.rows(0)}
    for level in store.kept_levels(0):
        program = program_of(store, lottery.load_trained(store, 0, level), 0, level)
        cells = [f"{spec.model.algebra:10} {level:5} {100 * rows[level].fraction_of_real:7.2f} {rows[level].top1:8.2f}"]
        for values in CODINGS:
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "ticket.safetensors"
                stored = deploy.pack(program, file, values=values, entropy=True, calibrate=seen if values == "int8" else None)
                size = file.stat().st_size
            network = deploy.load(stored)
            if network.notice:
                raise UserError(f"the C cannot be measured: {network.notice}")
            runtime = benchmark.Contender(run=network, takes_bytes=True, model_bytes=0, runtime_bytes=0, peak_bytes=None)
            cells.append(f"{benchmark.accuracy(runtime, stored, *tests):8.2f} {size:9,}")
        yield " ".join(cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("chain", nargs="?", choices=CHAINS, default="lenet")
    parser.add_argument("--run", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, default=Path("runs"))
    parser.add_argument("--data-dir", type=Path)
    arguments = parser.parse_args()
    stores = find_runs(*arguments.run) if arguments.run else trained(arguments.chain, arguments.out, arguments.data_dir)
    print(f"{versions()}, {compiler()}; top-1 in percent, bytes of the artifact")
    print(f"{'algebra':10} level  % real  trained" + "".join(f" {values:>8} {'bytes':>9}" for values in CODINGS))
    for store in stores:
        for line in lines(store, arguments.data_dir):
            print(line, flush=True)


if __name__ == "__main__":
    main()
