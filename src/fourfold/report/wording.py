"""Names of fields and controls in words, as figures and pages say them; tables and files keep the names that commands take."""

from collections.abc import Iterable, Mapping
from typing import Any

from fourfold.record import TICKET
from fourfold.report._curves import ALGEBRAS, Curve
from fourfold.report._experiments import Experiment, flat
from fourfold.report.compare import changes
from fourfold.report.paper_figures import FIGURES
from fourfold.report.scaling import scale_of, unscaled

CONTROL_WORDS = {
    "random-init": "same mask, new initial weights",
    "shuffled-layer": "mask shuffled within each layer",
    "shuffled-global": "mask shuffled over the network",
    "random-layer": "random mask, the ticket's densities",
    "erk-random": "random mask, Erdős–Rényi densities",
    "inverted": "the weights pruned first",
    "small-dense": "small dense network",
    "equal-macs": "real network of equal MACs",
}

_VALUES: dict[str, Mapping[Any, str]] = {
    "prune.score": {
        "magnitude": "magnitude scores",
        "fisher": "Fisher scores",
        "snip": "SNIP scores",
        "grasp": "GraSP scores",
        "synflow": "SynFlow scores",
        "random": "random scores",
    },
    "prune.budget": {"weights": "budget of weights", "macs": "budget of MACs"},
    "prune.unit": {
        "weight": "single components pruned",
        "element": "whole elements pruned",
        "row": "whole output elements pruned",
    },
    "prune.scope": {"global": "ranked globally", "layer": "ranked within layers", "component": "ranked within components"},
    "train.precision": {None: "float32", "bf16": "bfloat16"},
    "model.norm": {None: "plain batch norm", "whitening": "whitening batch norm"},
    "model.head": {"real": "real output layer", "algebra": "output layer in the algebra"},
}
"""What values of settings that are choices are called."""

_PHRASES = {
    "train.epochs": "{} epochs",
    "train.learning_rate": "learning rate {}",
    "train.batch_size": "batches of {}",
    "train.optimizer": "optimiser {}",
    "train.weight_decay": "weight decay {}",
    "model.init_scale": "initial variance × {}",
    "model.init_scale_linear": "of linear layers × {}",
    "stop.max_level": "at most {} levels",
    "data.size": "images of {} pixels",
}
"""How numbers are written."""

_SPELLED = {"init": "initialisation", "optimizer": "optimiser", "momentum": "momentum"}


def control_words(control: str) -> str:
    """Return a control in words, such as `random mask, Erdős–Rényi densities`."""
    return CONTROL_WORDS.get(control, control.replace("-", " "))


def setting_words(name: str, value: Any) -> str:
    """Return a setting in words, such as `40 epochs` or `budget of MACs`; empty for one that is off."""
    if name in _VALUES and value in _VALUES[name]:
        return _VALUES[name][value]
    if value is None:
        return ""
    if name == "prune.fraction":
        return f"{100 * value:.3g} % pruned a level"
    text = f"{value:g}" if isinstance(value, float) else str(value)
    field = name.rpartition(".")[2]
    return _PHRASES.get(name, f"{_SPELLED.get(field, field.replace('_', ' '))} {{}}").format(text)


def variant_words(curve: Curve, experiment: Experiment) -> str:
    """Return the settings in which a run differs from others of its algebra, such as `learning rate 0.004`, if any."""
    spec = experiment.specs.get(curve.run)
    if spec is None:
        twins = {other.run for other in experiment.tickets if other.algebra == curve.algebra}
        return f"run {curve.run.rpartition('-')[2]}" if len(twins) > 1 else ""
    own = flat(spec)
    others = [flat(one) for one in experiment.specs.values() if one.model.algebra == spec.model.algebra]
    differ = [name for name in own if any(other[name] != own[name] for other in others)]
    return ", ".join(filter(None, (setting_words(name, own[name]) for name in differ)))


def algebra_words(curve: Curve) -> str:
    """Return what a line is called beside it: the algebra, or the control."""
    return ALGEBRAS.get(curve.algebra, curve.algebra) if curve.control == TICKET else control_words(curve.control)


def network_words(curve: Curve, experiment: Experiment) -> str:
    """Return a network's name where there are several: its algebra, and its settings where two have the same one."""
    variant = variant_words(curve, experiment)
    return f"{algebra_words(curve)}, {variant}" if variant else algebra_words(curve)


def changes_in_words(experiment: Experiment) -> list[str]:
    """Return what the runs change of their preset, such as `2 epochs instead of 40`."""
    phrases = []
    for name, (values, usual) in changes(experiment).items():
        now = " and ".join(setting_words(name, value) or f"{name.rpartition('.')[2].replace('_', ' ')} off" for value in values)
        before = _bare(name, usual)
        phrases.append(f"{now} instead of {before}" if before else now)
    return phrases


def _bare(name: str, value: Any) -> str:
    """Return the preset's own value beside another one of the same setting."""
    if value is None:
        return ""
    if name == "prune.fraction":
        return f"{100 * value:.3g} %"
    if name in _VALUES and value in _VALUES[name]:
        return _VALUES[name][value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def basis_words(experiment: Experiment) -> str:
    """Return how near an experiment is to what a paper did, such as `as published` or `reduced: 2 epochs instead of 40`."""
    how = changes_in_words(experiment)
    scale = scale_of(experiment.preset)
    if scale is not None:
        how.insert(0, f"scaled to {scale:g}")
    paper = unscaled(experiment.preset) in _of_papers()
    fewest = min((curve.trials for curve in experiment.published), default=0)
    trials = max((curve.most_trials for curve in experiment.tickets), default=0)
    if paper and trials < fewest:
        how.append(f"{trials} of {fewest} trials")
    if how:
        return f"{'reduced' if paper else 'changed'}: {_listed(how)}"
    if unscaled(experiment.preset).endswith("-released"):
        return "as the released code"
    return "as published" if paper else "not from a paper"


def _of_papers() -> set[str]:
    return {preset for figure in FIGURES.values() for preset in figure.presets}


def _listed(parts: Iterable[str]) -> str:
    return ", ".join(parts)
