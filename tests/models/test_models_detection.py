"""YOLOv1 and YOLO-tiny: parameters to the last integer, outputs cell by cell, grids and boxes of any number."""

import pytest
import torch

from fourfold import models, tasks
from fourfold.models import detection
from fourfold.record import UserError

PAPER = (271_719_870, 72_469_758)
"""YOLOv1 of paper 2's code: 4 channels (red, green, blue, grey) for both networks, 20 classes, a real output layer."""

WIDTHS = (*(64, 192, 128, 256, 256, 512), *(256, 512) * 4, *(512, 1024), *(512, 1024) * 2, *(1024,) * 4)
KERNELS = (*(7, 3, 1, 3, 1, 3), *(1, 3) * 4, *(1, 3), *(1, 3) * 2, *(3,) * 4)


def of_yolov1(channels, n, classes, grid, boxes):
    """Convolutions without biases and their batch norms, the hidden layer, and the real output layer."""
    inputs = (channels, *WIDTHS)
    total = sum(k * k * i * o // n + 2 * o for k, i, o in zip(KERNELS, inputs, WIDTHS, strict=False))
    outputs = grid**2 * (classes + 5 * boxes)
    return total + 1024 * grid**2 * 4096 // n + 4096 + 4096 * outputs + outputs


def count(network):
    return sum(p.numel() for p in network.parameters())


def test_yolov1_has_the_parameters_of_paper_2_s_code():
    assert len(WIDTHS) == 24
    for algebra, n, published in zip(("real", "quaternion"), (1, 4), PAPER, strict=True):
        network = models.build("yolov1", algebra=algebra, num_classes=20, shape=(4, 448, 448), device="meta")
        assert count(network) == of_yolov1(4, n, 20, 7, 2) == published
        assert models.measure(network, (4, 448, 448)).parameters == published
        kinds = [type(module).__name__ for module in network if not list(module.parameters())]
        assert kinds.count("MaxPool2d") == 4
        assert kinds.count("LeakyReLU") == 25
        assert all(module.negative_slope == 0.1 for module in network if isinstance(module, torch.nn.LeakyReLU))
    assert count(models.build("yolov1", num_classes=3, grid=5, boxes=3, device="meta")) == of_yolov1(3, 1, 3, 5, 3)


def test_yolo_tiny_has_the_parameters_of_its_description():
    sizes = [size for _, size, _ in (step for step in detection.YOLO_TINY if not isinstance(step, str))]
    for algebra, n, channels, told in (("real", 1, 3, 1_134_493), ("quaternion", 4, 4, 287_485)):
        body = sum(9 * i * o // n + 2 * o for i, o in zip([channels, *sizes], sizes, strict=False))
        network = models.build("yolo-tiny", algebra=algebra, num_classes=3, device="meta")
        assert count(network) == body + (256 + 1) * (3 + 10) == told


@pytest.mark.parametrize("algebra", ["real", "complex", "quaternion", "octonion", "phm"])
@pytest.mark.parametrize(("grid", "boxes"), [(7, 2), (3, 1)])
def test_outputs_are_cell_by_cell_and_every_weight_has_a_gradient(algebra, grid, boxes):
    channels = models.input_shape("yolo-tiny", algebra)[0]
    shape = (channels, 33, 70)
    network = models.build("yolo-tiny", algebra=algebra, num_classes=3, shape=shape, seed=0, width=0.25, grid=grid, boxes=boxes)
    images = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
    maps = []
    network.head.register_forward_hook(lambda module, inputs, output: maps.append(output.detach()))
    output = network(images)
    output.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    cells = output.view(2, grid, grid, 3 + 5 * boxes)
    assert torch.equal(cells[1, 2, 1], maps[0][1, :, 2, 1])


def test_yolov1_computes_in_small():
    network = models.build("yolov1", algebra="quaternion", num_classes=3, shape=(4, 64, 64), seed=0, width=1 / 64, grid=2)
    output = network(torch.rand(2, 4, 64, 64, generator=torch.Generator().manual_seed(0)))
    output.square().sum().backward()
    assert output.shape == (2, 4 * 13)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_yolo_tiny_learns_to_find_bright_squares():
    generator = torch.Generator().manual_seed(0)

    def batch(count):
        images = torch.rand(count, 4, 64, 64, generator=generator) * 0.2
        labels = torch.randint(0, 2, (count, 1), generator=generator)
        corners = torch.randint(0, 40, (count, 2), generator=generator)
        for image, label, (left, top) in zip(images, labels, corners.tolist(), strict=True):
            image[label, top : top + 24, left : left + 24] = 1
        return images, {"boxes": torch.cat([corners, corners + 24], dim=1).unsqueeze(1) / 64, "labels": labels}

    task = tasks.Detection(grid=2)
    shape = (4, 64, 64)
    network = models.build("yolo-tiny", algebra="quaternion", num_classes=2, shape=shape, seed=0, width=0.25, grid=2)
    optimizer, test = torch.optim.Adam(network.parameters(), lr=3e-3), batch(32)
    for _ in range(80):
        images, targets = batch(8)
        optimizer.zero_grad()
        task.loss(network(images), targets).backward()
        optimizer.step()
    meter = task.meter()
    meter.update(network.eval()(test[0]).detach(), test[1])
    assert meter.compute()["map50"] > 50


def test_what_cannot_be_is_refused():
    with pytest.raises(UserError, match=r"`grid` \(=5\) and `boxes` \(=None\) must be None for conv-2, which is no detector"):
        models.build("conv-2", grid=5)
    with pytest.raises(UserError, match=r"`num_classes \+ 5 · boxes` \(=30\) must be divisible by 4"):
        models.build("yolov1", algebra="quaternion", num_classes=20, head="algebra", device="meta")
    with pytest.raises(UserError, match="images of 32×32 are too small for yolov1: it needs 64×64"):
        models.build("yolov1", shape=(3, 32, 32), device="meta")
