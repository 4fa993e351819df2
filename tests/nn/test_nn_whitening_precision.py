"""Whitening agrees with float64 on every path, for means up to 10⁶ deviations and condition numbers up to 10¹²."""

import copy
import io
from unittest import mock

import pytest
import torch
from nn_reference import draw
from torch import Tensor, distributed, nn

from fourfold import nn as fnn
from fourfold.nn import whitening_function
from fourfold.record import UserError

BOUND = 2e-6
"""Largest error of outputs and gradients, relative to the largest of them: a few roundings of float32."""
ONE_PASS_BOUND = 1e-4
"""For maps on a CPU, where up to `ILL_CONDITIONED` roundings of float32 buy one pass."""
TRACED_BOUND = 2e-4
"""For compilers in training, which take moments about the mean of one image."""
TRACED_EVALUATION = 1e-6
"""For compilers in evaluation, in float32: times the root of the condition number of V + eps."""

FAR = [(mean, condition) for mean in (0.0, 1e2, 1e4, 1e6) for condition in (1.0, 1e4, 1e8, 1e12)]


def ill_conditioned(mean: float, condition: float, size: tuple[int, ...]) -> Tensor:
    """Numbers in float32 whose covariance has this condition number, with means of so many deviations."""
    n, numbers = 4, 2
    turn, _ = torch.linalg.qr(draw(1, n, n))
    deviations = torch.logspace(0, -0.5 * torch.tensor(condition).log10().item(), n, dtype=torch.float64)
    x = torch.einsum("ij,nj...->ni...", turn * deviations, draw(2, 16, n, numbers, *size))
    return (x + mean * draw(3, 1, n, numbers, *[1] * len(size)).sign()).flatten(1, 2).float()


@pytest.fixture(scope="module", autouse=True)
def _one_process(tmp_path_factory: pytest.TempPathFactory):
    store = distributed.FileStore(str(tmp_path_factory.mktemp("store") / "store"), 1)
    distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def norm(size: tuple[int, ...], eps: float) -> nn.Module:
    kind = fnn.WhiteningBatchNorm2d if size else fnn.WhiteningBatchNorm1d
    layer = kind(8, eps=eps, momentum=1.0)
    with torch.no_grad():
        layer.weight.copy_(draw(4, *layer.weight.shape))
        layer.bias.copy_(draw(5, *layer.bias.shape))
    return layer


def output_and_gradients(layer: nn.Module, x: Tensor) -> list[Tensor]:
    x = x.clone().requires_grad_()
    y = layer(x)
    parameters = list(layer.parameters())
    gradients = torch.autograd.grad(y, [x, *parameters], draw(6, *y.shape).to(y.dtype))
    return [y.detach().double(), *(gradient.double() for gradient in gradients)]


def largest_error(found: list[Tensor], exact: list[Tensor]) -> float:
    return max(float((one - other).abs().max() / other.abs().max()) for one, other in zip(found, exact, strict=True))


@pytest.mark.parametrize(("mean", "condition"), FAR)
@pytest.mark.parametrize("size", [(12, 12), ()], ids=["maps", "features"])
def test_every_path_agrees_with_float64(mean: float, condition: float, size: tuple[int, ...]) -> None:
    x = ill_conditioned(mean, condition, size or (144,))
    x = x if size else x.transpose(1, 2).flatten(0, 1)
    for eps in (1e-5, 1e-13):
        reference = norm(size, eps).double()
        trained = output_and_gradients(reference, x.double())
        layer = norm(size, eps)
        assert largest_error(output_and_gradients(layer, x), trained) < ONE_PASS_BOUND
        with fnn.reference_path():  # as on GPUs and in transforms
            assert largest_error(output_and_gradients(norm(size, eps), x), trained) < BOUND
        with mock.patch.object(whitening_function, "_traced", return_value=True):
            assert largest_error(output_and_gradients(norm(size, eps), x), trained) < TRACED_BOUND
        assert largest_error(output_and_gradients(fnn.synchronise(norm(size, eps)), x), trained) < BOUND

        evaluated = output_and_gradients(reference.eval(), x.double())
        layer.eval()
        assert largest_error(output_and_gradients(layer, x), evaluated) < ONE_PASS_BOUND
        with torch.no_grad():
            assert largest_error([layer(x).double()], evaluated[:1]) < ONE_PASS_BOUND
        with fnn.reference_path():
            assert largest_error(output_and_gradients(layer, x), evaluated) < ONE_PASS_BOUND
        with mock.patch.object(whitening_function, "_traced", return_value=True):
            bound = ONE_PASS_BOUND + TRACED_EVALUATION * (1 + 1 / (1 / condition + eps) ** 0.5)
            assert largest_error(output_and_gradients(layer, x), evaluated) < bound
        for again in (copy.deepcopy(layer), copy.deepcopy(layer).to(torch.float64).float(), saved(layer)):
            assert largest_error(output_and_gradients(again, x), evaluated) < ONE_PASS_BOUND


