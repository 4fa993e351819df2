"""The fastest way to train and evaluate a network: in native code, recorded, or one step after the other in PyTorch."""

from collections.abc import Callable, Mapping
from functools import partial

from torch import Tensor, nn

from fourfold.data import Resident
from fourfold.record import TrainSpec
from fourfold.train.captured import CapturedSteps, captured_evaluation, captured_steps
from fourfold.train.evaluation import Evaluation, evaluate
from fourfold.train.parallel import ParallelSteps
from fourfold.train.ranks import ALONE, Ranks
from fourfold.train.sparse_epochs import SparseEpochs, native_steps
from fourfold.train.sparse_steps import SparseSteps
from fourfold.train.steps import EachStep, Steps


def fastest_steps(
    network: nn.Module,
    spec: TrainSpec,
    weights: Mapping[str, Tensor],
    masks: Mapping[str, Tensor],
    images: Resident,
    moments: Mapping[str, Tensor] | None = None,
    *,
    one_by_one: bool = False,
    ranks: Ranks = ALONE,
) -> Steps | SparseSteps:
    """Return the fastest steps for a network.

    Args:
        network: On the device of the images; trained in place.
        spec: The optimiser.
        weights: The weights that `masks` prunes; after every step the pruned ones are exactly zero.
        masks: True where a weight is kept, by the names of `weights`.
        images: What is trained on.
        moments: What the optimiser's averages were when other steps ended, to go on with them; None starts from none.
        one_by_one: Whether masks change between steps, which those in native code and recorded ones do not allow.
        ranks: The processes that train the network together.
    """
    if not ranks.alone:
        return ParallelSteps(network, spec, weights, masks, moments, ranks)
    if not one_by_one:
        faster = native_steps(network, spec, masks, images, moments) or captured_steps(
            network, spec, weights, masks, images, moments
        )
        if faster:
            return faster
    return Steps(network, spec, weights, masks, moments)


def in_epochs(
    steps: Steps | SparseSteps, images: Resident, batch_size: int, ranks: Ranks = ALONE
) -> EachStep | CapturedSteps | SparseEpochs:
    """Return what takes the steps epoch by epoch: the steps themselves, if they can, or each of them on its batch."""
    if isinstance(steps, CapturedSteps | SparseEpochs):
        return steps
    return EachStep(steps, images, batch_size, ranks.share)


def fastest_evaluation(
    steps: Steps | SparseSteps, network: nn.Module, images: Resident, ranks: Ranks = ALONE
) -> Callable[[], Evaluation]:
    """Return what evaluates the network on some images, as its steps have left it, whenever it is called."""
    quick: Callable[[], Evaluation] | None = None
    if isinstance(steps, CapturedSteps):
        quick = captured_evaluation(network, images)
    elif isinstance(steps, SparseEpochs):
        quick = steps.evaluation(images)
    return quick or partial(evaluate, network, images, ranks)
