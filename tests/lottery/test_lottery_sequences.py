"""Levels, rewinding and controls of networks of series, pruned by element and by row; data are a `.ts` file of the user's."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import fourfold as ff
from fourfold import lottery, presets
from fourfold.nn import named_weights
from fourfold.record import RunStore, UserError

NAMES = ["lstm", "gru", "transformer-encoder"]


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Twelve series of 1 to 6 steps, whose class is a sign."""
    folder, random = tmp_path_factory.mktemp("toy"), np.random.default_rng(0)
    for part in ("TRAIN", "TEST"):
        lines = ["@classLabel true up down", "@data"]
        for number in range(12):
            sign = 1 - 2 * (number % 2)
            steps = random.normal(size=(6, 1 + number % 6)) + 2 * sign
            lines.append(":".join([*(",".join(f"{v:.3f}" for v in row) for row in steps), ("up", "down")[number % 2]]))
        (folder / f"Toy_{part}.ts").write_text("\n".join(lines))
    return folder / "Toy_TRAIN.ts"


def row_units(network):
    """Of each weight the output numbers in a block: a gate of a recurrent layer, a head of an attention, else all rows."""
    for key, weight in named_weights(network).items():
        blocks = (
            4 * 3
            if "in_proj" in key
            else {"lstm": 4, "gru": 3}.get(type(network.get_submodule(key.rpartition(".")[0])).__name__.lower(), 1)
        )
        yield key, len(weight) // blocks // 4


def spec_of(file, name, unit, algebra="quaternion", **prune):
    settings = {"prune.unit": unit, "stop.accuracy": 0.0, "train.batch_size": 4, **prune}
    return presets.new(
        "toy", data=str(file), model=name, algebra=algebra, epochs=2, fraction=0.5, max_level=1, settings=settings
    )


@pytest.mark.slow
@pytest.mark.parametrize(("name", "unit"), [(name, unit) for unit in ("element", "row") for name in NAMES])
def test_levels_are_as_sparse_as_they_say_and_start_where_they_rewind_to(file, tmp_path, name, unit):
    spec = spec_of(file, name, unit, **{"prune.rewind": "epoch", "prune.rewind_to": 1} if unit == "element" else {})
    rows = ff.run(
        spec,
        trials=1,
        workers=0,
        out=tmp_path,
        keep=[1],
        controls=["random-init", "shuffled-layer", "small-dense"],
        control_levels=[1],
    )
    tickets = [row for row in rows if row.control == "ticket"]
    assert [row.level for row in tickets] == [0, 1]
    assert {row.control for row in rows} == {"ticket", "random-init", "shuffled-layer", "small-dense"}
    store = RunStore(tmp_path / spec.id)
    network = lottery.load_trained(store, 0, 1)
    weights = {key: weight.detach() for key, weight in named_weights(network).items()}
    assert sum(int(weight.count_nonzero()) for weight in weights.values()) == tickets[1].weights
    assert tickets[1].density < 0.52
    for key, weight in weights.items():
        if key.startswith("output"):
            continue
        blocks = weight.unflatten(0, (-1, 4, dict(row_units(network))[key]))  # (blocks, components, numbers, columns)
        together = (1,) if unit == "element" else (1, 3)
        assert torch.equal(blocks.ne(0).any(together), blocks.ne(0).all(together))


def test_a_series_that_is_alone_in_its_batch_trains_too(file, tmp_path):
    spec = replace(spec_of(file, "lstm", "weight"), train=replace(spec_of(file, "lstm", "weight").train, batch_size=1))
    rows = ff.run(spec, trials=1, workers=0, out=tmp_path)
    assert rows[0].steps == 24
    assert all(math.isfinite(row.loss) for row in rows)


def test_a_network_of_images_refuses_series_and_the_other_way_round(file, tmp_path):
    with pytest.raises(UserError, match=r"`model.name` \(='conv-2'\) cannot be combined with `data.name`.*takes images"):
        ff.run(spec_of(file, "conv-2", "weight"), trials=1, workers=0, out=tmp_path)
    digits = presets.new("digits-lstm", data="digits", model="lstm")
    with pytest.raises(UserError, match=r"`model.name` \(='lstm'\) cannot be combined with `data.name`.*takes series"):
        ff.run(digits, trials=1, workers=0, out=tmp_path)
