"""The official files of every data set: names, checksums, folders they lie in, and where they come from."""

from dataclasses import dataclass
from typing import Literal

Role = Literal["train", "test", "names"]


@dataclass(frozen=True, kw_only=True)
class OfficialFile:
    """One file of a data set as its authors publish it."""

    name: str
    """File name without a folder."""
    role: Role
    """What it holds: training images, test images, or only class names."""
    folders: tuple[str, ...]
    """Where it may lie below the data directory, best first; "." is the directory itself."""
    md5: str | None
    """Official MD5 as hexadecimal digits; None where none is published."""
    size: int | None = None
    """Official size in bytes, where known."""


@dataclass(frozen=True, kw_only=True)
class Archive:
    """One archive as its authors publish it."""

    name: str
    """File name without a folder."""
    roles: tuple[Role, ...] = ("train", "test", "names")
    """Which files are in it; those of a role may be parted among several."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """The files of one data set and where to get them."""

    form: Literal["idx", "batches", "folders"]
    """idx: MNIST's format, one file of images and one of labels a split. batches: pickled dictionaries. folders: lists of
    JPEGs."""
    files: tuple[OfficialFile, ...]
    """All files, in reading order."""
    url: str | None
    """Base address of the downloads; None where a registration is asked for."""
    archive: str | None = None
    """The one archive to download, which holds all the files; None if they are downloaded one by one."""
    archives: tuple[Archive, ...] = ()
    """What all the files come in, where it may be put by hand; empty if they come one by one."""
    archive_md5: str | None = None
    """MD5 of that archive."""
    label_key: str = "labels"
    """Which entry of a batch holds the labels."""
    first_label: int = 0
    """The lowest label in the files; ours always begin at 0."""
    elsewhere: str = ""
    """What to do where nothing can be downloaded."""


def _idx(folder: str, url: str, checksums: tuple[str, str, str, str], sizes: tuple[int, int, int, int]) -> Source:
    names = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
    roles: tuple[Role, ...] = ("train", "train", "test", "test")
    folders = (f"{folder}/raw", folder, ".")
    files = tuple(
        OfficialFile(name=f"{name}.gz", role=role, folders=folders, md5=md5, size=size)
        for name, role, md5, size in zip(names, roles, checksums, sizes, strict=True)
    )
    return Source(form="idx", files=files, url=url)


def _cifar(folder: str, archive: str, md5: str, files: tuple[tuple[str, Role, str, int | None], ...], labels: str) -> Source:
    return Source(
        form="batches",
        files=tuple(
            OfficialFile(name=name, role=role, folders=(folder, "."), md5=file_md5, size=size)
            for name, role, file_md5, size in files
        ),
        url="https://www.cs.toronto.edu/~kriz/",
        archive=archive,
        archives=(Archive(name=archive),),
        archive_md5=md5,
        label_key=labels,
    )


_TRAIN_PARTS = {64: ("train_part1", "train_part2"), 32: ("train",), 16: ("train",)}
"""How the archives of a downsampled ImageNet's training images are named."""


def _imagenet(size: int) -> Source:
    folder = f"Imagenet{size}"
    names = [(f"train_data_batch_{number}", "train") for number in range(1, 11)] + [("val_data", "test")]
    return Source(
        form="batches",
        files=tuple(
            OfficialFile(
                name=name,
                role="train" if split == "train" else "test",
                folders=(folder, f"{folder}_{'train' if split == 'train' else 'val'}", "."),
                md5=None,
            )
            for name, split in names
        ),
        url=None,
        archives=(
            *(Archive(name=f"{folder}_{part}.zip", roles=("train",)) for part in _TRAIN_PARTS[size]),
            Archive(name=f"{folder}_val.zip", roles=("test",)),
        ),
        first_label=1,
        elsewhere=f"get `Downsampled image data ({size}x{size})` from https://image-net.org/download-images.php, which asks "
        f"for a registration, and put the zip files into {{directory}}, or unpack them into {{directory}}/{folder}",
    )


