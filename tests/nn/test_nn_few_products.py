"""The few real products of an algebra: their law, layers computed by them, and when they are not."""

import copy
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nn_reference import by_components, draw
from torch.autograd import forward_ad
from torch.nn import functional as F
from torch.nn.utils import parametrize

from fourfold import nn as fnn
from fourfold.algebra import get, product
from fourfold.nn import base, caching, few_products, linear
from fourfold.nn.product_algorithms import PRODUCTS

KNOWN = ["complex", "quaternion"]
LAYERS = {1: fnn.Conv1d, 2: fnn.Conv2d, 3: fnn.Conv3d}
FUNCTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
CONVOLUTION = (fnn.Conv2d(64, 64, 3, padding=1, algebra="quaternion"), (16, 64, 8, 8))
LINEAR = (fnn.Linear(512, 512, algebra="quaternion"), (128, 512))


def use_products(patch):
    """Take the products wherever they can be used, and return a list that grows each time."""
    taken = []
    for name in ("convolution", "linear"):
        function = getattr(few_products, name)
        patch.setattr(few_products, name, lambda *given, function=function: taken.append(function) or function(*given))
        patch.setattr(few_products, f"{name}_pays", lambda *given: True)
    return taken


@pytest.fixture
def products_taken(monkeypatch):
    return use_products(monkeypatch)


@pytest.fixture
def choices(monkeypatch):
    """A list that grows each time the layers' own choice falls on the products."""
    taken = []
    for name in ("convolution", "linear"):
        function = getattr(few_products, name)
        monkeypatch.setattr(few_products, name, lambda *given, function=function: taken.append(function) or function(*given))
    return taken


def values_and_gradients(function, *inputs):
    y = function(*inputs)
    wanted = [x for x in inputs if x.requires_grad]
    return [y, *torch.autograd.grad((y * draw(9, *y.shape, dtype=y.dtype)).sum(), wanted)]


def assert_same(found, expected):
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(("name", "rank"), [("complex", 3), ("quaternion", 8)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_matrices_make_the_product_of_the_algebra(name, rank, dtype):
    products, n = PRODUCTS[dtype][get(name)], get(name).n
    w, x = (torch.randint(-9, 9, (50, n), generator=torch.Generator().manual_seed(seed)).to(dtype) for seed in (0, 1))
    found = ((w @ products.weights.t()) * (x @ products.inputs.t())) @ products.outputs.t()
    assert torch.equal(found, product(w, x, get(name)))
    assert torch.equal(products.outputs @ products.bias, torch.eye(n, dtype=dtype))
    assert products.rank == rank < n * n


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")
@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.data())
def test_convolutions_by_products_are_the_sum_over_structure_constants(draws):
    name, rank = draws.draw(st.sampled_from(KNOWN)), draws.draw(st.integers(1, 3))
    n = get(name).n
    groups, num_in, num_out = (draws.draw(st.integers(1, high)) for high in (2, 2, 3))
    kernel, dilation = (tuple(draws.draw(st.integers(1, high)) for _ in range(rank)) for high in (3, 2))
    padding = draws.draw(st.sampled_from(["same", "valid", 0, (2,) * rank]))
    stride = 1 if padding == "same" else draws.draw(st.integers(1, 3))
    mode = draws.draw(st.sampled_from(["zeros", "reflect", "circular"]))
    bias, batched = draws.draw(st.booleans()), draws.draw(st.booleans())
    sizes = [draws.draw(st.integers(5, 6)) for _ in range(rank)]
    x = draw(draws.draw(st.integers(0, 99)), *[3] * batched, n * groups * num_in, *sizes).requires_grad_()
    options = (kernel, stride, padding, dilation, groups, bias, mode)
    layer = LAYERS[rank](n * groups * num_in, n * groups * num_out, *options, dtype=x.dtype, algebra=name)

    def reference(x, weight, *bias):
        sides = [side for k, d in zip(reversed(kernel), reversed(dilation), strict=True) for side in around(k, d)]
        padded = F.pad(x if batched else x[None], sides, mode="constant" if mode == "zeros" else mode)

        def operation(x, w):
            return FUNCTIONS[rank](x, w, None, stride, 0, dilation, groups)

        y = by_components(operation, weight, *bias or [None], padded, 1, name)
        return y if batched else y[0]

    def around(k, d):
        span = d * (k - 1) if padding == "same" else 0
        side = padding if isinstance(padding, int) else 0 if isinstance(padding, str) else padding[0]
        return span // 2 + side, span - span // 2 + side

    inputs = (x, *layer.parameters())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(few_products, "CHUNK_BYTES", 512)  # several chunks, the last one smaller
        taken = use_products(patch)
        found = values_and_gradients(lambda x, *_: layer(x), *inputs)
        assert taken
    assert_same(found, values_and_gradients(reference, *inputs))


@settings(derandomize=True, deadline=None, max_examples=30)
@given(
    st.sampled_from(KNOWN),
    st.integers(1, 5),
    st.integers(1, 4),
    st.lists(st.integers(1, 3), max_size=2),
    st.booleans(),
    st.integers(0, 99),
)
def test_linear_by_products_is_the_sum_over_structure_constants(name, num_in, num_out, batch, bias, seed):
    n = get(name).n
    layer = fnn.Linear(n * num_in, n * num_out, bias, dtype=torch.float64, algebra=name)
    inputs = (draw(seed, *batch, n * num_in).requires_grad_(), *layer.parameters())
    with pytest.MonkeyPatch.context() as patch:
        taken = use_products(patch)
        found = values_and_gradients(lambda x, *_: layer(x), *inputs)
        assert taken

    def reference(x, weight, *bias):
        return by_components(F.linear, weight, *bias or [None], x, -1, name)

    assert_same(found, values_and_gradients(reference, *inputs))


def small_layers(name):
    n = get(name).n
    return {
        "convolution": (fnn.Conv1d(2 * n, 2 * n, 2, groups=2, dtype=torch.float64, algebra=name), (2, 2 * n, 3)),
        "linear": (fnn.Linear(n, 2 * n, dtype=torch.float64, algebra=name), (2, n)),
    }


@pytest.mark.parametrize("name", KNOWN)
@pytest.mark.parametrize("kind", ["convolution", "linear"])
def test_first_and_second_derivatives_are_the_numerical_ones(name, kind, products_taken):
    layer, shape = small_layers(name)[kind]
    x = draw(0, *shape).requires_grad_()

    def forward(x, *_):
        return layer(x)

    assert torch.autograd.gradcheck(forward, (x, *layer.parameters()))
    assert torch.autograd.gradgradcheck(forward, (x, *layer.parameters()))
    assert products_taken


@pytest.mark.parametrize("name", ["quaternion", "octonion"])
def test_second_derivatives_of_the_products_of_components_are_the_numerical_ones(name):
    n = get(name).n
    layer = fnn.Linear(2 * n, n, dtype=torch.float64, algebra=name)
    x = draw(0, 1, 2 * n).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x, *_: layer(x), (x, *layer.parameters()))


