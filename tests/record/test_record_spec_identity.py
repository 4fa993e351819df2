"""A spec's id changes with every field, and its JSON gives the same spec back."""

import dataclasses
import json
import math
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from record_samples import make_spec

from fourfold.record import (
    SPEC_VERSION,
    DataSpec,
    EarlyStopping,
    ModelSpec,
    PruneSpec,
    Spec,
    StopSpec,
    TaskSpec,
    TrainSpec,
    Trust,
    UserError,
)
from fourfold.record.spec import ADDED

positive = st.floats(1e-6, 0.99, allow_nan=False)
names = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=12)

specs = st.builds(
    Spec,
    preset=names,
    data=st.builds(
        DataSpec,
        name=names,
        encoding=st.sampled_from(["none", "grey", "zero", "learned", "pixels"]),
        encode_real=st.booleans(),
        crop=st.none() | st.integers(1, 9),
        flip=st.booleans(),
        normalization=st.sampled_from(["dataset", "imagenet"]),
        validation=st.integers(1, 9999),
    ),
    model=st.builds(
        ModelSpec,
        name=names,
        algebra=st.sampled_from(["real", "complex", "quaternion", "octonion"]),
        head=st.sampled_from(["real", "algebra"]),
        init=st.sampled_from(["torch", "he", "glorot"]),
        init_scale=positive,
        init_scale_linear=st.none() | positive,
    ),
    train=st.builds(
        TrainSpec,
        optimizer=st.sampled_from(["adam", "sgd"]),
        learning_rate=positive,
        batch_size=st.integers(1, 999),
        epochs=st.integers(1, 999),
        momentum=positive,
        nesterov=st.booleans(),
        weight_decay=positive,
        milestones=st.sets(st.integers(1, 99)).map(sorted).map(tuple),
        decay=positive,
        warmup_steps=st.integers(0, 99),
        early_stopping=st.none() | st.builds(EarlyStopping, every=st.integers(1, 999), patience=st.integers(1, 99)),
    ),
    prune=st.builds(
        PruneSpec,
        fraction=st.floats(0.001, 0.99),
        scope=st.sampled_from(["global", "layer", "erk"]),
        score=st.sampled_from(["magnitude", "random", "taylor"]),
        unit=st.sampled_from(["weight", "element", "row"]),
        schedule=st.sampled_from(["iterative", "one-shot"]),
        rewind=st.sampled_from(["start", "weights", "learning-rate", "fine-tune"]),
        score_images=st.integers(1, 999),
    ),
    stop=st.builds(
        StopSpec,
        accuracy=st.floats(0, 100),
        levels=st.integers(1, 9),
        max_level=st.none() | st.integers(0, 99),
    ),
)


def leaves(spec):
    """Every field that holds a plain value, as a path of names: no field can be added without being tried here."""
    found = []

    def walk(part, path):
        for field in dataclasses.fields(part):
            if field.name == "trust":
                continue  # permission to import code is no part of an experiment
            value = getattr(part, field.name)
            here = (*path, field.name)
            if dataclasses.is_dataclass(value):
                walk(value, here)
            else:
                found.append(here)

    walk(spec, ())
    return found


