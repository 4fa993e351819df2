"""Real and quaternion networks of one trial see the same images, in the same order, changed in the same way."""

from dataclasses import replace

import pytest
import torch

from fourfold.lottery import derive_seed
from fourfold.parts import build, input_shape
from fourfold.record import DataSpec
from lottery_samples import prepared, run_alone, tiny_spec


def colours(batch, algebra):
    """The batch as images again: component k of number j of a row is pixel 4·j + k."""
    if algebra == "real":
        return batch
    count, components, height, width = batch.shape
    return batch.permute(0, 2, 3, 1).reshape(count, 1, height, width * components)


@pytest.mark.parametrize("data", [{}, {"crop": 1}, {"crop": 2, "flip": True}, {"validation": 137}])
def test_both_algebras_see_the_same_images_in_the_same_order(data):
    seen = {}
    for algebra in ("real", "quaternion"):
        spec = tiny_spec(algebra)
        spec = replace(spec, data=DataSpec(name="digits", encoding="pixels", **data))
        epoch = prepared(spec).splits.train.epoch(60, derive_seed(1, "images", 2, 0))
        images, labels = zip(*epoch, strict=True)
        seen[algebra] = colours(torch.cat(images), algebra), torch.cat(labels)
    assert len(seen["real"][1]) == 1437 - data.get("validation", 0)
    assert torch.equal(seen["real"][1], seen["quaternion"][1])
    assert torch.equal(seen["real"][0], seen["quaternion"][0])


@pytest.mark.parametrize("data", [{}, {"crop": 2, "flip": True}])
def test_the_real_network_sees_pixels_as_the_quaternion_one_does_if_asked(data):
    images = DataSpec(name="digits", encoding="pixels", encode_real=True, **data)
    specs = [replace(tiny_spec(algebra), data=images) for algebra in ("real", "quaternion")]
    assert [input_shape(spec) for spec in specs] == [(4, 8, 2)] * 2
    real, quaternion = ([batch for batch, _ in prepared(spec).splits.train.epoch(60, 1)] for spec in specs)
    assert torch.equal(torch.cat(real), torch.cat(quaternion))


def test_trials_levels_and_epochs_see_other_orders():
    train = prepared(tiny_spec()).splits.train
    orders = [
        torch.cat([labels for _, labels in train.epoch(500, derive_seed(trial, "images", level, epoch))])
        for trial, level, epoch in [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
    ]
    assert all(not torch.equal(a, b) for i, a in enumerate(orders) for b in orders[:i])
    assert all(torch.equal(a.sort().values, orders[0].sort().values) for a in orders)


def test_some_classes_alone_make_a_smaller_experiment(tmp_path):
    spec = replace(tiny_spec(levels=2), data=replace(tiny_spec().data, classes=(1, 4, 9)))
    rows = run_alone(spec, tmp_path).rows(0)
    assert [row.level for row in rows] == [0, 1]
    network = build(spec, 0)
    assert network(torch.zeros(1, *input_shape(spec))).shape == (1, 3)
    assert rows[0].steps == -(-len(prepared(spec).splits.train) // 60)
    assert spec.id != tiny_spec(levels=2).id
