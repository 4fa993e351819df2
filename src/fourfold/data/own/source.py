"""Data of one's own before they are bound to an algebra and a device."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from fourfold.data.components import Components, check_fit, learned_channels
from fourfold.data.items import Items
from fourfold.data.normalizing import Constants, Moments, Normalization, Normalizer, block_items, fixed_constants, moments_of
from fourfold.data.own.parts import Part, first_of, held_out
from fourfold.data.own.values import IGNORED, TargetKind
from fourfold.data.resident import Resident, augments, lay_out
from fourfold.data.splits import Splits
from fourfold.data.stores import Arrays, Augment, RowsOnDisk, Store
from fourfold.data.streamed import MEMORY_USED, Streamed
from fourfold.data.trees import item_shape, moved, num_bytes
from fourfold.record.errors import UserError
from fourfold.record.spec import DataSpec

_CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True, eq=False)
class Source:
    """The parts of a data set with all that is known about them."""

    name: str
    train: Part
    validation: Part | None
    test: Part
    kind: TargetKind
    classes: tuple[str, ...]
    outputs: int | None
    shape: Any
    """Of one item as it was given, channels first for images; a tree of shapes for inputs of several tensors."""
    axis: int | None
    """Axis of the channels in a batch; None for tokens and trees of tensors."""
    normalization: Normalization
    components: Components
    augment: Augment | None
    find_digest: Callable[[], str]
    notices: tuple[str, ...] = ()
    void: int = IGNORED
    """The label of label maps that is no class."""
    _constants: dict[int, Constants] = field(default_factory=dict)
    """Of training parts, by how many items were held out of them."""

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the contents, hexadecimal."""
        return self.find_digest()

    @property
    def images(self) -> bool:
        """Whether an item is an image (C, H, W)."""
        return self.axis == 1 and len(self.shape) == 3

    @property
    def labels_pixels(self) -> bool:
        """Whether items are images whose targets have a label for every pixel, and are changed with them."""
        targets = self.train.store.targets
        return (
            self.images
            and self.kind == "label map"
            and isinstance(targets, Tensor)
            and tuple(targets.shape[1:]) == tuple(self.shape[1:])
        )

    @property
    def has_boxes(self) -> bool:
        """Whether items are images with boxes, which are changed with them."""
        return self.images and self.kind == "boxes"

    def splits(self, spec: DataSpec, n: int, device: torch.device, stream: bool | None = None) -> Splits:
        """Return batches for a network; see `Splits.prepare`."""
        self._check(spec)
        train, validation = self.train, self.validation
        if spec.validation:
            train, validation = held_out(train, spec.validation, "validation", by_class=self.kind == "classes")
        components = "none" if n == 1 else self.components if spec.encoding == "none" else spec.encoding
        check_fit(self.shape, n, components, self.axis)
        constants = self._constants_of(train, spec)
        placed = {id(part.store): part.store for part in (train, validation, self.test) if part is not None}
        placed = {key: _placed(store, device, stream) for key, store in placed.items()}

        def split(part: Part) -> Resident:
            return self._split(placed[id(part.store)], part, spec, n, device, components, constants)

        batches = split(train)
        shape = item_shape(batches.batch(batches.in_order(), slice(0, 1))[0])
        encoded_shape = (learned_channels(shape[0], n), *shape[1:]) if components == "learned" else shape
        channels, image_size = self._sizes(shape)
        return Splits(
            train=batches,
            validation=None if validation is None else split(validation),
            test=split(self.test),
            channels=channels,
            image_size=image_size,
            name=self.name,
            kind=self.kind,
            classes=self.classes,
            outputs=self.outputs,
            shape=shape,
            network_shape=encoded_shape,
            mean=constants[0] if constants else (),
            std=constants[1] if constants else (),
            notices=self.notices,
            source=self,
        )

    def first(self, train: int, test: int) -> "Source":
        """Return the first training and test items alone, such as some to time a network on."""
        return replace(self, train=first_of(self.train, train), test=first_of(self.test, test), validation=None, _constants={})

    def _check(self, spec: DataSpec) -> None:
        if spec.classes is not None:
            raise UserError(
                f"`data.classes` (={spec.classes}) cannot be combined with {self.name}: leave items out where it is made"
            )
        if spec.validation and self.validation is not None:
            raise UserError(
                f"`data.validation` (={spec.validation}) cannot be combined with {self.name}, which has a validation part"
            )
        fits = self.images and self.kind in ("classes", "multi-hot", "values")
        if augments(spec) and not (fits or self.labels_pixels or self.has_boxes):
            what = "`data.flip` (=True)" if spec.flip else f"`data.crop` (={spec.crop})"
            why = "its targets would have to change too" if self.images else "its inputs are no images"
            raise UserError(f"{what} cannot be combined with {self.name}: {why}; use `augment`")

    def _constants_of(self, train: Part, spec: DataSpec) -> Constants | None:
        """Return the means and deviations that inputs are normalised by; None where there are no channels."""
        if self.axis is None:
            return None
        normalization = "imagenet" if spec.normalization == "imagenet" else self.normalization
        constants = fixed_constants(normalization, self.shape[self.axis - 1])
        if constants is None:
            if len(train) not in self._constants:
                self._constants[len(train)] = training_constants(train, self.axis)
            constants = self._constants[len(train)]
        return constants

    def _split(
        self,
        store: Store,
        part: Part,
        spec: DataSpec,
        n: int,
        device: torch.device,
        components: Components,
        constants: Constants | None,
    ) -> Resident:
        """Return images of classes as `Resident` or `Streamed`, which faster engines know, and anything else as `Items`."""
        named = components if isinstance(components, str) and components != "repeat" else None
        if self.images and self.kind == "classes" and self.augment is None and named is not None and constants is not None:
            channels = _encoded_channels(self.shape[0], named, n)
            options: dict[str, Any] = {
                "spec": replace(spec, name=self.name, encoding=named),
                "mean": constants[0],
                "std": constants[1],
                "n": n,
                "channels": channels,
            }
            members = None if part.members is None else part.members.to(device)
            labels = part.targets()
            assert labels is not None or store.targets is None
            if isinstance(store, RowsOnDisk):
                assert labels is not None
                return Streamed(store.rows, labels.to(device), members, **options)
            if isinstance(store, Arrays) and store.inputs.dtype == torch.uint8 and store.inputs.device.type == device.type:
                assert labels is not None
                return Resident(lay_out(store.inputs, options["spec"], n), labels.to(device), members, **options)
        return Items(
            store,
            part.members,
            device,
            spec=spec,
            augment=self.augment,
            normalizer=None if constants is None or self.axis is None else Normalizer(constants, self.axis),
            components=components,
            n=n,
            axis=self.axis,
            void=self.void if self.labels_pixels else None,
            boxes=self.has_boxes,
        )

    def _sizes(self, shape: Any) -> tuple[int, tuple[int, ...]]:
        if not isinstance(shape, tuple) or not all(isinstance(size, int) for size in shape):
            return 0, ()
        if self.axis is None:
            return 0, shape
        place = min(self.axis, len(shape)) - 1
        return shape[place], shape[:place] + shape[place + 1 :]


