"""Detection against pycocotools and slow loops: average precision, suppression, and YOLOv1's loss and decoding."""

import contextlib
import importlib.util
import io
import math

import numpy as np
import pytest
import torch

from fourfold import tasks
from fourfold.record import UserError
from fourfold.tasks.average_precision import ImageBoxes, average_precisions
from fourfold.tasks.boxes import pairwise_iou, suppressed

CASES = 200


def boxes_of(random, count, whole):
    low = random.uniform(0, 80, (count, 2))
    size = random.uniform(4, 40, (count, 2))
    corners = np.concatenate([low, low + size], axis=1)
    return corners.round() if whole else corners


def case(seed):
    """Images with and without boxes, difficult ones, classes that do not occur, scores that are equal, near misses."""
    random = np.random.default_rng(seed)
    classes, whole = int(random.integers(1, 5)), bool(seed % 2)
    occurring = np.flatnonzero(random.random(classes) < 0.8)
    images = []
    for _ in range(int(random.integers(1, 6))):
        count = int(random.integers(0, 7)) if len(occurring) else 0
        boxes, labels = boxes_of(random, count, whole), random.choice(occurring, count) if count else np.zeros(0, int)
        copies = np.repeat(boxes, int(random.integers(0, 4)), axis=0)
        near = copies + random.normal(scale=4, size=copies.shape)
        near = near.round() if whole else near
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
        found = np.concatenate([near, boxes_of(random, int(random.integers(0, 5)), whole)])
        found_labels = random.integers(0, classes, len(found))
        if count and len(near):
            found_labels[: len(near)] = np.repeat(labels, len(near) // count)
        images.append(
            ImageBoxes(
                boxes=boxes,
                labels=labels.astype(np.int64),
                difficult=random.random(count) < 0.2,
                detections=found,
                scores=random.integers(1, 20, len(found)) / 20,
                detected_labels=found_labels.astype(np.int64),
            )
        )
    return images, classes


def of_coco(images, classes):
    """Average precision by pycocotools; a difficult box has an area that COCO's evaluation ignores."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def sides(box):
        return [box[0], box[1], box[2] - box[0], box[3] - box[1]]

    truth, found = [], []
    for number, image in enumerate(images):
        for box, label, difficult in zip(image.boxes, image.labels, image.difficult, strict=True):
            area = 1e11 if difficult else (box[2] - box[0]) * (box[3] - box[1])
            common = {"id": len(truth) + 1, "image_id": number, "category_id": int(label), "iscrowd": 0}
            truth.append(common | {"bbox": sides(box), "area": area})
        for box, label, score in zip(image.detections, image.detected_labels, image.scores, strict=True):
            found.append({"image_id": number, "category_id": int(label), "bbox": sides(box), "score": float(score)})
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "images": [{"id": number} for number in range(len(images))],
            "categories": [{"id": label} for label in range(classes)],
            "annotations": truth,
        }
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(found) if found else COCO(), "bbox")
        if not found:
            evaluation.cocoDt.createIndex()
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, :, 0, -1]  # thresholds, recalls, classes, of all areas and 100 detections
    values = precision.mean(1).T
    return np.where(values < 0, np.nan, values)


def test_average_precision_of_random_cases_is_that_of_pycocotools():
    pytest.importorskip("pycocotools", reason="pycocotools is not installed, which average precision is compared with")
    absent = partial = 0
    for seed in range(CASES):
        images, classes = case(seed)
        values = average_precisions(images, classes)
        np.testing.assert_allclose(values, of_coco(images, classes), atol=1e-12, err_msg=f"case {seed}")
        absent += bool(np.isnan(values).any())
        partial += bool(((values > 0.05) & (values < 0.95)).any())
    assert absent > 20  # a class that no box is of
    assert partial > CASES / 2


def test_average_precision_by_hand():
    truth = np.array([[0.0, 0, 10, 10], [20, 0, 30, 10]])
    image = ImageBoxes(
        boxes=truth,
        labels=np.zeros(2, np.int64),
        difficult=np.zeros(2, bool),
        detections=np.array([[0.0, 0, 10, 10], [50, 50, 60, 60], [20, 0, 30, 6]]),
        scores=np.array([0.9, 0.8, 0.7]),
        detected_labels=np.zeros(3, np.int64),
    )
    values = average_precisions([image], 2)
    at50 = (51 * 1 + 50 * 2 / 3) / 101  # right, wrong, right: precision 1 up to a recall of 1/2, then 2/3
    assert values[0] == pytest.approx([at50] * 3 + [51 / 101] * 7)  # the last has an IoU of 0.6
    assert np.isnan(values[1]).all()


def test_of_boxes_that_a_detection_overlaps_equally_it_takes_the_last_as_cocos_code_does():
    image = ImageBoxes(
        boxes=np.array([[0.0, 0, 10, 10], [4, 0, 14, 10]]),
        labels=np.zeros(2, np.int64),
        difficult=np.zeros(2, bool),
        detections=np.array([[2.0, 0, 12, 10], [0, 0, 9, 10]]),  # an IoU of 2/3 with both; of 0.9 with the first
        scores=np.array([0.9, 0.8]),
        detected_labels=np.zeros(2, np.int64),
    )
    values = average_precisions([image], 1)
    assert values[0, 0] == pytest.approx(1)
    if importlib.util.find_spec("pycocotools"):
        np.testing.assert_allclose(values, of_coco([image], 1), atol=1e-12)


def test_suppression_is_that_of_a_loop():
    for seed in range(50):
        generator = torch.Generator().manual_seed(seed)
        low = torch.rand(3, 12, 2, generator=generator)
        boxes = torch.cat([low, low + torch.rand(3, 12, 2, generator=generator)], dim=2)
        scores = torch.randint(0, 6, (3, 12), generator=generator) / 6
        labels = torch.randint(0, 3, (3, 12), generator=generator)
        removed = suppressed(boxes, scores, labels, 0.3)
        for image in range(3):
            overlaps, kept = pairwise_iou(boxes[image], boxes[image]), []
            for place in sorted(range(12), key=lambda place: -scores[image, place].item()):
                rivals = [other for other in kept if labels[image, other] == labels[image, place]]
                if all(overlaps[place, other] <= 0.3 for other in rivals):
                    kept.append(place)
            assert (~removed[image]).nonzero().flatten().tolist() == sorted(kept)


def targets_of(*images):
    """Targets from lists of (label, left, top, right, bottom)."""
    most = max(1, *map(len, images))
    labels, boxes = torch.full((len(images), most), -1), torch.zeros(len(images), most, 4)
    for number, image in enumerate(images):
        for place, (label, *corners) in enumerate(image):
            labels[number, place], boxes[number, place] = label, torch.tensor(corners)
    return {"boxes": boxes, "labels": labels}


def slow_loss(task, outputs, targets, classes):
    """YOLOv1's loss, cell by cell and box by box."""
    total, cells = 0.0, outputs.reshape(len(outputs), task.grid, task.grid, classes + 5 * task.boxes).double()
    for grid, corners, labels in zip(cells, targets["boxes"].double(), targets["labels"], strict=True):
        objects = {}
        for (left, top, right, bottom), label in zip(corners.tolist(), labels.tolist(), strict=True):
            if label >= 0:
                x, y = (left + right) / 2 * task.grid, (top + bottom) / 2 * task.grid
                cell = min(int(y), task.grid - 1), min(int(x), task.grid - 1)
                objects[cell] = label, x - cell[1], y - cell[0], (right - left) * task.grid, (bottom - top) * task.grid
        for row in range(task.grid):
            for column in range(task.grid):
                values = grid[row, column]
                predicted = values[classes:].reshape(task.boxes, 5)
                if (row, column) not in objects:
                    total += task.no_object_factor * predicted[:, 0].square().sum()
                    continue
                label, x, y, width, height = objects[row, column]
                ious = []
                for _, px, py, pw, ph in predicted.tolist():
                    pw, ph = max(pw, 0), max(ph, 0)
                    across = max(0, min(px + pw / 2, x + width / 2) - max(px - pw / 2, x - width / 2))
                    down = max(0, min(py + ph / 2, y + height / 2) - max(py - ph / 2, y - height / 2))
                    ious.append(across * down / (pw * ph + width * height - across * down))
                confidence, px, py, pw, ph = predicted[ious.index(max(ious))]
                roots = [torch.sign(side) * (abs(side) + 1e-6) ** 0.5 for side in (pw, ph)]
                places = (px - x) ** 2 + (py - y) ** 2 + (roots[0] - width**0.5) ** 2 + (roots[1] - height**0.5) ** 2
                right = torch.zeros(classes, dtype=torch.float64)
                right[label] = 1
                total += task.coordinate_factor * places + (confidence - 1) ** 2 + (values[:classes] - right).square().sum()
    return total / len(outputs)


@pytest.mark.parametrize("settings", [{}, {"grid": 3, "boxes": 1}, {"grid": 4, "boxes": 3, "coordinate_factor": 2.0}])
def test_the_loss_is_that_of_a_loop_over_cells(settings):
    task, classes = tasks.Detection(**settings), 3
    for seed in range(8):
        random = np.random.default_rng(seed)
        images = []
        for _ in range(int(random.integers(1, 4))):
            count = int(random.integers(0, 9))
            low = random.uniform(0, 0.9, (count, 2))
            high = np.minimum(low + random.uniform(0.02, 0.6, (count, 2)), 1)
            labels = random.integers(0, classes, count)
            images.append([(label, *a, *b) for label, a, b in zip(labels, low, high, strict=True)])
        targets = targets_of(*images)
        size = task.grid**2 * (classes + 5 * task.boxes)
        outputs = torch.from_numpy(random.normal(size=(len(images), size))).double().requires_grad_()
        loss = task.loss(outputs, targets)
        assert loss.item() == pytest.approx(float(slow_loss(task, outputs.detach(), targets, classes)), rel=1e-5)
        (slope,) = torch.autograd.grad(loss, outputs)
        assert slope.isfinite().all()


def ideal(task, targets, classes):
    """Outputs that say the targets exactly, by the first box of each cell."""
    count = len(targets["labels"])
    outputs = torch.zeros(count, task.grid, task.grid, classes + 5 * task.boxes)
    for number, (boxes, labels) in enumerate(zip(targets["boxes"], targets["labels"], strict=True)):
        for (left, top, right, bottom), label in zip(boxes.tolist(), labels.tolist(), strict=True):
            if label >= 0:
                x, y = (left + right) / 2 * task.grid, (top + bottom) / 2 * task.grid
                cell = outputs[number, min(int(y), task.grid - 1), min(int(x), task.grid - 1)]
                cell[label] = 1
                sides = torch.tensor([1, x - int(x), y - int(y), (right - left) * task.grid, (bottom - top) * task.grid])
                cell[classes : classes + 5] = sides
    return outputs.flatten(1)


def test_outputs_that_say_the_truth_have_no_loss_and_full_precision_whatever_the_batches():
    task = tasks.Detection(grid=4)
    targets = targets_of(
        [(0, 0.1, 0.1, 0.3, 0.4), (2, 0.5, 0.5, 0.9, 0.8)],
        [],  # an image without boxes
        [(2, 0.0, 0.6, 0.2, 1.0)],
    )
    outputs = ideal(task, targets, 4)
    assert task.loss(outputs, targets).item() < 1e-4  # the root's 1e-6
    meter = task.meter()
    for _ in range(2):
        meter.reset()
        for number in range(3):  # batches of one
            meter.update(outputs[number : number + 1], {name: value[number : number + 1] for name, value in targets.items()})
        values = meter.compute()
        assert values == pytest.approx(
            {"map50": 100, "map": 100, "ap50_0": 100, "ap50_2": 100, "ap_0": 100, "ap_2": 100}, abs=1e-4
        )  # classes 1 and 3 have no boxes
        assert meter.per_class() == [pytest.approx(100), None, pytest.approx(100), None]
    (first, *_), (second, *_) = task.decode(outputs)[0]["boxes"], targets["boxes"][0]
    assert torch.allclose(first, second, atol=1e-6)
    assert not len(task.decode(outputs)[1]["boxes"])


def test_of_two_objects_in_a_cell_the_last_counts():
    task = tasks.Detection(grid=2)
    both = targets_of([(0, 0.1, 0.1, 0.2, 0.2), (1, 0.2, 0.2, 0.4, 0.3)])
    last = targets_of([(1, 0.2, 0.2, 0.4, 0.3)])
    outputs = torch.randn(1, 4 * 13, generator=torch.Generator().manual_seed(0))
    assert task.loss(outputs, both) == task.loss(outputs, last)


def test_images_without_boxes_train_and_alone_cannot_be_measured():
    task, targets = tasks.Detection(), {"boxes": torch.zeros(2, 0, 4), "labels": torch.zeros(2, 0, dtype=torch.int64)}
    outputs = torch.ones(2, 49 * 13, requires_grad=True)
    assert task.loss(outputs, targets).item() == 0.5 * 49 * 2
    meter = task.meter()
    with pytest.raises(UserError, match="has seen no batch"):
        meter.compute()
    meter.update(outputs.detach(), targets)
    with pytest.raises(UserError, match="no image has a box"):
        meter.compute()


def test_a_difficult_box_need_not_be_found():
    task = tasks.Detection(grid=4)
    targets = targets_of([(0, 0.1, 0.1, 0.3, 0.4), (0, 0.5, 0.5, 0.9, 0.8)])
    outputs = ideal(task, targets_of([(0, 0.1, 0.1, 0.3, 0.4)]), 1)
    results = []
    for difficult in (False, True):
        meter = task.meter()
        meter.update(outputs, targets | {"difficult": torch.tensor([[False, difficult]])})
        results.append(meter.compute()["map50"])
    assert results == pytest.approx([100 * 51 / 101, 100])


def test_wrong_shapes_are_one_sentence():
    task, targets = tasks.Detection(), targets_of([(1, 0.1, 0.1, 0.2, 0.2)])
    right = torch.zeros(1, 49 * 12)
    for outputs, wrong, message in (
        (torch.zeros(1, 100), targets, r"must be \(batch, 49 · \(classes \+ 10\)\)"),
        (torch.zeros(1, 49 * 10), targets, r"must be \(batch, 49"),
        (right, torch.zeros(1, 5), "must be a dict of `boxes` and `labels`"),
        (right, {"boxes": targets["boxes"]}, "must be a dict of `boxes` and `labels`"),
        (right, targets | {"boxes": torch.zeros(1, 2, 4)}, r"must be \(batch, M, 4\)"),
        (torch.zeros(2, 49 * 12), targets, "batch of 2"),
        (right, targets_of([(2, 0.1, 0.1, 0.2, 0.2)]), "must have labels below 2"),
    ):
        with pytest.raises(UserError, match=message):
            task.loss(outputs, wrong)


def test_boxes_without_area_overlap_nothing():
    boxes = torch.tensor([[0.2, 0.2, 0.2, 0.5], [0.1, 0.1, 0.6, 0.6], [0.5, 0.5, 0.4, 0.4]])
    overlaps = pairwise_iou(boxes, boxes)
    assert overlaps[1, 1] == 1
    assert overlaps.sum() == 1
    assert math.isfinite(overlaps.sum().item())
