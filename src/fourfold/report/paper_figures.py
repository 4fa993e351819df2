"""The figures and tables of the two papers: which experiments each one takes, and which of our pictures is its counterpart."""

from dataclasses import dataclass

PAIRS = {
    "a": "lenet-300-100-mnist",
    "b": "conv2-cifar10",
    "c": "conv4-cifar10",
    "d": "conv6-cifar10",
    "e": "conv4-cifar100",
    "f": "conv6-cifar100",
}
"""Paper 1's panels of figures 2, 3 and 4. Its text names a to c; d to f follow the order of its table 1."""

DEPTHS = (18, 34, 50, 101, 152)
"""Paper 2's ResNets."""

TRIALS = {1: 5, 2: 1}
"""Of each paper's experiments."""


@dataclass(frozen=True, kw_only=True)
class PaperFigure:
    """One figure, or one section that reports results without a figure."""

    paper: int
    shows: str
    presets: tuple[str, ...]
    pictures: tuple[str, ...]
    """Which figures of our report are its counterpart, by name."""
    algebras: tuple[str, ...] = ("real", "quaternion")
    last_level: int | None = None
    """The last level that it needs; None means to the stop rule."""

    @property
    def trials(self) -> int:
        """Trials of each network, as in the paper."""
        return TRIALS[self.paper]


_CURVES = ("accuracy-linear", "accuracy-log")


def _figures() -> dict[str, PaperFigure]:
    figures = {}
    for panel, preset in PAIRS.items():
        figures[f"p1-fig2{panel}"] = PaperFigure(
            paper=1, shows="training of the dense networks", presets=(preset,), pictures=("training-dense",), last_level=0
        )
    for panel, preset in PAIRS.items():
        figures[f"p1-fig3{panel}"] = PaperFigure(
            paper=1,
            shows="training of the quaternion network at several levels",
            presets=(preset,),
            pictures=("training-levels-quaternion",),
            algebras=("quaternion",),
        )
    for panel, preset in PAIRS.items():
        figures[f"p1-fig4{panel}"] = PaperFigure(
            paper=1, shows="accuracy against weights left", presets=(preset,), pictures=_CURVES
        )
    return figures | {
        "p1-fig5": PaperFigure(
            paper=1,
            shows="training and pruning of Lenet-12",
            presets=("lenet-12-mnist",),
            pictures=("training-dense", *_CURVES),
        ),
        "p1-fig6": PaperFigure(
            paper=1,
            shows="accuracy against weights left, with early stopping",
            presets=("conv2-cifar10-early-stopping",),
            pictures=_CURVES,
        ),
        "p1-sec5.1": PaperFigure(
            paper=1,
            shows="all seven experiments with early stopping",
            presets=tuple(f"{preset}-early-stopping" for preset in (*PAIRS.values(), "lenet-12-mnist")),
            pictures=_CURVES,
        ),
        "p1-sec5.2": PaperFigure(
            paper=1, shows="larger networks", presets=("resnet18-cifar10", "vgg16-cifar10"), pictures=_CURVES
        ),
        "p2-cifar100": PaperFigure(
            paper=2,
            shows="accuracy against weights left, five ResNets",
            presets=tuple(f"resnet{depth}-cifar100" for depth in DEPTHS),
            pictures=_CURVES,
        ),
        "p2-imagenet64": PaperFigure(
            paper=2,
            shows="accuracy against weights left, five ResNets",
            presets=tuple(f"resnet{depth}-imagenet64" for depth in DEPTHS),
            pictures=_CURVES,
        ),
    }


FIGURES = _figures()
"""By the name that `fourfold reproduce` takes."""

TABLES = {
    "p1-table1": "parameters of paper 1's networks (table 1), computed from the models",
    "p2-params": "parameters of paper 2's networks (model statistics), computed from the models",
}
"""By the name that `fourfold reproduce` takes."""
