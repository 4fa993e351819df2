"""What the two papers claim, each claim with its place and the check that our rows and their own curves are put to."""

from dataclasses import dataclass

from fourfold.report import checks
from fourfold.report.checks import Check
from fourfold.report.paper_figures import DEPTHS, PAIRS


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One sentence of a paper that rows can bear out or refute."""

    paper: int
    place: str
    says: str
    """What the paper says; where it calls what remains sparsity, we do not."""
    preset: str
    """The experiment it is about."""
    rows_from: str
    """The command that makes its rows, after the word `fourfold`."""
    check: Check


def _claims_of_paper_1() -> dict[str, Claim]:
    claims: dict[str, Claim] = {}

    def add(name: str, place: str, says: str, preset: str, rows_from: str, check: Check) -> None:
        claims[f"p1-{name}"] = Claim(paper=1, place=place, says=says, preset=preset, rows_from=rows_from, check=check)

    add(
        "ten-points",
        "abstract; section 5",
        "at 3 % of the parameters the pruned quaternion Conv-4 outperforms the pruned real one by more than 10 %",
        "conv4-cifar10",
        "reproduce p1-fig4c",
        checks.gap_above(0.03, 10, 10),
    )
    add(
        "crossing",
        "section 5, figure 4c",
        "at the 12.5 % mark the curves coincide; on further pruning the real curve drops below",
        "conv4-cifar10",
        "reproduce p1-fig4c",
        checks.crosses_near(0.125),
    )
    for panel, preset in PAIRS.items():
        if preset == "lenet-300-100-mnist":
            continue
        add(
            f"ahead-{preset}",
            f"sections 1 and 5, figure 4{panel}",
            "pruned to 10 % or fewer of the parameters, the quaternion network outperforms the real one",
            preset,
            f"reproduce p1-fig4{panel}",
            checks.ahead_below(0.10),
        )
    add(
        "ahead-lenet-12-mnist",
        "section 5, figure 5",
        "quaternion performs better than real when both are pruned far",
        "lenet-12-mnist",
        "reproduce p1-fig5",
        checks.ahead_below(0.10),
    )
    add(
        "real-ahead-lenet-300-100-mnist",
        "section 5, figure 4a",
        "real outperforms quaternion at every level of pruning",
        "lenet-300-100-mnist",
        "reproduce p1-fig4a",
        checks.behind_below(),
    )
    add(
        "real-ahead-sparse-lenet-300-100-mnist",
        "section 5, figure 4a",
        "quaternion underperforms real below 4 % of the parameters",
        "lenet-300-100-mnist",
        "reproduce p1-fig4a",
        checks.behind_below(0.04),
    )
    for panel, preset in PAIRS.items():
        add(
            f"tickets-{preset}",
            f"section 5, figure 3{panel}",
            "pruned quaternion networks match or exceed the unpruned one, such as with 51 % of the weights",
            preset,
            f"reproduce p1-fig3{panel}",
            checks.ticket(0.512),
        )
    for panel, preset in PAIRS.items():
        add(
            f"dense-{preset}",
            f"section 5, figure 2{panel}",
            "quaternion cannot, in general, be trained to the same accuracy as real",
            preset,
            f"reproduce p1-fig2{panel}",
            checks.dense_behind(),
        )
    for preset in (*PAIRS.values(), "lenet-12-mnist"):
        add(
            f"early-stopping-{preset}",
            "section 5.1" + (", figure 6" if preset == "conv2-cifar10" else ""),
            "with early stopping quaternion no longer does better than real at any level of pruning",
            f"{preset}-early-stopping",
            "reproduce p1-fig6" if preset == "conv2-cifar10" else "reproduce p1-sec5.1",
            checks.behind_below(),
        )
    for preset in ("resnet18-cifar10", "vgg16-cifar10"):
        add(
            f"real-ahead-{preset}",
            "section 5.2",
            "with batch normalisation real has greater accuracy than quaternion at all levels of pruning",
            preset,
            "reproduce p1-sec5.2",
            checks.behind_below(),
        )
    for preset in ("lenet-300-100-mnist", "conv4-cifar10"):
        for control, says in (
            ("random-init", "a pruned network must be paired with its initial weights to be trained from the beginning"),
            ("small-dense", "a large sparse network performs better than a small dense one of as many weights"),
        ):
            add(
                f"{control}-{preset}",
                "section 2.1, of real networks; put to quaternion ones here",
                says,
                preset,
                f"run {preset} --controls {control}",
                checks.ticket_beats(control),
            )
    return claims


def _claims_of_paper_2() -> dict[str, Claim]:
    claims: dict[str, Claim] = {}

    def add(name: str, place: str, says: str, preset: str, check: Check) -> None:
        rows_from = f"reproduce p2-{preset.partition('-')[2]}"
        claims[f"p2-{name}"] = Claim(paper=2, place=place, says=says, preset=preset, rows_from=rows_from, check=check)

    add(
        "headline-cifar100",
        "abstract",
        "pruned quaternion ResNet-101 outperforms real by 4 % with about 6 % of the weights",
        "resnet101-cifar100",
        checks.gap_above(0.06, 3.5, 4),
    )
    add(
        "headline-imagenet64",
        "abstract",
        "pruned quaternion ResNet-101 outperforms real by 7 % with about 0.4 % of the weights",
        "resnet101-imagenet64",
        checks.gap_above(0.004, 6.5, 7),
    )
    for depth in (101, 152):
        add(
            f"outlives-resnet{depth}",
            "abstract",
            "quaternion has steady lottery tickets where real failed to train with as few weights",
            f"resnet{depth}-cifar100",
            checks.outlives(),
        )
        add(
            f"tickets-resnet{depth}",
            "abstract",
            "steady lottery tickets of the quaternion network",
            f"resnet{depth}-cifar100",
            checks.ticket(0.49),
        )
    for depth in DEPTHS:
        preset = f"resnet{depth}-cifar100"
        add(
            f"ahead-resnet{depth}",
            "abstract; slides, CIFAR100 real vs. quat",
            "pruned far (read here as 1 % of the parameters and fewer), quaternion performs better than real",
            preset,
            checks.ahead_below(0.01),
        )
        add(
            f"stays-longer-resnet{depth}",
            "poster, observation; slides, our work",
            "accuracy remains comparable to the full model with fewer weights than in the real version",
            preset,
            checks.stays_longer(),
        )
        add(
            f"almost-as-good-resnet{depth}",
            "poster, observation",
            "quaternion has a fourth of the parameters and performs almost as good",
            preset,
            checks.dense_comparable(),
        )
    for depth in (18, 34, 50):
        preset = f"resnet{depth}-imagenet64"
        add(
            f"unsatisfactory-resnet{depth}",
            "slides, ImageNet64 real vs. quat",
            "on ImageNet64 quaternion does not yield satisfactory accuracy",
            preset,
            checks.dense_unsatisfactory(),
        )
        add(
            f"declines-resnet{depth}",
            "slides, accuracy trends on ImageNet",
            "accuracies decline as the networks are pruned",
            preset,
            checks.declines(0.49),
        )
    for depth in (101, 152):
        add(
            f"comparable-resnet{depth}",
            "slides, accuracy trends on ImageNet",
            "with larger models the initial accuracies are comparable",
            f"resnet{depth}-imagenet64",
            checks.dense_comparable(),
        )
    return claims


CLAIMS = {**_claims_of_paper_1(), **_claims_of_paper_2()}
"""By a name of our own; in the order in which they are reported."""
