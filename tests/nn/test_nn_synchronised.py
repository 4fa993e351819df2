"""Batch norms of several processes compute what one norm computes on all their images."""

from functools import partial

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import distributed, nn

from forked_ranks import fork_ranks, needs_ranks
from fourfold import nn as fnn
from fourfold.record import Launch, UserError
from fourfold.train import join

pytestmark = needs_ranks

SHARES = (3, 0, 2)
"""Images of each process."""

WHITEN = {"algebra": "quaternion"}

NORMS = {
    "torch": lambda: nn.BatchNorm2d(8),
    "torch 1d": lambda: nn.BatchNorm1d(8),
    "components": lambda: fnn.BatchNorm2d(8, **WHITEN),
    "components, plain": lambda: fnn.BatchNorm2d(8, affine=False, track_running_stats=False, **WHITEN),
    "components, mean of all batches": lambda: fnn.BatchNorm2d(8, momentum=None, **WHITEN),
    "whitening": lambda: fnn.WhiteningBatchNorm2d(8, **WHITEN),
    "whitening, small maps": lambda: fnn.WhiteningBatchNorm2d(8, **WHITEN),
    "whitening, plain": lambda: fnn.WhiteningBatchNorm2d(8, affine=False, **WHITEN),
    "whitening 1d": lambda: fnn.WhiteningBatchNorm1d(8, **WHITEN),
    "whitening, complex": lambda: fnn.WhiteningBatchNorm2d(8, algebra="complex"),
    "whitening, real": lambda: fnn.WhiteningBatchNorm2d(8, algebra="real"),
}


def case(name: str, dtype=torch.float64):
    """Return a norm with drawn parameters, and maps and their gradients, of means far from zero, for all images."""
    generator = torch.Generator().manual_seed(3)
    norm = NORMS[name]().to(dtype)
    for parameter in norm.parameters():
        parameter.data += torch.randn(parameter.shape, generator=generator, dtype=dtype) / 4
    size = () if "1d" in name else (3, 2) if "small" in name else (5, 6)
    x, grad = torch.randn(2, sum(SHARES), 8, *size, generator=generator, dtype=dtype)
    mixing = torch.randn(8, 8, generator=generator, dtype=dtype)
    return norm, torch.einsum("ij,aj...->ai...", mixing, x) + 5, grad


def passed(norm: nn.Module, x: torch.Tensor, grad: torch.Tensor) -> dict[str, torch.Tensor]:
    """Two training passes, so that running statistics have a past, and one in evaluation; all that comes out."""
    x = x.clone().requires_grad_()
    norm(x + 1)
    y = norm(x)
    y.backward(grad)
    found = {"y": y.detach(), "x.grad": x.grad}
    found |= {f"{key}.grad": parameter.grad for key, parameter in norm.named_parameters()}
    found |= {key: buffer.clone() for key, buffer in norm.named_buffers()}
    if norm.running_mean is not None:
        found["evaluated"] = norm.eval()(x).detach()
    return {key: value.contiguous() for key, value in found.items()}


def test_outputs_gradients_and_running_statistics_are_those_of_all_images(tmp_path):
    starts = [sum(SHARES[:rank]) for rank in range(len(SHARES) + 1)]

    def work(rank):
        with join(Launch(rank=rank, world=len(SHARES), local_rank=rank), torch.device("cpu")):
            for name in NORMS:
                norm, x, grad = case(name)
                assert fnn.synchronise(norm) is norm
                mine = slice(starts[rank], starts[rank + 1])
                save_file(passed(fnn.synchronise(norm), x[mine], grad[mine]), tmp_path / f"{name}-{rank}")

    assert [ended.said for ended in fork_ranks(len(SHARES), work, tmp_path)] == [""] * len(SHARES)
    for name in NORMS:
        norm, x, grad = case(name)
        parts = [load_file(tmp_path / f"{name}-{rank}") for rank in range(len(SHARES))]
        for key, expected in passed(norm, x, grad).items():
            shares = [part[key] for part in parts]
            if key in ("y", "x.grad", "evaluated"):
                shares = [torch.cat(shares)]
            elif key.endswith(".grad"):
                shares = [sum(shares)]
            for share in shares:
                torch.testing.assert_close(share, expected, rtol=1e-9, atol=1e-9, msg=partial("{} {}: {}".format, name, key))


def test_half_types_layouts_and_names_stay(tmp_path):
    def work(rank):
        with join(Launch(rank=rank, world=2, local_rank=rank), torch.device("cpu")):
            for name in ("components", "whitening"):
                norm, x, _ = case(name, torch.float32)
                names = [key for key, _ in norm.state_dict().items()]
                parameters = list(norm.parameters())
                fnn.synchronise(norm)
                assert [key for key, _ in norm.state_dict().items()] == names
                assert all(a is b for a, b in zip(norm.parameters(), parameters, strict=True))
                assert isinstance(norm, type(NORMS[name]()))
                y = norm(x.bfloat16().contiguous(memory_format=torch.channels_last))
                assert y.dtype == torch.bfloat16
                assert y.is_contiguous(memory_format=torch.channels_last)

    assert [ended.said for ended in fork_ranks(2, work, tmp_path)] == [""] * 2


def test_one_value_in_all_processes_is_one_sentence(tmp_path):
    def work(rank):
        with join(Launch(rank=rank, world=2, local_rank=rank), torch.device("cpu")):
            norm = fnn.synchronise(nn.BatchNorm1d(4))
            norm(torch.randn(1, 4))  # one value here and one there
            with pytest.raises(UserError, match="expected more than 1 value per channel in training"):
                norm(torch.randn(1 - rank, 4))

    assert [ended.said for ended in fork_ranks(2, work, tmp_path)] == [""] * 2


def test_without_a_process_group_there_is_nobody_to_synchronise_with():
    assert not distributed.is_initialized()
    with pytest.raises(UserError, match="`synchronise` needs a process group"):
        fnn.synchronise(nn.BatchNorm2d(4))
