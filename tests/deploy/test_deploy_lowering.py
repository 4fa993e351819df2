"""`lower` keeps what a network computes, fuses what is exact, and refuses the rest in one sentence."""

import operator
from collections import OrderedDict

import numpy as np
import pytest
import torch
from deploy_samples import assert_lowers, assert_near, images_of, lively, thinned, torch_outputs
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import prune

from fourfold import deploy, models
from fourfold import nn as fnn
from fourfold.deploy.backends import numpy as reference
from fourfold.deploy.ir.ops import Activation, Add, Affine, Convolution, Flatten, Linear, MaxPool, Permute, Relu, Reshape
from fourfold.deploy.ir.program import Encoding
from fourfold.record import UserError

ALGEBRAS = ("real", "complex", "quaternion", "octonion")
SMALL = {"lenet-300-100": (8, 6, 4), "lenet-12": (8, 6, 4), "vgg-16": (8, 32, 32)}
SERIES = ("lstm", "gru", "transformer-encoder")
"""Networks of series of any length, which programs of one shape do not hold."""

NETWORKS = [
    (name, algebra)
    for name in models.MODELS
    for algebra in ALGEBRAS
    if name not in ("resnet-101", "resnet-152")
    and models.MODELS[name].outputs == "classes"  # artifacts hold classifiers
    and name not in SERIES
    and not (name.startswith("lenet") and algebra == "octonion")  # 300 and 12 neurons are no whole octonions
]


class Forward(nn.Module):
    """A network whose forward is a function of itself and its input."""

    def __init__(self, forward, **layers):
        super().__init__()
        self._forward = forward
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x):
        return self._forward(self, x)


def kinds(program):
    return [type(operation) for operation in program.operations]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "algebra"), NETWORKS)
def test_every_model_in_every_algebra(name, algebra):
    shape = SMALL.get(name, (8, 8, 8))
    num_classes, head = (8, "algebra") if name.startswith("resnet") else (10, "real")
    model = models.build(name, algebra=algebra, shape=shape, num_classes=num_classes, head=head, seed=0)
    program = assert_lowers(thinned(lively(model), 0.5), shape, count=2)
    stored = sum(o.product.weight.size for o in program.operations if isinstance(o, Convolution | Linear))
    assert stored == models.measure(model, shape).weights
    real = algebra == "real"
    assert (Affine in kinds(program)) == (not real and ("resnet" in name or "vgg" in name))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet-101", "resnet-152"])
def test_the_deepest_models(name):
    assert_lowers(lively(models.build(name, algebra="quaternion", shape=(4, 8, 8), seed=0)), (4, 8, 8), count=1)


def test_operations_are_named_by_their_layers_and_make_one_value_each():
    program = deploy.lower(models.build("resnet-18", shape=(4, 8, 8), algebra="quaternion"), (4, 8, 8))
    names = [operation.name for operation in program.operations]
    assert len(set(names)) == len(names)
    assert {"stem.conv", "stem.norm", "stage2.0.body.0.conv", "stage1.0.add", "mean", "flatten", "fc"} <= set(names)
    assert [operation.output for operation in program.operations] == list(range(1, len(program.shapes)))


def test_real_batch_norm_and_relu_disappear_into_the_convolution():
    layers = [
        nn.Conv2d(3, 8, 3, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(8 * 16, 5),
        nn.BatchNorm1d(5),
    ]
    program = assert_lowers(lively(nn.Sequential(*layers)), (3, 6, 6))
    assert kinds(program) == [Convolution, Flatten, Linear]
    assert [program.operations[i].relu for i in (0, 2)] == [True, False]


def test_rows_and_last_axes_fold_as_maps_do():
    layers = [nn.Conv1d(3, 8, 3, bias=False), nn.BatchNorm1d(8), nn.ReLU(), nn.MaxPool1d(2), nn.Conv1d(8, 4, 3), nn.ReLU()]
    program = assert_lowers(lively(nn.Sequential(*layers)), (3, 20))
    assert [kind for kind in kinds(program) if kind is not Reshape] == [Convolution, MaxPool, Convolution]
    program = assert_lowers(nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.GELU()), (7, 4))
    assert kinds(program) == [Permute, Reshape, Convolution, Convolution, Activation, Reshape, Permute]