@pytest.mark.parametrize("frozen", [(), ("weight",), ("bias",), ("weight", "bias"), ("x",), ("x", "bias")])
@pytest.mark.parametrize("kind", ["convolution", "linear"])
def test_gradients_that_nobody_needs_are_left_out(kind, frozen, products_taken, monkeypatch):
    layer, shape = small_layers("quaternion")[kind]
    x = draw(0, *shape).requires_grad_("x" not in frozen)
    for name, parameter in layer.named_parameters():
        parameter.requires_grad_(name not in frozen)
    found = values_and_gradients(lambda x, *_: layer(x), x, *layer.parameters())
    assert products_taken
    monkeypatch.setattr(few_products, "usable", lambda *given: False)
    assert_same(found, values_and_gradients(lambda x, *_: layer(x), x, *layer.parameters()))


def test_backward_keeps_the_input_and_the_weights_and_nothing_else(products_taken):
    for layer, shape in (CONVOLUTION, LINEAR):
        kept = []
        x = draw(0, *shape, dtype=torch.float32)
        with torch.autograd.graph.saved_tensors_hooks(lambda tensor, kept=kept: kept.append(tensor) or tensor, lambda t: t):
            layer(x)
        assert sum(t.numel() for t in kept) == x.numel() + 3 * layer.weight.numel()
        assert {x.data_ptr(), layer.weight.data_ptr()} <= {t.data_ptr() for t in kept}
    assert len(products_taken) == 2


def test_a_weight_changed_before_backward_is_noticed(products_taken):
    layer, shape = small_layers("quaternion")["convolution"]
    y = layer(draw(0, *shape))
    with torch.no_grad():
        layer.weight.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


@pytest.mark.parametrize("given", [CONVOLUTION, LINEAR], ids=["convolution", "linear"])
def test_the_error_stays_within_twice_that_of_the_real_layer(given, choices):
    layer, shape = given
    inputs = (draw(0, *shape, dtype=torch.float32).requires_grad_(), *layer.parameters())
    apply = F.linear if isinstance(layer, fnn.Linear) else lambda *given: F.conv2d(*given, padding=1)

    def dense(x, weight, bias):
        return apply(x, get("quaternion").matrix(weight.view(4, -1, *weight.shape[1:])), bias)

    exact = values_and_gradients(dense, *(x.detach().double().requires_grad_() for x in inputs))
    ours = values_and_gradients(lambda x, *_: layer(x), *inputs)
    assert choices
    for found, real, right in zip(ours, values_and_gradients(dense, *inputs), exact, strict=True):
        error, real_error = ((values.double() - right).norm() for values in (found, real))
        assert error <= 2 * real_error


