"""Images are taken in every form that callers have them in, by everything that takes images, and refused in one sentence."""

import numpy as np
import pytest
import torch
from torch import nn

from fourfold import deploy
from fourfold.deploy import quantize
from fourfold.deploy.ir.program import Encoding
from fourfold.record import UserError

SHAPE = (1, 4, 4)
FLOATS = np.random.default_rng(0).normal(size=(3, *SHAPE)).astype(np.float32)
FLOATS = torch.from_numpy(FLOATS).bfloat16().float().numpy()  # that every floating type below holds exactly
BYTES = np.random.default_rng(1).integers(0, 256, (3, 4, 4, 1), dtype=np.uint8)
ENCODING = Encoding(kind="none", n=1, shape=SHAPE, mean=(0.5,), std=(0.25,))


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 2)).eval()


FORMS = {
    "array": FLOATS,
    "float64": FLOATS.astype(np.float64),
    "strided": np.repeat(FLOATS, 2, axis=-1)[..., ::2],
    "lists": FLOATS.tolist(),
    "tensor": torch.from_numpy(FLOATS),
    "gradients": torch.from_numpy(FLOATS).requires_grad_(),
    "computed": torch.from_numpy(FLOATS).requires_grad_() * 1,
    "bfloat16": torch.from_numpy(FLOATS).bfloat16(),
    "float16": torch.from_numpy(FLOATS).half(),
    "channels last": torch.from_numpy(FLOATS).contiguous(memory_format=torch.channels_last),
    "negated": torch._neg_view(torch.from_numpy(-FLOATS)),
    "bytes": BYTES,
    "bytes in a tensor": torch.from_numpy(BYTES),
    "no images": FLOATS[:0],
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_logits(form):
    network = deploy.load(deploy.lower(model(), SHAPE, encoding=ENCODING))
    images = FORMS[form]
    plain = BYTES if "bytes" in form else FLOATS[: len(images)]
    assert np.array_equal(network(images), network(plain))


@pytest.mark.parametrize("form", [form for form in FORMS if form != "no images"])
def test_every_form_calibrates_the_same(form, tmp_path):
    program = deploy.lower(model(), SHAPE, encoding=ENCODING)
    images = FORMS[form]
    wanted = quantize.calibrate(program, BYTES if "bytes" in form else FLOATS)
    assert quantize.calibrate(program, images).ranges == wanted.ranges
    packed = deploy.pack(program, tmp_path / "a.safetensors", calibrate=images)
    assert packed.ranges == wanted.ranges


@pytest.mark.parametrize("provenance", ["a run", ["run"], 3])
def test_provenance_is_a_dict(provenance, tmp_path):
    with pytest.raises(UserError, match=r"`provenance` \(=.*\) must be a dict of text by name"):
        deploy.pack(model(), tmp_path / "a.safetensors", shape=SHAPE, provenance=provenance)
    assert not list(tmp_path.iterdir())


NO_IMAGES = {
    "ragged": ([[1.0, 2.0], [3.0]], "must be an array of numbers"),
    "without data": (torch.zeros(1, *SHAPE, device="meta"), "must be an array of numbers"),
    "sparse": (torch.zeros(1, *SHAPE).to_sparse(), "must be an array of numbers"),
    "nothing": (None, "of type object"),
    "text": ("cat.png", "of type <U7"),
    "integers": (np.zeros((1, *SHAPE), np.int64), "must be uint8 or floats"),
    "complex": (np.zeros((1, *SHAPE), np.complex64), "must be uint8 or floats"),
    "another shape": (FLOATS[:, :, 1:], r"and shape \(3, 1, 3, 4\) must be"),
    "one image": (FLOATS[0, 0, 0, 0], r"and shape \(\) must be"),
}


@pytest.mark.parametrize("name", NO_IMAGES)
def test_what_is_no_images_is_refused_by_all_alike(name):
    images, sentence = NO_IMAGES[name]
    program = deploy.lower(model(), SHAPE, encoding=ENCODING)
    for take in (deploy.load(program), lambda images: quantize.calibrate(program, images)):
        with pytest.raises(UserError, match=sentence) as raised:
            take(images)
        assert "`images`" in str(raised.value)
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [(0, 0, 0, 0), (2, 0, 3, 3)])
def test_images_that_are_not_finite_are_no_calibration(value, place, tmp_path):
    program = deploy.lower(model(), SHAPE)
    images = FLOATS.copy()
    images[place] = value
    with pytest.raises(UserError, match=f"`images` must be finite .* image {place[0]} holds"):
        deploy.pack(program, tmp_path / "a.safetensors", calibrate=images)
    assert not list(tmp_path.iterdir())


def test_values_that_leave_float32_are_no_calibration():
    network = nn.Sequential(*(nn.Linear(4, 4) for _ in range(3)))
    for layer in network:
        nn.init.constant_(layer.weight, 1e10)
    with pytest.raises(UserError, match=r"`images` must be smaller: they make values of .* in layer '2'"):
        quantize.calibrate(deploy.lower(network, (4,)), np.ones((1, 4), np.float32))


def test_values_next_to_nothing_are_calibrated_as_nothing():
    network = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 2))
    program = quantize.calibrate(deploy.lower(network, (4,)), np.full((1, 4), 1e-35, np.float32))
    assert program.ranges[0] == program.ranges[1] == 0
    images = np.full((1, 4), 1e-35, np.float32)
    assert np.allclose(deploy.load(program)(images), network[1].bias.detach(), atol=1e-3)


@pytest.mark.parametrize("number", [np.float32, np.float64, np.float16, float])
def test_encodings_may_hold_numpys_numbers(number, tmp_path):
    encoding = Encoding(kind="none", n=np.int64(1), shape=np.array(SHAPE), mean=np.array([0.5], number), std=[number(0.25)])
    assert encoding == ENCODING
    program = deploy.pack(model(), tmp_path / "a.safetensors", encoding=encoding)
    assert program.encoding == deploy.read(tmp_path / "a.safetensors").encoding == ENCODING


def test_settings_of_layers_may_be_numpys_numbers(tmp_path):
    three = np.int64(3)
    network = nn.Sequential(
        nn.Conv2d(2, 2, (3, 3), stride=(np.int32(1),) * 2, padding=(np.int64(1),) * 2, groups=np.int64(2)),
        nn.MaxPool2d(three, three, padding=np.int64(1), ceil_mode=True),
        nn.AvgPool2d(np.int64(2), count_include_pad=True),
    )
    deploy.pack(network, tmp_path / "a.safetensors", shape=(np.int64(2), 9, 9))
    assert deploy.read(tmp_path / "a.safetensors").shapes[-1] == (2, 2, 2)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"shape": (4, 4)}, "`encoding.shape`"),
        ({"mean": 0.5}, "must hold"),
        ({"std": ("white",)}, "must hold"),
        ({"n": None}, "n"),
    ],
)
def test_encodings_of_other_types_are_refused(change, sentence):
    with pytest.raises(UserError, match=sentence):
        Encoding(**({"kind": "none", "n": 1, "shape": SHAPE, "mean": (0.5,), "std": (0.25,)} | change))
