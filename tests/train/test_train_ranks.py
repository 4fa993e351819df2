"""Several processes take the steps of one: the same bits with the same parts, and what one would compute to rounding."""

from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from small_runs import masks_of, same, seed_of_epoch, splits, state
from torch import Tensor, nn

from forked_ranks import fork_ranks, needs_ranks
from fourfold import nn as fnn
from fourfold.models.encoding import LearnedChannel
from fourfold.record import EarlyStopping, Launch, TrainSpec, UserError
from fourfold.train import ALONE, Ranks, evaluate, evaluation, join, single_thread, train


@settings(derandomize=True, deadline=None)
@given(start=st.integers(0, 50), size=st.integers(1, 70), world=st.integers(1, 6), each=st.integers(1, 4))
def test_shares_are_the_batch_in_order_and_their_parts_do_not_depend_on_the_ranks(start, size, world, each):
    parts = world * each
    places = torch.arange(start, start + size)
    expected = places.tensor_split(parts)
    everywhere = torch.arange(200)
    found = []
    for rank in range(world):
        ranks = Ranks(rank=rank, world=world, parts=parts)
        found += everywhere[ranks.share(range(start, start + size))].tensor_split(each)
    assert [part.tolist() for part in found] == [part.tolist() for part in expected]
    assert Ranks().share(range(start, start + size)) == slice(start, start + size)


def network(kind: str) -> nn.Sequential:
    torch.manual_seed(1)
    layers = {"algebra": "quaternion"}
    begin = (LearnedChannel(1, 4), fnn.Conv2d(4, 8, 3, **layers))  # maps of 6 × 6
    if kind == "every layer":
        return nn.Sequential(
            *begin,
            nn.ReLU(),
            nn.MaxPool2d(2),
            fnn.PHMConv2d(8, 8, 2, n=4),
            fnn.RotationConv2d(8, 8, 1),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            fnn.PHMLinear(8, 8, n=2),
            fnn.Linear(8, 40, **layers),
            fnn.NormHead(**layers),
        )
    norm = {"whitening": fnn.WhiteningBatchNorm2d, "components": fnn.BatchNorm2d}[kind]
    return nn.Sequential(*begin, norm(8, **layers), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10))


SPEC = TrainSpec(optimizer="sgd", learning_rate=0.05, momentum=0.9, batch_size=33, epochs=1)
"""Three batches of 33 images and one of a single image, of which most ranks and parts get none."""
STOPPING = replace(SPEC, epochs=3, early_stopping=EarlyStopping(every=3, patience=1))
CASES = {
    "every layer": ("every layer", SPEC),
    "adam": ("every layer", replace(SPEC, optimizer="adam", learning_rate=1e-3, momentum=0)),
    "stopping": ("every layer", STOPPING),
    "components": ("components", SPEC),
    "whitening": ("whitening", SPEC),
}
EXACT = ("every layer", "adam", "stopping")
"""Without batch norm."""


def trained(case: str, ranks: Ranks = ALONE) -> tuple[dict[str, Tensor], list[float]]:
    """Train a pruned network; return its state and all that was measured."""
    kind, spec = CASES[case]
    built = network(kind)
    masks = masks_of(built, density=0.7)
    found = train(
        built,
        splits(20 if spec.early_stopping else 0),
        spec,
        seed_of_epoch=seed_of_epoch,
        weights=fnn.named_weights(built),
        masks=masks,
        ranks=ranks,
    )
    assert all(bool((weight[~masks[name]] == 0).all()) for name, weight in fnn.named_weights(built).items())
    curve = [value for point in found.epochs for value in (point.train_loss, point.top1, point.loss)]
    moments = {f"moments of {name}": value for name, value in found.moments.items()}
    return state(built) | moments, [*curve, found.test.loss, found.test.top1, float(found.steps)]


