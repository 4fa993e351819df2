"""Tiny runs of every schedule, rewinding, search, engine and control, and all that they leave, as JSON.

Run as a script, with the `src` folder of any checkout as PYTHONPATH, it writes what that checkout's code computes:

    PYTHONPATH=/path/to/checkout/src python tests/lottery/reference_rows.py rows.json [CASE…]

Floating point differs between processors, so such files are compared on one machine, never committed.
"""

import contextlib
import hashlib
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from safetensors.numpy import load_file

sys.path.insert(0, str(Path(__file__).parents[1]))

from forked_ranks import fork_ranks
from fourfold import data, lottery, models, presets, pruning
from fourfold.nn import named_weights
from fourfold.record import CONTROLS, DataSpec, EarlyStopping, Launch, PruneSpec, RunStore, Spec, StopSpec, UserError
from fourfold.train import ALONE, Ranks, join, single_thread, train

LEVELS = 3

ADDED = ("provenance", "promised")
"""Fields of rows that are not compared: how a row came about, and what rows did not name in the first edition."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A run of one trial, and the controls of its levels."""

    spec: Spec
    controls: tuple[str, ...] = ()


def small(preset: str = "digits", algebra: str = "quaternion", levels: int = LEVELS, **training: Any) -> Spec:
    """A preset of few epochs and levels, which accuracy never ends."""
    spec = presets.get(preset, algebra=algebra)
    return replace(spec, train=replace(spec.train, **training), stop=StopSpec(accuracy=0, max_level=levels - 1))


def tiny(**pruning: Any) -> Spec:
    """Lenet-12 on the digits, two epochs of 24 steps."""
    spec = small(epochs=2, milestones=(1,))
    return replace(spec, model=replace(spec.model, name="lenet-12"), prune=PruneSpec(fraction=0.4, **pruning))


def cases() -> dict[str, Case]:
    """One of each kind, by what is special about it."""
    base = tiny()
    crops = replace(base.data, crop=1, flip=True)
    stopping = replace(base.train, epochs=6, learning_rate=0.03, early_stopping=EarlyStopping(every=5, patience=2))
    momentum = replace(base.train, optimizer="sgd", learning_rate=0.05, momentum=0.9, nesterov=True, milestones=())
    residual = replace(small("digits-resnet8", epochs=1, batch_size=200), prune=PruneSpec(fraction=0.5))
    specs = {
        "digits, real": small(algebra="real", epochs=2),
        "digits, quaternion": small(epochs=2),
        "digits-conv2, real": small("digits-conv2", "real", epochs=1, batch_size=120),
        "digits-conv2, quaternion": small("digits-conv2", epochs=1, batch_size=120),
        "batch norm": replace(residual, data=replace(crops, encode_real=True), stop=StopSpec(accuracy=0, max_level=1)),
        "step": tiny(rewind="step", rewind_to=7),
        "epoch": tiny(rewind="epoch", rewind_to=1),
        "weights": tiny(rewind="weights", scope="component"),
        "learning-rate": tiny(rewind="learning-rate"),
        "fine-tune": tiny(rewind="fine-tune"),
        "continue": tiny(rewind="continue"),
        "continue with momentum": replace(tiny(rewind="continue"), train=momentum),
        "search": tiny(search="continue"),
        "one-shot": tiny(schedule="one-shot"),
        "one-shot, fine-tune": tiny(schedule="one-shot", rewind="fine-tune"),
        "one-shot, step": tiny(schedule="one-shot", rewind="step", rewind_to=7),
        "one-shot, continue": tiny(schedule="one-shot", rewind="continue"),
        "gradual": tiny(schedule="gradual"),
        "gradual, by layer": tiny(schedule="gradual", score="taylor", layer_fractions=("fc2:0.2",), score_images=30),
        "fisher": tiny(score="fisher", unit="element", score_images=20),
        "snip": tiny(score="snip", score_images=20),
        "synflow, one-shot": tiny(score="synflow", schedule="one-shot"),
        "macs": tiny(budget="macs", score="random"),
        "momentum": replace(base, train=replace(momentum, warmup_steps=3, cosine_steps=20, weight_decay=1e-3)),
        "augmentation": replace(base, data=crops),
        "bf16": replace(base, train=replace(base.train, precision="bf16")),
        "early stopping": replace(base, data=replace(base.data, validation=137), train=stopping),
        "early stopping, fine-tune": replace(
            tiny(rewind="fine-tune"), data=replace(base.data, validation=137), train=replace(stopping, milestones=())
        ),
    }
    found = {name: Case(spec=spec) for name, spec in specs.items()}
    found["controls"] = Case(spec=base, controls=tuple(CONTROLS))
    found["controls of a rewound ticket"] = Case(spec=specs["step"], controls=("random-init", "shuffled-layer", "small-dense"))
    return found | {"lenet-12-mnist": Case(spec=lenet_12_mnist())}


def lenet_12_mnist() -> Spec:
    """The preset for one epoch, on the digits where there is no MNIST."""
    spec = small("lenet-12-mnist", epochs=1)
    try:
        data.load("mnist", download=False)
    except UserError:
        return replace(spec, data=DataSpec(name="digits", encoding="pixels"))
    return spec


@cache
def prepared(spec: Spec) -> lottery.Experiment:
    return lottery.Experiment.prepare(spec, None, torch.device("cpu"), download=False)


Run = Callable[[lottery.Experiment, RunStore, Case], None]


