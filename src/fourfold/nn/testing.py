"""Property checkers for layers, yours as well as ours: each raises `AssertionError` and says what is off, and by how much.

Numbers lie along one axis of the tensors, blocked by component ([r…, x…, y…, z…]), as in all layers of this package. Layers
are called as they are: bring one whose training mode is random into `eval` mode first, and to float64 for tight tolerances.
"""

import copy
import math
from collections.abc import Callable, Iterable

import torch
from torch import Generator, Tensor, nn

from fourfold.algebra import QUATERNION, Algebra, LearnedAlgebra, get, rotate, unit
from fourfold.nn.base import check_divisible

TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-4, torch.bfloat16: 5e-2, torch.float16: 1e-2}
"""Largest error allowed by type, relative to the root mean square of what is compared."""


def assert_algebra_linear(
    layer: Callable[[Tensor], Tensor],
    input: Tensor,
    algebra: str | Algebra | LearnedAlgebra = "quaternion",
    *,
    axis: int = 1,
    tolerance: float | None = None,
    seed: int = 0,
) -> None:
    """Assert that x ↦ layer(x) − layer(0) is linear and multiplies from the left with elements of the algebra.

    With g_i the real map that belongs to component i of the weights, block (k, j) of such a map, from component j of the
    input to component k of the output, is Σ_i c_ijk g_i: that is the structure of `algebra.matrix`. All n² blocks are
    applied to one random input, and must be such sums of n maps. For associative algebras it is the same as to commute
    with every multiplication from the right, f(x·a) = f(x)·a.

    Args:
        layer: What is checked: any function of a tensor.
        input: Says shape, type and device of the inputs; its values do not matter.
        algebra: The algebra, its name, or a `LearnedAlgebra`.
        axis: The axis of the components, in input and output.
        tolerance: Largest relative error. Default: by type, see `TOLERANCES`.
        seed: What the random inputs are drawn from.

    Raises:
        AssertionError: the map is not linear, or has another structure.
        ValueError: the algebra's dimension does not divide the axis of the input or of the output.
    """
    algebra = get(algebra)  # type: ignore[arg-type]
    n, generator = algebra.n, torch.Generator().manual_seed(seed)
    check_divisible(f"input.shape[{axis}]", input.shape[axis], algebra)
    first, second = _drawn_like(input, generator), _drawn_like(input, generator)
    with torch.no_grad():
        at_zero = layer(torch.zeros_like(first))
        check_divisible(f"layer(input).shape[{axis}]", at_zero.shape[axis], algebra)
        tolerance = _tolerance(at_zero, tolerance)
        separate = 2 * (layer(first) - at_zero) - (layer(second) - at_zero)
        error = _relative_error(layer(2 * first - second) - at_zero, separate)
        _expect(error, tolerance, "layer is not linear: f(2x − y) is off 2f(x) − f(y)")
        part = first.chunk(n, axis)[0]
        alone = [torch.cat([part if i == j else torch.zeros_like(part) for i in range(n)], axis) for j in range(n)]
        # (n of the input, n of the output, everything else)
        blocks = torch.stack([torch.stack((layer(x) - at_zero).chunk(n, axis)).flatten(1) for x in alone])
    blocks = blocks.double()
    constants = algebra.constants_tensor(torch.float64, blocks.device).detach()
    table = constants.permute(1, 2, 0).reshape(n * n, n)
    maps = torch.linalg.pinv(table) @ blocks.flatten(0, 1)
    off = ((table @ maps).view_as(blocks) - blocks).square().mean(-1).sqrt() / _size(blocks)
    j, k = divmod(int(off.nan_to_num(math.inf).argmax()), n)
    block = f"its map from component {j} of the input to component {k} of the output"
    message = f"layer does not multiply from the left in algebra {algebra.name!r}: {block} is off the structure"
    _expect(float(off[j, k]), tolerance, message)


def assert_same_variance(
    make: Callable[[], nn.Module],
    make_twin: Callable[[], nn.Module],
    input_shape: Iterable[int],
    *,
    draws: int = 16,
    tolerance: float = 0.1,
    seed: int = 0,
) -> None:
    """Assert that freshly made layers have the output variance of their real twins, on the same normal input.

    Args:
        make: Makes a layer, initialised.
        make_twin: Makes its real twin, initialised.
        input_shape: Shape of the inputs of both.
        draws: How many of each are made; the mean over them is compared.
        tolerance: Largest deviation of the ratio from 1; must be several standard errors, which the message says.
        seed: What inputs and layers are drawn from; the global random state is left as it was.

    Raises:
        AssertionError: the ratio of the variances deviates by more.
        ValueError: fewer than two draws.
    """
    if draws < 2:
        raise ValueError(f"`draws` (={draws}) must be at least 2")
    shape = tuple(input_shape)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        inputs = [torch.randn(shape) for _ in range(draws)]
        ours, twins = (torch.stack([constructor()(x).double().var() for x in inputs]) for constructor in (make, make_twin))
    ratio = float(ours.mean() / twins.mean())
    error = ratio * math.hypot(*(float(v.std() / v.mean()) / math.sqrt(draws) for v in (ours, twins)))
    if not abs(ratio - 1) <= tolerance:
        raise AssertionError(
            f"output variance is {ratio:.3f} of the real twin's ({float(ours.mean()):.3g} against {float(twins.mean()):.3g};"
            f" standard error of the ratio {error:.3f}, allowed: 1 ± {tolerance:g})"
        )


