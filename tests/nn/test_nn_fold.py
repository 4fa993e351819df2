"""Folding a batch norm into the layer before it leaves the outputs."""

import copy
from collections.abc import Callable

import pytest
import torch
from nn_reference import draw
from torch import nn

from fourfold import models
from fourfold import nn as fnn
from fourfold.nn import fold, fold_norms
from fourfold.nn.conv_transpose import ConvTranspose2d
from fourfold.nn.whitening import WhiteningBatchNorm1d, WhiteningBatchNorm2d, WhiteningBatchNorm3d
from fourfold.record import UserError


def trained(model: nn.Module, *shape: int) -> nn.Module:
    """Give every norm scales, shifts and running statistics of its own."""
    for i, module in enumerate(model.modules()):
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
            module.momentum = 0.5
            for j, parameter in enumerate(module.parameters(recurse=False)):
                parameter.data.add_(0.2 * draw(100 * i + j, *parameter.shape, dtype=torch.float32))
    with torch.no_grad():
        for seed in range(3):
            model(1 + draw(seed, *shape, dtype=torch.float32))
    return model.eval()


PAIRS: dict[str, tuple[Callable[[], tuple[nn.Module, nn.Module]], tuple[int, ...]]] = {
    "linear": (lambda: (fnn.Linear(8, 16, algebra="quaternion"), fnn.BatchNorm1d(16)), (9, 8)),
    "linear, whitening": (lambda: (fnn.Linear(8, 16, algebra="quaternion"), WhiteningBatchNorm1d(16)), (9, 8)),
    "real linear, complex whitening": (lambda: (nn.Linear(5, 6), WhiteningBatchNorm1d(6, algebra="complex")), (9, 5)),
    "convolution": (
        lambda: (fnn.Conv2d(8, 16, 3, 2, 1, padding_mode="circular", algebra="quaternion"), fnn.BatchNorm2d(16)),
        (3, 8, 6, 6),
    ),
    "convolution, whitening": (
        lambda: (fnn.Conv2d(8, 16, 3, bias=False, algebra="quaternion"), WhiteningBatchNorm2d(16)),
        (3, 8, 6, 6),
    ),
    "groups, whitening without affine": (
        lambda: (fnn.Conv2d(16, 16, 3, groups=2, algebra="quaternion"), WhiteningBatchNorm2d(16, affine=False)),
        (3, 16, 6, 6),
    ),
    "3d octonions, whitening": (
        lambda: (fnn.Conv3d(8, 16, 2, algebra="octonion"), WhiteningBatchNorm3d(16, algebra="octonion")),
        (3, 8, 4, 4, 4),
    ),
    "1d": (lambda: (fnn.Conv1d(8, 8, 3, algebra="complex"), nn.BatchNorm1d(8, affine=False)), (3, 8, 7)),
    "transposed": (lambda: (ConvTranspose2d(8, 12, 3, 2, algebra="quaternion"), fnn.BatchNorm2d(12)), (3, 8, 4, 4)),
    "transposed, whitening": (
        lambda: (ConvTranspose2d(8, 16, 3, groups=2, algebra="quaternion"), WhiteningBatchNorm2d(16)),
        (3, 8, 4, 4),
    ),
    "torch's groups": (lambda: (nn.Conv2d(8, 8, 3, groups=4), nn.BatchNorm2d(8)), (3, 8, 6, 6)),
    "real whitening": (lambda: (nn.Conv2d(8, 8, 3, groups=4), WhiteningBatchNorm2d(8, algebra="real")), (3, 8, 6, 6)),
}


@pytest.mark.parametrize("name", PAIRS)
def test_one_real_layer_computes_what_two_did(name: str) -> None:
    torch.manual_seed(0)
    make, shape = PAIRS[name]
    layer, norm = make()
    trained(nn.Sequential(layer, norm), *shape)
    before = copy.deepcopy(layer.state_dict())
    folded = fold(layer, norm)
    assert type(folded).__module__.startswith("torch.nn")
    x = draw(7, *shape, dtype=torch.float32)
    torch.testing.assert_close(folded(x), norm(layer(x)), atol=1e-5, rtol=1e-5)
    for key, value in layer.state_dict().items():
        assert torch.equal(value, before[key])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet-18", "resnet-50", "vgg-16"])
def test_every_norm_of_our_networks_folds(name: str) -> None:
    model = trained(models.build(name, algebra="quaternion", seed=0), 2, 4, 32, 32)
    folded = fold_norms(model.train())
    assert model.training
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    x = draw(7, 2, 4, 32, 32, dtype=torch.float32)
    with torch.no_grad():
        torch.testing.assert_close(folded(x), model.eval()(x), atol=1e-5, rtol=1e-4)


