"""A random layer with everything that is drawn about how it is tried."""

import contextlib
import copy
import random
from collections.abc import Callable, Iterator
from typing import Any

import torch
from random_layers import Drawn, drawn, numbers_of
from torch import Tensor, nn

from fourfold import nn as fnn
from fourfold.nn import native_convolution

TOLERANCES = {"float64": 1e-9, "float32": 1e-4, "autocast": 0.15, "float16": 0.03, "bfloat16": 0.2}
"""Of the largest number of the right result. bfloat16 has eight bits; a layer adds a few roundings."""

DTYPES = {"float64": torch.float64, "float16": torch.float16, "bfloat16": torch.bfloat16}

SMALL = {"float64": 0.1, "float32": 0.1, "autocast": 1.0, "float16": 1.0, "bfloat16": 1.0}
"""Right results of this size or less have this tolerance: numbers of size one may cancel."""

REFUSALS = (RuntimeError, NotImplementedError, ValueError, TypeError, IndexError)


class Trial:
    """A layer and inputs as they are tried, and their exact twins."""

    def __init__(self, seed: int, transforms: list[str]) -> None:
        self.random = random.Random(seed + 10**9)
        self.case = drawn(seed)
        self.precision = self.random.choice(["float64", "float32", "float32", "autocast", "float16", "bfloat16"])
        self.training = self.random.random() < 0.4 and not _draws_in_training(self.case)
        self.transform = self.random.choice(transforms)
        if self.transform == "second derivatives" and self.precision != "float64":
            self.precision = "float32"  # half types have no digits left for squares of gradients
        if "Norm" in self.case.kind and self.training and self.precision != "float64":
            # Of two images of nearly equal numbers, rounding leaves few digits of the gradient, and in half types none.
            self.precision = "float64" if self.case.shapes[0][0] <= 2 else "float32"
        if "'relu'" in self.case.options and self.precision in ("float16", "bfloat16", "autocast"):
            self.precision = "float32"  # what rounding moves over zero has another gradient
        if (
            ("Norm" in self.case.kind or "normalization" in self.case.options)
            and self.precision == "float16"
            and self.case.algebra == "real"
        ):
            self.precision = "float32"  # torch's own norms of two features
        self.layout = self.random.choice(sorted(LAYOUTS.keys() - _unfit(self.case)))
        self.eager_products = self.random.random() < 0.5
        self.native = self.random.random() < 0.5
        self.backward_under_autocast = self.random.random() < 0.2 and self.precision in ("float32", "autocast")
        self.generator = torch.Generator().manual_seed(seed)
        self.layer = self.prepared(self.case.algebra)
        self.inputs = self.draw_inputs()

    def __str__(self) -> str:
        case, algebra = self.case, getattr(self.case.algebra, "name", self.case.algebra)
        paths = f"few products {self.eager_products}, native {self.native}"
        paths += ", backward under autocast" * self.backward_under_autocast
        return (
            f"{case.kind}({case.options}) of {algebra}, {self.precision}, {'training' if self.training else 'evaluation'}, "
            f"inputs {case.shapes} {self.layout}, {self.transform}, {paths}"
        )

    @property
    def dtype(self) -> torch.dtype:
        return DTYPES.get(self.precision, torch.float32)  # autocast has weights in float32

    def prepared(self, algebra: Any) -> nn.Module:
        """Return the layer with weights and statistics that no constructor would give."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            layer = self.case.make(algebra).double()
            for parameter in layer.parameters():
                parameter.data.add_(0.3 * numbers_of(tuple(parameter.shape), self.generator))
            if any("running" in name for name, _ in layer.named_buffers()):
                with torch.no_grad(), contextlib.suppress(*REFUSALS):
                    many = [(*shape[:axis], 16, *shape[axis + 1 :]) for axis, shape in self._with_batch()]
                    layer(*[2 * numbers_of(shape, self.generator) + 1 for shape in many])
        return layer.to(self.dtype).train(self.training)

    def _with_batch(self) -> list[tuple[int, tuple[int, ...]]]:
        axis = self.case.batch_axis
        return [(axis, shape) if axis is not None else (0, (1, *shape)) for shape in self.case.shapes]

    def draw_inputs(self) -> list[Tensor]:
        """Return inputs in the layout."""
        if self.case.indices:
            return [torch.randint(6, shape, generator=self.generator) for shape in self.case.shapes]
        return [LAYOUTS[self.layout](numbers_of(shape, self.generator).to(self.dtype)) for shape in self.case.shapes]

    def twin(self) -> "Trial":
        """Return the same trial of the real twin."""
        twin = copy.copy(self)
        twin.layer = self.prepared("real")
        return twin

    @contextlib.contextmanager
    def setting(self) -> Iterator[None]:
        """Let the layer compute as it is to be tried."""
        with contextlib.ExitStack() as stack:
            if self.precision == "autocast":
                stack.enter_context(torch.autocast("cpu", dtype=torch.bfloat16))
            if self.native:
                stack.enter_context(native_convolution.native_convolutions())
            yield

    def backward(self, outputs: list[Tensor], wanted: list[Tensor], rows: list[Tensor], **options: Any) -> list[Tensor | None]:
        """Return gradients, taken outside autocast, as torch advises, or inside."""
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.backward_under_autocast):
            return list(torch.autograd.grad(outputs, wanted, rows, allow_unused=True, **options))

    def call(self, layer: nn.Module, inputs: list[Tensor], parameters: dict[str, Tensor] | None = None) -> list[Tensor]:
        """Return the tensors of a layer's output, as it is tried."""
        with self.setting():
            return self.called(layer, inputs, parameters)

    def called(self, layer: nn.Module, inputs: list[Tensor], parameters: dict[str, Tensor] | None = None) -> list[Tensor]:
        """Return the tensors of a layer's output."""
        if parameters is None:
            return tensors(layer(*inputs, **self.case.more))
        return tensors(torch.func.functional_call(layer, parameters, tuple(inputs), self.case.more))

    def exact(self, layer: nn.Module | None = None) -> nn.Module:
        """Return the layer in float64."""
        return copy.deepcopy(self.layer if layer is None else layer).double()

    def exact_inputs(self) -> list[Tensor]:
        """Return the inputs in float64, dense in memory."""
        return [x.double().contiguous() if x.is_floating_point() else x for x in self.inputs]