def changed(spec, path):
    """The spec with another, still valid value at one path."""
    part = spec
    for name in path[:-1]:
        part = getattr(part, name)
    value = getattr(part, path[-1])
    others = {
        "encoding": "zero" if value != "zero" else "none",
        "normalization": "dataset" if value == "imagenet" else "imagenet",
        "algebra": "real" if value != "real" else "octonion",
        "head": "real" if value == "algebra" else "algebra",
        "init": "he" if value != "he" else "glorot",
        "optimizer": "sgd" if value == "adam" else "adam",
        "scope": "layer" if value == "global" else "global",
        "score": "random" if value != "random" else "fisher",
        "unit": "element" if value == "weight" else "weight",
        "budget": "macs" if value == "weights" else "weights",
        "schedule": {"iterative": "one-shot", None: "cosine"}.get(value, "iterative" if path[0] == "prune" else None),
        "rewind": "start" if value != "start" else "weights",
        "rewind_to": 1 if value is None else None,
        "search": "continue",
        "cosine_steps": 5 if value is None else None,
        "init_scale_linear": 2.0 if value is None else None,
        "milestones": (*value, 100) if path[-1] == "milestones" else None,
        "early_stopping": EarlyStopping(),
        "crop": 1 if value is None else None,
        "max_level": 0 if value is None else None,
        "classes": 5 if value is None else None,
        "size": 32 if value is None else None,
        "resize": "fit" if value is None else None,
        "bad_images": "skip" if value is None else None,
        "norm": "whitening" if value is None else None,
        "precision": "bf16" if value is None else None,
        "skip": ("fc1",) if value is None else None,
        "layer_fractions": ("fc1:0.1",) if value is None else None,
        "optimizer_arguments": ("eps=1e-06",) if value is None else None,
        "clip_norm": 1.0 if value is None else None,
        "ema": 0.9 if value is None else None,
        "mixup": 0.2 if value is None else None,
        "cutmix": 0.2 if value is None else None,
        "metric": 0.5 if value is None else None,
        "class_weights": (1.0, 2.0) if value is None else None,
        "ignore_index": 255 if value is None else None,
        "grid": 5 if value is None else None,
        "boxes": 3 if value is None else None,
        "coordinate_factor": 1.0 if value is None else None,
        "no_object_factor": 1.0 if value is None else None,
    }
    if path[-1] in others:
        new = others[path[-1]]
    elif isinstance(value, bool):
        new = not value
    elif isinstance(value, int):
        new = value + 1
    elif isinstance(value, float):
        new = math.nextafter(value, 0.5 if value != 0.5 else 0.6)  # the next double already counts
    else:
        new = value + "x"
    for depth in range(len(path) - 1, -1, -1):
        owner = spec
        for name in path[:depth]:
            owner = getattr(owner, name)
        new = dataclasses.replace(owner, **{path[depth]: new})
    return new


OF_DETECTION = {"grid", "boxes", "coordinate_factor", "no_object_factor"}

SPECIAL = OF_DETECTION | {"rewind_to", "search", "budget", "cosine_steps", "schedule", "ema"}
"""Fields that are valid only beside certain others; tried below."""


@pytest.mark.slow
@settings(derandomize=True, max_examples=20, deadline=None)
@given(specs)
def test_every_field_is_part_of_the_id(spec):
    for path in leaves(spec):
        if path[-1] in SPECIAL:
            continue
        other = changed(spec, path)
        assert other != spec, path
        assert other.id != spec.id, path


def test_defaults_are_part_of_the_id():
    spec = make_spec()
    paths = leaves(spec)
    assert len(paths) == 1 + 11 + 7 + (13 + 6) + 12 + (3 + 1) + (4 + 4)
    for path in paths:
        if path == ("train", "early_stopping"):
            base = make_spec(data=DataSpec(name="digits", validation=9))
        elif path == ("train", "nesterov"):
            base = make_spec(train=TrainSpec(momentum=0.9))
        elif path == ("prune", "rewind_to"):
            one, two = (make_spec(prune=PruneSpec(rewind="step", rewind_to=k)) for k in (1, 2))
            assert one.id != two.id
            continue
        elif path[-1] in OF_DETECTION:
            base = make_spec(task=TaskSpec(name="detection"))
        else:
            base = spec
        assert changed(base, path).id != base.id, path


COMMITTED = sorted(Path(__file__).parents[2].glob("results/*/spec.json"))


@pytest.mark.parametrize("file", COMMITTED, ids=lambda file: file.parent.name)
def test_committed_results_have_the_ids_that_their_folders_are_named_by(file):
    value = json.loads(file.read_text())
    spec = Spec.from_json({name: part for name, part in value.items() if name != "data_sha256"})
    assert spec.id == file.parent.name
    assert json.loads(json.dumps(spec.to_json())) == {name: part for name, part in value.items() if name != "data_sha256"}


