"""Every preset takes every option of its data, or refuses it in one sentence: in its forecast and where it is trained.

The images are stand-ins of the right sizes, drawn at random.
"""

import dataclasses
from dataclasses import replace

import numpy as np
import pytest
import torch

from fourfold import data, models, presets
from fourfold.parts import input_shape, splits_of
from fourfold.record import DataSpec, UserError
from fourfold.timing import clock
from lottery_samples import tiny_spec

CPU = torch.device("cpu")

OPTIONS = {
    "encoding": ("none", "grey", "zero", "learned", "pixels"),
    "encode_real": (False, True),
    "crop": (None, 2),
    "flip": (False, True),
    "normalization": ("dataset", "imagenet"),
    "validation": (0, 3),
    "classes": (None, 2, 4, 8, 10, (0, 1), (3, 5, 9)),
}


def test_no_option_is_left_out():
    of_folders = {"size", "resize", "bad_images"}  # of one's own images: tests/cli/test_cli_open_faults.py
    assert {field.name for field in dataclasses.fields(DataSpec)} == {"name", *OPTIONS} | of_folders


def stand_in(spec, count):
    """Images of every class that the spec has, with labels as the files count them."""
    about, classes = data.info(spec.data.name), clock.chosen_classes(spec.data)
    labels = np.resize(np.arange(about.num_classes) if classes is None else classes, count)
    images = np.random.default_rng(0).integers(0, 256, (count, about.channels, about.size, about.size), dtype=np.uint8)
    return data.ImageSet(info=about, train_images=images, train_labels=labels, test_images=images, test_labels=labels)


@pytest.mark.parametrize("name", [name for name in presets.PRESETS if presets.get(name).data.name in data.DATASETS])
@pytest.mark.parametrize("algebra", ["real", "quaternion"])
def test_every_preset_takes_every_option_of_data(name, algebra):
    for option, values in OPTIONS.items():
        for value in values:
            base = presets.get(name, algebra=algebra)
            if option != "validation" and base.data.validation:
                base = replace(base, data=replace(base.data, validation=3))  # stand-ins are few
            if value == 0 and option == "validation":
                base = replace(base, train=replace(base.train, early_stopping=None))
            spec = replace(base, data=replace(base.data, **{option: value}))
            try:
                shape = input_shape(spec)
            except UserError:
                assert option in ("encoding", "normalization")  # which do not fit all images
                continue
            splits = splits_of(stand_in(spec, 32), spec, CPU)
            for part in (splits.train, splits.test, *([splits.validation] if splits.validation else [])):
                images, labels = next(part.batches(4))
                assert images.shape[1:] == shape
                assert labels.max() < data.info_for(spec.data).num_classes
            assert len(splits.train) == 32 - spec.data.validation
            assert next(splits.train.epoch(5, seed=0))[0].shape == (5, *shape)
            # The forecast trains on as few images as a slow network can have in half a second.
            probe = replace(spec, data=replace(spec.data, validation=0), train=replace(spec.train, early_stopping=None))
            timed = splits_of(clock._random_images(spec, 2, 1), probe, CPU)
            assert (len(timed.train), len(timed.test)) == (2, 1)
            assert next(timed.train.epoch(2, seed=0))[0].shape == (2, *shape)


@pytest.mark.slow
@pytest.mark.parametrize("dataset", data.DATASETS)
@pytest.mark.parametrize("classes", [None, 4, (1, 7)])
def test_the_forecast_trains_on_some_classes_of_every_data_set(dataset, classes):
    base = tiny_spec("quaternion")
    about = data.info(dataset)
    small = replace(base, data=DataSpec(name=dataset, encoding="pixels", classes=classes))
    assert models.dimension("quaternion") == 4
    assert about.size % 4 == 0
    assert 0 < clock.Clock(CPU).level_seconds(small) < 1e6


def test_classes_that_the_images_lack_are_one_sentence():
    spec = tiny_spec()
    spec = replace(spec, data=replace(spec.data, classes=(3, 4)))
    lacking = stand_in(replace(spec, data=replace(spec.data, classes=(0, 1))), 20)
    with pytest.raises(UserError, match=r"^digits has no training images of `data.classes` \(=\(3, 4\)\)"):
        splits_of(lacking, spec, CPU)
