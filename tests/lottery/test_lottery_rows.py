"""What a row says, worked out again by other means."""

import hashlib
from datetime import datetime

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from lottery_samples import BOTH, Trainer, prepared, run_alone, tiny_spec

# Lenet-12 on 8×8 digits: 64 pixels or 16 quaternions → 12 → 10, the output layer real, one bias a real neuron.
WEIGHTS = {"real": {"fc1": 64 * 12, "fc2": 12 * 10}, "quaternion": {"fc1": 64 * 12 // 4, "fc2": 12 * 10}}
MACS_PER_WEIGHT = {"real": {"fc1": 1, "fc2": 1}, "quaternion": {"fc1": 4, "fc2": 1}}
BIASES = 12 + 10
STEPS = 24  # ⌈1437 / 60⌉


@pytest.fixture(scope="module", params=BOTH)
def trial(request, tmp_path_factory):
    """A trial, and for each level what its trained network says of the test images."""
    spec = tiny_spec(request.param, epochs=2)
    trainer = Trainer()
    store = run_alone(spec, tmp_path_factory.mktemp("rows"), trial=2, trainer=trainer)
    return spec, store, trainer.networks


def masks(store, level, weights):
    """The kept weights of a level, read from its file without our code."""
    if level == 0:
        return {name: np.ones(count, bool) for name, count in weights.items()}
    packed = load_file(store.path / "masks" / f"2-{level}.safetensors")
    return {name: np.unpackbits(packed[f"{name}.weight"], count=count).astype(bool) for name, count in weights.items()}


def test_names(trial):
    spec, store, _ = trial
    for level, row in enumerate(store.rows(2)):
        assert (row.run, row.preset, row.dataset, row.model) == (spec.id, "tiny", "digits", "lenet-12")
        assert (row.algebra, row.trial, row.level, row.control) == (spec.model.algebra, 2, level, "ticket")


def test_counts_densities_and_macs(trial):
    spec, store, _ = trial
    total, factor = WEIGHTS[spec.model.algebra], MACS_PER_WEIGHT[spec.model.algebra]
    for level, row in enumerate(store.rows(2)):
        kept = {name: int(mask.sum()) for name, mask in masks(store, level, total).items()}
        assert row.layers == {name: (kept[name], total[name]) for name in total}
        assert row.weights == sum(kept.values()) == round(0.5**level * sum(total.values()))
        assert row.weights_total == sum(total.values())
        assert row.density == row.weights / row.weights_total
        assert row.parameters == row.weights + BIASES
        assert row.parameters_total == row.weights_total + BIASES
        assert row.parameters_real == 888 + BIASES
        assert row.fraction_of_real == row.parameters / 910
        assert row.macs == sum(kept[name] * factor[name] for name in kept)
        assert row.macs_dense == sum(total[name] * factor[name] for name in total) == 888
        assert row.macs_real == 888


def test_stored_bytes(trial):
    spec, store, _ = trial
    total = WEIGHTS[spec.model.algebra]
    for level, row in enumerate(store.rows(2)):
        expected = 4 * BIASES
        for name, mask in masks(store, level, total).items():
            gaps, gap = 0, 0
            for kept in mask:
                gap = 0 if kept else gap + 1
                gaps += gap == 255  # a byte more each time a gap has grown by 255
                gap = 0 if gap == 255 else gap
            trailing = np.argmax(mask[::-1]) if mask.any() else len(mask)
            gaps -= trailing // 255 if trailing else 0  # nothing is stored after the last kept weight
            values = 4 * int(mask.sum())
            expected += min(4 * total[name], values + -(-total[name] // 8), values + int(mask.sum()) + gaps)
        assert row.stored_bytes == expected


def test_the_mask_of_a_row_is_the_one_on_disk(trial):
    spec, store, _ = trial
    total = WEIGHTS[spec.model.algebra]
    for level, row in enumerate(store.rows(2)):
        digest = hashlib.sha256()
        for name, mask in sorted(masks(store, level, total).items()):
            digest.update(f"{name}.weight".encode() + b"\0" + np.packbits(mask).tobytes())
        assert row.mask == digest.hexdigest()


def test_accuracy_and_loss_are_those_of_the_trained_network(trial):
    spec, store, networks = trial
    test = prepared(spec).splits.test
    for row, network in zip(store.rows(2), networks, strict=True):
        images, labels = next(iter(test.batches(360)))
        with torch.no_grad():
            logits = network.eval()(images).double()
        chosen = logits.log_softmax(1)[torch.arange(360), labels]
        assert row.top1 == pytest.approx(100 * (logits.argmax(1) == labels).double().mean().item(), abs=1e-9)
        assert row.loss == pytest.approx(-chosen.mean().item(), rel=1e-5)
        assert row.top5 is None
        assert (row.epochs[-1].top1, row.epochs[-1].loss) == (row.top1, row.loss)


def test_steps_and_training_curve(trial):
    _, store, _ = trial
    for row in store.rows(2):
        assert row.steps == 2 * STEPS
        assert [epoch.epoch for epoch in row.epochs] == [1, 2]
        assert row.train_loss == row.epochs[-1].train_loss


def test_provenance_says_when_and_where(trial):
    _, store, _ = trial
    for row in store.rows(2):
        assert row.provenance.seconds > 0
        assert datetime.fromisoformat(row.provenance.finished).utcoffset().total_seconds() == 0
        assert row.provenance.device.startswith("cpu (1 thread, ")
        assert row.provenance.versions.keys() - {"compiler"} == {"fourfold", "torch", "python"}