def test_fields_that_were_added_are_left_out_at_their_defaults():
    parts = make_spec().to_json()
    for part, names in ADDED.items():
        assert names
        for name in names:
            assert name not in (parts.get(part, {}) if part else parts), (part, name)
    assert set(make_spec(task=TaskSpec(name="detection")).to_json()["task"]).isdisjoint(OF_DETECTION)


def test_trust_is_no_part_of_a_spec():
    spec = make_spec(model=ModelSpec(name="roads.py:net"))
    trusted = spec.trusted(Trust(folder="/somewhere"))
    assert trusted == spec
    assert hash(trusted) == hash(spec)
    assert trusted.id == spec.id
    assert trusted.real_twin.trust == trusted.trust
    assert Spec.from_json(json.loads(json.dumps(trusted.to_json()))).trust is None


def test_ids_are_readable_and_stay_what_they_are():
    # A change here orphans every run on disk: raise SPEC_VERSION with it.
    assert make_spec().id == "sample-real-5553c62f"
    assert make_spec(model=ModelSpec(name="lenet-12", algebra="quaternion")).id == "sample-quaternion-3be5a60e"


def test_classes_are_part_of_the_id_and_their_absence_is_what_it_was_before_them():
    some = [make_spec(data=DataSpec(name="digits", classes=classes)) for classes in (None, 5, (0, 1, 2), [0, 1, 3])]
    assert len({spec.id for spec in some}) == 4
    assert "classes" not in some[0].to_json()["data"]
    for spec in some:
        assert Spec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_the_norm_is_part_of_the_id_and_its_absence_is_what_it_was_before_it():
    models = [ModelSpec(name="resnet-18", algebra="quaternion", norm=norm) for norm in (None, "whitening")]
    some = [make_spec(model=model) for model in models]
    assert len({spec.id for spec in some}) == 2
    assert "norm" not in some[0].to_json()["model"]
    for spec in some:
        assert Spec.from_json(json.loads(json.dumps(spec.to_json()))) == spec
    with pytest.raises(UserError, match=r"^unknown model norm 'white'; did you mean whitening\? known: whitening"):
        ModelSpec(name="resnet-18", norm="white")


def test_layers_that_are_pruned_otherwise_are_part_of_the_id_and_their_absence_is_what_it_was_before_them():
    prunes = [PruneSpec(), PruneSpec(skip=("fc1",)), PruneSpec(skip=["fc1", "*.norm"]), PruneSpec(layer_fractions=("fc3:0.1",))]
    some = [make_spec(prune=prune) for prune in prunes]
    assert len({spec.id for spec in some}) == 4
    assert not {"skip", "layer_fractions"} & set(some[0].to_json()["prune"])
    for spec in some:
        assert Spec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("skip", value) for value in ("fc1", (), ("",), (1,), 3, {"fc1"})),
        *(("layer_fractions", (text,)) for text in ("fc1", "fc1:", ":0.1", "fc1:1", "fc1:-0.1", "fc1:x", "fc1:nan", "")),
    ],
)
def test_layers_that_are_none_are_one_sentence(field, value):
    with pytest.raises(UserError, match=rf"^`prune\.{field}` \(=.*\) must be "):
        PruneSpec(**{field: value})


def test_a_trial_ends_when_nothing_is_left_of_what_it_prunes():
    layers = {"conv1": 100, "body.fc": 1000, "body.head": 10}
    top1 = [99.0] * 10
    for prune, kept in (
        (PruneSpec(fraction=0.5), round(1110 / 2**10)),
        (PruneSpec(fraction=0.5, skip=("body",)), round(100 / 2**10)),
        (PruneSpec(fraction=0.5, skip=("body.*",), layer_fractions=("conv1:0.1",)), round(100 * 0.9**10)),
        (PruneSpec(fraction=0.5, layer_fractions=("*:0.9", "body.head:0")), 10),
    ):
        assert prune.num_pruned_to(layers, 10) == kept
        assert make_spec(prune=prune).finished(top1, 1110, layers) == (kept == 0)
        assert prune.num_pruned_to(layers, 0) == sum(
            size for name, size in layers.items() if not prune.skip or not (name.startswith("body"))
        )


