"""An artifact is small, is read back exactly, by any safetensors reader too, and anything else than itself is refused."""

import json
import subprocess
import sys
from dataclasses import fields

import numpy as np
import pytest
import safetensors
import safetensors.numpy
import torch
from deploy_samples import assert_near, every_operation, images_of, lively, same, thinned, torch_outputs
from torch import nn

from fourfold import deploy, models, pruning
from fourfold import nn as fnn
from fourfold.deploy.artifact.values import VALUES
from fourfold.deploy.backends import numpy as reference
from fourfold.deploy.ir._assemble import assemble
from fourfold.deploy.ir.ops import OPS, Activation, Pad
from fourfold.deploy.ir.program import Encoding
from fourfold.record import UserError


@pytest.mark.parametrize("entropy", [False, True])
@pytest.mark.parametrize("algebra", ["real", "complex", "quaternion"])
def test_a_program_comes_back_exactly(tmp_path, algebra, entropy):
    program = every_operation(algebra)
    packed = deploy.pack(program, tmp_path / "a.safetensors", entropy=entropy)
    assert same(packed, program)
    assert same(deploy.read(tmp_path / "a.safetensors"), program)


def test_settings_come_back_to_the_sign_of_zero(tmp_path):
    """Every float that an operation has, as the number that compares equal to its default and is another."""
    operations = [
        kind for kind in OPS if any(field.default == 0.0 and field.type in (float, "float") for field in fields(kind))
    ]
    assert {Pad, Activation} <= set(operations)
    for number, program in enumerate(
        [
            assemble((4,), [Pad(name="pad", inputs=(0,), output=1, before=(1,), after=(1,), value=-0.0)]),
            assemble((4,), [Activation(name="leaky", inputs=(0,), output=1, function="leaky_relu", alpha=-0.0)]),
        ]
    ):
        deploy.pack(program, tmp_path / f"{number}.safetensors")
        (again,) = deploy.read(tmp_path / f"{number}.safetensors").operations
        assert repr(again) == repr(program.operations[0])


@pytest.mark.parametrize("entropy", [False, True])
@pytest.mark.parametrize("values", list(VALUES))
def test_rounded_values_come_back_as_they_were_rounded(tmp_path, values, entropy):
    program = every_operation()
    packed = deploy.pack(program, tmp_path / "a.safetensors", values=values, entropy=entropy)
    again = deploy.pack(packed, tmp_path / "b.safetensors", values=values, entropy=entropy)
    assert same(packed, deploy.read(tmp_path / "a.safetensors"))
    assert same(packed, again)
    images = images_of((3, 8, 8)).numpy()
    exact = reference.run(program, images)
    bound = {"fp32": 0, "fp16": 2e-3, "int8": 0.05, "codebook": 0.4}[values]
    assert np.abs(reference.run(packed, images) - exact).max() <= bound * np.abs(exact).max()


def test_a_model_is_lowered_and_packed(tmp_path):
    model = thinned(lively(models.build("conv-2", algebra="quaternion", shape=(4, 8, 8), seed=0)), 0.1)
    images = images_of((4, 8, 8))
    for shape in ({"shape": (4, 8, 8)}, {"encoding": Encoding(kind="grey", n=4, shape=(3, 8, 8), mean=(0,) * 3, std=(1,) * 3)}):
        packed = deploy.pack(model, str(tmp_path / "a.safetensors"), **shape)
        assert_near(reference.run(packed, images.numpy()), torch_outputs(model, images))


def test_images_to_calibrate_with_give_shape_and_ranges(tmp_path):
    model = models.build("lenet-12", shape=(1, 4, 4), seed=0)
    packed = deploy.pack(model, tmp_path / "a.safetensors", values="int8", calibrate=images_of((1, 4, 4), 20))
    assert set(packed.ranges) == set(range(len(packed.shapes)))
    assert same(deploy.read(tmp_path / "a.safetensors"), packed)


def conv4(algebra="quaternion"):
    """Conv-4 as it is drawn, pruned by global magnitude to 3 % of the real network's 2,425,930 parameters."""
    model = models.build("conv-4", algebra=algebra, seed=0)
    weights = sum(weight.numel() for weight in fnn.named_weights(model).values())
    pruning.prune(model, density=(0.03 * 2_425_930 - 906) / weights)
    return model


@pytest.mark.slow
def test_conv4_at_three_percent_of_the_real_weights_is_as_small_as_documented(tmp_path):
    program = deploy.lower(conv4(), (4, 32, 32))
    sizes = {}
    for values, entropy in (("fp32", False), ("int8", False), ("int8", True), ("codebook", True)):
        deploy.pack(program, tmp_path / "a.safetensors", values=values, entropy=entropy)
        sizes[values, entropy] = (tmp_path / "a.safetensors").stat().st_size
    assert sizes["fp32", False] <= 370_000
    assert sizes["int8", False] <= 150_000
    assert sizes["int8", True] <= 100_000
    assert sizes["codebook", True] <= 72_000


def test_whole_quaternions_store_one_index_for_four_values(tmp_path):
    layer = fnn.Linear(256, 256, algebra="quaternion")
    torch.manual_seed(0)
    numbers = torch.rand(64, 64) < 0.1
    layer.weight.data.view(4, 64, 64).mul_(numbers)
    deploy.pack(layer, tmp_path / "a.safetensors", shape=(256,))
    tensors = safetensors.numpy.load_file(tmp_path / "a.safetensors")
    assert len(tensors["0.values"]) == 4 * int(numbers.sum())
    assert len(tensors["0.positions"]) <= int(numbers.sum())
    assert "0.parts" not in tensors