def test_pruned_weights_stay_zero_when_a_norm_is_folded():
    convolution = nn.Conv2d(3, 8, 3)
    model = thinned(lively(nn.Sequential(convolution, nn.BatchNorm2d(8))), 0.2)
    (folded,) = assert_lowers(model, (3, 6, 6)).operations
    assert np.array_equal(folded.product.weight[0] == 0, convolution.weight.detach().numpy() == 0)


def test_a_norm_of_components_stays_behind_a_product_of_numbers():
    model = lively(nn.Sequential(fnn.Conv2d(4, 8, 3, algebra="quaternion"), fnn.BatchNorm2d(8), nn.ReLU()))
    program = assert_lowers(model, (4, 6, 6))
    assert kinds(program) == [Convolution, Affine]
    assert program.operations[0].product.n == 4
    assert not program.operations[0].relu
    assert program.operations[1].relu


@pytest.mark.parametrize("join", [operator.add, torch.add, lambda a, b: a.add(b)])
def test_what_two_operations_read_is_not_fused_away(join):
    model = Forward(
        lambda self, x: join(F.relu(y := self.conv(x)), self.norm(y)), conv=nn.Conv2d(2, 2, 1), norm=nn.BatchNorm2d(2)
    )
    program = assert_lowers(lively(model), (2, 3, 3))
    assert kinds(program) == [Convolution, Relu, Affine, Add]


def test_a_sum_takes_the_relu_along():
    program = assert_lowers(Forward(lambda self, x: F.relu(self.a(x) + x), a=nn.Conv2d(2, 2, 3, padding=1)), (2, 3, 3))
    assert kinds(program) == [Convolution, Add]
    assert program.operations[1].relu


@pytest.mark.parametrize(
    "change", [nn.ReLU(inplace=True), lambda y: F.relu(y, inplace=True), F.relu_, torch.relu_, lambda y: y.relu_()]
)
def test_a_value_changed_in_place_is_changed_for_all_its_readers(change):
    def forward(self, x):
        y = self.same(self.conv(x))
        (self.change if isinstance(change, nn.Module) else change)(y)
        return y + y

    layers = {"change": change} if isinstance(change, nn.Module) else {}
    model = Forward(forward, conv=nn.Conv2d(2, 2, 1), same=nn.Identity(), **layers)
    assert kinds(assert_lowers(model, (2, 3, 3))) == [Convolution, Add]


def test_a_sum_in_place():
    def forward(self, x):
        y = self.a(x)
        return y.add_(self.b(x)) + y

    assert kinds(assert_lowers(Forward(forward, a=nn.Conv2d(2, 2, 1), b=nn.Conv2d(2, 2, 1)), (2, 3, 3)))[2:] == [Add, Add]


def test_a_sum_in_place_is_seen_by_whoever_reads_the_value():
    def forward(self, x):
        y = z = self.a(x)
        z += x
        return y + z

    assert kinds(assert_lowers(Forward(forward, a=nn.Conv2d(2, 2, 1)), (2, 3, 3)))[1:] == [Add, Add]


def test_a_trace_that_is_not_what_the_network_computes_is_refused():
    def forward(self, x):
        y = self.a(x)
        y[:, 0].mul_(2)  # a part of a value that the trace keeps apart
        return y

    with pytest.raises(UserError, match="computes something else than its trace"):
        deploy.lower(Forward(forward, a=nn.Conv2d(2, 2, 1)), (2, 3, 3))