@pytest.mark.parametrize("classes", [0, 1, True, (), (3,), (3, 2), (3, 3), (-1, 2), "many"])
def test_classes_that_are_none_are_one_sentence(classes):
    with pytest.raises(UserError, match=r"^`data\.classes` \(=.*\) must be (an integer of at least|at least two labels)"):
        DataSpec(name="digits", classes=classes)


@settings(derandomize=True, max_examples=50, deadline=None)
@given(specs)
def test_json_gives_the_same_spec_back(spec):
    again = Spec.from_json(json.loads(json.dumps(spec.to_json(), indent=1)))
    assert again == spec
    assert again.id == spec.id


@pytest.mark.parametrize("version", [0, SPEC_VERSION + 1, None, "1"])
def test_another_version_is_one_sentence(version):
    value = make_spec().to_json() | {"spec_version": version}
    sentence = (
        rf"^a\.json was written with spec version {version}, this fourfold reads version {SPEC_VERSION}; "
        r"use the fourfold that wrote it, or another --out to start afresh$"
    )
    with pytest.raises(UserError, match=sentence):
        Spec.from_json(value, source="a.json")


def test_no_version_is_another_version():
    value = make_spec().to_json()
    del value["spec_version"]
    with pytest.raises(UserError, match="was written with spec version None"):
        Spec.from_json(value)


@pytest.mark.parametrize("path", [("preset",), ("data",), ("data", "flip"), ("train", "decay"), ("stop", "levels")])
def test_a_missing_field_is_one_sentence(path):
    value = json.loads(json.dumps(make_spec().to_json()))
    part = value
    for name in path[:-1]:
        part = part[name]
    del part[path[-1]]
    with pytest.raises(UserError, match=rf"^a\.json is not a spec of this version \(.*'{path[-1]}'.* missing or unknown in"):
        Spec.from_json(value, source="a.json")


@pytest.mark.parametrize("owner", [None, "data", "model", "train", "prune", "stop"])
def test_an_unknown_field_is_one_sentence(owner):
    value = json.loads(json.dumps(make_spec().to_json()))
    (value[owner] if owner else value)["momentun"] = 0.9
    with pytest.raises(UserError, match=r"is not a spec of this version \(.*'momentun'.* missing or unknown in") as caught:
        Spec.from_json(value)
    assert "\n" not in str(caught.value)


def test_an_invalid_value_in_json_names_itself():
    value = json.loads(json.dumps(make_spec().to_json()))
    value["prune"]["fraction"] = 2
    with pytest.raises(UserError, match=re.escape("`prune.fraction` (=2) must lie in [0.001, 1)")):
        Spec.from_json(value)


@pytest.mark.parametrize("encode_real", [False, True])
def test_the_real_network_sees_encoded_images_only_if_asked(encode_real):
    data = DataSpec(name="cifar-10", encoding="grey", encode_real=encode_real, crop=4, flip=True)
    quaternion = make_spec(data=data, model=ModelSpec(name="conv-2", algebra="quaternion"))
    assert quaternion.inputs == data
    expected = data if encode_real else dataclasses.replace(data, encoding="none")
    assert quaternion.real_twin.inputs == expected


def test_the_real_twin_differs_in_the_algebra_alone():
    spec = make_spec(model=ModelSpec(name="conv-2", algebra="quaternion", head="algebra", init="he"))
    twin = spec.real_twin
    assert twin.model == ModelSpec(name="conv-2", algebra="real", head="algebra", init="he")
    assert dataclasses.replace(twin, model=spec.model) == spec
    assert twin.real_twin == twin