def test_any_reader_of_safetensors_finds_the_documented_tensors(tmp_path):
    torch.manual_seed(0)
    convolution = nn.Conv2d(3, 5, 3)
    convolution.weight.data *= torch.rand(5, 3, 3, 3) < 0.5
    deploy.pack(convolution, tmp_path / "a.safetensors", values="int8", shape=(3, 6, 6))
    with safetensors.safe_open(tmp_path / "a.safetensors", "numpy") as file:
        about = json.loads(file.metadata()["program"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    assert {name: array.dtype.name for name, array in tensors.items()} == {
        "0.positions": "uint8",
        "0.values": "int8",
        "0.scale": "float32",
        "0.bias": "float16",
    }
    assert about["operations"][0]["product"]["mask"]["positions"] == "bitmap"
    kept = np.unpackbits(tensors["0.positions"], count=135).astype(bool).reshape(5, 3, 3, 3)
    weight = np.zeros((5, 3, 3, 3), np.float32)
    weight[kept] = tensors["0.values"]
    weight *= tensors["0.scale"][:, None, None, None]
    assert np.array_equal(weight, deploy.read(tmp_path / "a.safetensors").operations[0].product.weight[0])


def test_biases_beyond_half_precision_stay_in_single(tmp_path):
    layer = nn.Linear(3, 2)
    layer.bias.data[:] = torch.tensor([1e6, 1 / 3])
    packed = deploy.pack(layer, tmp_path / "a.safetensors", values="int8", shape=(3,))
    assert np.array_equal(packed.operations[0].product.bias, layer.bias.detach().numpy())


def test_mistakes_are_said_in_one_sentence(tmp_path):
    layer = nn.Linear(3, 2)
    with pytest.raises(UserError, match=r"unknown values 'int4'; did you mean int8\? known: codebook, fp16, fp32, int8"):
        deploy.pack(layer, tmp_path / "a.safetensors", values="int4", shape=(3,))
    with pytest.raises(UserError, match=r"`shape` \(=None\) must be channels, height and width"):
        deploy.pack(layer, tmp_path / "a.safetensors")
    with pytest.raises(UserError, match=r"cannot write .*a.safetensors"):
        deploy.pack(layer, tmp_path / "none" / "a.safetensors", shape=(3,))
    with pytest.raises(UserError, match=r"cannot read .*none.safetensors"):
        deploy.read(tmp_path / "none.safetensors")


def test_reading_needs_no_torch(tmp_path):
    deploy.pack(nn.Linear(3, 2), tmp_path / "a.safetensors", shape=(3,))
    code = (
        "import sys, numpy as np; from fourfold import deploy; from fourfold.deploy.backends import numpy as reference;"
        f"program = deploy.read({str(tmp_path / 'a.safetensors')!r});"
        "print(reference.run(program, np.zeros((1, 3))).shape, 'torch' in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "(1, 2) False\n"


@pytest.mark.parametrize(
    "take", [deploy.load, lambda model: deploy.to_c(model, "."), lambda model: deploy.to_onnx(model, "a.onnx")]
)
def test_a_model_without_its_shape_and_what_is_no_network_are_refused(take):
    with pytest.raises(UserError, match=r"`shape` \(=None\) must be"):
        take(nn.Linear(3, 2))
    with pytest.raises(UserError, match=r"`(network|program)` \(a dict\) must be an artifact's path, a program or a network"):
        take({})


def test_a_model_is_loaded_and_exported_with_its_shape(tmp_path):
    pytest.importorskip("onnx")
    model, images = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Sigmoid()), np.ones((2, 1, 4, 5), np.float32)
    wanted = deploy.load(deploy.lower(model, (1, 4, 5)))(images)
    assert np.array_equal(deploy.load(model, shape=(1, 4, 5))(images), wanted)
    encoding = deploy.Encoding(kind="none", n=1, shape=(1, 4, 5), mean=(0.5,), std=(0.25,))
    assert "_run_bytes" in deploy.to_c(model, tmp_path, encoding=encoding)[1].read_text()
    assert deploy.to_onnx(model, tmp_path / "a.onnx", shape=(1, 4, 5)).graph.output[0].name == "logits"
    images = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 1), dtype=np.uint8)
    assert encoding.encode(images).shape == (2, 1, 4, 5)
    network = deploy.load(model, encoding=encoding)
    assert np.abs(network(images) - network(encoding.encode(images))).max() < 1e-5


def test_an_artifact_becomes_onnx_as_it_becomes_c(tmp_path):
    pytest.importorskip("onnx")
    program = deploy.pack(nn.Linear(3, 2), tmp_path / "a.safetensors", shape=(3,))
    found = deploy.to_onnx(tmp_path / "a.safetensors", tmp_path / "a.onnx")
    assert found == deploy.to_onnx(program, tmp_path / "b.onnx")


@pytest.mark.parametrize("folder", ["taken", "taken/below", "/proc/none"])
def test_c_in_a_place_that_cannot_be_written(tmp_path, folder):
    program = deploy.lower(nn.Linear(3, 2), (3,))
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(UserError, match="cannot write "):
        deploy.to_c(program, tmp_path / folder)
    with pytest.raises(UserError, match="cannot write "):
        deploy.to_c(program, tmp_path, name="a" * 300)
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]
