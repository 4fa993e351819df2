"""What the tests of one's own data share."""

import torch

from fourfold.data.trees import leaves


def equal(one, other):
    """Whether two trees of tensors are equal bit for bit."""
    mine, theirs = list(leaves(one)), list(leaves(other))
    return [path for path, _ in mine] == [path for path, _ in theirs] and all(
        a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b) for (_, a), (_, b) in zip(mine, theirs, strict=True)
    )


def check_same(batches, others):
    """Whether all batches are equal bit for bit."""
    mine, theirs = list(batches), list(others)
    assert len(mine) == len(theirs)
    for (inputs, targets), (other_inputs, other_targets) in zip(mine, theirs, strict=True):
        assert equal(inputs, other_inputs)
        assert equal(targets, other_targets)


def shares(parts):
    """The shares of a batch for each of some processes, as `Resident.epoch` takes them."""

    def share_of(rank):
        def share(places):
            mine = torch.arange(places.start, places.stop).tensor_split(parts)[rank]
            return slice(int(mine[0]), int(mine[-1]) + 1) if len(mine) else slice(places.stop, places.stop)

        return share

    return [share_of(rank) for rank in range(parts)]
