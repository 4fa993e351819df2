"""Batches of any inputs and targets, with the order, the shares and the interface of `Resident`."""

import copy
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from fourfold.data.boxes import cropped
from fourfold.data.components import Components, encode
from fourfold.data.normalizing import Normalizer
from fourfold.data.resident import Order, Resident, crop_and_flip, drawn_crops
from fourfold.data.stores import Augment, Store
from fourfold.data.trees import Tree, is_leaf, length, mapped, moved, select
from fourfold.record.errors import UserError
from fourfold.record.spec import DataSpec


class Items(Resident):
    """Inputs and targets of one split: tensors, or dicts or tuples of tensors, of any shape.

    A batch is read, moved to the device, cropped and flipped if the spec says so, changed by `augment`, normalised, and encoded
    to n components, in this order; so `augment` sees items as they were given, and the same ones for every algebra.

    Args:
        store: Where the items lie.
        members: int64 (N,) on the CPU, which of its items belong to this split; None means all.
        device: Where batches are wanted.
        spec: crop and flip, of images alone.
        augment: Changes a batch of an epoch at random.
        normalizer: Applied to inputs that are one tensor; None leaves them.
        components: How inputs become elements of n components.
        n: Dimension of the algebra.
        axis: Axis of the channels in a batch; None where there is none.
        void: Label of what a crop takes from beside the image, where targets are label maps; None leaves targets as they are.
        boxes: Whether targets are boxes, which a crop moves too.
    """

    def __init__(
        self,
        store: Store,
        members: Tensor | None,
        device: torch.device,
        *,
        spec: DataSpec,
        augment: Augment | None,
        normalizer: Normalizer | None,
        components: Components,
        n: int,
        axis: int | None,
        void: int | None = None,
        boxes: bool = False,
    ) -> None:
        self._void, self._boxes = void, boxes
        self._layout = torch.contiguous_format
        self._store, self._device, self._spec = store, device, spec
        self._numbers = torch.arange(len(store)) if members is None else members
        self._augment, self._normalizer = augment, normalizer
        self._components, self._n, self._axis = components, n, axis
        targets = store.targets
        if targets is not None:
            targets = moved(targets if members is None else select(targets, members), device)
        self._targets = targets

    def __len__(self) -> int:
        return len(self._numbers)

    @property
    def device(self) -> torch.device:
        """Where the batches are."""
        return self._device

    @property
    def in_memory(self) -> bool:
        """No: a step cannot fetch these items itself."""
        return False

    @property
    def labels(self) -> Tree:
        """Targets in the order of `batches`; int64 (0,) on the device where they are read with their inputs."""
        return torch.empty(0, dtype=torch.int64, device=self._device) if self._targets is None else self._targets

    def laid_out(self, layout: torch.memory_format) -> "Items":
        """Return the same items with batches in another memory format, which inputs of four axes alone can have."""
        other = copy.copy(self)
        other._layout = layout
        return other

    def pixels(self) -> None:
        """Return None: batches are not known to be nothing but scaled pixels."""
        return

    def order(self, seed: int, augment: bool = True) -> Order:
        """Return an epoch's order and augmentation, as `epoch` draws them from its seed."""
        order = torch.randperm(len(self), generator=self._generator("order", seed), device=self._device)
        places = order.cpu()
        crops = drawn_crops(len(self), self._spec, self._generator("augmentation", seed)) if augment else ()
        labels = self.labels if self._targets is None else select(self._targets, order)
        return Order(members=self._numbers[places], labels=labels, crops=crops, seed=seed, augment=augment)

    def in_order(self) -> Order:
        """Return the order that `batches` yields the items in, not augmented."""
        return Order(members=self._numbers, labels=self.labels, crops=(), augment=False)

    def epoch(
        self,
        batch_size: int,
        seed: int,
        augment: bool = True,
        share: Callable[[range], slice] | None = None,
        first: int = 0,
    ) -> Iterator[tuple[Tree, Tree]]:
        """Yield every item once, shuffled: inputs and targets, as `Resident.epoch` does.

        The order is that of `Resident.epoch`. `augment` functions, and datasets whose items are read with their targets, see
        whole batches whatever the `share`, which is then cut out, so that the shares of several processes are one batch.
        """
        order = self.order(seed, augment)
        yield from self._batches(order, _slices(len(self), batch_size)[first:], share)

    def batch(self, order: Order, chosen: slice | Tensor) -> tuple[Tree, Tree]:
        """Return the inputs and targets at some places of an order.

        The generator of `augment` is seeded by the first place, so that a batch of an epoch is the same by itself.
        """
        return next(self._batches(order, [chosen], None))

    def batches(self, batch_size: int, first: int = 0, every: int = 1) -> Iterator[tuple[Tree, Tree]]:
        """Yield every item once, in order and not augmented, as `Resident.batches` does."""
        yield from self._batches(self.in_order(), _slices(len(self), batch_size)[first::every], None)

    def _batches(
        self, order: Order, places: Sequence[slice | Tensor], share: Callable[[range], slice] | None
    ) -> Iterator[tuple[Tree, Tree]]:
        changes = self._augment is not None and order.augment
        reads_shares = share is not None and not changes and self._targets is not None
        read = [_cut(place, share) if reads_shares and share else place for place in places]
        seed = order.seed if order.augment else None
        raw = self._store.read([order.members[_on_cpu(place)] for place in read], self._device, seed)
        for whole, place, (inputs, own) in zip(places, read, raw, strict=True):
            inputs = moved(inputs, self._device)
            targets: Tree = select(order.labels, whole) if own is None else moved(own, self._device)
            if order.crops:
                crops = [stream[place] for stream in order.crops]
                if self._boxes:
                    targets = cropped(targets, self._spec.crop or 0, crops, inputs.shape[2:])
                inputs = crop_and_flip(inputs, self._spec.crop or 0, *crops)
                if self._void is not None:  # which pads with 0, so that void is 0 meanwhile
                    shifted = targets.long().unsqueeze(1) - self._void
                    targets = crop_and_flip(shifted, self._spec.crop or 0, *crops).squeeze(1) + self._void
            if changes:
                inputs, targets = self._augmented(inputs, targets, order, whole)
            if share is not None and not reads_shares:
                assert isinstance(whole, slice)
                mine = _cut(whole, share)
                inputs = select(inputs, slice(mine.start - whole.start, mine.stop - whole.start))
            yield self._encode(inputs), mapped(_as_target, targets)

    def _augmented(self, inputs: Tree, targets: Tree, order: Order, places: slice | Tensor) -> tuple[Tree, Tree]:
        assert self._augment is not None
        assert order.seed is not None
        first = places.start if isinstance(places, slice) else int(places[0])
        count = length(inputs)
        changed = self._augment((inputs, targets), self._generator(f"augment {first}", order.seed))
        if not (isinstance(changed, tuple | list) and len(changed) == 2):
            raise UserError(f"`augment` must return (inputs, targets), and returned {type(changed).__name__}")
        for what, tree in zip(("inputs", "targets"), changed, strict=True):
            if length(tree) != count:
                raise UserError(f"`augment` must return as many {what} as it is given ({count}), and returned {length(tree)}")
        return changed[0], changed[1]

    def _encode(self, inputs: Tree) -> Tree:
        if is_leaf(inputs):
            inputs = inputs if self._normalizer is None else self._normalizer(inputs)
        inputs = encode(inputs, self._n, self._components, self._axis)
        if is_leaf(inputs) and inputs.dim() == 4:
            inputs = inputs.contiguous(memory_format=self._layout)
        return inputs


def _as_target(target: Tensor) -> Tensor:
    """Return targets as losses take them: bytes and int16, in which label maps are kept, as int64."""
    return target.long() if target.dtype in (torch.uint8, torch.int16) else target


def _slices(count: int, size: int) -> list[slice]:
    """Return the places of batches of a size; the last may be smaller."""
    return [slice(first, min(first + size, count)) for first in range(0, count, size)]


def _cut(whole: slice | Tensor, share: Callable[[range], slice]) -> slice:
    assert isinstance(whole, slice)
    return share(range(whole.start, whole.stop))


def _on_cpu(places: slice | Tensor) -> slice | Tensor:
    return places if isinstance(places, slice) else places.cpu()
