"""bfloat16 is in the products and nowhere else; TF32 is a GPU's."""

import os
from dataclasses import replace

import pytest
import torch
from small_runs import masks_of, network, same, seed_of_epoch, setup, splits, state
from torch import nn

from fourfold import data
from fourfold import nn as fnn
from fourfold.record import DataSpec, TrainSpec, UserError
from fourfold.train import evaluate, train
from fourfold.train.engines import Native
from fourfold.train.precision import computing

CPU = torch.device("cpu")
SPEC = TrainSpec(optimizer="adam", learning_rate=1e-2, batch_size=30, epochs=2)


def test_products_round_their_inputs_and_nothing_else_is_rounded():
    layer = fnn.Linear(8, 8, algebra="quaternion")
    x = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    with computing("bf16", CPU):
        y = layer(x)
        nn.functional.cross_entropy(y, torch.arange(5)).backward()
    assert y.dtype == torch.bfloat16
    by_hand = x.bfloat16().double() @ layer.matrix().bfloat16().double().T + layer.bias.bfloat16().double()
    torch.testing.assert_close(y.double(), by_hand, rtol=2**-8, atol=2**-8)
    assert layer.weight.grad.dtype == layer.weight.dtype == torch.float32
    assert not torch.equal(layer(x), y.float())


def test_a_weight_that_changes_is_rounded_anew():
    layer, x = nn.Linear(8, 8), torch.ones(1, 8)
    with computing("bf16", CPU):
        before = layer(x)
        with torch.no_grad():
            layer.weight.mul_(2)
            layer.bias.mul_(2)
        torch.testing.assert_close(layer(x), 2 * before)


def test_training_in_bfloat16_is_close_and_another_one():
    found, ends = {}, {}
    for precision in (None, "bf16"):
        built = network()
        masks = masks_of(built)
        spec = replace(SPEC, precision=precision)
        weights = fnn.named_weights(built)
        found[precision] = train(built, splits(), spec, seed_of_epoch=seed_of_epoch, weights=weights, masks=masks)
        ends[precision] = state(built)
        assert all(bool((weights[name][~mask] == 0).all()) for name, mask in masks.items())
        assert {value.dtype for value in found[precision].moments.values()} == {torch.float32, torch.int64}
        assert not torch.is_autocast_enabled("cpu")
    assert found["bf16"].test.loss == pytest.approx(found[None].test.loss, rel=0.05)
    assert found["bf16"].test.loss != found[None].test.loss
    assert not same(ends["bf16"], ends[None])
    weight = ends["bf16"]["1.weight"]
    assert not torch.equal(weight, weight.bfloat16().float())  # steps smaller than bfloat16 can say were taken


def test_what_training_says_of_the_test_set_is_in_its_precision():
    built = network()
    found = train(built, splits(), replace(SPEC, precision="bf16"), seed_of_epoch=seed_of_epoch)
    with computing("bf16", CPU):
        assert evaluate(built, splits().test) == found.test
    assert evaluate(built, splits().test) != found.test


def test_native_steps_leave_lower_precisions_alone():
    built = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    masks = {"1.weight": torch.rand(10, 64) < 0.1}
    assert Native.declines(setup(built, SPEC, masks)) is None
    assert Native.declines(setup(built, replace(SPEC, precision="bf16"), masks)) == "its precision is bf16"


def test_tf32_is_refused_where_there_is_none():
    with pytest.raises(
        UserError, match=r"^`train\.precision` \(='tf32'\) needs a CUDA device; cpu computes in float32 or bf16$"
    ):
        train(network(), splits(), replace(SPEC, precision="tf32"), seed_of_epoch=seed_of_epoch)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("precision", [None, "tf32", "bf16"])
def test_float32_is_float32_on_a_gpu_too(precision):
    a, b = torch.randn(2, 512, 512, device="cuda")
    with computing(precision, a.device):
        product, image = torch.mm(a, b), nn.functional.conv2d(a.view(1, 64, 64, 64), b.view(64, 64, 8, 8))
    exact = torch.mm(a.double(), b.double())
    error = float((product.double() - exact).norm() / exact.norm())
    assert (error < 1e-5) == (precision is None)
    whole = nn.functional.conv2d(a.view(1, 64, 64, 64).double(), b.view(64, 64, 8, 8).double())
    assert (float((image.double() - whole).norm() / whole.norm()) < 1e-5) == (precision is None)


@pytest.fixture
def settings_of_a_gpu(monkeypatch):
    """Put back what computing on a GPU sets; without one it is set all the same."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    convolutions, products = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    yield lambda: (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32)
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = convolutions, products
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("told", [False, True])
@pytest.mark.parametrize("asked", [None, "0", "1"])
@pytest.mark.filterwarnings("ignore:CUDA is not available")  # autocast misses it
@pytest.mark.parametrize("precision", [None, "tf32", "bf16"])
def test_a_gpu_takes_tf32_and_repeatable_algorithms_if_asked(precision, asked, told, settings_of_a_gpu, monkeypatch):
    torch.use_deterministic_algorithms(told)
    monkeypatch.delenv("FOURFOLD_DETERMINISTIC", raising=False)
    if asked:
        monkeypatch.setenv("FOURFOLD_DETERMINISTIC", asked)
    with computing(precision, torch.device("cuda")):
        pass
    assert settings_of_a_gpu() == (precision == "tf32", precision == "tf32")
    assert torch.are_deterministic_algorithms_enabled() == (told or asked == "1")
    assert os.environ.get("CUBLAS_WORKSPACE_CONFIG") == (":4096:8" if asked == "1" else None)


def test_float32_is_what_no_precision_is():
    assert replace(SPEC, precision="float32") == SPEC


@pytest.mark.parametrize("encoding", ["grey", "none"])
def test_batches_lie_as_they_are_asked_to(encoding):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (20, 3, 8, 8), generator=generator, dtype=torch.uint8)
    labels = torch.arange(20)
    spec = DataSpec(name="cifar-10", encoding=encoding, crop=1, flip=True)
    options = {"spec": spec, "mean": (0.5,) * 3, "std": (0.2,) * 3, "n": 4, "channels": 4 if encoding == "grey" else 3}
    plain = data.Resident(images, labels, None, **options)
    last = plain.laid_out(torch.channels_last)
    for (one, _), (other, _) in zip(plain.epoch(8, 0), last.epoch(8, 0), strict=True):
        assert one.is_contiguous()
        assert other.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(one, other)
