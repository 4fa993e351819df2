"""torch's own tools on every layer of ours: tracers see wholes, fusion is right, synchronised norms are copied."""

import copy
import io
import pickle

import pytest
import torch
from every_layer import case, every, outputs
from torch import distributed, fx, nn

from fourfold import nn as fnn
from fourfold.nn.base import AlgebraLayer
from fourfold.record import UserError


class One(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x)


class Two(One):
    def forward(self, x, y):
        return self.layer(x, y)


class Three(One):
    def forward(self, x, y, z):
        return self.layer(x, y, value=z)


@pytest.mark.parametrize(("name", "algebra"), every("real", "quaternion"))
def test_fx_sees_every_layer_as_a_whole(name, algebra):
    layer, inputs = case(name).make(algebra).eval(), case(name).inputs(algebra)
    traced = fx.symbolic_trace((One, Two, Three)[len(inputs) - 1](layer))
    assert [node.target for node in traced.graph.nodes if node.op == "call_module"] == ["layer"]
    assert not [node for node in traced.graph.nodes if node.op.startswith("call_f")]
    for found, expected in zip(outputs(traced, *inputs), outputs(layer, *inputs), strict=True):
        assert torch.equal(found, expected)


def test_a_subclass_of_a_user_is_followed_as_one_of_torchs_is():
    class Own(fnn.Linear):
        def forward(self, x):
            return super().forward(x).relu() if self.algebra.n == 1 else x.relu()

    graph = fx.symbolic_trace(nn.Sequential(Own(8, 8, algebra="quaternion"))).graph
    assert [node.op for node in graph.nodes] == ["placeholder", "call_method", "output"]


NORMS = {0: nn.BatchNorm1d, 1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
FUSED = [
    (name, algebra)
    for name, algebra in every("real", "complex", "quaternion")
    if isinstance(case(name).make(algebra), AlgebraLayer) and name != "Bilinear"
]


@pytest.mark.parametrize(("name", "algebra"), FUSED)
@pytest.mark.parametrize("bias", [True, False])
def test_torchs_fusion_of_batch_norm_is_right_for_every_layer(name, algebra, bias):
    torch.manual_seed(0)
    layer, (x,) = case(name).make(algebra).eval(), case(name).inputs(algebra)
    if not bias:
        layer.bias = None
    if "Transpose" in name:
        pytest.skip("torch reads groups of transposed layers another way, with `transpose=True`; see below")
    rank = layer.weight.dim() - 2
    channels = layer.out_features if rank == 0 else layer.out_channels
    norm = NORMS[rank](channels)
    with torch.no_grad():
        for tensor in (norm.weight, norm.bias, norm.running_mean):
            tensor.normal_()
        norm.running_var.uniform_(0.5, 2)
    norm.eval()
    fuse = nn.utils.fusion.fuse_linear_bn_eval if rank == 0 else nn.utils.fuse_conv_bn_eval
    before = copy.deepcopy(layer.state_dict())
    torch.testing.assert_close(fuse(layer, norm)(x), norm(layer(x)), atol=1e-4, rtol=1e-3)
    assert all(torch.equal(value, before[key]) for key, value in layer.state_dict().items())
    assert type(copy.deepcopy(layer)) is type(layer)


@pytest.mark.parametrize("algebra", ["real", "quaternion"])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_torchs_fusion_is_right_for_transposed_layers(algebra, rank):
    torch.manual_seed(0)
    layer = getattr(fnn, f"ConvTranspose{rank}d")(8, 16, 3, stride=2, algebra=algebra).eval()
    norm, x = NORMS[rank](16).eval(), torch.randn(2, 8, *(4, 5, 3)[:rank])
    with torch.no_grad():
        norm.weight.normal_()
        norm.running_mean.normal_()
    fused = nn.utils.fuse_conv_bn_eval(layer, norm, transpose=True)
    torch.testing.assert_close(fused(x), norm(layer(x)), atol=1e-4, rtol=1e-3)


def test_a_parametrized_layer_is_copied_and_fused():
    layer = nn.utils.parametrizations.weight_norm(fnn.Linear(8, 8, algebra="quaternion")).eval()
    twin, x = copy.deepcopy(layer), torch.randn(3, 8)
    assert torch.equal(twin(x), layer(x))
    twin.parametrizations.weight.original0.data.mul_(2)
    assert not torch.equal(twin(x), layer(x))


@pytest.fixture
def _one_process(tmp_path):
    distributed.init_process_group("gloo", store=distributed.FileStore(str(tmp_path / "store"), 1), rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def saved(module):
    file = io.BytesIO()
    torch.save(module, file)
    return torch.load(io.BytesIO(file.getvalue()), weights_only=False)


@pytest.mark.usefixtures("_one_process")
@pytest.mark.parametrize("how", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module)), saved])
def test_synchronised_norms_are_copied_pickled_and_saved(how):
    model = nn.Sequential(nn.BatchNorm2d(8), fnn.BatchNorm2d(8, algebra="quaternion"), fnn.WhiteningBatchNorm2d(8))
    fnn.synchronise(model)
    x = torch.randn(4, 8, 5, 5)
    again = how(model)
    assert torch.equal(again(x), model(x))
    for one, other in zip(again, model, strict=True):
        assert type(one) is type(other)
        assert all(torch.equal(value, other.state_dict()[key]) for key, value in one.state_dict().items())
    before = model[0].running_mean.clone()
    again(x + 1)
    assert torch.equal(model[0].running_mean, before)


@pytest.mark.usefixtures("_one_process")
def test_a_group_of_its_own_is_copied_and_not_pickled():
    group = distributed.new_group([0])
    model = fnn.synchronise(nn.Sequential(nn.BatchNorm2d(4)), group)
    assert copy.deepcopy(model)[0].process_group is group
    with pytest.raises(UserError, match="`group` of its own cannot be pickled"):
        pickle.dumps(model)
