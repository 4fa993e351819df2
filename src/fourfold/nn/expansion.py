"""The real matrix of a stored weight in one pass forward and one backward, for training on a CPU.

A row of the matrix consists of rows of the stored weight, with signs: of component c_kj for the output's component k and the
input's component j. So expanding is looking rows up, and its gradient adds up, for each stored row, the n places where it
stands, which torch's embedding bag does in one pass. As concatenated blocks, the graph has 2n² nodes more.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from fourfold.algebra import Algebra
from fourfold.nn.eager import is_plain_eager


class Plan(NamedTuple):
    """Which rows of a weight, as (rows, width), make the rows of its matrix, as (n · rows, width)."""

    rows: Tensor
    """For each row of the matrix: of the stored weight and, after it, of its negative."""
    places: Tensor
    """For each row of the stored weight: the n rows of the matrix where it stands, (rows · n)."""
    signs: Tensor
    """With which sign."""
    starts: Tensor
    """Where each row's places begin."""


def expand(weight: Tensor, plan: Plan, shape: tuple[int, ...]) -> Tensor:
    """Return the real matrix, of a given shape, of a stored weight that is contiguous."""
    width = weight.numel() // len(plan.starts)
    matrix: Tensor = _Expand.apply(weight.view(-1, width), plan)  # type: ignore[no-untyped-call]
    return matrix.view(shape)


def can_expand(weight: Tensor) -> bool:
    """Whether `expand` takes a weight, and is faster than concatenated blocks."""
    if not is_plain_eager(weight):
        return False
    return weight.dtype in (torch.float32, torch.float64) and weight.is_contiguous() and weight.numel() > 0


@lru_cache(maxsize=256)
def plan_of_blocks(algebra: Algebra, row_blocks: int, outputs: int, column_blocks: int, dtype: torch.dtype) -> Plan:
    """Plan (row_blocks · n · outputs, column_blocks · in) → (row_blocks · n · outputs, column_blocks · n · in)."""
    with torch.inference_mode(False), torch.device("cpu"):  # the tensors are kept, and training may need them next
        components, signs = _table(algebra)
        stored = torch.arange(row_blocks * algebra.n * outputs * column_blocks).view(
            row_blocks, algebra.n, outputs, column_blocks
        )
        rows = stored[:, components].permute(0, 1, 3, 4, 2)
        return _plan(rows, signs.view(1, algebra.n, 1, 1, algebra.n).expand_as(rows), algebra.n, dtype)


@lru_cache(maxsize=256)
def plan_of_groups(algebra: Algebra, groups: int, outputs: int, dtype: torch.dtype) -> Plan:
    """Plan (n · groups · outputs, in, *kernel) → (groups · n · outputs, n · in, *kernel)."""
    with torch.inference_mode(False), torch.device("cpu"):
        components, signs = _table(algebra)
        rows = torch.arange(algebra.n * groups * outputs).view(algebra.n, groups, outputs)[components].permute(2, 0, 3, 1)
        return _plan(rows, signs.view(1, algebra.n, 1, algebra.n).expand_as(rows), algebra.n, dtype)


def _table(algebra: Algebra) -> tuple[Tensor, Tensor]:
    """Return the component of the weight, and its sign, for each output and input component."""
    components, signs = torch.tensor(algebra.left_table).unbind(-1)
    return components, signs


def _plan(rows: Tensor, signs: Tensor, n: int, dtype: torch.dtype) -> Plan:
    rows, signs = rows.flatten(), signs.flatten()
    count = len(rows) // n
    places = rows.argsort(stable=True)
    return Plan(rows + count * (signs < 0), places, signs[places].to(dtype), torch.arange(0, len(rows), n))


class _Expand(torch.autograd.Function):
    """Look the rows up."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, plan: Plan) -> Tensor:
        ctx.plan = plan
        return torch.cat([weight, -weight]).index_select(0, plan.rows)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        plan = ctx.plan
        if not is_plain_eager(gradient):
            gathered = gradient.index_select(0, plan.places) * plan.signs.unsqueeze(-1)
            return gathered.view(len(plan.starts), -1, gathered.shape[-1]).sum(1), None
        return _AddUp.apply(gradient, plan), None  # type: ignore[no-untyped-call]


class _AddUp(torch.autograd.Function):
    """The adjoint of `_Expand`: add up the places of each row."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, plan: Plan) -> Tensor:
        ctx.plan = plan
        return F.embedding_bag(plan.places, gradient.contiguous(), plan.starts, mode="sum", per_sample_weights=plan.signs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _Expand.apply(gradient.contiguous(), ctx.plan), None  # type: ignore[no-untyped-call]
