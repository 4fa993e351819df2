"""Every level of trial 0 leaves what its network says of a few test items: what it would say again, within bounds."""

import numpy as np
import pytest
import torch
from PIL import Image

import fourfold as ff
from fourfold import lottery, presets
from fourfold.execution._repair import repair
from fourfold.record import RunStore, with_fields
from fourfold.record.examples import LONGEST_SIDE, MOST_BYTES, VOID
from fourfold.record.inspection import inspect
from lottery_samples import run_alone, tiny_spec

SIDE = 64


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """Road scenes in CamVid's layout, larger than examples are, and a folder `red` of one box each in Pascal VOC's."""
    root = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)
    for part, count in {"train": 4, "val": 2, "test": 5}.items():
        for number in range(count):
            labels = np.full((24, 176), 3, np.uint8)
            labels[: random.integers(6, 18)] = 0
            labels[:, :2] = 11
            for name, pixels in ((part, random.integers(0, 256, (*labels.shape, 3)).astype("u1")), (f"{part}annot", labels)):
                path = root / "CamVid" / name / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)
    for place in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / "red" / place).mkdir(parents=True)
    for number in range(6):
        left, top = random.integers(1, 30, 2)
        pixels = random.integers(0, 60, (SIDE, SIDE, 3))
        pixels[top - 1 : top + 23, left - 1 : left + 23, 0] = 250
        corners = zip(("xmin", "ymin", "xmax", "ymax"), (left, top, left + 23, top + 23), strict=True)
        box = "".join(f"<{side}>{value}</{side}>" for side, value in corners)
        content = f"<annotation><object><name>red</name><bndbox>{box}</bndbox></object></annotation>"
        (root / "red" / "Annotations" / f"{number}.xml").write_text(content)
        Image.fromarray(pixels.astype(np.uint8)).save(root / "red" / "JPEGImages" / f"{number}.png")
        with (root / "red" / "ImageSets" / "Main" / ("train.txt" if number < 4 else "test.txt")).open("a") as file:
            file.write(f"{number}\n")
    return root


def specs(data_dir, task):
    if task == "segmentation":
        settings = {"train.epochs": 1, "train.batch_size": 4, "stop.max_level": 1}
        return with_fields(presets.get("camvid-unet", algebra="quaternion"), settings)
    return presets.new(
        "red",
        data=f"{data_dir}/red/",
        model="yolo-tiny",
        task="detection",
        algebra="quaternion",
        epochs=1,
        fraction=0.5,
        max_level=1,
        settings={"data.size": SIDE, "stop.accuracy": 0.0, "train.batch_size": 4},
    )


@pytest.fixture(scope="module", params=["segmentation", "detection"])
def run(request, data_dir, tmp_path_factory):
    """A run of two trials and two levels, with the weights of both levels."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FOURFOLD_DATA", str(tmp_path_factory.mktemp("cache")))
        out, spec = tmp_path_factory.mktemp("runs"), specs(data_dir, request.param)
        ff.run(spec, trials=2, out=out, data_dir=data_dir, workers=0, device="cpu", keep=[0, 1])
        experiment = lottery.Experiment.prepare(spec, data_dir, torch.device("cpu"))
        yield experiment, RunStore(out / spec.id)


def test_trial_0_alone_leaves_examples_of_every_level_within_bounds(run):
    _, store = run
    files = {file.name: file.stat().st_size for file in (store.path / "examples").iterdir()}
    assert set(files) == {"0-0.safetensors", "0-1.safetensors"}
    assert max(files.values()) <= MOST_BYTES
    assert store.example_levels() == [0, 1]
    assert not any(finding.wrong for finding in inspect(store))


def test_examples_are_what_the_network_of_the_level_says(run):
    experiment, store = run
    test = experiment.splits.test
    count = len(test)
    items = [count // 6, count // 2, 5 * count // 6] if count >= 3 else [count // 4, 3 * count // 4]
    inputs, truth = test.batch(test.in_order(), torch.tensor(items))
    for level in (0, 1):
        examples = store.examples(level)
        with torch.no_grad():
            outputs = lottery.load_trained(store, 0, level)(inputs)
        if examples.boxes is None:
            expected = outputs.argmax(1)[:, ::2, ::2].numpy()
            assert (examples.map == expected).mean() > 0.999  # another memory format may round another way
        else:
            for index, one in enumerate(experiment.task.decode(outputs)):
                likely = one["scores"] >= 0.2
                known = examples.boxes.labels[index] >= 0
                assert known.sum() == likely.sum()
                np.testing.assert_allclose(examples.boxes.corners[index][known], one["boxes"][likely], atol=1e-4)
        assert (examples.images is None) == bool(level)
    dense = store.examples(0)
    assert max(dense.images.shape[2:]) <= LONGEST_SIDE
    if dense.true_boxes is None:
        right = truth[:, ::2, ::2].numpy()
        assert ((dense.true_map == right) | ((dense.true_map == VOID) & ((right < 0) | (right >= 11)))).all()
        assert (dense.true_map == VOID).any()
    else:
        for index in range(len(items)):
            np.testing.assert_array_equal(dense.true_boxes.corners[index][0], truth["boxes"][index][0])
            left, top, right, bottom = (dense.true_boxes.corners[index][0] * SIDE).round().astype(int)
            inside = dense.images[index, :, top:bottom, left:right]
            assert (inside[0] == 250).all()
            assert inside[1].max() < 60


@pytest.mark.parametrize("damage", ["cut", "altered"])
def test_damaged_examples_are_reported_and_made_again(run, damage):
    experiment, store = run
    file = store.path / "examples" / "0-1.safetensors"
    before = file.read_bytes()
    file.write_bytes(before[:-3] if damage == "cut" else before[:-1] + bytes([before[-1] ^ 1]))
    wrong = [finding for finding in inspect(store) if finding.wrong]
    assert [finding.file for finding in wrong] == ["examples/0-1.safetensors"]
    repair(store, wrong, lambda: experiment)
    assert file.read_bytes() == before


def test_a_run_of_an_earlier_version_gets_them_with_its_kept_weights(run, data_dir, tmp_path, monkeypatch):
    experiment, store = run
    files = {level: store.path / "examples" / f"0-{level}.safetensors" for level in (0, 1)}
    before = {level: file.read_bytes() for level, file in files.items()}
    for file in (*files.values(), store.path / "weights" / "0-0.safetensors"):
        file.unlink()
    assert not any(finding.wrong for finding in inspect(store))
    lottery.run_trial(experiment, store, 0, keep=[0])
    assert files[0].read_bytes() == before[0]
    assert not files[1].exists()
    files[1].write_bytes(before[1])


def test_classification_leaves_none(tmp_path):
    assert not (run_alone(tiny_spec("real"), tmp_path).path / "examples").exists()
