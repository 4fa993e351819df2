"""Rotations against scipy's, there and back, at half turns and between opposite quaternions; and under `torch.compile`."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation, Slerp

from fourfold.algebra import (
    axis_angle,
    dot,
    exp,
    from_axis_angle,
    from_rotation_matrix,
    log,
    norm,
    power,
    product,
    rotate,
    rotation_matrix,
    slerp,
    unit,
)

fixed = settings(derandomize=True, deadline=None, max_examples=30)
seeds = st.integers(0, 10**6)
HALF_TURNS = torch.tensor([[0.0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0, 1, 1, 0], [0, 1, -2, 3]], dtype=torch.float64)


def draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def scipys(q: torch.Tensor) -> Rotation:
    return Rotation.from_quat(q.detach().numpy(), scalar_first=True)


@fixed
@given(st.floats(1e-100, 1e100), seeds)
def test_the_matrix_is_scipys_and_rotates_as_rotate_does(size, seed):
    q, v = draw(seed, 7, 4) * size, draw(seed + 1, 7, 3)
    matrix = rotation_matrix(q)
    torch.testing.assert_close(matrix, torch.from_numpy(scipys(q / size).as_matrix()))
    torch.testing.assert_close((matrix @ v.unsqueeze(-1)).squeeze(-1), rotate(q, v))


@fixed
@given(seeds)
def test_a_matrix_gives_its_quaternion_back_with_a_real_part_of_at_least_zero(seed):
    q = torch.cat([draw(seed, 20, 4), HALF_TURNS, torch.eye(4, dtype=torch.float64)])
    found = from_rotation_matrix(rotation_matrix(q))
    assert (found[:, 0] >= 0).all()
    torch.testing.assert_close(norm(found), torch.ones(len(q), dtype=torch.float64))
    torch.testing.assert_close(dot(found, unit(q)).abs(), torch.ones(len(q), dtype=torch.float64))
    canonical = torch.from_numpy(
        Rotation.from_matrix(rotation_matrix(q[:20]).numpy()).as_quat(canonical=True, scalar_first=True)
    )
    torch.testing.assert_close(found[:20], canonical)


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("angle", [0, 1e-9, 1e-4, 3, math.pi - 1e-4, math.pi - 1e-9, math.pi])
def test_no_digits_are_lost_near_no_turn_and_half_a_turn(axis, angle):
    u = torch.eye(3, dtype=torch.float64)[axis]
    q = from_axis_angle(u, torch.tensor(angle, dtype=torch.float64))
    assert abs(float(axis_angle(q)[1]) - angle) < 1e-15
    torch.testing.assert_close(from_rotation_matrix(rotation_matrix(q)), q, rtol=0, atol=1e-15)


@fixed
@given(seeds)
def test_axis_and_angle_are_scipys_rotation_vector(seed):
    q = torch.cat([draw(seed, 20, 4), torch.eye(4, dtype=torch.float64)[:1]])
    axis, angle = axis_angle(q)
    torch.testing.assert_close(axis * angle.unsqueeze(-1), torch.from_numpy(scipys(q).as_rotvec()))
    torch.testing.assert_close(axis.square().sum(-1), torch.ones(21, dtype=torch.float64))
    assert (angle >= 0).all()
    assert (angle <= math.pi).all()
    torch.testing.assert_close(rotation_matrix(from_axis_angle(3 * axis, angle)), rotation_matrix(q))


def test_axes_and_angles_broadcast_and_zero_axes_rotate_nothing():
    assert from_axis_angle(draw(0, 5, 1, 3), draw(1, 6)).shape == (5, 6, 4)
    assert from_axis_angle(draw(0, 3), draw(1, 6)).shape == (6, 4)
    assert from_axis_angle(torch.zeros(3), torch.tensor(1.0)).tolist() == [1, 0, 0, 0]
    assert axis_angle(torch.zeros(4))[0].tolist() == [1, 0, 0]


def test_exp_of_half_a_rotation_vector_is_its_quaternion_and_log_goes_back():
    v = draw(2, 9, 3)
    q = exp(torch.nn.functional.pad(v / 2, (1, 0)))
    torch.testing.assert_close(q, from_axis_angle(v, norm(v)))
    torch.testing.assert_close(2 * log(q)[..., 1:], v)


def test_zero_rotates_nothing():
    zero = torch.zeros(4, requires_grad=True)
    assert torch.equal(rotation_matrix(zero), torch.eye(3))
    assert rotate(zero, torch.tensor([1.0, 2, 3])).tolist() == [1, 2, 3]
    rotate(zero, torch.ones(3)).sum().backward()
    assert torch.equal(zero.grad, torch.zeros(4))


@fixed
@given(seeds, st.floats(0, 1))
def test_slerp_is_scipys(seed, t):
    p, q = draw(seed, 2, 4)
    both = Rotation.concatenate([scipys(p), scipys(q)])
    found = slerp(p, q, t)
    torch.testing.assert_close(rotation_matrix(found), torch.from_numpy(Slerp([0, 1], both)(t).as_matrix()))
    torch.testing.assert_close(norm(found), torch.tensor(1.0, dtype=torch.float64))


@fixed
@given(seeds, st.booleans())
def test_slerp_goes_from_one_end_to_the_other_at_a_constant_speed(seed, shortest):
    p, q = draw(seed, 2, 4)
    path = slerp(p, q, torch.linspace(0, 1, 9, dtype=torch.float64), shortest)
    torch.testing.assert_close(path[0], unit(p))
    end = -unit(q) if shortest and dot(p, q) < 0 else unit(q)
    torch.testing.assert_close(path[-1], end)
    steps = (path[1:] - path[:-1]).norm(dim=-1)
    torch.testing.assert_close(steps, steps[:1].expand(8))
    whole = 2 * math.asin(min(1, float(norm(end - unit(p))) / 2))
    assert 8 * 2 * math.asin(float(steps[0]) / 2) == pytest.approx(whole)


@pytest.mark.parametrize("distance", [0, 1e-300, 1e-12, 1e-8, 1e-4])
@pytest.mark.parametrize("sign", [1, -1])
def test_slerp_between_almost_equal_and_almost_opposite_quaternions(distance, sign):
    p = unit(torch.tensor([0.5, 0.1, -0.7, 0.2], dtype=torch.float64))
    q = sign * (p + distance * draw(3, 4))
    middle = slerp(p, q, 0.5)
    torch.testing.assert_close(middle, unit(p + sign * q))
    around = slerp(p, q, 0.5, shortest=False)
    torch.testing.assert_close(norm(around), torch.tensor(1.0, dtype=torch.float64))
    if sign == -1:  # half way round is as far from both ends
        torch.testing.assert_close(dot(around, torch.stack([p, q])), torch.zeros(2, dtype=torch.float64), rtol=0, atol=1e-4)


def test_gradients_are_the_numerical_ones():
    p, q = (x.requires_grad_() for x in draw(4, 2, 3, 4))
    v, t = draw(5, 3, 3).requires_grad_(), torch.tensor([0.2, 0.5, 1.3], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(slerp, (p, q, t))
    assert torch.autograd.gradcheck(lambda *x: slerp(*x, False), (p, q, t))
    assert torch.autograd.gradcheck(slerp, (p, p.detach().clone().requires_grad_(), t))
    assert torch.autograd.gradcheck(from_axis_angle, (v, t))
    for function in (rotation_matrix, axis_angle, lambda q: from_rotation_matrix(rotation_matrix(q))):
        assert torch.autograd.gradcheck(function, (q,))
    assert torch.autograd.gradcheck(lambda q: rotate(q, v), (HALF_TURNS[:3].clone().requires_grad_(),))
    assert torch.autograd.gradcheck(from_rotation_matrix, (rotation_matrix(draw(6, 5, 4)).requires_grad_(),))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
def test_gradients_are_finite_at_half_turns_equal_and_opposite_rotations_and_no_axis(dtype):
    points = torch.cat([HALF_TURNS, torch.zeros(1, 4), torch.eye(4)[:1], -torch.eye(4)[:1]]).to(dtype)
    functions = {
        "rotate": lambda q: rotate(q, torch.ones(3, dtype=dtype)),
        "axis": lambda q: axis_angle(q)[0],
        "angle": lambda q: axis_angle(q)[1],
        "back": lambda q: from_rotation_matrix(rotation_matrix(q)),
        "to the next": lambda q: slerp(q, q.roll(1, 0), 0.3),
        "the long way": lambda q: slerp(q, q.roll(1, 0), 0.3, shortest=False),
        "no axis": lambda q: from_axis_angle(0 * q[..., 1:], q[..., 0]),
    }
    for what, function in functions.items():
        q = points.clone().requires_grad_()
        value = function(q)
        value.float().sum().backward()
        assert value.isfinite().all(), what
        assert q.grad.isfinite().all(), what


def everything(p, q, v, t):
    axis, angle = axis_angle(slerp(p, power(q, t), t))
    turned = rotate(from_axis_angle(axis, angle), v)
    return product(from_rotation_matrix(rotation_matrix(exp(log(q)))), unit(p)), turned


@pytest.mark.slow
def test_all_of_it_compiles_into_one_graph():
    arguments = [x.half() for x in (*draw(7, 2, 5, 4), draw(8, 5, 3), draw(9, 5))]
    compiled = torch.compile(everything, fullgraph=True, backend="eager")  # what is asked here is that it is captured whole
    for ours, expected in zip(compiled(*arguments), everything(*arguments), strict=True):
        torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rotation_matrix(torch.zeros(3)), r"`q` of shape \(3,\): last axis \(=3\) must hold the 4 components"),
        (lambda: axis_angle(torch.zeros(2, 3)), r"`q` of shape \(2, 3\): last axis \(=3\)"),
        (lambda: slerp(torch.zeros(4), torch.zeros(3), 0.5), r"`q` of shape \(3,\)"),
        (lambda: slerp(torch.zeros(5), torch.zeros(4), 0.5), r"`p` of shape \(5,\)"),
        (lambda: from_rotation_matrix(torch.zeros(3, 4)), r"last two axes of `matrix` \(=\(3, 4\)\) must be 3 × 3"),
        (lambda: from_axis_angle(torch.zeros(4), torch.zeros(())), r"last axis of `axis` \(=4\) must hold 3 coordinates"),
    ],
)
def test_wrong_shapes_name_the_argument(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_sequence_of_small_turns_adds_up():
    turn = from_axis_angle(torch.tensor([0.0, 0, 1], dtype=torch.float64), torch.tensor(math.pi / 8, dtype=torch.float64))
    expected = torch.tensor([-1.0, 0, 0], dtype=torch.float64)
    torch.testing.assert_close(rotate(power(turn, 8), torch.tensor([1.0, 0, 0], dtype=torch.float64)), expected)
    np.testing.assert_allclose(scipys(power(turn, 4)).as_euler("zyx"), [math.pi / 2, 0, 0], atol=1e-12)
