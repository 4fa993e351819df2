"""Torch datasets: the same batches whatever the workers and wherever the items are kept."""

import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from own import check_same, equal, shares
from PIL import Image
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from fourfold import data
from fourfold.data.items import Items
from fourfold.record import UserError

GENERATOR = torch.Generator().manual_seed(0)
PIXELS = torch.randint(0, 256, (40, 3, 8, 8), dtype=torch.uint8, generator=GENERATOR)
LABELS = torch.arange(40) % 4


class Listed(Dataset):
    """Items of a list."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, number):
        return self.items[number]


class Drawing(Listed):
    """Adds what every global generator draws."""

    classes = ("a", "b")

    def __getitem__(self, number):
        return torch.full((3,), float(number)) + torch.rand(3) + random.random() + np.random.rand(), number % 2


def padded(items):
    """Sequences of a batch, as long as the longest."""
    longest = max(len(sequence) for sequence, _ in items)
    inputs = torch.stack([torch.cat([sequence, torch.zeros(longest - len(sequence), 2)]) for sequence, _ in items])
    return {"x": inputs, "length": torch.tensor([len(s) for s, _ in items])}, torch.tensor([label for _, label in items])


IMAGES = TensorDataset(PIXELS, LABELS)
FLOATS = TensorDataset(torch.randn(40, 7, generator=GENERATOR), torch.randn(40, generator=GENERATOR))
TREES = Listed([({"a": torch.ones(3) * k, "b": (k, 0.5 * k)}, {"y": k}) for k in range(40)])
SEQUENCES = Listed([(torch.ones(k % 5 + 1, 2) * k, k % 2) for k in range(40)])
SETS = {
    "images": (IMAGES, {"classes": 4, "normalization": "training"}),
    "floats": (FLOATS, {"normalization": "training"}),
    "trees": (TREES, {}),
    "sequences": (SEQUENCES, {"collate": padded, "classes": 2}),
    "drawing": (Drawing([0] * 40), {}),
    "augmented": (IMAGES, {"classes": 4, "augment": lambda b, g: ((b[0] / 2 + torch.rand(1, generator=g)), b[1])}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
def test_batches_depend_neither_on_workers_nor_on_where_items_are_kept(name):
    dataset, options = SETS[name]
    torch.manual_seed(3)
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    choices = [{"resident": False, "workers": 0}, {"resident": False, "workers": 2}, {"resident": True}]
    made = [data.from_datasets(dataset, 8, 0.25, **options, **choice).prepare(4) for choice in choices]
    first = made[0]
    assert len({splits.digest for splits in made}) == 1
    for splits in made[1:]:
        assert (splits.shape, splits.mean, splits.classes) == (first.shape, first.mean, first.classes)
        check_same(splits.train.epoch(7, 3), first.train.epoch(7, 3))
        check_same(splits.train.epoch(7, 3, first=2), list(first.train.epoch(7, 3))[2:])
        check_same(splits.validation.batches(3), first.validation.batches(3))
        check_same(splits.test.batches(3, 1, 2), list(first.test.batches(3))[1::2])
    for splits in made:
        whole = list(splits.train.epoch(7, 3))
        for rank, share in enumerate(shares(2)):
            expected = [(cut(inputs, rank), targets) for inputs, targets in whole]
            check_same(splits.train.epoch(7, 3, share=share), expected)
        check_same([splits.train.batch(splits.train.order(3), slice(7, 14))], whole[1:2])
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all()
    assert random.getstate() == states[2]


def cut(tree, rank):
    from fourfold.data.trees import mapped

    return mapped(lambda leaf: leaf.tensor_split(2)[rank], tree)


def test_items_that_draw_are_read_anew_in_every_epoch_and_the_same_in_every_evaluation():
    splits = data.from_datasets(Drawing([0] * 40), 8, resident=True)
    assert isinstance(splits.train, Items)
    one, other = (torch.cat([inputs for inputs, _ in splits.train.epoch(7, seed)]) for seed in (1, 2))
    numbers = [splits.train.order(seed).members.float() for seed in (1, 2)]
    drawn = [(inputs - numbers[:, None]).sort(0).values for inputs, numbers in zip((one, other), numbers, strict=True)]
    assert not torch.equal(*drawn)
    check_same(splits.test.batches(3), splits.test.batches(3))


def test_small_images_are_resident_and_the_arrays_of_the_same_values():
    splits = data.from_datasets(IMAGES, IMAGES, classes=4, normalization="training")
    arrays = data.from_arrays((PIXELS, LABELS), (PIXELS, LABELS))
    assert type(splits.train) is type(arrays.train)
    check_same(splits.prepare(4).train.epoch(7, 0), arrays.prepare(4).train.epoch(7, 0))


def test_large_ones_are_read(monkeypatch):
    monkeypatch.setattr("fourfold.data.own.torch_datasets.RESIDENT_BYTES", 1000)
    assert isinstance(data.from_datasets(IMAGES, IMAGES, classes=4).train, Items)


def test_images_and_their_class_names_as_torchvision_has_them():
    images = Listed([(Image.new("L" if k % 2 else "RGB", (5, 4), k), k % 2) for k in range(0, 12, 2)])
    images.classes = ["cat", "dog"]
    splits = data.from_datasets(images, images)
    assert (splits.classes, splits.shape) == (("cat", "dog"), (3, 4, 5))
    assert next(splits.test.batches(2))[0].max() == pytest.approx(2 / 255)


def test_bytes_are_divided_by_255_by_default():
    inputs, _ = next(data.from_datasets(IMAGES, IMAGES, classes=4).test.batches(40))
    assert torch.allclose(inputs, PIXELS / 255, atol=1e-7)


def test_an_epoch_that_is_left_early_leaves_nothing_behind():
    import multiprocessing

    splits = data.from_datasets(IMAGES, IMAGES, classes=4, resident=False, workers=2)
    batches = splits.train.epoch(2, 0)
    first = next(batches)
    interleaved = list(splits.train.epoch(2, 0))
    assert equal(interleaved[0], first)
    check_same([first, *batches], interleaved)
    batches = splits.train.epoch(2, 0)
    next(batches)
    batches.close()
    assert not multiprocessing.active_children()


def raising(number):
    raise KeyError(number)


class Raising(Listed):
    def __getitem__(self, number):
        return raising(number) if number == 17 else super().__getitem__(number)


class Dying(Listed):
    def __getitem__(self, number):
        if number == 17 and torch.utils.data.get_worker_info() is not None:
            import os

            os._exit(1)
        return super().__getitem__(number)


class Unseeded(Listed):
    random = np.random.default_rng(0)

    def __getitem__(self, number):
        return float(self.random.random()), 0


class Stream(IterableDataset):
    def __iter__(self):
        return iter([])


def items(count=40, **changed):
    pairs = [(torch.ones(3), k % 2) for k in range(count)]
    for number, item in changed.items():
        pairs[int(number[1:])] = item
    return pairs


READING = {"resident": False, "classes": 2}
CASES = {
    "an iterable": (lambda w: data.from_datasets(Stream()), "`train`"),
    "no dataset": (lambda w: data.from_datasets(3), "`train`"),
    "no length": (lambda w: data.from_datasets(Listed(None)), "`train`"),
    "no items": (lambda w: data.from_datasets(Listed([])), "`train`"),
    "no test items": (lambda w: data.from_datasets(Listed(items()), Listed([])), "`test`"),
    "no test part": (lambda w: data.from_datasets(Listed(items()), None), "`test`"),
    "workers": (lambda w: data.from_datasets(Listed(items()), workers=-1), "`workers`"),
    "raises": (
        lambda w: data.from_datasets(Raising(items()), **READING, workers=w),
        "`train[17]` cannot be read",
    ),
    "raises at once": (lambda w: data.from_datasets(Raising(items())), "`train[17]`"),
    "not collated": (lambda w: data.from_datasets(Listed([(object(), 0)] * 4)), "`collate`"),
    "other shape": (lambda w: data.from_datasets(Listed(items(k17=(torch.ones(4), 0)))), "`collate`"),
    "no pair": (lambda w: data.from_datasets(Listed([torch.ones(3)] * 4)), "(inputs, targets)"),
    "text": (lambda w: data.from_datasets(Listed([("a", 0)] * 4)), "train[0][0]"),
    "NaN": (
        lambda w: data.from_datasets(Listed(items(k17=(torch.full((3,), torch.nan), 0))), **READING, workers=w),
        "NaN",
    ),
    "label": (lambda w: data.from_datasets(Listed(items(k17=(torch.ones(3), 5))), **READING, workers=w), "0 to 1"),
    "label at once": (lambda w: data.from_datasets(Listed(items(k17=(torch.ones(3), -1)))), "0 to 1"),
    "classes": (lambda w: data.from_datasets(Listed(items()), resident=False), "`classes`"),
    "not seeded": (lambda w: data.from_datasets(Unseeded([0] * 4)), "differs"),
}


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("name", CASES)
def test_what_does_not_fit_is_one_sentence_that_names_it(name, workers):
    make, named = CASES[name]

    def use():
        splits = make(workers)
        return [list(part.batches(4)) for part in (splits.train, splits.test)]

    with pytest.raises(UserError) as error:
        use()
    assert named in str(error.value)
    assert "\n" not in str(error.value)


def test_a_worker_that_dies_is_one_sentence():
    splits = data.from_datasets(Dying(items()), **READING, workers=2)
    with pytest.raises(UserError, match="a worker that reads `train` ended"):
        list(splits.train.batches(4))


BESIDE_A_READER = """
import os, sys, threading
import torch
from fourfold import data

items = torch.utils.data.TensorDataset(torch.arange(40.0)[:, None], torch.arange(40) % 2)

def work():
    splits = data.from_datasets(items, items, classes=2, resident=False, workers=2)
    print(sum(len(labels) for _, labels in splits.train.epoch(7, 0)), flush=True)
    os._exit(0)

threading.Thread(target=work).start()
for line in sys.stdin:
    pass
"""


@pytest.mark.slow
def test_workers_start_while_another_thread_waits_for_standard_input():
    """As the processes that run trials do; a forked child that closed that input would wait for its lock for ever."""
    with subprocess.Popen([sys.executable, "-c", BESIDE_A_READER], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout.read() == b"40\n"
        finally:
            process.kill()
