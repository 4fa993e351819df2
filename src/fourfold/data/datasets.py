"""The data sets by name: their sizes, classes, constants and sources. Imports neither torch nor numpy."""

from dataclasses import dataclass

from fourfold.record.errors import unknown


@dataclass(frozen=True, kw_only=True)
class DataInfo:
    """What is known about a data set without opening a file."""

    name: str
    """The key in `DATASETS`, as in `DataSpec.name`."""
    title: str
    """The name as its authors write it."""
    num_classes: int
    """Labels are 0 … num_classes - 1."""
    channels: int
    """1 (grey) or 3 (red, green, blue)."""
    size: int
    """Height and width in pixels."""
    train_images: int
    """Training images in the official files."""
    test_images: int
    """Test images in the official files (for ImageNet: its validation images)."""
    mean: tuple[float, ...]
    """Mean of each channel over the training images, where 1 is white."""
    std: tuple[float, ...]
    """Standard deviation of each channel over the training images, where 1 is white."""
    class_names: tuple[str, ...]
    """One name a class, by label; empty where the files do not say."""
    source: str
    """Whose it is, under which licence, and what to cite."""


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.replace("_", " ") for word in text.split())


_DIGITS = _words("0 1 2 3 4 5 6 7 8 9")

_CIFAR100_CLASSES = _words(
    "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle "
    "caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish "
    "forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle "
    "mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine "
    "possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar "
    "sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle wardrobe whale "
    "willow_tree wolf woman worm"
)

_CIFAR100_SUPERCLASSES = _words(
    "aquatic_mammals fish flowers food_containers fruit_and_vegetables household_electrical_devices household_furniture "
    "insects large_carnivores large_man-made_outdoor_things large_natural_outdoor_scenes large_omnivores_and_herbivores "
    "medium_mammals non-insect_invertebrates people reptiles small_mammals trees vehicles_1 vehicles_2"
)

_CIFAR_SOURCE = (
    "Alex Krizhevsky, Vinod Nair, Geoffrey Hinton; no licence stated; "
    "cite A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009"
)
_CIFAR100_MEAN = (0.5070752, 0.4865489, 0.4409178)
_CIFAR100_STD = (0.2673343, 0.2564385, 0.2761505)


def _imagenet(size: int) -> DataInfo:
    return DataInfo(
        name=f"imagenet{size}",
        title=f"ImageNet {size}×{size}",
        num_classes=1000,
        channels=3,
        size=size,
        train_images=1_281_167,
        test_images=50_000,
        # As the field quotes them for downsampled ImageNet (not recomputed here); the full-size constants
        # (0.485, 0.456, 0.406) / (0.229, 0.224, 0.225) are `normalization="imagenet"`.
        mean=(0.4810, 0.4574, 0.4078),
        std=(0.2633, 0.2560, 0.2708),
        class_names=(),
        source="ImageNet's terms (non-commercial research and education); "
        "cite P. Chrabaszcz, I. Loshchilov, F. Hutter, A Downsampled Variant of ImageNet, 2017",
    )


DATASETS: dict[str, DataInfo] = {
    "digits": DataInfo(
        name="digits",
        title="Digits 8×8",
        num_classes=10,
        channels=1,
        size=8,
        train_images=1437,
        test_images=360,
        mean=(0.3058612,),
        std=(0.3764099,),
        class_names=_DIGITS,
        source="scikit-learn's copy of the test set of UCI's Optical Recognition of Handwritten Digits, CC BY 4.0; "
        "cite E. Alpaydin, C. Kaynak, 1998",
    ),
    "mnist": DataInfo(
        name="mnist",
        title="MNIST",
        num_classes=10,
        channels=1,
        size=28,
        train_images=60_000,
        test_images=10_000,
        mean=(0.1306605,),
        std=(0.3081078,),
        class_names=_DIGITS,
        source="Yann LeCun, Corinna Cortes, Christopher Burges; usually given as CC BY-SA 3.0; "
        "cite Y. LeCun et al., Gradient-Based Learning Applied to Document Recognition, 1998",
    ),
    "fashion-mnist": DataInfo(
        name="fashion-mnist",
        title="Fashion-MNIST",
        num_classes=10,
        channels=1,
        size=28,
        train_images=60_000,
        test_images=10_000,
        mean=(0.2860406,),
        std=(0.3530242,),
        class_names=_words("T-shirt/top trouser pullover dress coat sandal shirt sneaker bag ankle_boot"),
        source="Zalando SE, MIT; cite H. Xiao, K. Rasul, R. Vollgraf, Fashion-MNIST, 2017",
    ),
    "cifar-10": DataInfo(
        name="cifar-10",
        title="CIFAR-10",
        num_classes=10,
        channels=3,
        size=32,
        train_images=50_000,
        test_images=10_000,
        mean=(0.4913997, 0.4821584, 0.4465309),
        std=(0.2470322, 0.2434851, 0.2615878),
        class_names=_words("airplane automobile bird cat deer dog frog horse ship truck"),
        source=_CIFAR_SOURCE,
    ),
    "cifar-100": DataInfo(
        name="cifar-100",
        title="CIFAR-100",
        num_classes=100,
        channels=3,
        size=32,
        train_images=50_000,
        test_images=10_000,
        mean=_CIFAR100_MEAN,
        std=_CIFAR100_STD,
        class_names=_CIFAR100_CLASSES,
        source=_CIFAR_SOURCE,
    ),
    "cifar-100-coarse": DataInfo(
        name="cifar-100-coarse",
        title="CIFAR-100, 20 superclasses",
        num_classes=20,
        channels=3,
        size=32,
        train_images=50_000,
        test_images=10_000,
        mean=_CIFAR100_MEAN,
        std=_CIFAR100_STD,
        class_names=_CIFAR100_SUPERCLASSES,
        source=_CIFAR_SOURCE,
    ),
    "tiny-imagenet": DataInfo(
        name="tiny-imagenet",
        title="Tiny ImageNet",
        num_classes=200,
        channels=3,
        size=64,
        train_images=100_000,
        test_images=10_000,
        mean=(0.4802, 0.4481, 0.3975),  # as the field quotes them, not recomputed here
        std=(0.2770, 0.2691, 0.2821),
        class_names=(),
        source="Stanford's course CS231n, from ImageNet and under its terms (non-commercial research and education); "
        "cite Y. Le, X. Yang, Tiny ImageNet Visual Recognition Challenge, 2015",
    ),
    "imagenet64": _imagenet(64),
    "imagenet32": _imagenet(32),
    "imagenet16": _imagenet(16),
}
"""Every data set that fourfold reads, by name."""


def info(name: str) -> DataInfo:
    """Return what is known about a data set.

    Raises:
        UserError: there is none of that name.
    """
    if name not in DATASETS:
        raise unknown("data set", name, DATASETS, "`fourfold data list` says what each is and where it lies")
    return DATASETS[name]
