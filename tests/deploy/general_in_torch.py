"""What torch makes of operations along any axes."""

import numpy as np
import torch
from torch.nn import functional

from fourfold import nn as fnn
from fourfold.deploy.ir.ops import (
    Activation,
    AdaptivePool,
    Binary,
    Concat,
    Constant,
    Convolution,
    Embedding,
    InsertZeros,
    MatMul,
    MaxPool,
    Normalize,
    NormPool,
    Pad,
    Permute,
    PRelu,
    Recurrent,
    Reduce,
    Relu,
    Reshape,
    Resize,
    Slice,
    Softmax,
)
from fourfold.deploy.ir.product import real_matrix
from fourfold.deploy.ir.program import Program


def general_in_torch(program: Program, images: np.ndarray) -> np.ndarray:
    """Return what torch makes of images, operation along any axes by operation."""
    values = {0: torch.from_numpy(images).double()}
    for operation in program.operations:
        given = [values[value] for value in operation.inputs]
        values[operation.output] = torch_operation(operation, *given).expand(
            len(images), *[-1] * len(program.shapes[operation.output])
        )
    return values[program.operations[-1].output].numpy()


def torch_operation(operation, x=None, y=None, *more):
    """Return what torch has for an operation."""
    axes = None if x is None else range(1, x.ndim)
    match operation:
        case Activation(function=function, alpha=alpha, beta=beta):
            functions = {
                "gelu_tanh": lambda x: functional.gelu(x, approximate="tanh"),
                "clip": lambda x: x.clamp(alpha, beta),
                "leaky_relu": lambda x: functional.leaky_relu(x, alpha),
                "elu": lambda x: beta * functional.elu(x, alpha),
                "softplus": lambda x: functional.softplus(x, alpha, beta),
                "power": lambda x: x**alpha,
            }
            return functions.get(function, getattr(functional, function, getattr(torch, function, None)))(x)
        case PRelu(slope=slope):
            return functional.prelu(x.unsqueeze(-1), torch.from_numpy(slope).double()).squeeze(-1)
        case Binary(function=function):
            return getattr(torch, function)(x, y)
        case Concat(axis=axis):
            return torch.cat([x, y, *more], axis + 1)
        case Constant(shape=shape, numbers=numbers):
            return torch.from_numpy(numbers).double().reshape(1, *shape)
        case Reshape(shape=shape):
            return x.reshape(len(x), *shape)
        case Permute(order=order):
            return x.permute(0, *(axis + 1 for axis in order))
        case Slice(axis=axis, start=start, size=size, step=step, reverse=reverse):
            return x.index_select(axis + 1, torch.tensor([start + (-step if reverse else step) * k for k in range(size)]))
        case Pad(before=before, after=after, mode="constant", value=value):
            return functional.pad(
                x, [side for pair in zip(before[::-1], after[::-1], strict=True) for side in pair], value=value
            )
        case Pad(before=before, after=after, mode=mode):
            for axis in axes:  # torch has these of the last axis
                moved = x.movedim(axis, -1)
                flat = functional.pad(moved.reshape(1, -1, moved.shape[-1]), (before[axis - 1], after[axis - 1]), mode=mode)
                x = flat.reshape(*moved.shape[:-1], -1).movedim(-1, axis)
            return x
        case InsertZeros(factors=factors):
            return functional.conv_transpose2d(x, torch.ones(x.shape[1], 1, 1, 1).double(), stride=factors, groups=x.shape[1])
        case Resize(size=size, mode=mode, align_corners=aligned):
            return functional.interpolate(x, size=size, mode=mode, align_corners=aligned if mode == "bilinear" else None)
        case AdaptivePool(function=function, size=size):
            return {"mean": functional.adaptive_avg_pool2d, "max": functional.adaptive_max_pool2d}[function](x, size)
        case Reduce(function=function, axes=along):
            return getattr(torch, {"max": "amax", "min": "amin"}.get(function, function))(
                x, dim=[a + 1 for a in along], keepdim=True
            )
        case Normalize(blocks=blocks, eps=eps, center=center):
            rows = x.reshape(len(x), blocks, -1)
            normed = functional.layer_norm if center else functional.rms_norm
            return normed(rows, rows.shape[-1:], eps=eps).reshape(x.shape)
        case Softmax(axis=axis, log=log):
            return (functional.log_softmax if log else functional.softmax)(x, axis + 1)
        case MatMul():
            return x @ y
        case Recurrent(cell=cell, hidden=hidden, reverse=reverse):
            kind = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "tanh": torch.nn.RNN}[cell]
            layer = kind(x.shape[-1], hidden, batch_first=True).double()
            for name, array in zip(
                ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"), _gates(operation), strict=True
            ):
                getattr(layer, name).data = torch.from_numpy(np.concatenate(array)).double()
            with torch.no_grad():
                return layer(x.flip(1))[0].flip(1) if reverse else layer(x)[0]
        case Embedding(rows=rows, numbers=numbers):
            return functional.embedding(x.clamp(0, rows - 1).long(), torch.from_numpy(numbers).double().reshape(rows, -1))
        case Convolution(product=product, padding=(top, bottom, left, right)):
            bias = None if product.bias is None else torch.from_numpy(product.bias).double()
            x = functional.pad(x, (left, right, top, bottom))
            return functional.conv2d(x, torch.from_numpy(real_matrix(product)).double(), bias)
        case MaxPool():
            return functional.max_pool2d(x, operation.kernel, operation.stride, operation.padding)
        case NormPool(kernel=kernel, stride=stride, padding=padding, dilation=dilation, n=n, ceil=ceil):
            algebra = {1: "real", 2: "complex", 4: "quaternion"}[n]
            if n > 1:
                return fnn.MaxPool2d(kernel, stride, padding, dilation, ceil_mode=ceil, algebra=algebra)(x)
            largest, places = functional.max_pool2d(
                x.abs(), kernel, stride, padding, dilation, ceil_mode=ceil, return_indices=True
            )
            return x.flatten(2).gather(2, places.flatten(2)).reshape(largest.shape)
        case Relu():
            return x.relu()
    raise AssertionError(operation)


def _gates(operation: Recurrent) -> tuple[list[np.ndarray], ...]:
    """Return the weights of a step and of the state, and both biases, each for every gate of torch's."""
    n, hidden, features = operation.product.n, operation.hidden, operation.features
    matrix, bias = real_matrix(operation.product), operation.product.bias
    rows = np.arange(len(matrix)).reshape(n, -1, hidden // n)
    columns = np.arange(matrix.shape[1]).reshape(n, -1)
    of_step, of_state = columns[:, : features // n].ravel(), columns[:, features // n :].ravel()
    gates = [rows[:, gate].ravel() for gate in range(rows.shape[1])]
    of_input = [matrix[np.ix_(gate, of_step)] for gate in gates]
    of_last = [matrix[np.ix_(gate, of_state)] for gate in gates]
    biases = [np.zeros(hidden) if bias is None else bias[gate] for gate in gates]
    none = [np.zeros(hidden) for _ in gates]
    if operation.cell == "gru":  # torch's candidate has both sums, with a bias each
        return of_input[:3], [*of_last[:2], of_last[3]], biases[:3], [*none[:2], biases[3]]
    return of_input, of_last, biases, none