@cache
def trained_by(world: int, folder: Path) -> dict[str, tuple[dict[str, Tensor], list[float]]]:
    """Return what `trained` returns when so many ranks train each case, four parts a batch where there is no batch norm."""

    def work(rank):
        with join(Launch(rank=rank, world=world, local_rank=rank), torch.device("cpu")) as ranks, single_thread():
            for case in CASES:
                tensors, numbers = trained(case, replace(ranks, parts=4 if case in EXACT else world))
                for name, value in tensors.items():
                    ranks.agree(name, value.numpy().tobytes())
                if ranks.first:
                    save_file(tensors | {"numbers": torch.tensor(numbers, dtype=torch.float64)}, folder / case)

    ended = fork_ranks(world, work, folder)
    assert [one.said for one in ended] == [""] * world
    assert [one.code for one in ended] == [0] * world
    found = {case: load_file(folder / case) for case in CASES}
    return {case: (tensors, tensors.pop("numbers").tolist()) for case, tensors in found.items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("ranks")


@pytest.mark.slow
@needs_ranks
@pytest.mark.parametrize("case", EXACT)
def test_the_same_parts_give_the_same_bits_on_one_two_and_four_ranks(case, folder):
    one, two, four = (trained_by(world, folder / str(world))[case] for world in (1, 2, 4))
    assert same(one[0], two[0])
    assert same(one[0], four[0])
    assert one[1] == two[1] == four[1]


@pytest.mark.slow
@needs_ranks
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("world", [1, 2, 4])
def test_ranks_train_what_one_process_trains_to_rounding(case, world, folder):
    tensors, numbers = trained_by(world, folder / str(world))[case]
    with single_thread():
        expected, expected_numbers = trained(case)
    assert numbers == pytest.approx(expected_numbers, rel=1e-4)
    assert set(tensors) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(tensors[name], value, rtol=1e-3, atol=1e-4, msg=partial("{}: {}".format, name))


@needs_ranks
def test_ranks_tell_each_other_bytes_and_settings(tmp_path):
    def work(rank):
        with join(Launch(rank=rank, world=3, local_rank=rank), torch.device("cpu")) as ranks:
            assert ranks.gather(b"x" * rank) == [b"", b"x", b"xx"]
            assert ranks.from_first(f"rank {rank}".encode()) == b"rank 0"
            assert ranks.from_first(b"") == b""
            assert ranks.sum(torch.tensor([1.0, rank])).tolist() == [3, 3]
            ranks.agree("mask", b"same")
            with pytest.raises(UserError, match=r"^rank 2 has computed another mask than rank 0 \(SHA-256 \w{8}, not \w{8}\)"):
                ranks.agree("mask", b"other" if rank == 2 else b"same")
            ranks.agree_on_settings({"trials": 3, "torch": "2.6"})
            with pytest.raises(UserError, match=r"^`torch` of rank 1 \(=2.7\) must be that of rank 0 \(=2.6\)"):
                ranks.agree_on_settings({"trials": 3, "torch": "2.7" if rank == 1 else "2.6"})
            with pytest.raises(UserError, match=r"^`keep` of rank 2 \(=\[1\]\) must be that of rank 0 \(=None\)"):
                ranks.agree_on_settings({"trials": 3} | ({"keep": [1]} if rank == 2 else {}))
        with join(Launch(rank=rank, world=3, local_rank=rank), torch.device("cpu")) as ranks:  # and again
            ranks.wait()

    assert [ended.said for ended in fork_ranks(3, work, tmp_path)] == [""] * 3


@needs_ranks
def test_evaluation_in_shares_is_that_of_one_process(tmp_path, monkeypatch):
    monkeypatch.setattr(evaluation, "BATCH_SIZE", 7)  # 8 batches of 50 images; of three ranks one has two
    expected = evaluate(network("components"), splits().test)

    def work(rank):
        with join(Launch(rank=rank, world=3, local_rank=rank), torch.device("cpu")) as ranks:
            assert evaluate(network("components"), splits().test, ranks) == expected

    assert [ended.said for ended in fork_ranks(3, work, tmp_path)] == [""] * 3