# When they are taken


@pytest.mark.parametrize("given", [CONVOLUTION, LINEAR], ids=["convolution", "linear"])
def test_large_layers_of_plain_tensors_take_the_products(given, choices):
    layer, shape = given
    layer(torch.zeros(shape))
    assert choices


REFUSED = {
    "autocast": lambda layer, x: torch.autocast("cpu", torch.bfloat16)(layer)(x),
    "vmap": lambda layer, x: torch.vmap(layer)(x.unsqueeze(1)).squeeze(1),
    "jvp": lambda layer, x: torch.func.jvp(layer, (x,), (x,))[0],
    "trace": lambda layer, x: torch.jit.trace(layer, x)(x),
    "half": lambda layer, x: copy.deepcopy(layer).bfloat16()(x.bfloat16()),
    "meta": lambda layer, x: copy.deepcopy(layer).to("meta")(x.to("meta")),
    "empty": lambda layer, x: layer(x[:0]),
    "subclass": lambda layer, x: layer(x.as_subclass(type("Marked", (torch.Tensor,), {}))),
    "real": lambda layer, x: fnn.Linear(x.shape[-1], 8)(x),
}


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # torch itself scripts for forward derivatives
@pytest.mark.parametrize("given", [CONVOLUTION, LINEAR], ids=["convolution", "linear"])
@pytest.mark.parametrize("how", REFUSED)
def test_everything_but_plain_eager_mode_sees_the_matrix(how, given, choices):
    layer, shape = given
    x = draw(0, *shape, dtype=torch.float32)
    found = REFUSED[how](layer, x)
    assert not choices
    if how in ("vmap", "jvp", "trace"):
        torch.testing.assert_close(found, layer(x))


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_forward_mode_derivatives_are_those_of_the_matrix(choices):
    layer, shape = CONVOLUTION
    x = draw(0, *shape, dtype=torch.float32)
    with forward_ad.dual_level():
        tangent = forward_ad.unpack_dual(layer(forward_ad.make_dual(x, x))).tangent
    assert not choices
    torch.testing.assert_close(tangent, layer(x) - layer.bias.view(-1, 1, 1))


@pytest.mark.slow
def test_a_compiled_layer_sees_the_matrix(choices):
    layer, shape = CONVOLUTION
    x = draw(0, *shape, dtype=torch.float32)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")(x)
    assert not choices
    torch.testing.assert_close(compiled, layer(x))


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({"in_channels": 32}, (64, 32, 16, 16)),  # 8 numbers of input
        ({"out_channels": 32}, (64, 64, 16, 16)),
        ({"in_channels": 80}, (64, 80, 16, 16)),  # 20 numbers are no whole vectors
        ({"groups": 2}, (64, 64, 16, 16)),
        ({"kernel_size": 1}, (64, 64, 16, 16)),  # too few multiplications for every input
        ({"stride": 2}, (64, 64, 16, 16)),
        ({}, (1, 64, 4, 4)),
    ],
)
def test_layers_that_the_matrix_computes_faster_keep_it(options, shape, choices):
    layer = fnn.Conv2d(**{"in_channels": 64, "out_channels": 64, "kernel_size": 3, **options}, algebra="quaternion")
    layer(torch.zeros(shape))
    assert not choices


def test_channels_last_and_other_layouts_keep_the_matrix(choices):
    layer, shape = CONVOLUTION
    x = torch.zeros(shape)
    layer(x.to(memory_format=torch.channels_last))
    layer(x.transpose(2, 3))
    copy.deepcopy(layer).to(memory_format=torch.channels_last)(x)
    assert not choices


def test_a_layer_that_makes_another_matrix_of_its_weight_keeps_it(choices):
    class Doubled(fnn.Linear):
        def matrix(self):
            return 2 * super().matrix()

    layer, shape = LINEAR
    doubled = Doubled(512, 512, algebra="quaternion")
    doubled.load_state_dict(layer.state_dict())
    x = draw(0, *shape, dtype=torch.float32)
    for mode in (True, False):
        with torch.set_grad_enabled(mode):
            torch.testing.assert_close(doubled.eval()(x) - layer.bias, 2 * (layer(x) - layer.bias))
    assert len(choices) == 1  # of the usual layer, in the first turn


# What is kept between calls


