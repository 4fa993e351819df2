"""Detection on images with one bright box each: pruned by every unit, rewound, controlled, resumed, shrunk and stopped."""

import numpy as np
import pytest
import torch
from PIL import Image

import fourfold as ff
from fourfold import lottery, models, presets, pruning
from fourfold.nn import named_weights
from fourfold.record import RunStore, UserError, with_fields

SIZE = 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twelve training and six test images in Pascal VOC's layout; one has no box, one two."""
    root = tmp_path_factory.mktemp("data") / "bright"
    random = np.random.default_rng(0)
    for place in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / place).mkdir(parents=True)
    for number in range(18):
        pixels = random.integers(0, 60, (SIZE, SIZE, 3))
        objects = ""
        for name in () if number == 3 else ("red", "green") if number == 4 else (("red", "green")[number % 2],):
            left, top = random.integers(1, 30, 2)
            pixels[top - 1 : top + 23, left - 1 : left + 23, ("red", "green").index(name)] = 250
            corners = zip(("xmin", "ymin", "xmax", "ymax"), (left, top, left + 23, top + 23), strict=True)
            box = "".join(f"<{side}>{value}</{side}>" for side, value in corners)
            objects += f"<object><name>{name}</name><bndbox>{box}</bndbox></object>"
        Image.fromarray(pixels.astype(np.uint8)).save(root / "JPEGImages" / f"{number}.png")
        (root / "Annotations" / f"{number}.xml").write_text(f"<annotation>{objects}</annotation>")
        with (root / "ImageSets" / "Main" / ("train.txt" if number < 12 else "test.txt")).open("a") as file:
            file.write(f"{number}\n")
    return root


def tiny(folder, algebra="quaternion", **settings):
    settings = {"data.size": SIZE, "stop.accuracy": 0.0, "train.batch_size": 4} | settings
    return presets.new(
        "bright",
        data=f"{folder}/",
        model="yolo-tiny",
        task="detection",
        algebra=algebra,
        epochs=2,
        fraction=0.5,
        max_level=1,
        settings=settings,
    )


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FOURFOLD_DATA", str(tmp_path / "cache"))


@pytest.mark.slow
def test_levels_controls_and_rewinding_have_precisions_in_their_rows_and_are_resumed(folder, tmp_path, cache):
    specs = [tiny(folder, algebra, **{"data.flip": True, "data.crop": 4}) for algebra in ("real", "quaternion")]
    specs[1] = with_fields(specs[1], {"prune.rewind": "epoch", "prune.rewind_to": 1})
    controls = ["random-init", "shuffled-layer", "small-dense"]
    rows = ff.run(specs, trials=1, out=tmp_path, workers=0, controls=controls)
    assert {row.control for row in rows} == {"ticket", *controls}
    tickets = [row for row in rows if row.control == "ticket"]
    assert [row.level for row in tickets] == [0, 1] * 2
    for row in rows:
        assert row.metric.name == "map50"
        assert set(row.metrics) == {"map50", "map", "loss", "ap50_0", "ap_0", "ap50_1", "ap_1"}
        assert row.metrics["map50"] == pytest.approx((row.metrics["ap50_0"] + row.metrics["ap50_1"]) / 2)
    assert tickets[1].weights == round(0.5 * tickets[0].weights)
    again = ff.run(specs, trials=1, out=tmp_path, workers=0, controls=controls)
    assert len(again) == len(rows)
    assert all(one.same_result(other) for one, other in zip(rows, again, strict=True))


@pytest.mark.parametrize("unit", ["element", "row"])
def test_whole_quaternions_and_rows_are_pruned_and_rows_shrink(folder, tmp_path, cache, unit):
    spec = tiny(folder, **{"prune.unit": unit, "train.epochs": 1, "task.grid": 3, "task.boxes": 1})
    rows = ff.run(spec, trials=1, out=tmp_path, workers=0, keep=[1])
    assert rows[1].weights <= 0.51 * rows[0].weights
    network = lottery.load_trained(RunStore(tmp_path / spec.id), 0, 1).eval()
    images = torch.rand(2, 4, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    outputs = network(images)
    assert outputs.shape == (2, 9 * (2 + 5))
    masks = {name: weight.detach() != 0 for name, weight in named_weights(network).items()}
    small = pruning.shrink(network, masks, (4, SIZE, SIZE))
    assert torch.allclose(small(images), outputs, atol=1e-4)
    weights = [sum(weight.numel() for weight in named_weights(one).values()) for one in (network, small)]
    assert (weights[1] < weights[0]) == (unit == "row")


def test_the_stop_rule_reads_the_precision(folder, tmp_path, cache):
    hard = tiny(folder, **{"train.epochs": 1, "stop.accuracy": 100.0, "stop.levels": 1, "stop.max_level": 3})
    assert [row.level for row in ff.run(hard, trials=1, out=tmp_path, workers=0)] == [0]


def test_networks_and_tasks_that_do_not_fit_are_one_sentence(folder, tmp_path, cache):
    def refused(spec, message):
        with pytest.raises(UserError, match=message):
            ff.run(spec, trials=1, out=tmp_path, workers=0)

    refused(with_fields(tiny(folder), {"model.name": "conv-2"}), r"network's output .* must be \(batch, 588\) with 7 × 7 cells")
    refused(
        with_fields(tiny(folder), {"task.name": "classification"}), r"whose targets are of kind 'boxes': the task for them is"
    )
    other = presets.new("digits-boxes", data="digits", model="conv-2", task="detection")
    refused(other, r"`task.name` \(='detection'\) cannot be combined with `data.name` \(='digits'\)")
    for settings, message in (
        ({"task.grid": 0}, "`task.grid`"),
        ({"task.boxes": 99}, "`task.boxes` .* from 1 to 16"),
        ({"task.coordinate_factor": -1.0}, "`task.coordinate_factor`"),
        ({"task.label_smoothing": 0.1}, r"`task.label_smoothing` .* cannot be combined with `task.name` \(='detection'\)"),
        (
            {"task.name": "segmentation", "task.grid": 7},
            r"`task.grid` .* cannot be combined with `task.name` \(='segmentation'\)",
        ),
    ):
        with pytest.raises(UserError, match=message):
            tiny(folder, **settings)


def test_presets_of_detection_name_what_they_are_of():
    tiny_one, large = presets.get("yolo-tiny-bccd"), presets.get("yolov1-voc", algebra="quaternion")
    assert (tiny_one.data.name, tiny_one.model.name, tiny_one.task.name) == ("bccd", "yolo-tiny", "detection")
    assert large.inputs.encoding == presets.get("yolov1-voc").inputs.encoding == "grey"
    rates = [large.train.rate(259 * epoch, epoch) for epoch in (0, 5, 79, 80, 109, 110)]
    assert rates == pytest.approx([0, 1e-5, 1e-5, 1e-6, 1e-6, 1e-7])
    assert models.MODELS["yolov1"].shape == (3, 448, 448)
    with pytest.raises(UserError, match=r"`protocol` \(='released'\)"):
        presets.get("yolov1-voc", protocol="released")
