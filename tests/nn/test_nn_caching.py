"""What layers cache in evaluation holds for exactly the weights that they have: whoever writes them, and however."""

import copy
import gc
import pickle
import threading

import pytest
import torch
from layer_cases import CASES, EVERY, first
from torch import nn

from fourfold import nn as fnn
from fourfold.nn import caching, few_products

EXPANDING = [(kind, algebra) for kind, algebra in EVERY if list(fnn.stored_weights(CASES[kind].make(algebra)))]
WHITENING = [(kind, algebra) for kind, algebra in EVERY if kind.startswith("Whitening")]
ONE_OF_EACH = list({kind: (kind, algebra) for kind, algebra in EXPANDING + WHITENING}.values())


def swap(values):
    """Exchange two halves, which keeps the sum and every other figure that does not depend on the order."""
    values.copy_(torch.cat([part.clone() for part in reversed(values.flatten().chunk(2))]).view(values.shape))


def write(parameter, how):
    """Change a parameter in one of the ways that torch counts, or does not."""
    if how == "in place":
        swap(parameter)
    elif how == "through data":
        swap(parameter.data)
    elif how == "other data":
        other = parameter.detach().clone()
        swap(other)
        parameter.data = other
    elif how == "numpy":
        array = parameter.detach().numpy()
        array.flat[:] = array.flat[::-1].copy()
    elif how == "dlpack":
        torch.from_dlpack(parameter.detach()).mul_(-1)
    elif how == "one bit":
        bits = parameter.detach().view(torch.int64).flatten()
        bits[-1] ^= 1 << 51
    elif how == "nan":
        parameter.data.flatten()[0] = float("nan")
    elif how == "negative zero":
        parameter.data.zero_().neg_()


WRITES = ["in place", "through data", "other data", "numpy", "dlpack", "one bit", "nan", "negative zero"]


@pytest.fixture(params=[False, True], ids=["matrix", "few products"], autouse=True)
def chosen(request, products_pay):
    products_pay(lambda *given: request.param)
    caching.clear_cache()


def evaluated(layer, inputs, mode=torch.no_grad):
    with mode():
        return first(layer(*inputs))


def assert_same_as_afresh(layer, inputs):
    """Raise unless the layer computes, to the last bit, what a copy of it does that has nothing cached."""
    found, expected = evaluated(layer, inputs), evaluated(copy.deepcopy(layer), inputs)
    assert torch.equal(found.view(torch.int64), expected.view(torch.int64))


@pytest.mark.parametrize(("kind", "algebra"), EXPANDING + WHITENING)
def test_every_write_to_every_parameter_is_noticed(kind, algebra):
    case = CASES[kind]
    layer, inputs = case.layer(algebra).eval(), case.inputs()
    evaluated(layer, inputs)
    for how in WRITES:
        statistics = [buffer for name, buffer in layer.named_buffers() if "running" in name]
        for parameter in [*layer.parameters(), *statistics]:
            before = parameter.detach().clone()
            with torch.no_grad():
                write(parameter, how)
            assert_same_as_afresh(layer, inputs)
            with torch.no_grad():
                parameter.data.copy_(before)
        assert_same_as_afresh(layer, inputs)


@pytest.mark.parametrize(("kind", "algebra"), ONE_OF_EACH)
def test_layers_that_expand_their_weights_cache_that(kind, algebra, monkeypatch):
    if kind.startswith("Embedding"):
        pytest.skip("multiplies nothing")
    case = CASES[kind]
    layer, inputs = case.layer(algebra).eval(), case.inputs()
    expected = evaluated(layer, inputs)
    assert any(module in caching._ENTRIES for module in layer.modules())

    def refuse(*given, **more):
        raise AssertionError("expanded again")

    for name in ("_matrix_of", "_evaluation_of"):
        monkeypatch.setattr(type(layer), name, refuse, raising=False)
    monkeypatch.setattr("fourfold.nn.blocks.real_matrix", refuse)
    monkeypatch.setattr(few_products, "mixed_weight", refuse)
    for mode in (torch.no_grad, torch.inference_mode):
        assert torch.equal(evaluated(layer, inputs, mode), expected)


@pytest.mark.parametrize(("kind", "algebra"), ONE_OF_EACH)
def test_training_works_after_inference_mode_and_frees_the_cache(kind, algebra):
    case = CASES[kind]
    layer, inputs = case.layer(algebra).eval(), case.inputs()
    expected = evaluated(layer, inputs, torch.inference_mode)
    with torch.no_grad():
        assert torch.equal(first(layer(*inputs)), expected)
    layer.train()
    first(layer(*inputs)).sum().backward()
    assert all(parameter.grad is not None for parameter in layer.parameters())
    assert not any(module in caching._ENTRIES for module in layer.modules())


def test_layers_made_in_inference_mode_are_cached_too():
    with torch.inference_mode():
        layer = fnn.Linear(16, 16, algebra="octonion").eval()
    x = torch.randn(40, 16)
    assert torch.equal(evaluated(layer, [x]), evaluated(layer, [x], torch.inference_mode))
    assert layer in caching._ENTRIES