@pytest.fixture(params=["matrix", "products"])
def evaluating(request, monkeypatch):
    """A layer that evaluates, and how often something was made of its weight."""
    made = []
    mixed, matrix = few_products.mixed_weight, base.AlgebraLayer._matrix_of
    monkeypatch.setattr(few_products, "mixed_weight", lambda *given: made.append("products") or mixed(*given))
    monkeypatch.setattr(base.AlgebraLayer, "_matrix_of", lambda *given: made.append("matrix") or matrix(*given))
    monkeypatch.setattr(few_products, "convolution_pays", lambda *given: request.param == "products")
    layer = fnn.Conv2d(8, 8, 3, algebra="quaternion").eval()
    with torch.no_grad():
        layer.weight.mul_(99).round_()  # integers, whose sum is the same in every order
    return layer, made


CHANGES = {
    "in place": lambda layer: layer.weight.mul_(2),
    "order in place": lambda layer: layer.weight.copy_(layer.weight.flip(0)),
    "through data": lambda layer: layer.weight.data.mul_(2),
    "other data": lambda layer: setattr(layer.weight, "data", layer.weight.data.flip(0)),
    "other parameter": lambda layer: setattr(layer, "weight", torch.nn.Parameter(layer.weight * 2)),
    "state dict": lambda layer: layer.load_state_dict({**layer.state_dict(), "weight": layer.weight * 2}),
    "type": lambda layer: layer.double(),
    "training": lambda layer: layer.train().weight.mul_(2),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_what_is_made_of_a_weight_is_kept_until_it_changes(evaluating, change, mode):
    layer, made = evaluating
    x = draw(0, 2, 8, 5, 5, dtype=torch.float32)
    with mode():
        assert torch.equal(layer(x), layer(x))
        assert len(made) == 1
    with torch.no_grad():
        CHANGES[change](layer)
    with mode():
        x = x.to(layer.weight.dtype)
        expected = by_components(F.conv2d, layer.weight, layer.bias, x, 1, "quaternion")
        torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-3)
        assert len(made) == 2


def test_copies_pickles_and_states_have_none_of_what_is_kept(evaluating):
    layer, made = evaluating
    x = draw(0, 2, 8, 5, 5, dtype=torch.float32)
    before = set(layer.__dict__)
    with torch.no_grad():
        expected = layer(x)
        for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
            assert set(twin.__dict__) == set(layer.__dict__) == before
            assert torch.equal(twin(x), expected)
    assert set(layer.state_dict()) == {"weight", "bias"}
    assert len(made) == 3


def test_nothing_is_kept_of_layers_that_train(evaluating):
    layer, _ = evaluating
    x = draw(0, 2, 8, 5, 5, dtype=torch.float32)
    with torch.no_grad():
        layer(x)
    assert layer in caching._ENTRIES
    layer(x)
    assert layer not in caching._ENTRIES
    with torch.no_grad():
        layer.train()(x)
    assert layer not in caching._ENTRIES


def test_a_weight_that_is_computed_may_change_beneath(evaluating):
    layer, _ = evaluating
    x = draw(0, 2, 8, 5, 5, dtype=torch.float32)

    class Doubled(torch.nn.Module):
        def forward(self, weight):
            return 2 * weight

    parametrize.register_parametrization(layer.eval(), "weight", Doubled())
    with torch.no_grad():
        first = layer(x)
        layer.parametrizations.weight.original.data.neg_()
        torch.testing.assert_close(
            layer(x) - layer.bias.view(-1, 1, 1), layer.bias.view(-1, 1, 1) - first, rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize("out_features", [4, 2048])
def test_a_linear_layer_that_evaluates_computes_what_it_trains_with(out_features, choices):
    layer = fnn.Linear(256, out_features, algebra="quaternion").eval()
    for rows in (1, 2, 300):
        x = draw(0, rows, 256, dtype=torch.float32)
        with torch.no_grad():
            evaluated = [layer(x), layer(x)]
        torch.testing.assert_close(evaluated, [layer(x).detach()] * 2, rtol=1e-4, atol=1e-5)
    assert bool(choices) == (out_features == 2048)


def test_the_three_ways_of_a_linear_layer_are_chosen_by_shape():
    weight = torch.empty(512, 128)
    three, eight = (PRODUCTS[torch.float32][get(name)] for name in KNOWN)
    assert few_products.linear_pays(128, 512, 512, eight)
    assert not few_products.linear_pays(128, 512, 512, three)
    assert not few_products.linear_pays(16, 512, 512, eight)
    assert linear._few_rows(16, weight)
    assert not linear._few_rows(128, weight)
    with torch.no_grad():
        assert not few_products.linear_pays(128, 512, 512, eight)
        assert not linear._few_rows(16, weight)
