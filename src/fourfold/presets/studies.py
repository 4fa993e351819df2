"""Studies beyond the papers: one question each, asked of any preset by variants that differ in what the question is about.

All variants of a study train the same images in the same order, trial by trial, with equal budgets of epochs and trials.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from fourfold.presets.released import POLAR_CONVOLUTION, POLAR_LINEAR
from fourfold.record import Spec, UserError
from fourfold.record.spec import AlgebraName

Equal = Literal["fraction_of_real", "macs"]


@dataclass(frozen=True, kw_only=True)
class Study:
    """A question and how to ask it."""

    question: str
    variants: Callable[[Spec], list[Spec]]
    """From a preset's real spec: the first variant is what the others are held against."""
    equal: Equal = "fraction_of_real"
    """The size at which variants are compared first: parameters as a fraction of real's, or MACs."""


def _in(spec: Spec, algebra: AlgebraName) -> Spec:
    return replace(spec, model=replace(spec.model, algebra=algebra))


def _units(spec: Spec) -> list[Spec]:
    quaternion = _in(spec, "quaternion")
    return [quaternion, replace(quaternion, prune=replace(spec.prune, unit="element")), spec]


def _budgets(spec: Spec) -> list[Spec]:
    # A budget of MACs weighs damage against work, and Fisher information is damage to the loss; magnitude is none.
    return [
        replace(_in(spec, algebra), prune=replace(spec.prune, score=score, budget=budget))
        for algebra in ("quaternion", "real")
        for score in ("magnitude", "fisher")
        for budget in ("weights", "macs")
    ]


def _starts(spec: Spec) -> list[Spec]:
    large = replace(spec.model, init_scale=POLAR_CONVOLUTION, init_scale_linear=POLAR_LINEAR)
    return [_in(replace(spec, model=model), algebra) for algebra in ("quaternion", "real") for model in (spec.model, large)]


def _learning_rates(spec: Spec) -> list[Spec]:
    rates = [spec.train.learning_rate * factor for factor in (1, 1 / 3, 3)]
    return [
        replace(_in(spec, algebra), train=replace(spec.train, learning_rate=float(f"{rate:.4g}")))
        for algebra in ("quaternion", "real")
        for rate in rates
    ]


def _precisions(spec: Spec) -> list[Spec]:
    rounded = replace(spec.train, precision="bf16")
    return [_in(replace(spec, train=train), algebra) for algebra in ("quaternion", "real") for train in (spec.train, rounded)]


def _algebras(spec: Spec) -> list[Spec]:
    others: tuple[AlgebraName, ...] = ("real", "complex", "octonion", "phm")
    return [_in(spec, "quaternion"), *(_in(spec, algebra) for algebra in others)]


def _norms(spec: Spec) -> list[Spec]:
    whitened = replace(spec.model, norm="whitening")
    return [_in(spec, "quaternion"), _in(replace(spec, model=whitened), "quaternion"), spec]


STUDIES: dict[str, Study] = {
    "units": Study(question="Do whole quaternions survive pruning as well as single components?", variants=_units),
    "budgets": Study(
        question="Does pruning to a number of MACs beat pruning to a number of weights, at equal MACs?",
        variants=_budgets,
        equal="macs",
    ),
    "starts": Study(
        question=f"Does the gap come from the start? Paper 1's code began its quaternion layers at {POLAR_CONVOLUTION:g} "
        f"(convolutions) and {POLAR_LINEAR:g} times (linear) the variance of the real ones.",
        variants=_starts,
    ),
    "learning-rates": Study(
        question="Does the gap survive another learning rate, three tried for either network?", variants=_learning_rates
    ),
    "norms": Study(
        question="Does batch norm that whitens quaternions help them under pruning, beside one of each component alone?",
        variants=_norms,
    ),
    "precisions": Study(
        question="Does training in bfloat16 cost accuracy, and does sparsity make it dearer?", variants=_precisions
    ),
    "algebras": Study(question="Which algebra survives pruning best, at equal weights?", variants=_algebras),
}
"""By name."""


def specs(name: str, base: Spec) -> list[Spec]:
    """Return a study's variants of a preset, under a name of their own.

    Args:
        name: One of `STUDIES`.
        base: A preset's spec in any algebra.

    Raises:
        UserError: the preset has early stopping, whose trainings have no equal budgets.
    """
    if base.train.early_stopping is not None:
        raise UserError(f"`base` (={base.preset!r}) must have no early stopping: budgets of epochs must be equal")
    return [replace(spec, preset=f"{base.preset}-{name}") for spec in STUDIES[name].variants(_in(base, "real"))]
