"""What `run` and `info` take beside presets: a file with an experiment of the user's, or a task with data and model."""

from bdb import BdbQuit
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from fourfold.record import Spec, Trust, UserError, with_fields
from fourfold.record.errors import canonical, unknown
from fourfold.record.references import entry_point, entry_point_names, is_code, parse, resolve

TASKS = {"classify": "classification", "regress": "regression"}
"""Words that stand for a task, whose data and model are named by flags."""

ALGEBRAS = ("real", "quaternion")
"""What is compared where nothing else is asked for."""


def is_own(name: str) -> bool:
    """Whether a name is that of the user's own experiment: a file, code (`roads.py:fast`, `roads:fast`) or an entry point."""
    from fourfold.presets import PRESETS

    return name.endswith(".py") or is_code(name) or (name not in PRESETS and entry_point(name, "preset") is not None)


def specs_for(preset: str, algebra: tuple[str, ...] | None, protocol: str, own: dict[str, str | None]) -> list[Spec]:
    """Return the specs that a preset, a file or a task stands for, with the parts of the user's own in place of theirs.

    Args:
        preset: A preset, one of the user's own as `is_own` tells, or a word of `TASKS`.
        algebra: Algebras that were named; None means `ALGEBRAS`.
        protocol: Of presets.
        own: Names of `data`, `model` and `task` that were given; None where none was.

    Raises:
        UserError: they do not fit each other, or the file's code fails.
    """
    from fourfold import presets

    names = ALGEBRAS if algebra is None else algebra
    named = {f"{part}.name": name for part, name in own.items() if name is not None}
    preset = canonical(preset, presets.PRESETS)
    if preset not in TASKS and not is_own(preset):
        if named:
            flag = f"`--{next(iter(named)).removesuffix('.name')}` (={next(iter(named.values()))!r})"
            raise UserError(f"{flag} cannot be combined with the preset {preset}: run classify, regress or a file of your own")
        if preset not in presets.PRESETS:
            known = [*presets.PRESETS, *entry_point_names("preset")]
            raise unknown("preset", preset, known, "`fourfold presets` describes them")
        return [presets.get(preset, algebra=name, protocol=protocol) for name in names]
    if protocol != "text":
        raise UserError(f"`--protocol` (={protocol!r}) cannot be combined with {preset}: it is for the papers' presets")
    if preset in TASKS:
        specs = [spec_of_task(preset, own.get("data"), own.get("model"), own.get("task"))]
    else:
        specs = [with_fields(spec, named) for spec in own_specs(preset)]
    if len(specs) == 1:
        return [with_fields(specs[0], {"model.algebra": name}) for name in names]
    if algebra:
        raise UserError(f"`--algebra` (={' '.join(algebra)}) cannot be combined with {preset}, which names several experiments")
    return specs


def own_specs(name: str) -> list[Spec]:
    """Return what code of the user's returns as its experiment: a spec, or several that are run as they are.

    Args:
        name: A file, whose function `experiment` is called; `roads.py:fast` or `package.roads:fast`, another function; or an
            entry point of the group `fourfold.presets`.

    Raises:
        UserError: the code cannot be imported, or has no such function, or it returns something else.
    """
    whole = f"{name}:experiment" if name.endswith(".py") else name
    folder, reference = ".", parse(whole)
    if reference is not None and reference.is_file:
        file = Path(reference.source).absolute()
        folder, whole = str(file.parent), f"{file.name}:{reference.attribute}"
    try:
        code = resolve(whole, "preset", Trust(folder=folder))
    except UserError as error:
        if not whole.endswith(":experiment") or "expected `experiment`, found no such name" not in str(error):
            raise
        raise UserError(
            f"{Path(name).absolute()}: expected a function `experiment` that returns a spec, found none; `fourfold new` writes "
            "one"
        ) from error
    assert code is not None, "`is_own` tells"
    result = code.call(takes="")
    specs = list(result) if isinstance(result, Iterable) else [result]
    if not specs or not all(isinstance(spec, Spec) for spec in specs):
        raise UserError(
            f"{code.file}: expected `{code.attribute}` to return what `fourfold.presets.new` returns, found a "
            f"{type(result).__name__}"
        )
    return [spec.trusted(Trust(folder=folder)) for spec in specs]


def one_spec(flag: str, name: str) -> Spec:
    """Return the real network's spec of a preset or of the user's own experiment, of which there must be one.

    Args:
        flag: By which it was named, for the message.
        name: As `specs_for` takes it.

    Raises:
        UserError: it names several.
    """
    if is_own(name) and len(own_specs(name)) > 1:
        raise UserError(f"`{flag}` (={name!r}) must be one experiment, and names several")
    (spec,) = specs_for(name, ("real",), "text", {})
    return spec


def spec_of_task(word: str, data: str | None, model: str | None, task: str | None) -> Spec:
    """Return the experiment that a task, data and a model make, named by flags.

    Raises:
        UserError: one of them is missing.
    """
    from fourfold import presets

    for flag, value in (("--data", data), ("--model", model)):
        if value is None:
            raise UserError(
                f"`{flag}` must be given to `fourfold run {word}`: photos/ (a folder of class folders), data.npz or "
                "roads.py:data, and a model of `fourfold info` or roads.py:net"
            )
    if task is not None:
        raise UserError(f"`--task` (={task!r}) cannot be combined with {word}, which is a task")
    assert data is not None
    assert model is not None
    if Path(data).is_dir() and "/" not in data:
        data = f"{data}/"
    return presets.new(f"{word}-{_stem(data)}-{_stem(model)}", data=data, model=model, task=TASKS[word])


@contextmanager
def one_sentence(specs: Sequence[Spec]) -> Iterator[None]:
    """Turn what the code of specs raises in this process, with `--workers 0`, into the sentence that workers say.

    A debugger stops where it was raised, and `--traceback` shows the way there.
    """
    from fourfold.parts import explained

    try:
        yield
    except Exception as error:
        anywhere = not isinstance(error, OSError | BdbQuit)
        sentence = next(filter(None, (explained(error, spec, anywhere=anywhere) for spec in specs)), None)
        if sentence is None:
            raise
        message = f"{sentence}; all rows so far are safe, the same command resumes"
        raise UserError(message) from error


def _stem(name: str) -> str:
    """Return the part of a name that can be one of a folder."""
    reference = parse(name)
    text = f"{Path(reference.source).stem}-{reference.attribute}" if reference else Path(name.rstrip("/")).stem
    return "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in text).strip("-_")[:40] or "own"