def training_constants(part: Part, axis: int) -> Constants:
    """Return means and deviations of the channels of a part's inputs, of bytes such that 1 is white."""
    store, numbers = part.store, part.numbers()
    if isinstance(store, RowsOnDisk) and store.sums is not None:
        moments = Moments(axis)
        sums, squares = store.sums[numbers].sum(0)
        moments.add_sums(sums, squares, len(numbers) * int(torch.tensor(store.rows.shape[1:]).prod()))
        return moments.result(255)
    ((first, _),) = store.read([numbers[:1]], _CPU, None)
    blocks = _inputs(store, numbers, block_items(first[0]))
    return moments_of(blocks, axis, 255 if first.dtype == torch.uint8 else 1)


def _inputs(store: Store, numbers: Tensor, size: int) -> Iterator[Tensor]:
    for inputs, _ in store.read(torch.split(numbers, size), _CPU, None):
        yield inputs


def _encoded_channels(channels: int, components: str, n: int) -> int:
    """Return the channels of batches, as `components.encode` makes them."""
    if components == "pixels":
        return n * channels
    if components in ("zero", "grey"):
        return -(-(channels + (components == "grey")) // n) * n
    return channels


def _placed(store: Store, device: torch.device, stream: bool | None) -> Store:
    """Return the same items in memory, on the device if they fit, or on disk where they would fill the memory."""
    if isinstance(store, RowsOnDisk):
        if store.streams(device) if stream is None else stream:
            return store
        store = store.in_memory()
    if isinstance(store, Arrays) and device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        if num_bytes(store.inputs) <= MEMORY_USED * free:
            return Arrays(moved(store.inputs, device), store.targets)
    return store
