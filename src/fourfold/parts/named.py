"""What the names of a spec stand for: its data, the maker of its network and its task; built in, or of the user's code."""

import contextlib
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch

from fourfold import data, models, tasks
from fourfold.data.named import READERS, read_named
from fourfold.record import Code, Spec, UserError
from fourfold.record.errors import unknown
from fourfold.record.references import entry_point_names, is_code, resolve

Source: TypeAlias = Any
"""Data as they are loaded: a built-in `data.ImageSet`, or `data.Splits` of the user's own."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What has to be known of data to build a network and to plan its training."""

    train_items: int
    """Before any are held out for validation."""
    test_items: int
    outputs: int | None
    """Of the network: one a class, or one a value that is predicted; None where only the task knows."""
    batch_shape: Any
    """Of an item in a batch: a tuple of integers, or a tuple or dict of such for several inputs."""
    network_shape: Any
    """The same behind a learned encoding."""
    learned_from: int | None
    """Channels before a learned encoding; None without one."""


def components(spec: Spec) -> int:
    """Return how many components the elements of the inputs have: a real network that sees encoded images sees quaternions."""
    return 4 if spec.model.algebra == "real" and spec.inputs.encoding != "none" else models.dimension(spec.model.algebra)


def is_own_data(spec: Spec) -> bool:
    """Whether the data are loaded as the user's own are: of code, of a path, or one of `data.named.READERS`."""
    return spec.data.name not in data.DATASETS


def is_own_model(spec: Spec) -> bool:
    """Whether the network is made by the user's code or an installed package's."""
    return not models.is_known(spec.model.name)


def load(spec: Spec, data_dir: Path | None = None, *, download: bool = True) -> Source:
    """Return the data of a spec.

    Raises:
        UserError: an unknown name, missing or damaged files, or code that cannot be imported or returns something else.
    """
    if _folder_settings(spec) and not _is_folder(spec.data.name):
        name, value = next(iter(_folder_settings(spec).items()))
        raise UserError(
            f"`data.{name}` (={value!r}) cannot be combined with `data.name` (={spec.data.name!r}): it is for a "
            "folder of images, such as photos/"
        )
    if not is_own_data(spec):
        return data.load(spec.data.name, data_dir, download=download)
    if data_dir is not None:
        look_in(data_dir)
    with _loading:
        return _own_data(spec)


def look_in(data_dir: Path | None) -> None:
    """Say where the files of built-in series and the like lie for the rest of this process; None is the default place."""
    global _folder
    with _loading:
        _folder = data_dir


def facts(spec: Spec) -> Facts:
    """Return what has to be known of a spec's data; built-in sets are not loaded for it.

    Raises:
        UserError: as `load`, or the spec does not fit the data.
    """
    if not is_own_data(spec):
        info = data.info_for(spec.data)
        shape = data.input_channels(spec.inputs, info, components(spec))
        learned = spec.inputs.encoding == "learned"
        return Facts(
            train_items=info.train_images,
            test_items=info.test_images,
            outputs=info.num_classes,
            batch_shape=(info.channels, *shape[1:]) if learned else shape,
            network_shape=shape,
            learned_from=info.channels if learned else None,
        )
    splits = prepared(spec)
    learns = splits.network_shape != splits.shape
    return Facts(
        train_items=len(splits.train) + spec.data.validation,
        test_items=len(splits.test),
        outputs=splits.outputs,
        batch_shape=splits.shape,
        network_shape=splits.network_shape,
        learned_from=splits.shape[0] if learns else None,
    )


def has_validation(spec: Spec) -> bool:
    """Whether the data are the user's own and have a validation part, beside which none is held out."""
    return is_own_data(spec) and load(spec).validation is not None


def prepared(spec: Spec) -> Any:
    """Return the user's own data on the CPU, as the spec's network takes them; once for all that ask."""
    source = load(spec)
    key = (id(source), spec.inputs, components(spec))
    with _loading:
        if key not in _prepared:
            while len(_prepared) > 8:  # the real network's and those of some algebras
                _prepared.pop(next(iter(_prepared)))
            _prepared[key] = (source, source.prepare(components(spec), torch.device("cpu"), spec.inputs))
        return _prepared[key][1]


def task_of(spec: Spec) -> tasks.Task:
    """Return what the network is asked."""
    return tasks.get(spec)


def model_code(spec: Spec) -> Code:
    """Return the user's code that makes the network.

    Raises:
        UserError: there is no such model, or its code cannot be imported.
    """
    code = resolve(spec.model.name, "model", spec.trust)
    if code is None:
        known = [*models.MODELS, *entry_point_names("model")]
        raise unknown("model", spec.model.name, known, "or code such as roads.py:net")
    return code