@pytest.mark.parametrize(
    "flat",
    [
        lambda x: x.flatten(1),
        lambda x: torch.flatten(x, 1),
        lambda x: x.view(x.size(0), -1),
        lambda x: x.view(x.shape[0], 18),
        lambda x: x.reshape(-1, 18),
        lambda x: torch.reshape(x, (x.shape[0], -1)),
    ],
)
def test_ways_to_flatten(flat):
    program = assert_lowers(Forward(lambda self, x: self.fc(flat(flat(x))), fc=nn.Linear(18, 4)), (2, 3, 3))
    assert kinds(program) == [Flatten, Linear]


@pytest.mark.parametrize(
    "pool",
    [
        lambda x: F.max_pool2d(x, 2),
        lambda x: F.max_pool2d(x, (3, 2), stride=1, padding=1, ceil_mode=True),
        lambda x: F.avg_pool2d(x, 2, 1, 1, False, False),
        lambda x: F.adaptive_avg_pool2d(x, (2, 3)),
        lambda x: x.mean((2, 3)),
        lambda x: torch.mean(x, dim=(-1, -2), keepdim=True),
        lambda x: F.dropout(x, training=False),
    ],
)
def test_functions_that_stand_for_layers(pool):
    assert_lowers(Forward(lambda self, x: pool(torch.relu(x))), (2, 6, 6))


def test_layers_that_do_nothing_in_evaluation():
    model = nn.Sequential(nn.Dropout(), nn.Conv2d(2, 2, 1), nn.Identity(), fnn.Dropout2d(), nn.ReLU(), nn.Dropout2d())
    assert kinds(assert_lowers(model, (2, 3, 3))) == [Convolution]