_CIFAR10: tuple[tuple[str, Role, str, int | None], ...] = (
    ("data_batch_1", "train", "c99cafc152244af753f735de768cd75f", 31035704),
    ("data_batch_2", "train", "d4bba439e000b95fd0a9bffe97cbabec", 31035320),
    ("data_batch_3", "train", "54ebc095f3ab1f0389bbae665268c751", 31035999),
    ("data_batch_4", "train", "634d18415352ddfa80567beed471001a", 31035696),
    ("data_batch_5", "train", "482c414d41f54cd18b22e5b47cb7c3cb", 31035623),
    ("test_batch", "test", "40351d587109b95175f43aff81a1287e", 31035526),
    ("batches.meta", "names", "5ff9c542aee3614f3951f8cda6e48888", 158),
)
_CIFAR100: tuple[tuple[str, Role, str, int | None], ...] = (
    ("train", "train", "16019d7e3df5f24257cddd939b257f8d", None),
    ("test", "test", "f0ef6b0ae62326f3e7ffdfab6717acfc", None),
    ("meta", "names", "7973b15100ade9c7d40fb424638fde48", 1473),
)
_CIFAR100_ARCHIVE = ("cifar-100-python", "cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85")

SOURCES: dict[str, Source] = {
    "mnist": _idx(
        "MNIST",
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        (
            "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "d53e105ee54ea40749a09fcbcd1e9432",
            "9fb629c4189551a2d022fa330f9573f3",
            "ec29112dd5afa0611ce80d1b7f02629c",
        ),
        (9912422, 28881, 1648877, 4542),
    ),
    "fashion-mnist": _idx(
        "FashionMNIST",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        (
            "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "25c81989df183df01b3e8a0aad5dffbe",
            "bef4ecab320f06d8554ea6380940ec79",
            "bb300cfdad3c16e7a12a480ee83cd310",
        ),
        (26421880, 29515, 4422102, 5148),
    ),
    "cifar-10": _cifar("cifar-10-batches-py", "cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a", _CIFAR10, "labels"),
    "cifar-100": _cifar(*_CIFAR100_ARCHIVE, _CIFAR100, "fine_labels"),
    "cifar-100-coarse": _cifar(*_CIFAR100_ARCHIVE, _CIFAR100, "coarse_labels"),
    "tiny-imagenet": Source(
        form="folders",
        files=(
            OfficialFile(name="wnids.txt", role="train", folders=("tiny-imagenet-200", "."), md5=None),
            OfficialFile(name="val_annotations.txt", role="test", folders=("tiny-imagenet-200/val", "val"), md5=None),
        ),
        url=None,
        archives=(Archive(name="tiny-imagenet-200.zip"),),
        elsewhere="get http://cs231n.stanford.edu/tiny-imagenet-200.zip and put it into {directory}, or unpack it there",
    ),
    "imagenet64": _imagenet(64),
    "imagenet32": _imagenet(32),
    "imagenet16": _imagenet(16),
}
"""Where every data set but digits comes from; digits is part of scikit-learn."""


@dataclass(frozen=True, kw_only=True)
class NamedArchive:
    """An archive of a set of `data.named`, of which many files are wanted."""

    name: str
    url: str
    """Of its folder."""
    md5: str
    most_bytes: int
    """No larger file is downloaded."""
    members: str
    """Regular expression of the names of the files that are read."""
    marker: str
    """The member that says that all are there."""


_VOC = "http://host.robots.ox.ac.uk/pascal/VOC/"
_VOC_FILES = r"VOCdevkit/VOC20(07|12)/(JPEGImages/\w+\.jpg|Annotations/\w+\.xml|ImageSets/Main/\w+\.txt)"


def _voc(name: str, year: int, md5: str, gibibytes: int, part: str) -> NamedArchive:
    marker = f"VOCdevkit/VOC{year}/ImageSets/Main/{part}.txt"
    most = gibibytes * 2**30
    return NamedArchive(name=name, url=f"{_VOC}voc{year}/", md5=md5, most_bytes=most, members=_VOC_FILES, marker=marker)


NAMED_ARCHIVES: dict[str, tuple[NamedArchive, ...]] = {
    "voc": (
        _voc("VOCtrainval_06-Nov-2007.tar", 2007, "c52e279531787c972589f7e41ab4ae64", 1, "trainval"),
        _voc("VOCtest_06-Nov-2007.tar", 2007, "b6e924de25625d8de591ea690078ad9f", 1, "test"),
        _voc("VOCtrainval_11-May-2012.tar", 2012, "6cd6e144f989b92b3379bac3b3de84fd", 3, "trainval"),
    )
}
"""Sets of `data.named` that can be downloaded, with the MD5s that torchvision has."""
