"""Layers in `DistributedDataParallel`: two processes with half of the images each have the gradients of one with all."""

import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from unittest import mock

import pytest
import torch
from torch import Tensor, nn

from fourfold import nn as fnn
from fourfold.nn import few_products

RANKS, IMAGES = 2, 8

WORKER = """
import json, sys
import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel
from test_nn_distributed import IMAGES, RANKS, images, loss, network

rank = int(sys.argv[1])
torch.set_num_threads(1)
distributed.init_process_group("gloo", init_method=sys.argv[2], rank=rank, world_size=RANKS)
parallel = DistributedDataParallel(network(seed=rank))  # rank 0's weights must reach the others
share = IMAGES // RANKS
loss(parallel(images()[rank * share : (rank + 1) * share])).backward()
print(json.dumps({name: [p.tolist(), p.grad.tolist()] for name, p in parallel.module.named_parameters()}))
distributed.destroy_process_group()
"""


def network(seed: int) -> nn.Sequential:
    """Return layers of every kind of weight; the second convolution takes the few products, and none mixes images."""
    torch.manual_seed(seed)
    algebra = {"algebra": "quaternion"}
    return nn.Sequential(
        fnn.Conv2d(4, 64, 3, padding=1, **algebra),
        fnn.Conv2d(64, 64, 3, padding=1, **algebra),
        fnn.GroupNorm(2, 64, **algebra),
        nn.MaxPool2d(2),
        fnn.ConvTranspose2d(64, 8, 2, **algebra),
        nn.Flatten(),
        fnn.Linear(648, 24, **algebra),
        fnn.RotationLinear(24, 12),
        fnn.PHMLinear(12, 6, n=3),
    )


def images() -> Tensor:
    return torch.randn(IMAGES, 4, 16, 16, generator=torch.Generator().manual_seed(0))


def loss(output: Tensor) -> Tensor:
    return output.square().mean()


@pytest.mark.slow
@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch is built without torch.distributed")
def test_gradients_of_parallel_layers_are_those_of_all_images(tmp_path: Path) -> None:
    alone = network(seed=0)
    with mock.patch.object(few_products, "convolution", side_effect=few_products.convolution) as by_products:
        loss(alone(images()[: IMAGES // RANKS])).backward()
        assert by_products.called, "the shares must be large enough for the path with a derivative of its own"
    alone.zero_grad()
    loss(alone(images())).backward()
    command = [sys.executable, "-W", "error", "-c", WORKER]
    with ExitStack() as stack:
        workers = [
            stack.enter_context(
                subprocess.Popen(
                    [*command, str(rank), f"file://{tmp_path / 'store'}"],
                    stdout=subprocess.PIPE,
                    text=True,
                    cwd=Path(__file__).parent,
                )
            )
            for rank in range(RANKS)
        ]
        answers = [worker.communicate(timeout=300)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * RANKS
    for answer in answers:
        found = json.loads(answer)
        for name, parameter in alone.named_parameters():
            value, gradient = (torch.tensor(part) for part in found.pop(name))
            torch.testing.assert_close(value, parameter.detach(), rtol=0, atol=0)
            assert parameter.grad is not None
            torch.testing.assert_close(gradient, parameter.grad, rtol=1e-4, atol=1e-5 * float(parameter.grad.abs().max()))
        assert not found
