"""`Splits`: what a network is trained, validated and tested on."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from fourfold.data.own.values import TargetKind
from fourfold.data.resident import Resident
from fourfold.record.spec import DataSpec

if TYPE_CHECKING:
    from fourfold.data.own.source import Source
    from fourfold.data.stores import Augment


@dataclass(frozen=True, kw_only=True, eq=False)
class Splits:
    """A data set ready to train on, its batches on one device; see docs/your-data.md.

    `from_arrays`, `from_folder` and `from_datasets` return it for a real network on the CPU; `prepare` returns it for another
    algebra and device.
    """

    train: Resident
    validation: Resident | None
    """Held out of the training images; None if the spec asks for none."""
    test: Resident
    channels: int
    """Channels or features of the batches; `learned` has a front end in the network that makes more of them. 0 where inputs
    have none, as tokens and trees of tensors."""
    image_size: tuple[int, ...]
    """Height and width of the batches; of other inputs, their axes but the channels."""
    name: str = ""
    kind: TargetKind = "classes"
    """What the targets are."""
    classes: tuple[str, ...] = ()
    """One name a class, in the order of labels; empty where the targets are no classes, or the names are not known."""
    outputs: int | None = None
    """Outputs of a network: one a class, or one a value that is predicted; None where only the task knows."""
    shape: Any = None
    """Shape of one item in the batches, (C, H, W) for images, or a dict or tuple of shapes; None takes it from `channels` and
    `image_size`."""
    network_shape: Any = None
    """The shape that a network sees: `shape`, but behind the front end of `learned`. None means `shape`."""
    mean: tuple[float, ...] = ()
    """What was subtracted from each channel, of bytes such that 1 is white; empty where nothing was."""
    std: tuple[float, ...] = ()
    """What each channel was then divided by."""
    notices: tuple[str, ...] = ()
    """What a user may want to know about the data, one sentence each."""
    source: "Source | None" = None
    """What these splits were made from, of data of one's own; None for built-in data sets."""

    def __post_init__(self) -> None:
        if self.shape is None:
            object.__setattr__(self, "shape", (self.channels, *self.image_size))
        if self.network_shape is None:
            object.__setattr__(self, "network_shape", self.shape)

    @property
    def digest(self) -> str | None:
        """SHA-256 of all inputs and targets, hexadecimal; None for built-in data sets, whose `ImageSet` has it.

        Of torch datasets: of the number of items and an evenly spaced choice of 256 of each part.
        """
        return None if self.source is None else self.source.digest

    @property
    def augment(self) -> "Augment | None":
        """The function that changes batches at random; None without one, or where it is the crop and flip of a spec."""
        return None if self.source is None else self.source.augment

    def prepare(
        self, n: int = 1, device: torch.device | str = "cpu", spec: DataSpec | None = None, *, stream: bool | None = None
    ) -> "Splits":
        """Return data of one's own for a network of another algebra, or on another device.

        Args:
            n: Dimension of the algebra, 1 for real and 4 for quaternion.
            device: Where the batches shall be.
            spec: Crop and flip of images; `encoding` and `normalization` where they are not the defaults, which leave what
                the data were made with; and how many validation items are drawn from the training part. None leaves all as
                it is.
            stream: Whether decoded images of a folder are read batch by batch; None means where they would fill the memory.

        Raises:
            UserError: something in the spec does not fit the data.
        """
        assert self.source is not None, "`data.prepare` prepares built-in data sets"
        return self.source.splits(spec or DataSpec(name=self.name), n, torch.device(device), stream)
