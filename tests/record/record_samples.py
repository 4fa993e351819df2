"""Small specs and rows for the tests of this room."""

from dataclasses import replace

from fourfold.record import DataSpec, Epoch, ModelSpec, Provenance, Row, Spec


def make_spec(**changes) -> Spec:
    spec = Spec(preset="sample", data=DataSpec(name="digits"), model=ModelSpec(name="lenet-12"))
    return replace(spec, **changes)


def make_row(trial: int = 0, level: int = 0, **changes) -> Row:
    row = Row(
        run=make_spec().id,
        preset="sample",
        dataset="digits",
        model="lenet-12",
        algebra="real",
        trial=trial,
        level=level,
        control="ticket",
        weights=88,
        weights_total=888,
        density=88 / 888,
        parameters=110,
        parameters_total=910,
        parameters_real=910,
        fraction_of_real=110 / 910,
        macs=88,
        macs_dense=888,
        macs_real=888,
        stored_bytes=551,
        top1=81.25,
        top5=None,
        loss=0.1 + 0.2,  # not a short decimal
        train_loss=1 / 3,
        steps=24,
        layers={"fc1": (68, 768), "fc2": (20, 120)},
        epochs=(Epoch(epoch=1, train_loss=1 / 3, top1=81.25, loss=0.1 + 0.2),),
        mask="0" * 64,
        provenance=Provenance(
            seconds=0.25, finished="2026-01-02T03:04:05+00:00", device="cpu (1 thread, å)", versions={"torch": "2"}
        ),
    )
    return replace(row, **changes)