def codes(spec: Spec) -> list[Code]:
    """Return the user's code that a spec names, by references or by entry points of installed packages."""
    user_codes: list[Code | None] = []
    if is_own_data(spec) and spec.data.name not in READERS and not _is_path(spec.data.name):
        user_codes.append(resolve(spec.data.name, "data", spec.trust))
    if is_own_model(spec):
        user_codes.append(resolve(spec.model.name, "model", spec.trust))
    if spec.task.name not in tasks.TASKS:
        user_codes.append(resolve(spec.task.name, "task", spec.trust))
    return [code for code in user_codes if code is not None]


def digests(spec: Spec) -> dict[str, str]:
    """Return the SHA-256 of each file of the user's code that a spec names, and of those beside it that they import.

    Names are those of the spec, and of files beside them; empty without any.
    """
    return {name: digest for code in codes(spec) for name, digest in code.digests.items()}


def pinned(spec: Spec) -> Spec:
    """Return the spec with trust in its code as it is now: code that changes is refused from here on."""
    return spec if spec.trust is None else spec.trusted(spec.trust.expecting(digests(spec)))


def code_files(spec: Spec) -> list[Path]:
    """Return the files of the user's code that a spec names, before those that they import."""
    user_codes = codes(spec)
    return list(dict.fromkeys([*(code.file for code in user_codes), *(file for code in user_codes for file in code.files)]))


_loading = threading.RLock()
_folder: Path | None = None
"""The data directory that `look_in` has set."""
_sources: dict[tuple[str, str], Any] = {}
"""Data that were loaded, by name and digest of their code, or by path and when it changed: a function of the user's is called
once a process."""
_prepared: dict[Any, tuple[Any, Any]] = {}


def _own_data(spec: Spec) -> Any:
    name = spec.data.name
    if name in READERS:
        folder = data.data_directory(_folder)
        key = (name, str(folder))
        if key not in _sources:
            _sources[key] = read_named(name, folder)
        return _sources[key]
    if _is_path(name):
        key = (name, f"{Path(name).absolute()} {_stamp(Path(name))} {_folder_settings(spec)}")
        if key not in _sources:
            _sources[key] = _from_path(Path(name), _folder_settings(spec))
        return _sources[key]
    code = resolve(name, "data", spec.trust)
    if code is None:
        hint = "`fourfold data list` says what each is; or code such as roads.py:data, or a path such as photos/ or data.npz"
        raise unknown("data set", name, [*data.DATASETS, *READERS, *entry_point_names("data")], hint)
    key = (f"{code.file}:{code.attribute}", " ".join(code.digests.values()))
    if key not in _sources:
        splits = code.call(takes="")
        if not isinstance(splits, data.Splits):
            raise UserError(
                f"{code.file}: expected `{code.attribute}` to return what `from_arrays`, `from_folder` or `from_datasets` of "
                f"`fourfold.data` return, found a {type(splits).__name__}"
            )
        _sources[key] = splits
    return _sources[key]


def _stamp(path: Path) -> list[tuple[int, int, int]]:
    """Return what changes when a file is replaced or edited, or when a folder's files come and go; empty if it is not there."""
    folders = [path, *(Path(above) / name for above, names, _ in os.walk(path) for name in names)]
    with contextlib.suppress(OSError):  # which reading it raises
        return [(about.st_ino, about.st_size, about.st_mtime_ns) for about in map(Path.stat, folders)]
    return []


_FILES = (".npz", ".ts", ".txt")
"""Endings of paths that are data of one file."""


def _is_path(name: str) -> bool:
    """Whether a name of data is a path: of a folder of classes, with a slash, or of an .npz, .ts or .txt file."""
    return not is_code(name) and (os.sep in name or "/" in name or name.endswith(_FILES))


def _from_path(path: Path, settings: dict[str, Any]) -> Any:
    if path.suffix == ".npz":
        return data.from_arrays(path)
    if path.suffix == ".ts":
        return data.from_ts(path)
    if path.suffix == ".txt":
        return data.from_text(path)
    if (path / "Annotations").is_dir() and (path / "JPEGImages").is_dir():
        return data.from_voc(path, **{name: value for name, value in settings.items() if name != "resize"})
    return data.from_folder(path, **settings)


def _is_folder(name: str) -> bool:
    return _is_path(name) and not name.endswith(_FILES)


def _folder_settings(spec: Spec) -> dict[str, Any]:
    """Return what a spec says of how the images of a folder are read."""
    settings = {name: getattr(spec.data, name) for name in ("size", "resize", "bad_images")}
    return {name: value for name, value in settings.items() if value is not None}