def assert_equals_reference(
    layer: nn.Module,
    reference: Callable[..., Tensor],
    *inputs: Tensor,
    tolerance: float | None = None,
    seed: int = 0,
) -> None:
    """Assert that a layer and a reference give the same values, and the same gradients of inputs and of the parameters.

    Args:
        layer: What is checked.
        reference: A function of the same inputs, written from the definition, that uses the layer's own parameters.
        inputs: What both are called with; gradients are taken of those of a floating type.
        tolerance: Largest relative error. Default: by type, see `TOLERANCES`.
        seed: What the gradient of the output is drawn from.

    Raises:
        AssertionError: shapes, values or gradients differ.
    """
    parameters = {f"parameter {name!r}": p for name, p in layer.named_parameters() if p.requires_grad}
    results = _values_and_gradients(layer, inputs, parameters, seed)
    expected = _values_and_gradients(reference, inputs, parameters, seed)
    for what, value in results.items():
        reference_value = expected[what]
        if value.shape != reference_value.shape:
            raise AssertionError(f"{what} has shape {tuple(value.shape)}, the reference's {tuple(reference_value.shape)}")
        _expect(_relative_error(value, reference_value), _tolerance(value, tolerance), f"{what} is off the reference's")


def assert_gradients_finite(layer: nn.Module, *inputs: Tensor, seed: int = 0) -> None:
    """Assert that outputs and gradients are finite: as given, at inputs of zero, at parameters of zero, and at both.

    A copy of the layer is used; only inputs and parameters of a floating type are set to zero.

    Raises:
        AssertionError: a number is nan or infinite; the message names the tensor and the point.
    """
    for zero_parameters in (False, True):
        used = copy.deepcopy(layer)
        parameters = {f"parameter {name!r}": p for name, p in used.named_parameters() if p.requires_grad}
        if zero_parameters:
            with torch.no_grad():
                for parameter in parameters.values():
                    parameter.zero_()
        for zero_inputs in (False, True):
            values = [torch.zeros_like(x) if zero_inputs and x.is_floating_point() else x for x in inputs]
            zeros = [what for what, zero in (("inputs", zero_inputs), ("parameters", zero_parameters)) if zero]
            point = f"where {' and '.join(zeros)} are zero" if zeros else "at the given inputs"
            for what, value in _values_and_gradients(used, values, parameters, seed).items():
                if not value.isfinite().all():
                    raise AssertionError(f"{what} is not finite {point}")


def assert_rotation_equivariant(
    layer: Callable[[Tensor], Tensor],
    input: Tensor,
    *,
    axis: int = 1,
    tolerance: float | None = None,
    seed: int = 0,
) -> None:
    """Assert that a layer of quaternions commutes with every rotation of the vector parts: f(a x a⁻¹) = a f(x) a⁻¹.

    It holds for what treats a quaternion as a whole by its norm and its real part (activations, pooling, dropout and
    normalisation of whole quaternions), for real factors, and not for quaternion matrices, which commute with
    multiplications from the right alone.

    Args:
        layer: What is checked: any function of a tensor.
        input: What it is called with.
        axis: The axis of the components, in input and output.
        tolerance: Largest relative error. Default: by type, see `TOLERANCES`.
        seed: What the rotation is drawn from.

    Raises:
        AssertionError: the two differ.
        ValueError: the axis of the input or of the output is not divisible by 4.
    """
    turn = unit(torch.randn(4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)).to(input)

    def rotated(x: Tensor, argument: str) -> Tensor:
        check_divisible(f"{argument}.shape[{axis}]", x.shape[axis], QUATERNION)
        real, *vector = x.chunk(4, axis)
        return torch.cat([real, *rotate(turn, torch.stack(vector, dim=-1)).unbind(-1)], axis)

    with torch.no_grad():
        rotated_output, expected = layer(rotated(input, "input")), rotated(layer(input), "layer(input)")
    error, allowed = _relative_error(rotated_output, expected), _tolerance(rotated_output, tolerance)
    _expect(error, allowed, "layer does not commute with rotations: f(a x a⁻¹) is off a f(x) a⁻¹")


def _expect(error: float, allowed: float, message: str) -> None:
    if not error <= allowed:  # nan is no agreement
        raise AssertionError(f"{message} by {error:.1e} (allowed: {allowed:.1e})")


def _values_and_gradients(
    function: Callable[..., Tensor], inputs: Iterable[Tensor], parameters: dict[str, nn.Parameter], seed: int
) -> dict[str, Tensor]:
    """Return output and gradients by name, for a random gradient of the output; those that nothing depends on are zero."""
    values = [x.detach().clone().requires_grad_() if x.is_floating_point() else x for x in inputs]
    output = function(*values)
    gradient = _drawn_like(output, torch.Generator().manual_seed(seed))
    named = {f"input {i}": x for i, x in enumerate(values) if x.requires_grad} | parameters
    gradients = torch.autograd.grad(output, list(named.values()), gradient, materialize_grads=True, allow_unused=True)
    return {"output": output.detach()} | {f"gradient of {name}": g for name, g in zip(named, gradients, strict=True)}


def _drawn_like(tensor: Tensor, generator: Generator) -> Tensor:
    return torch.randn(tensor.shape, generator=generator, dtype=torch.float64).to(tensor)


def _tolerance(tensor: Tensor, tolerance: float | None) -> float:
    return TOLERANCES.get(tensor.dtype, 1e-4) if tolerance is None else tolerance


def _size(tensor: Tensor) -> Tensor:
    """Return the root mean square, or 1 where all is zero."""
    size = tensor.double().square().mean().sqrt()
    return torch.where(size == 0, 1, size)


def _relative_error(actual: Tensor, expected: Tensor) -> float:
    """Return the largest error by the expected root mean square; 0 for empty tensors."""
    if actual.numel() == 0:
        return 0.0
    return float((actual.double() - expected.double()).abs().max() / _size(expected))
