"""Features that are joined and parted stay numbers: the functions, and what `convert` makes of models that do so."""

import copy
import io
import pickle
import warnings

import pytest
import torch
from nn_reference import draw
from torch import Tensor, nn

import fourfold
from fourfold import nn as fnn
from fourfold.algebra import get
from fourfold.nn.testing import assert_algebra_linear
from fourfold.record import UserError

HYPERCOMPLEX = ["complex", "quaternion", "octonion"]


def numbers(x: Tensor, n: int, dim: int) -> Tensor:
    return x.unflatten(dim, (n, -1)).movedim(dim, -1)


@pytest.mark.parametrize("algebra", ["real", *HYPERCOMPLEX])
@pytest.mark.parametrize("dim", [0, 1, 2])
def test_cat_chunk_and_split_treat_numbers_as_torchs_treat_values(algebra: str, dim: int) -> None:
    n = get(algebra).n
    sizes = [[3, 4, 5] for _ in range(2)]
    for size, count in zip(sizes, (2, 3), strict=True):
        size[dim] = n * count
    a, b = draw(0, *sizes[0]), draw(1, *sizes[1])
    joined = fnn.cat([a, b], dim, algebra=algebra)
    assert torch.equal(joined, fnn.cat((a, b), dim - 3, algebra=algebra))
    expected = torch.cat([numbers(a, n, dim), numbers(b, n, dim)], dim)
    assert torch.equal(numbers(joined, n, dim), expected)
    for parts, wanted in (
        (fnn.split(joined, [2 * n, 3 * n], dim, algebra=algebra), (a, b)),
        (fnn.split(joined, 2 * n, dim, algebra=algebra), None),
        (fnn.chunk(joined, 2, dim, algebra=algebra), None),
        (fnn.chunk(joined, 5, dim - 3, algebra=algebra), None),
    ):
        assert torch.equal(fnn.cat(parts, dim, algebra=algebra), joined)
        assert wanted is None or all(map(torch.equal, parts, wanted))
    assert [part.shape[dim] for part in fnn.chunk(joined, 2, dim, algebra=algebra)] == [3 * n, 2 * n]
    if algebra == "real":
        assert torch.equal(joined, torch.cat([a, b], dim))
        assert all(map(torch.equal, fnn.split(joined, 2, dim), joined.split(2, dim)))
    assert fnn.stack is torch.stack