def saved(layer: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    again = type(layer)(8, eps=layer.eps)
    again.load_state_dict(torch.load(io.BytesIO(file.getvalue())))
    return again.eval()


@pytest.mark.parametrize("columns", ["grey", "equal", "constant"])
@pytest.mark.parametrize("scale", [1.0, 255.0, 1e6])
def test_dependent_components_stay_below_the_bound_of_eps(columns: str, scale: float) -> None:
    """RGB with its own grey; four equal sensors; three of them constant."""
    rgb = draw(1, 500, 3).abs().float() * scale
    x = {
        "grey": torch.cat([rgb, rgb @ torch.tensor([[0.299], [0.587], [0.114]])], dim=1),
        "equal": rgb[:, :1].expand(500, 4),
        "constant": torch.cat([rgb[:, :1], torch.ones(500, 3)], dim=1),
    }[columns]
    layer = fnn.WhiteningBatchNorm1d(4, affine=False, momentum=1.0)
    exact = fnn.WhiteningBatchNorm1d(4, affine=False).double()(x.double())
    torch.testing.assert_close(layer(x).double(), exact, atol=1e-4, rtol=1e-4)
    assert layer(x).abs().max() < 30
    assert layer.eval()(x).abs().max() < 30


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_covariances_of_older_files_which_rounding_has_made_indefinite_are_mended(dtype: torch.dtype) -> None:
    grey = draw(1, 4000, 1) * 100
    x = (grey + 1e-3 * draw(2, 4000, 4)).float()
    layer = fnn.WhiteningBatchNorm1d(4, affine=False, momentum=1.0)
    layer(x)
    old = {name: value.to(dtype) if value.is_floating_point() else value for name, value in layer.state_dict().items()}
    again = fnn.WhiteningBatchNorm1d(4, affine=False)
    again.load_state_dict(old)
    assert again.eval()(x).abs().max() < 100
    sound = fnn.WhiteningBatchNorm1d(4)
    sound(draw(3, 100, 4).float())
    old = {name: value.float() if value.is_floating_point() else value for name, value in sound.state_dict().items()}
    again.load_state_dict({name: value for name, value in old.items() if name not in ("weight", "bias")})
    assert torch.equal(again.running_covariance, old["running_covariance"].double())


def test_statistics_stay_in_float64_wherever_the_layer_goes() -> None:
    layer = fnn.WhiteningBatchNorm2d(8)
    layer(draw(1, 4, 8, 5, 5).float())
    before = layer.running_covariance.clone()
    for moved in (layer.half(), layer.to(torch.bfloat16), layer.float(), layer.to("cpu"), layer.double()):
        assert moved.running_covariance.dtype == moved.running_mean.dtype == torch.float64
        assert torch.equal(moved.running_covariance, before)
    meta = layer.to("meta")
    assert meta.running_covariance.is_meta
    assert fnn.BatchNorm2d(8, algebra="quaternion").half().running_var.dtype == torch.float16
    assert fnn.WhiteningBatchNorm2d(8, algebra="real").half().running_var.dtype == torch.float16


TRANSFORMS = {
    "grad": lambda norm, x: torch.func.grad(lambda x: norm(x).square().sum())(x),
    "jvp": lambda norm, x: torch.func.jvp(norm, (x,), (x.cos(),))[1],
    "vmap": lambda norm, x: torch.vmap(norm)(torch.stack([x, x.cos()])),
    "jacrev": lambda norm, x: torch.func.jacrev(lambda x: norm(x)[0, 0])(x),
    "vectorized jacobian": lambda norm, x: torch.autograd.functional.jacobian(lambda x: norm(x)[0, 0], x, vectorize=True),
    "forward mode": lambda norm, x: forward_mode(norm, x),
}


def forward_mode(layer: nn.Module, x: Tensor) -> Tensor:
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, x.cos())
        return torch.autograd.forward_ad.unpack_dual(layer(dual)).tangent


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.:DeprecationWarning")  # of torch, in its forward mode
@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize("mode", ["training", "evaluation", "batch statistics"])
def test_transforms_see_what_plain_calls_do(transform: str, size: int, mode: str) -> None:
    x = draw(1, 4, 8, size, size)
    layer = fnn.WhiteningBatchNorm2d(8, track_running_stats=mode != "batch statistics").double().train(mode != "evaluation")
    twin = copy.deepcopy(layer)
    if transform == "vmap" and mode == "training":
        with pytest.raises(UserError, match=r"running statistics cannot follow several batches at once under torch.vmap"):
            TRANSFORMS[transform](layer, x)
        return
    found = TRANSFORMS[transform](layer, x)

    points = x.clone().requires_grad_()
    if transform == "grad":
        (expected,) = torch.autograd.grad(twin(points).square().sum(), points)
    elif transform == "vmap":
        expected = torch.stack([twin(x), twin(x.cos())])
    elif "jac" in transform:
        y = twin(points)[0, 0]
        rows = [torch.autograd.grad(value, points, retain_graph=True)[0] for value in y.flatten()]
        expected = torch.stack(rows).view(*y.shape, *x.shape)
    else:
        expected = torch.autograd.functional.jvp(twin, points, x.cos())[1]
    torch.testing.assert_close(found, expected)
    for name, buffer in twin.state_dict().items():
        torch.testing.assert_close(layer.state_dict()[name], buffer)