@pytest.mark.parametrize(
    "layer",
    [
        fnn.Conv2d(16, 8, 3, groups=2, padding=1, algebra="quaternion"),
        fnn.PHMConv2d(8, 8, 3, n=4, stride=2),
        fnn.RotationConv2d(8, 8, 3),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_products_without_a_fixed_algebra_become_real_matrices(layer):
    (operation,) = assert_lowers(layer, (layer.in_channels, 5, 5)).operations
    assert operation.product.n == 1
    assert operation.groups == 1


@pytest.mark.parametrize("layer", [fnn.PHMLinear(6, 9, n=3), fnn.RotationLinear(8, 4), fnn.Linear(8, 16, algebra="octonion")])
def test_linear_layers(layer):
    (operation,) = assert_lowers(layer, (layer.in_features,)).operations
    assert operation.product.n == (8 if layer.algebra.name == "octonion" else 1)


@pytest.mark.parametrize("algebra", ["complex", "quaternion"])
def test_whitening_is_a_sparse_product_of_its_own(algebra):
    n = {"complex": 2, "quaternion": 4}[algebra]
    model = nn.Sequential(
        fnn.Conv2d(8, 8, 3, algebra=algebra),
        fnn.WhiteningBatchNorm2d(8, algebra=algebra),
        nn.ReLU(),
        nn.Flatten(),
        fnn.WhiteningBatchNorm1d(128, algebra=algebra),
    )
    program = assert_lowers(lively(model), (8, 6, 6))
    assert kinds(program) == [Convolution, Convolution, Flatten, Linear]
    first, second = program.operations[1], program.operations[3]
    assert first.relu
    assert (np.count_nonzero(first.product.weight), np.count_nonzero(second.product.weight)) == (8 * n, 128 * n)


def test_real_whitening_is_batch_norm():
    assert kinds(assert_lowers(lively(fnn.WhiteningBatchNorm2d(4, algebra="real")), (4, 2, 2))) == [Affine]


@pytest.mark.parametrize("algebra", ["quaternion", "octonion"])
def test_the_learned_channel(algebra):
    channels = {"quaternion": 4, "octonion": 8}[algebra]
    model = models.build("conv-2", algebra=algebra, shape=(channels, 6, 6), learned_from=3, seed=1)
    program = assert_lowers(model, (3, 6, 6))
    image, learned, joined = program.operations[:3]
    assert [type(o) for o in (image, learned, joined)] == [Convolution, Convolution, Add]
    assert program.shapes[3] == (channels, 6, 6)


def test_a_module_used_twice_is_computed_twice():
    program = assert_lowers(Forward(lambda self, x: self.fc(self.fc(x)), fc=nn.Linear(4, 4)), (4,))
    assert kinds(program) == [Linear, Linear]


def test_what_the_output_does_not_need_is_left_out():
    def forward(self, x):
        self.other(x)
        return self.fc(x)

    program = assert_lowers(Forward(forward, fc=nn.Linear(4, 2), other=nn.Linear(4, 7)), (4,))
    assert [operation.name for operation in program.operations] == ["fc"]


def test_half_precision_and_other_devices_weights_become_float32():
    model = nn.Linear(4, 2).half()
    (operation,) = deploy.lower(model, (4,)).operations
    assert operation.product.weight.dtype == np.float32
    assert np.array_equal(operation.product.weight[0], model.weight.detach().float().numpy())


def test_the_model_and_its_modes_are_left_as_they_were():
    model = models.build("resnet-18", shape=(3, 8, 8), seed=0)
    model.stage1.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    program = deploy.lower(model, (3, 8, 8))
    program.operations[0].product.weight[:] = 7
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_weights_that_training_hooks_compute():
    layer = nn.utils.parametrizations.weight_norm(fnn.Linear(8, 8, algebra="quaternion"))
    (operation,) = assert_lowers(nn.Sequential(OrderedDict(fc=layer)), (8,)).operations
    assert operation.product.n == 4
    pruned = nn.Conv2d(2, 4, 3)
    prune.random_unstructured(pruned, "weight", amount=0.5)
    images = images_of((2, 5, 5))
    program = deploy.lower(pruned, (2, 5, 5))
    assert np.count_nonzero(program.operations[0].product.weight) == 36
    assert_near(reference.run(program, images.numpy()), torch_outputs(pruned, images))


@pytest.mark.parametrize(
    ("model", "shape", "sentence"),
    [
        (nn.Sequential(OrderedDict(a=nn.Sequential(OrderedDict(act=nn.RReLU())))), (3,), r"layer 'a.act' \(RReLU\) cannot"),
        (nn.MaxPool2d(2, return_indices=True), (4, 4, 4), "`return_indices`"),
        (nn.AvgPool2d(2, divisor_override=3), (4, 4, 4), r"`divisor_override` \(=3\)"),
        (nn.BatchNorm2d(4, track_running_stats=False), (4, 4, 4), "`track_running_stats`"),
        (fnn.WhiteningBatchNorm2d(4, track_running_stats=False), (4, 4, 4), "`track_running_stats`"),
        (nn.Conv1d(4, 4, 3), (4, 9, 9), r"given \(4, 9, 9\) where it takes channels and length"),
        (nn.Linear(4, 4), (4, 2, 2), "takes 4 channels, but gets 2"),
        (nn.Conv3d(4, 4, 3), (4, 5, 5, 5), r"\(Conv3d\) cannot|'conv3d'"),
        (nn.Conv2d(4, 4, 5), (4, 3, 3), "makes a value of shape"),
        (nn.Conv2d(4, 4, 5), (3, 6, 6), "takes 4 channels, but gets 3"),
        (nn.Identity(), (4,), "without any operation"),
        (Forward(lambda self, x: x.flatten()), (4, 2, 2), "must return images along the first axis"),
        (Forward(lambda self, x: x.view(4, -1)), (4, 2, 2), "'view' in the forward of the network .*cannot"),
        (Forward(lambda self, x: x - x.mean(0)), (4, 2, 2), "as it mixes images"),
        (Forward(lambda self, x: x[0]), (4, 2, 2), "as it mixes images"),
        (
            Forward(lambda self, x: x.sort(1)[0]),
            (4,),
            r"'sort' in the forward of the network .*\d+ of \w+.py.* cannot",
        ),
        (Forward(lambda self, x: F.dropout(x)), (4,), "does not end with training"),
        (Forward(lambda self, x: torch.add(x, x, alpha=2)), (4,), "'add' in the forward of the network .*cannot"),
        (Forward(lambda self, x: x if x.sum(1).max(0)[0] > 0 else -x), (4,), "as it mixes images"),
        (Forward(lambda self, x: x * float(x[:, 0].abs().sum(0, keepdim=True))), (4,), "as it mixes images"),
        (Forward(lambda self, x: x if x > 0 else -x), (4,), "would depend on the numbers|cannot be followed|'gt'"),
        (Forward(lambda self, x: x.relu() / x.item()), (4,), "would depend on the numbers|cannot be followed"),
        (Forward(lambda self, x: 3), (4,), "must return a tensor"),
        (Forward(lambda self, x: self.scale + x, scale=nn.ParameterList([torch.ones(4)])), (4,), "cannot be deployed"),
        (nn.Bilinear(4, 4, 4), (4,), "one input|cannot be deployed"),
    ],
    ids=lambda value: None if isinstance(value, nn.Module) else str(value)[:30],
)
def test_what_cannot_be_deployed_is_said_in_one_sentence(model, shape, sentence):
    with pytest.raises(UserError, match=sentence) as raised:
        deploy.lower(model, shape)
    assert "\n" not in str(raised.value)


def test_weights_must_be_finite():
    model = nn.Linear(3, 2)
    model.bias.data[1] = float("nan")
    with pytest.raises(UserError, match="nan or infinite"):
        deploy.lower(model, (3,))


def test_what_is_known_of_a_network_goes_along():
    encoding = Encoding(kind="none", n=1, shape=(1, 3, 4), mean=(0.1,), std=(0.2,))
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    program = deploy.lower(model, (1, 3, 4), encoding=encoding, class_names=["cat", "dog"], provenance={"run": "x"})
    assert (program.encoding, program.class_names, program.provenance) == (encoding, ("cat", "dog"), {"run": "x"})
    with pytest.raises(UserError, match=r"`class_names` \(=3 names\) must be one for each of the 2 outputs"):
        deploy.lower(model, (1, 3, 4), class_names="abc")
    with pytest.raises(
        UserError, match=r"`encoding` \(='none'\) makes images of shape \(1, 3, 4\), but the network takes \(1, 4, 3\)"
    ):
        deploy.lower(model, (1, 4, 3), encoding=encoding)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"kind": "learned"}, "unknown encoding 'learned'; known: grey, none, pixels, zero"),
        ({"kind": "pixels", "shape": (1, 4, 6)}, "a width that 4 divides"),
        ({"kind": "grey"}, "must be given 3 channels, not 1"),
        ({"mean": (0.1, 0.2)}, "a number for each of 1 channels"),
        ({"std": (0.0,)}, "std above 0"),
        ({"n": 0}, "must be at least 1"),
    ],
)
def test_encodings_are_checked(change, sentence):
    fields = {"kind": "none", "n": 4, "shape": (1, 3, 4), "mean": (0.1,), "std": (0.2,)} | change
    with pytest.raises(UserError, match=sentence):
        deploy.lower(nn.Flatten(), (1, 3, 4), encoding=Encoding(**fields))


def test_pooling_by_norm_of_real_numbers_is_torchs():
    assert kinds(assert_lowers(fnn.MaxPool2d(2), (4, 5, 5))) == [MaxPool]


def test_models_without_weights_are_told() -> None:
    lazy = nn.Sequential(nn.LazyLinear(4))
    with torch.device("meta"):
        meta = nn.Sequential(nn.Linear(4, 4))
    for model, message in ((lazy, "lazy layers, without weights yet"), (meta, "on the meta device, without weights")):
        with pytest.raises(UserError, match=message):
            deploy.lower(model, (4,))
