"""The variants of a study differ in what its question is about, and in nothing else."""

from dataclasses import replace

import pytest
from torch.nn.modules.batchnorm import _BatchNorm

from fourfold import nn as fnn
from fourfold import presets
from fourfold.parts import build
from fourfold.presets import studies
from fourfold.record import Spec, UserError
from fourfold.report._experiments import flat

ABOUT = {
    "units": {"model.algebra", "prune.unit"},
    "budgets": {"model.algebra", "prune.score", "prune.budget"},
    "starts": {"model.algebra", "model.init_scale", "model.init_scale_linear"},
    "learning-rates": {"model.algebra", "train.learning_rate"},
    "norms": {"model.algebra", "model.norm"},
    "precisions": {"model.algebra", "train.precision"},
    "algebras": {"model.algebra"},
}


@pytest.mark.parametrize("name", studies.STUDIES)
@pytest.mark.parametrize("base", ["digits", "conv4-cifar10"])
def test_variants_differ_in_the_question_alone(name: str, base: str) -> None:
    spec = presets.get(base, algebra="octonion")  # whatever the algebra of the base
    variants = studies.specs(name, spec)
    assert len({variant.id for variant in variants}) == len(variants) > 2
    assert {variant.preset for variant in variants} == {f"{base}-{name}"}
    assert variants[0].model.algebra == "quaternion"
    assert "real" in {variant.model.algebra for variant in variants}
    fields = [flat(replace(variant, preset=base)) for variant in variants]
    differ = {field for field in fields[0] if any(other[field] != fields[0][field] for other in fields)}
    assert differ == ABOUT[name]
    assert fields[0] == flat(presets.get(base, algebra="quaternion"))


def test_both_networks_start_at_both_scales() -> None:
    found = [(spec.model.algebra, spec.model.init_scale) for spec in studies.specs("starts", presets.get("digits"))]
    assert found == [("quaternion", 1), ("quaternion", 4.4), ("real", 1), ("real", 4.4)]


def test_both_networks_get_as_many_learning_rates() -> None:
    def rates(specs: list[Spec], algebra: str) -> list[float]:
        return [spec.train.learning_rate for spec in specs if spec.model.algebra == algebra]

    found = studies.specs("learning-rates", presets.get("digits"))
    assert rates(found, "real") == rates(found, "quaternion") == [0.0012, 0.0004, 0.0036]


def test_early_stopping_has_no_equal_budgets() -> None:
    with pytest.raises(UserError, match=r"`base` \(='conv2-cifar10-early-stopping'\) must have no early stopping"):
        studies.specs("units", presets.get("conv2-cifar10-early-stopping"))


def test_the_variants_of_norms_have_them() -> None:
    plain, whitening, real = studies.specs("norms", presets.get("resnet18-cifar10"))
    kinds = [
        type(next(m for m in build(s, device="meta").modules() if isinstance(m, _BatchNorm))) for s in (plain, whitening, real)
    ]
    assert kinds == [fnn.BatchNorm2d, fnn.WhiteningBatchNorm2d, fnn.BatchNorm2d]
