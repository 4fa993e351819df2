"""A copy of a layer, however it is made, is the layer: the same class, algebra, parameters and outputs, in every algebra."""

import copy
import io
import pickle

import pytest
import torch
from every_layer import LAYERS, case, every, outputs

from fourfold import deploy
from fourfold import nn as fnn
from fourfold.algebra import ALGEBRAS, REAL, Algebra
from pages import is_our_layer


def by_torch(layer):
    file = io.BytesIO()
    torch.save(layer, file)
    return torch.load(io.BytesIO(file.getvalue()), weights_only=False)


COPIES = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda value: pickle.loads(pickle.dumps(value)),
    "torch.save": by_torch,
}


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("name", ALGEBRAS)
def test_a_copy_of_an_algebra_is_the_algebra(how, name):
    assert COPIES[how](ALGEBRAS[name]) is ALGEBRAS[name]
    own = Algebra("split", (((1, 0), (0, 1)), ((0, 1), (1, 0))))
    twin = COPIES[how](own)
    assert twin == own
    assert twin.left_table == own.left_table


def test_an_algebra_of_a_known_name_and_other_constants_stays_what_it_is():
    own = Algebra("quaternion", (((1,),),))
    assert pickle.loads(pickle.dumps(own)) == own


@pytest.mark.parametrize("how", [how for how in COPIES if how != "copy"])
@pytest.mark.parametrize(("name", "algebra"), every("real", "quaternion"))
def test_a_copy_of_a_layer_computes_the_same_to_the_last_bit(how, name, algebra):
    layer = case(name).make(algebra)
    x = case(name).inputs(algebra)
    for training in (True, False):
        twin = COPIES[how](layer.train(training))
        results = []
        for module in (layer, twin):
            torch.manual_seed(0)
            results.append(outputs(module, *x))
        for found, expected in zip(*results, strict=True):
            assert torch.equal(found, expected)
    assert type(twin) is type(layer)
    assert repr(twin) == repr(layer)
    assert list(twin.state_dict()) == list(layer.state_dict())


@pytest.mark.parametrize("name", LAYERS)
def test_real_is_told_by_the_dimension_and_not_by_identity(name):
    """As in files of older versions, whose algebras come back as others that are equal."""
    layer = LAYERS[name].make("real")
    inputs = LAYERS[name].inputs("real")
    with torch.no_grad():
        torch.manual_seed(0)
        expected = outputs(layer, *inputs)
        for module in layer.modules():
            if "algebra" in vars(module):
                module.algebra = Algebra("real", REAL.constants)
        torch.manual_seed(0)
        found = outputs(layer.train(), *inputs)
    assert all(map(torch.equal, found, expected))
    assert "algebra" not in repr(layer)


def test_a_copy_of_real_pooling_and_whitening_is_deployed():
    model = torch.nn.Sequential(fnn.Conv2d(4, 8, 3), fnn.WhiteningBatchNorm2d(8, algebra="real"), fnn.MaxPool2d(2)).eval()
    x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    for copied in (copy.deepcopy(model), by_torch(model)):
        assert deploy.lower(copied, (4, 8, 8)) is not None
        assert torch.allclose(fnn.fold_norms(copied)(x), model(x), atol=1e-5)


def test_the_table_of_layers_is_complete():
    ours = {name for name in fnn.__all__ if is_our_layer(getattr(fnn, name))}
    assert {name for name, _ in every("quaternion")} == ours
