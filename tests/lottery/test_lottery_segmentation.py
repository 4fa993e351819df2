"""The preset of segmentation on a stand-in for CamVid: pruned, rewound, controlled and resumed as any experiment is."""

import numpy as np
import pytest
from PIL import Image

import fourfold as ff
from fourfold import presets
from fourfold.record import CONTROLS, UserError, with_fields

SIZE = (24, 32)
COUNTS = {"train": 12, "val": 3, "test": 4}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A data directory with road scenes of two classes and void, and classes that do not occur."""
    root = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)
    for part, count in COUNTS.items():
        for number in range(count):
            labels = np.full(SIZE, 3, np.uint8)
            labels[: random.integers(6, 18)] = 0
            image = random.integers(0, 60, (*SIZE, 3)) + np.where(labels == 0, 180, 20)[..., None]
            labels[:, :2] = 11
            for name, pixels in ((part, image.astype(np.uint8)), (f"{part}annot", labels)):
                path = root / "CamVid" / name / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)
    return root


def tiny(algebra, **settings):
    settings = {"train.epochs": 2, "train.batch_size": 4, "stop.max_level": 1} | settings
    return with_fields(presets.get("camvid-unet", algebra=algebra), settings)


@pytest.mark.slow
def test_both_networks_run_all_levels_and_controls_with_mean_iou_in_their_rows(folder, tmp_path):
    specs = [tiny(algebra) for algebra in ("real", "quaternion")]
    controls = list(CONTROLS)  # of which equal-macs is of the quaternion network alone
    rows = ff.run(specs, trials=1, out=tmp_path, data_dir=folder, workers=0, device="cpu", controls=controls)
    plain = [row for row in rows if row.control == "ticket"]
    assert [row.level for row in plain] == [0, 1] * 2
    assert {row.control for row in rows} == {"ticket", *controls}
    for row in rows:
        assert row.metric.name == "miou"
        ious = {name: value for name, value in row.metrics.items() if name.startswith("iou_")}
        assert {"iou_0", "iou_3"} <= set(ious) <= {f"iou_{label}" for label in range(11)}
        assert row.metrics["miou"] == pytest.approx(sum(ious.values()) / len(ious))
    for dense, ticket in zip(plain[::2], plain[1::2], strict=True):
        assert ticket.weights == round(0.5 * dense.weights)
    assert plain[0].parameters_total == 134_763
    assert plain[2].parameters_total == 34_395
    again = ff.run(specs, trials=1, out=tmp_path, data_dir=folder, workers=0, device="cpu", controls=controls)
    assert len(again) == len(rows)
    assert all(one.same_result(other) for one, other in zip(rows, again, strict=True))


@pytest.mark.parametrize(
    "settings",
    [
        {"prune.unit": "element", "prune.rewind": "continue"},
        {"prune.unit": "row", "task.class_weights": (1.0,) * 11},
        {"model.name": "unet-transposed", "prune.unit": "element"},
        {"model.name": "segnet", "prune.score": "taylor", "data.flip": False},
    ],
)
def test_other_units_scores_and_networks_are_pruned_too(folder, tmp_path, settings):
    spec = tiny("quaternion", **{"train.epochs": 1}, **settings)
    rows = ff.run(spec, trials=1, out=tmp_path, data_dir=folder, workers=0, device="cpu")
    assert [row.level for row in rows] == [0, 1]
    assert rows[1].weights < 0.6 * rows[0].weights


def test_no_code_was_released_for_it():
    with pytest.raises(UserError, match=r"`protocol` \(='released'\) must be 'text' for camvid-unet"):
        presets.get("camvid-unet", protocol="released")


@pytest.mark.slow
def test_a_network_learns_the_scenes(folder, tmp_path):
    spec = tiny("quaternion", **{"train.epochs": 12, "stop.max_level": 0})
    (row,) = ff.run(spec, trials=1, out=tmp_path, data_dir=folder, workers=0, device="cpu")
    assert row.metrics["pixel_accuracy"] > 85


def test_missing_data_and_a_network_for_images_are_one_sentence(folder, tmp_path):
    with pytest.raises(UserError, match=r"^camvid is not in .*nowhere \(CamVid/train is missing\)"):
        ff.run(tiny("real"), trials=1, out=tmp_path / "runs", data_dir=tmp_path / "nowhere", workers=0)
    with pytest.raises(UserError, match=r"targets .*\(='segmentation'\)|network's output .*\(='segmentation'\)"):
        ff.run(tiny("real", **{"model.name": "conv-2"}), trials=1, out=tmp_path / "runs", data_dir=folder, workers=0)