def test_what_is_no_number_is_told() -> None:
    with pytest.raises(UserError, match=r"`input.shape\[1\]` \(=6\) must be divisible by 4"):
        fnn.cat([torch.zeros(2, 8), torch.zeros(2, 6)], algebra="quaternion")
    with pytest.raises(UserError, match=r"`split_size_or_sections` \(=6\) must be divisible by 4"):
        fnn.split(torch.zeros(2, 12), [6, 6], algebra="quaternion")
    with pytest.raises(UserError, match=r"`dim` \(=2\) must be an axis"):
        fnn.chunk(torch.zeros(2, 12), 3, 2, algebra="quaternion")
    with pytest.raises(ValueError, match="unknown algebra 'h'"):
        fnn.cat([torch.zeros(2, 8)], algebra="h")


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down, self.inner, self.up = nn.Conv2d(8, 16, 3, padding=1), nn.Conv2d(16, 24, 3, padding=1), nn.Conv2d(40, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.down(x)
        return self.up(torch.cat([a, self.inner(a)], dim=1))


class Dense(nn.Module):
    """Joins what it has again and again, in a method of its own and in a list."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Conv1d(8 + 8 * i, 8, 3, padding=1) for i in range(3)])

    def joined(self, features: list[Tensor]) -> Tensor:
        return torch.concat(features, -2)

    def forward(self, x: Tensor) -> Tensor:
        features = [x]
        for layer in self.layers:
            features.append(layer(self.joined(features)))
        return self.joined(features)


class Parted(nn.Module):
    """Two branches by `chunk`, three by `split`, as functions and as methods."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.left, self.right, self.out = (nn.Linear(*s) for s in ((16, 48), (24, 8), (24, 16), (24, 16)))

    def forward(self, x: Tensor) -> Tensor:
        one, two = self.inner(x).chunk(2, dim=-1)
        a, b, c = torch.split(torch.cat((self.left(one), self.right(two)), -1), 8, -1)
        return self.out(torch.cat([c, a, b], 1))


class Concat(nn.Module):
    def forward(self, inputs: list[Tensor]) -> Tensor:
        return torch.cat(inputs, 1)


class Elsewhere(nn.Module):
    """Joins features in a module that has no layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.concat, self.last = nn.Linear(8, 8), nn.Linear(8, 16), Concat(), nn.Linear(24, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.concat([self.first(x), self.second(x)]))


class Sliced(nn.Module):
    """Takes parts of features by slices and `narrow`, and joins them by `hstack`."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.left, self.right, self.out = (nn.Linear(*s) for s in ((16, 48), (24, 8), (16, 16), (32, 16)))

    def forward(self, x: Tensor) -> Tensor:
        y = self.inner(x)
        one, two, three = y[:, : y.shape[1] // 2], y[..., -24:-8], y.narrow(-1, 40, 8)
        return self.out(torch.hstack([self.left(one), self.right(two), three]))


class SlicedMaps(nn.Module):
    """Takes parts of the channels, and of the positions, of maps."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.inner, self.last = nn.Conv2d(8, 24, 3, padding=1), nn.Conv2d(8, 8, 1), nn.Conv2d(24, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        one, two, three = y[:, :8, 1:-1], y[..., 8:16, 1:-1, :], torch.narrow(y, dim=1, start=16, length=8)
        return self.last(torch.cat([one, self.inner(two), three[:, :, 1:-1]], 1))


MODELS = {
    "sliced": (Sliced, (5, 16)),
    "sliced maps": (SlicedMaps, (2, 8, 6, 6)),
    "unet": (UNet, (2, 8, 6, 6)),
    "dense": (Dense, (2, 8, 7)),
    "parted": (Parted, (5, 16)),
    "elsewhere": (Elsewhere, (5, 8)),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("algebra", ["complex", "quaternion"])  # a product of octonion matrices is none
def test_a_converted_model_is_linear_over_the_algebra(name: str, algebra: str) -> None:
    kind, shape = MODELS[name]
    model = kind()
    before = model(torch.zeros(shape))
    small = fourfold.convert(model, algebra, head="algebra", seed=0)
    assert_algebra_linear(small, torch.zeros(shape), algebra)
    assert isinstance(small, kind)
    assert repr(small).split("(")[0] == kind.__name__
    assert list(small.state_dict()) == list(model.state_dict())
    assert torch.equal(model(torch.zeros(shape)), before)
    with pytest.raises(AssertionError):
        assert_algebra_linear(with_torchs_forward(small), torch.zeros(shape), algebra)


def with_torchs_forward(model: nn.Module) -> nn.Module:
    model = copy.deepcopy(model)
    for module in model.modules():
        if type(module).__name__ in {"UNet", "Dense", "Parted", "Elsewhere", "Concat", "Sliced", "SlicedMaps"}:
            module.__class__ = globals()[type(module).__name__]
    return model


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_a_rewritten_model_is_copied_saved_traced_and_taken_back(name: str) -> None:
    kind, shape = MODELS[name]
    small, x = fourfold.convert(kind(), head="algebra", seed=0), draw(0, *shape).float()
    expected = small(x)
    file = io.BytesIO()
    torch.save(small, file)
    for again in (
        copy.deepcopy(small),
        pickle.loads(pickle.dumps(small)),
        torch.load(io.BytesIO(file.getvalue()), weights_only=False),
        copy.deepcopy(pickle.loads(pickle.dumps(small))),
    ):
        assert isinstance(again, kind)
        assert torch.equal(again(x), expected)
        assert again is not small
    torch.testing.assert_close(fnn.to_real(small)(x), expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(torch.fx.symbolic_trace(small)(x), expected)
    if name != "elsewhere":
        torch.testing.assert_close(torch.compile(small, fullgraph=True, backend="eager")(x), expected)
    (again := copy.deepcopy(small)).load_state_dict(small.state_dict())
    assert torch.equal(again(x), expected)


class Branching(UNet):
    def forward(self, x: Tensor) -> Tensor:
        a = self.down(x)
        if a.abs().max() > 100:
            return a
        return self.up(torch.cat([a, self.inner(a)], dim=1))


class ByMode(UNet):
    def forward(self, x: Tensor) -> Tensor:
        a = nn.functional.dropout(self.down(x), 0.5, self.training)
        return self.up(torch.cat([a, self.inner(a)], dim=1))


class Optional(UNet):
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        a = self.down(x) if mask is None else self.down(x) * mask
        return self.up(torch.cat([a, self.inner(a)], dim=1))


class Remembering(UNet):
    def forward(self, x: Tensor) -> Tensor:
        self.seen = a = self.down(x)
        return self.up(torch.cat([a, self.inner(a)], dim=1))


class Noisy(UNet):
    def forward(self, x: Tensor) -> Tensor:
        a = self.down(x) + torch.rand(1)
        return self.up(torch.cat([a, self.inner(a)], dim=1))


class Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(8, 16), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(nn.functional.glu(self.first(x)))


@pytest.mark.parametrize("kind", [Branching, ByMode, Optional, Remembering, Noisy, Gated])
def test_a_forward_that_a_trace_does_not_show_stays_and_is_named(kind: type[nn.Module]) -> None:
    what = "glu" if kind is Gated else "cat"
    place = rf"in 0 \({kind.__name__}, .*test_nn_features.py:\d+: {what}\)"
    with pytest.warns(UserWarning, match="may leave the algebra 'quaternion' .*" + place):
        small = fourfold.convert(nn.Sequential(kind(), nn.ReLU()), head="algebra")
    assert type(small[0]) is kind
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserError, match="nothing to convert"):
            fourfold.convert(nn.Sequential(kind(), nn.ReLU()), skip=kind)


ARRANGED = {
    "tensor_split": lambda y: torch.cat(y.tensor_split(3, 1)[::-1], 1),
    "hsplit": lambda y: torch.hsplit(y, 2)[1],
    "channel_shuffle": lambda y: nn.functional.channel_shuffle(y, 2),
    "roll": lambda y: y.roll(1, 1),
    "flip": lambda y: y.flip(1, 2),
    "unbind": lambda y: torch.stack(torch.unbind(y, 1)[:16], 1),
    "repeat": lambda y: y.repeat(1, 2, 1, 1),
    "index_select": lambda y: y.index_select(dim=1, index=y.argmax(1)[0, 0]),
    "getitem with a step": lambda y: y[:, ::2],
    "getitem between numbers": lambda y: y[:, 1:17],
    "getitem of a list": lambda y: y[:, [0, 1, 2, 3]],
    "narrow between numbers": lambda y: y.narrow(1, 2, 4),
}
ELSEWHERE = {
    "roll": lambda y: y.roll((1, 1), (2, 3)),
    "flip": lambda y: y.flip(-1),
    "repeat": lambda y: y.repeat(2, 1, 1, 2),
    "unbind": lambda y: torch.stack(y.unbind(), 0),
    "getitem": lambda y: y[1:, :, ::2, [0, 2]],
    "narrow": lambda y: y.narrow(2, 1, 3),
    "shape": lambda y: y.reshape(y.shape[0], -1, *y.shape[2:]),
}


class Arranging(nn.Module):
    def __init__(self, how) -> None:
        super().__init__()
        self.first, self.how, self.pool = nn.Conv2d(8, 24, 1), how, nn.AdaptiveAvgPool2d(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.how(self.first(x)))


@pytest.mark.parametrize("name", ARRANGED)
def test_what_arranges_features_component_by_component_is_named(name: str) -> None:
    with pytest.warns(UserWarning, match=rf"may leave the algebra 'quaternion' .*Arranging, .*{name.split()[0]}"):
        fourfold.convert(Arranging(ARRANGED[name]), head="algebra")


@pytest.mark.parametrize("name", ELSEWHERE)
def test_what_arranges_other_axes_is_not(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        small = fourfold.convert(Arranging(ELSEWHERE[name]), head="algebra")
    assert type(small) is Arranging


def test_modules_that_shuffle_channels_are_named() -> None:
    with pytest.warns(UserWarning, match=r"1 \(ChannelShuffle: channel_shuffle\)"):
        fourfold.convert(nn.Sequential(nn.Conv2d(8, 8, 1), nn.ChannelShuffle(2), nn.Conv2d(8, 8, 1)))


def test_projection_keeps_the_function_and_says_where_features_leave_the_algebra() -> None:
    with pytest.warns(UserWarning, match=r"`weights`='project' keeps what the model computes.*\(UNet, "):
        small = fourfold.convert(UNet(), weights="project", head="algebra")
    assert type(small) is UNet


class Apart(nn.Module):
    """Joins and parts other axes than that of the features."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        top, bottom = y.chunk(2, dim=2)
        return self.last(torch.cat([torch.cat([bottom, top], 2), y], 0))


def test_other_axes_are_left_alone() -> None:
    small = fourfold.convert(Apart(), head="algebra")
    assert type(small) is Apart
    tokens = Parted()
    small = fourfold.convert(tokens, head="algebra", seed=0)
    with pytest.raises(RuntimeError):  # (N, L, features): dim=1 joins tokens there, as in torch
        tokens(torch.zeros(2, 3, 16))
    with pytest.raises(RuntimeError):
        small(torch.zeros(2, 3, 16))


def test_hooks_and_attributes_stay() -> None:
    model = UNet()
    model.note = "mine"
    calls = []
    model.register_forward_hook(lambda *_: calls.append("called"))
    small = fourfold.convert(model)
    small(torch.zeros(1, 8, 4, 4))
    assert small.note == "mine"
    assert calls == ["called"]