def test_norms_that_follow_no_layer_stay() -> None:
    first, second = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
    unfolded = nn.BatchNorm2d(4, track_running_stats=False)
    model = nn.Sequential(nn.BatchNorm2d(4), first, nn.ReLU(), nn.BatchNorm2d(4), second, unfolded)
    trained(model, 3, 4, 5, 5)
    x = draw(7, 3, 4, 5, 5, dtype=torch.float32)
    assert [type(layer).__name__ for layer in fold_norms(model)] == [type(layer).__name__ for layer in model]
    torch.testing.assert_close(fold_norms(model)(x), model(x))


def test_bad_input_is_named() -> None:
    conv = nn.Conv2d(4, 8, 3, groups=2)
    with pytest.raises(UserError, match="not ReLU into Conv2d"):
        fold(conv, nn.ReLU())
    with pytest.raises(UserError, match=r"`num_features` \(=4\) cannot follow a layer of 8 outputs"):
        fold(conv, nn.BatchNorm2d(4))
    with pytest.raises(UserError, match=r"`groups` \(=2\), across which WhiteningBatchNorm2d mixes"):
        fold(conv, WhiteningBatchNorm2d(8))
    for norm in (nn.BatchNorm2d(8, track_running_stats=False), WhiteningBatchNorm2d(8, track_running_stats=False)):
        with pytest.raises(UserError, match=r"`track_running_stats` \(=False\)"):
            fold(conv, norm)


class Block(nn.Module):
    """A block as networks have it: layers and norms are attributes, and the forward says what follows what."""

    def __init__(self, algebra: str, whitens: bool) -> None:
        super().__init__()
        kind = fnn.WhiteningBatchNorm2d if whitens else fnn.BatchNorm2d
        self.first, self.second = (fnn.Conv2d(8, 8, 3, padding=1, algebra=algebra) for _ in range(2))
        self.norms = nn.ModuleList([kind(8, algebra=algebra) for _ in range(2)])
        self.shared, self.its_norm = fnn.Conv2d(8, 8, 1, algebra=algebra), kind(8, algebra=algebra)
        self.used_twice, self.other_norm = fnn.Conv2d(8, 8, 1, algebra=algebra), kind(8, algebra=algebra)
        self.hooked, self.hooked_norm = fnn.Conv2d(8, 8, 1, algebra=algebra), kind(8, algebra=algebra)
        self.hooked.register_forward_hook(lambda module, arguments, output: output + 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norms[0](self.first(x)).relu()
        y = self.norms[1](self.second(y)) + x
        y = self.its_norm(self.shared(y)) + self.shared(x)
        between = self.used_twice(y)
        return self.hooked_norm(self.hooked(self.other_norm(between) + between))


@pytest.mark.parametrize("whitens", [False, True])
@pytest.mark.parametrize("algebra", ["real", "quaternion"])
def test_norms_are_folded_where_a_trace_shows_them(algebra: str, whitens: bool) -> None:
    torch.manual_seed(0)
    block = Block(algebra, whitens)
    model = nn.Sequential(block, nn.Sequential(Block(algebra, whitens), nn.ReLU()))
    x = torch.randn(4, 8, 5, 5)
    model(x)
    folded = fnn.fold_norms(model)
    torch.testing.assert_close(folded(x), model.eval()(x), atol=1e-4, rtol=1e-3)
    for part in (folded[0], folded[1][0]):
        assert isinstance(part, Block)
        assert [isinstance(norm, nn.Identity) for norm in part.norms] == [True, True]
        for kept in ("its_norm", "other_norm", "hooked_norm"):
            assert isinstance(getattr(part, kept), nn.BatchNorm2d)
    assert isinstance(block.norms[0], nn.BatchNorm2d)


class Unclear(nn.Module):
    """Whether the norm follows the layer depends on what is given, on the mode, or on the values."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.layer, self.norm = how, nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        y = self.layer(x)
        if self.how == "given" and mask is None:
            y = y.relu()
        if self.how == "values" and x.sum() > 0:
            y = y + 1
        if self.how == "stored":
            self.seen = y
        return self.norm(y)


@pytest.mark.parametrize("how", ["given", "values", "stored", "always"])
def test_norms_stay_where_a_trace_does_not_show_all(how: str) -> None:
    torch.manual_seed(0)
    model, x = Unclear(how).requires_grad_(False), torch.randn(3, 4, 2, 2).abs()
    model(x)
    folded = fnn.fold_norms(model)
    torch.testing.assert_close(folded(x), model.eval()(x))
    torch.testing.assert_close(folded(x, x), model.eval()(x, x))
    assert isinstance(folded.norm, nn.Identity) == (how == "always")


def test_what_is_no_model_is_told() -> None:
    for function in (fnn.fold_norms, fnn.to_real, fnn.convert):
        with pytest.raises(ValueError, match=r"`model` \(=None\) must be a torch.nn.Module"):
            function(None)