def run(experiment: lottery.Experiment, store: RunStore, case: Case, **options: Any) -> None:
    """Run what of a case's trial 0 and its controls is not on disk."""
    with single_thread():
        lottery.run_trial(experiment, store, 0, keep=range(LEVELS), **options)
        lottery.run_controls(experiment, store, 0, case.controls, **options)


def outcome(case: Case, out: Path, run: Run = run) -> dict[str, Any]:
    """Return everything that a case computes: rows, engines, and digests of masks, trained weights and carried states."""
    store = RunStore.create(out, case.spec)
    run(prepared(case.spec), store, case)
    rows = store.rows(0) + [row for control in case.controls for row in store.control_rows(0, control)]
    folders = {folder: sorted((store.path / folder).glob("*.safetensors")) for folder in ("masks", "weights", "states")}
    found = {
        "rows": [{name: value for name, value in json.loads(row.to_line()).items() if name not in ADDED} for row in rows],
        "engines": [row.provenance.engine for row in rows],
        "files": {f"{folder}/{file.name}": digest_of(file) for folder, files in folders.items() for file in files},
    }
    return known(json.loads(json.dumps(found)))


def digest_of(file: Path) -> str:
    """Return a digest of a file's tensors, whatever its header says beside."""
    digest = hashlib.sha256()
    for name, array in sorted(load_file(file).items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode() + array.tobytes())
    return digest.hexdigest()


def known(value: Any) -> Any:
    """Leave out what is None: fields that one of two checkouts does not have yet."""
    if isinstance(value, dict):
        return {key: known(item) for key, item in value.items() if item is not None}
    return [known(item) for item in value] if isinstance(value, list) else value


def lines() -> list[dict[str, Any]]:
    """Return the connectivity of two networks at some steps."""
    perceptron, convolutions = tiny(), small("digits-conv2", epochs=1, batch_size=300)
    steps = ((perceptron, 0), (perceptron, 30), (perceptron, 24), (convolutions, 3))
    with single_thread():
        return [asdict(lottery.connectivity(prepared(spec), 0, step, points=3)) for spec, step in steps]


def trained(spec: Spec, ranks: Ranks = ALONE, **options: Any) -> dict[str, Any]:
    """Return what one training under masks gives: its curve, and a digest of the network and of the optimiser's state."""
    network = models.build(spec.model.name, algebra=spec.model.algebra, num_classes=10, shape=(4, 8, 2), seed=0)
    weights = named_weights(network)
    masks = pruning.magnitude(weights, pruning.dense(weights), 0.3)
    splits = prepared(spec).splits
    found = train(
        network, splits, spec.train, seed_of_epoch=lambda epoch: epoch, weights=weights, masks=masks, ranks=ranks, **options
    )
    digest = hashlib.sha256()
    for name, tensor in (network.state_dict() | found.moments).items():
        digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
    curve = [asdict(epoch) for epoch in found.epochs]
    return {"curve": curve, "test": [found.test.top1, found.test.loss], "engine": found.engine, "digest": digest.hexdigest()}


def recorded(step: Callable[[], None]) -> Callable[[], None]:
    """Run the step once, as a capture runs its Python, and count on the caller to undo it."""
    step()
    return step


@contextlib.contextmanager
def recording() -> Iterator[dict[str, Any]]:
    """Yield the options of a training whose steps are recorded, on a CPU by what only replays them."""
    try:
        from fourfold.train import captured, fastest
    except ImportError:
        from fourfold.train.engines import CudaGraph, Eager

        class Recorded(CudaGraph):
            device_type, record = "cpu", staticmethod(recorded)

        yield {"engines": (Recorded, Eager)}
        return
    names = ("captured_steps", "captured_evaluation")
    before = {name: getattr(fastest, name) for name in ("native_steps", *names)}
    fastest.native_steps = lambda *_: None
    for name in names:
        setattr(fastest, name, partial(getattr(captured, name), record=recorded))
    yield {}
    for name, function in before.items():
        setattr(fastest, name, function)


def engines(folder: Path) -> dict[str, Any]:
    """Return what recorded steps give, and those of two ranks."""
    specs = {"perceptron": tiny(), "convolutions": small("digits-conv2", epochs=1, batch_size=300)}
    found: dict[str, Any] = {}

    def work(rank: int) -> None:
        with join(Launch(rank=rank, world=2, local_rank=rank), torch.device("cpu")) as ranks, single_thread():
            of_ranks = {name: trained(spec, replace(ranks, parts=4)) for name, spec in specs.items()}
            (folder / f"{rank}.json").write_text(json.dumps(of_ranks), encoding="utf-8")

    with recording() as options, single_thread():
        found["recorded"] = {name: trained(spec, **options) for name, spec in specs.items()}
    ended = fork_ranks(2, work, folder)
    assert [rank.code for rank in ended] == [0, 0], [rank.said for rank in ended]
    found["ranks"] = [json.loads((folder / f"{rank}.json").read_text(encoding="utf-8")) for rank in range(2)]
    return found


def main(target: Path, chosen: list[str]) -> None:
    """Write the outcome of every case."""
    with tempfile.TemporaryDirectory() as folder:
        found: dict[str, Any] = {
            name: outcome(case, Path(folder) / str(number))
            for number, (name, case) in enumerate(cases().items())
            if not chosen or name in chosen
        }
        if not chosen or "engines" in chosen:
            found["engines"] = engines(Path(folder) / "engines")
    if not chosen or "connectivity" in chosen:
        found["connectivity"] = lines()
    target.write_text(json.dumps(known(found), indent=1), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
