"""A shrunken network says what the pruned one does, whatever modules it is made of: random graphs, at several scales.

    FOURFOLD_SWEEP=5000 pytest tests/pruning/test_pruning_random.py

tries so many graphs, of the seeds from 0 on, where the suite tries 300.
"""

import copy
import os
import warnings

import pytest
import torch
from random_networks import random_network
from torch import nn

from fourfold import pruning

GRAPHS = int(os.environ.get("FOURFOLD_SWEEP", "300"))
PARTS = 4


def outputs(model: nn.Module, shape: tuple[int, ...], scale: float) -> torch.Tensor:
    images = torch.randn(4, *shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64) * scale
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model(images)  # type: ignore[no-any-return]


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", range(PARTS))
def test_shrunken_random_graphs_say_the_same_at_every_scale(part: int) -> None:
    smaller = 0
    for seed in range(part, GRAPHS, PARTS):
        model, masks, shape, told = random_network(seed)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                small = pruning.shrink(model, masks, shape=shape if told else None)
        except ValueError as error:
            if "cannot be followed" in str(error):
                continue
            raise
        pruned = copy.deepcopy(model)
        pruning.apply_(pruned, masks)
        try:
            outputs(pruned, shape, 1.0)
        except (RuntimeError, ValueError):
            continue  # its hooks changed the features so that it does not run itself
        smaller += sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in model.parameters())
        for scale in (1e-4, 1.0, 1e4):
            expected, found = (outputs(network, shape, scale) for network in (pruned, small))
            largest = expected.nan_to_num(0, 0, 0).abs().max().clamp_min(1e-12)
            torch.testing.assert_close(
                found / largest,
                expected / largest,
                rtol=1e-7,
                atol=1e-7,
                equal_nan=True,
                msg=lambda m, s=seed: f"seed {s}: {m}",
            )
    assert smaller >= GRAPHS // PARTS // 10