@pytest.mark.parametrize("kind", ["Conv2d", "LSTM", "MultiheadAttention", "RotationLinear"])
def test_copies_pickles_and_state_dicts_have_none_of_it(kind):
    case = CASES[kind]
    layer, inputs = case.layer("quaternion").eval(), case.inputs()
    before = {name: set(module.__dict__) for name, module in layer.named_modules()}
    expected = evaluated(layer, inputs)
    assert {name: set(module.__dict__) for name, module in layer.named_modules()} == before
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert not any(module in caching._ENTRIES for module in twin.modules())
        assert torch.equal(evaluated(twin, inputs), expected)
        with torch.no_grad():
            next(twin.parameters()).mul_(2)
        evaluated(twin, inputs)
        assert torch.equal(evaluated(layer, inputs), expected)


def test_what_is_cached_ends_with_its_layer_or_when_it_is_cleared():
    layers = [fnn.Conv2d(8, 8, 3, algebra="quaternion").eval() for _ in range(3)]
    for layer in layers:
        evaluated(layer, [torch.randn(2, 8, 6, 6)])
    assert len(caching._ENTRIES) == 3
    fnn.clear_cache(nn.Sequential(layers[0]))
    assert [layer in caching._ENTRIES for layer in layers] == [False, True, True]
    del layer, layers[1]
    gc.collect()
    assert len(caching._ENTRIES) == 1
    fnn.clear_cache()
    assert len(caching._ENTRIES) == 0


def test_the_reference_path_caches_nothing_and_uses_nothing_cached(monkeypatch):
    layer, x = fnn.Conv2d(8, 8, 3, algebra="quaternion").eval(), torch.randn(2, 8, 6, 6)
    expected = evaluated(layer, [x])
    monkeypatch.setattr(few_products, "convolution", lambda *given: pytest.fail("took the few products"))
    for entry in caching._ENTRIES.values():
        monkeypatch.setattr(type(entry), "is_of", lambda *given: pytest.fail("looked at the cache"))
    with fnn.reference_path():
        torch.testing.assert_close(evaluated(layer, [x]), expected)
    seen = []
    thread = threading.Thread(target=lambda: seen.append(caching.is_plain_eager()))
    with fnn.reference_path():
        thread.start()
        thread.join()
    assert seen == [True], "it holds in its own thread"


def test_threads_that_evaluate_while_another_writes_leave_the_right_weights_cached():
    layer = fnn.Linear(64, 64, algebra="quaternion", dtype=torch.float64).eval()
    x = torch.randn(100, 64, dtype=torch.float64)
    states = [torch.randn_like(layer.weight) for _ in range(2)]
    outputs, ended = [], threading.Event()

    def evaluate():
        while not ended.is_set():
            outputs.append(evaluated(layer, [x]))

    threads = [threading.Thread(target=evaluate) for _ in range(3)]
    for thread in threads:
        thread.start()
    for turn in range(200):
        layer.weight.data.copy_(states[turn % 2])
    ended.set()
    for thread in threads:
        thread.join()
    assert outputs
    assert_same_as_afresh(layer, [x])
    for state in states:
        layer.weight.data.copy_(state)
        assert_same_as_afresh(layer, [x])


def test_a_write_while_the_weight_is_expanded_is_noticed(monkeypatch):
    layer = fnn.Conv2d(8, 8, 3, algebra="quaternion", dtype=torch.float64).eval()
    x = torch.randn(2, 8, 6, 6, dtype=torch.float64)
    for name, owner in (("_matrix_of", fnn.Conv2d), ("mixed_weight", few_products)):
        function = getattr(owner, name)

        def interrupted(*given, function=function, **more):
            layer.weight.data.mul_(2)  # as another thread would
            made = function(*given, **more)
            layer.weight.data.div_(2)
            return made

        monkeypatch.setattr(owner, name, interrupted)
    found = evaluated(layer, [x])
    monkeypatch.undo()
    torch.testing.assert_close(evaluated(layer, [x]), evaluated(copy.deepcopy(layer), [x]))
    torch.testing.assert_close(found, evaluated(layer, [x]))


def test_weights_with_gaps_or_repetitions_in_memory_are_not_cached():
    layer, x = fnn.Linear(16, 16, bias=False, algebra="octonion").eval(), torch.randn(40, 16)
    layer.weight = nn.Parameter(torch.randn(32, 4)[::2, ::2])
    evaluated(layer, [x])
    assert layer not in caching._ENTRIES
    layer.weight = nn.Parameter(torch.randn(16, 1).expand(16, 2), requires_grad=False)
    evaluated(layer, [x])
    assert layer not in caching._ENTRIES
    layer.weight = nn.Parameter(torch.randn(2, 16).t())
    evaluated(layer, [x])
    assert layer in caching._ENTRIES
