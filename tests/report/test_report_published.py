"""The papers' curves, found by our names."""

import pytest

from fourfold.report import published_curves
from fourfold.report.published import DATASETS, MODELS, _file, about


def test_every_published_curve_is_found_by_some_name_of_ours() -> None:
    found = {
        (curve.dataset, curve.model, curve.algebra, curve.points)
        for dataset in DATASETS
        for model in MODELS
        for preset in ("x", "x-early-stopping")
        for curve in published_curves(dataset, model, preset)
    }
    assert len(found) == len(_file()["curves"]) == 30


def test_conv4_is_as_paper_1_prints_it() -> None:
    real, quaternion = published_curves("cifar-10", "conv-4", "conv4-cifar10")
    assert (real.algebra, real.paper, real.trials) == ("real", 1, 5)
    assert real.label == "published, paper 1 (5 trials)"
    assert real.points[0] == (1.0, 86.55)
    assert quaternion.algebra == "quaternion"
    assert quaternion.points[0] == (pytest.approx(0.251131), 82.4)
    assert published_curves("cifar-100", "resnet-18")[0].label == "published, paper 2 (1 trial)"


def test_early_stopping_is_a_curve_of_its_own() -> None:
    plain = published_curves("cifar-10", "conv-2", "conv2-cifar10")
    early = published_curves("cifar-10", "conv-2", "conv2-cifar10-early-stopping")
    assert [curve.points[0][1] for curve in plain] == [79.79, 76.72]
    assert [curve.points[0][1] for curve in early] == [80.19, 78.0]


@pytest.mark.parametrize(("dataset", "model"), [("digits", "lenet-300-100"), ("mnist", "conv-4"), ("mnist", "mine")])
def test_what_no_paper_prints_is_no_curve(dataset: str, model: str) -> None:
    assert published_curves(dataset, model) == ()


def test_it_says_where_the_numbers_are_from() -> None:
    assert "mean of 5 trials" in about()