@pytest.mark.parametrize("n", [2, 3, 4, 8])
@pytest.mark.parametrize(("images", "numbers", "positions"), [(5, 3, 7), (4, 16, 64), (1, 20, 33), (64, 40, 1), (300, 33, 3)])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("threads", [1, 2])
def test_every_size_and_layout_agrees_with_rows_of_float64(
    n: int, images: int, numbers: int, positions: int, channels_last: bool, threads: int
) -> None:
    generator = torch.Generator().manual_seed(0)
    x, gradient = (torch.randn(images, n, numbers, positions, generator=generator) + 0.3 for _ in range(2))
    if channels_last:
        x = x.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    gamma = torch.randn(numbers, n, n, generator=generator)
    beta = torch.randn(numbers, n, generator=generator)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found, exact = ([], [])
        for results, function in ((found, whitening_function.whiten), (exact, whitening_function._whiten_rows)):
            inputs = [tensor.detach().requires_grad_() for tensor in (x, gamma + gamma.mT, beta)]
            y, mean, covariance = function(*inputs, 1e-5)
            results.extend([y.detach(), mean, covariance, *torch.autograd.grad(y, inputs, gradient)])
        assert found[0].stride() == x.stride() or threads > 1
        mixed = whitening_function.map_numbers(x, gamma, beta)
    finally:
        torch.set_num_threads(before)
    assert largest_error(found, exact) < 1e-5
    expected = torch.einsum("cij,ajcl->aicl", gamma.double(), x.double()) + beta.double().t().unsqueeze(-1)
    assert largest_error([mixed], [expected]) < 1e-5