def _draws_in_training(case: Drawn) -> bool:
    return "Dropout" in case.kind or "dropout=0.3" in case.options


def _unfit(case: Drawn) -> set[str]:
    """Return the layouts in which nothing can be compared.

    Equal features, or equal images, have no variance for norms, and nearly none for attention, so that rounding is all that is
    left; and without gradients torch's own `MaxPool1d` takes a negated view for what it views.
    """
    if "Norm" in case.kind or "normalization" in case.options:
        return {"expanded features", "expanded"}
    if "Attention" in case.kind or "Transformer" in case.kind:
        return {"expanded features"}
    return {"negated"} if case.kind == "MaxPool1d" else set()


def tensors(found: Any) -> list[Tensor]:
    """Return the tensors of an output: states of recurrent layers, weights of attention."""
    if isinstance(found, Tensor):
        return [found]
    return [tensor for item in found if item is not None for tensor in tensors(item)]


def with_gaps(x: Tensor) -> Tensor:
    wide = torch.full([2 * size for size in x.shape], 7, dtype=x.dtype)
    return wide[tuple(slice(1, None, 2) for _ in x.shape)].copy_(x)


def channels_last(x: Tensor) -> Tensor:
    return x.movedim(1, -1).contiguous().movedim(-1, 1) if x.dim() > 2 else x


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "as usual": lambda x: x,
    "channels last": channels_last,
    "transposed": lambda x: x.permute(*reversed(range(x.dim()))).contiguous().permute(*reversed(range(x.dim()))),
    "with gaps": with_gaps,
    "expanded": lambda x: x[:1].expand_as(x) if len(x) else x,
    "expanded features": lambda x: x[..., :1].expand_as(x),
    "behind others": lambda x: torch.cat([x, x])[len(x) :],
    "negated": lambda x: torch._neg_view(x),
}


def leaves(values: list[Tensor]) -> list[Tensor]:
    """Return values that gradients are taken by, in the memory layout that they have."""
    return [value.detach().requires_grad_() if value.is_floating_point() else value for value in values]


def rows_for(outputs: list[Tensor]) -> list[Tensor]:
    """Return gradients of outputs."""
    generator = torch.Generator().manual_seed(9)
    return [numbers_of(tuple(y.shape), generator) for y in outputs if y.is_floating_point()]


def with_gradients(trial: Trial, layer: nn.Module) -> list[Tensor]:
    """Return outputs, gradients by the inputs and by the parameters, and buffers."""
    return _with_gradients(layer, trial.inputs, trial.call, trial.backward)


def _with_gradients(
    layer: nn.Module, inputs: list[Tensor], call: Callable[..., Any], backward: Callable[..., Any]
) -> list[Tensor]:
    values = leaves(inputs)
    outputs = call(layer, values)
    floating = [y for y in outputs if y.is_floating_point()]
    wanted = [*[x for x in values if x.requires_grad], *layer.parameters()]
    found: list[Tensor | None] = [None] * len(wanted)
    differentiable = [(y, row.to(y.dtype)) for y, row in zip(floating, rows_for(outputs), strict=True) if y.requires_grad]
    if differentiable and wanted:
        found = backward([y for y, _ in differentiable], wanted, [row for _, row in differentiable])
    gradients = [torch.zeros_like(value) if g is None else g for value, g in zip(wanted, found, strict=True)]
    return [*outputs, *gradients, *layer.buffers()]


def reference(trial: Trial, layer: nn.Module | None = None) -> list[Tensor]:
    """Return what is right: by the reference path, in float64."""

    def backward(outputs: list[Tensor], wanted: list[Tensor], rows: list[Tensor]) -> Any:
        return torch.autograd.grad(outputs, wanted, rows, allow_unused=True)

    with fnn.reference_path():
        return _with_gradients(trial.exact(layer), trial.exact_inputs(), trial.called, backward)
