"""The papers' claims, judged by rows and by the papers' own curves; no verdict is written down anywhere."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from fourfold import presets
from fourfold.report._experiments import Experiment
from fourfold.report.basis import AS_PUBLISHED, Basis, basis_of, bf16_is_free
from fourfold.report.claim_list import CLAIMS, Claim
from fourfold.report.compare import real_twin
from fourfold.report.evidence import FAILS, HOLDS, UNDECIDED, Evidence, Finding, published_evidence
from fourfold.report.published import published_curves
from fourfold.report.scaling import scale_of, unscaled
from fourfold.report.tables import Record, Table
from fourfold.report.words import MACS_NOTE, MISSING, NOT_RUN

NOTE = (
    "Verdicts are computed. Ours: a claim holds if the whole 95 % interval over trials meets the criterion, and does not hold "
    "if the whole interval misses it; otherwise, and with a single trial, there is not enough data. A claim on many fractions "
    "is refuted if one interval in ten contradicts it, and holds if no mean contradicts it and half of the intervals exclude "
    "a tie; intervals are for one fraction at a time. Rows whose levels prune several published levels at once decide too, "
    "and so do those trained in bf16 once the study of precisions shows that it costs less than half a point; the verdict "
    "says so. Smaller experiments, and those of other settings, are named and decide nothing. Theirs: the papers' own curves, "
    "put to the same criterion by their means, for they have no intervals. Gaps are quaternion minus real at equal fraction "
    "of real, in points."
)


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A claim with what our rows and the paper's own data say."""

    name: str
    claim: Claim
    ours: Finding
    basis: str
    """How near to the paper's experiment our rows are; empty without rows."""
    decides: bool
    """Whether such rows decide the claim."""
    theirs: Finding | None
    """None where the paper's curves are not published."""

    @property
    def verdict(self) -> str:
        """The verdict, and what it rests on where that is not quite the paper's experiment."""
        if self.ours.verdict == UNDECIDED or self.basis == AS_PUBLISHED:
            return self.ours.verdict
        return f"{self.ours.verdict}: {self.basis}, {self.ours.trials} trials"

    @property
    def command(self) -> str | None:
        """What gets the rows that are missing; None for a decided claim."""
        return f"fourfold {self.claim.rows_from}" if self.ours.verdict == UNDECIDED else None


def judge(reported: Iterable[Experiment]) -> tuple[Judged, ...]:
    """Return every claim with its verdicts, in the order of the papers."""
    experiments = list(reported)
    free = bf16_is_free(experiments)
    return tuple(_judge(name, claim, experiments, free) for name, claim in CLAIMS.items())


def concerns_claims(reported: Iterable[Experiment]) -> bool:
    """Whether any of the experiments is one that a claim is about."""
    about = {claim.preset for claim in CLAIMS.values()}
    return any(unscaled(experiment.preset) in about for experiment in reported)


def count_sentence(judged: Sequence[Judged]) -> str:
    """Return how many claims hold, do not hold, and are open."""
    counts = Counter(one.ours.verdict for one in judged)
    return (
        f"Of {len(judged)} claims of the two papers, by our rows {counts[HOLDS]} hold, {counts[FAILS]} do not hold, and on "
        f"{counts[UNDECIDED]} there is not enough data."
    )


def claims_table(judged: Sequence[Judged]) -> Table:
    """Return the claims, those that our rows decide first."""
    columns = ("Claim", "Verdict", "Our rows say", "Their data say", "Holds if", "Experiment", "More rows")
    rows = [
        (
            f"Paper {one.claim.paper}, {one.claim.place}: {one.claim.says}",
            one.verdict,
            ours_in_words(one),
            theirs_in_words(one),
            one.claim.check.criterion,
            one.claim.preset,
            one.command or MISSING,
        )
        for one in decided_first(judged)
    ]
    return Table(title="Claims", columns=columns, rows=tuple(rows), note=f"{NOTE} {MACS_NOTE}", of_words=True)


def decided_first(judged: Iterable[Judged]) -> list[Judged]:
    """Return claims that rows decide before those that they do not, and last those without rows."""
    return sorted(judged, key=lambda one: (one.ours.verdict == UNDECIDED, not one.basis))


def claim_records(judged: Sequence[Judged]) -> list[Record]:
    """Return the claims with all their numbers."""
    return [
        {
            "claim": one.name,
            "paper": one.claim.paper,
            "place": one.claim.place,
            "says": one.claim.says,
            "preset": one.claim.preset,
            "criterion": one.claim.check.criterion,
            "verdict": one.ours.verdict,
            "found": one.ours.text if one.basis else NOT_RUN,
            "estimate": one.ours.estimate,
            "low_95": one.ours.low,
            "high_95": one.ours.high,
            "trials": one.ours.trials,
            "basis": one.basis or None,
            "decides": one.decides,
            "published_verdict": one.theirs.verdict if one.theirs else None,
            "published_found": one.theirs.text if one.theirs else None,
            "published_estimate": one.theirs.estimate if one.theirs else None,
            "command": one.command,
        }
        for one in judged
    ]


def _judge(name: str, claim: Claim, experiments: Sequence[Experiment], bf16_is_free: bool) -> Judged:
    spec = presets.PRESETS[claim.preset]()
    published = published_evidence(published_curves(spec.data.name, spec.model.name, claim.preset))
    candidates = [(basis, claim.check.measure(evidence)) for basis, evidence in _evidence(claim, experiments, bf16_is_free)]
    nothing = (Basis(words="", distance=0, decides=False), Finding(verdict=UNDECIDED, text=NOT_RUN))
    basis, ours = min(candidates, key=lambda one: (one[1].trials == 0, one[0].distance, -one[1].trials), default=nothing)
    if not basis.decides:
        ours = replace(ours, verdict=UNDECIDED)  # one epoch can neither bear out nor refute a claim about forty
    theirs = claim.check.measure(published) if published else None
    return Judged(name=name, claim=claim, ours=ours, basis=basis.words, decides=basis.decides, theirs=theirs)


def _evidence(claim: Claim, experiments: Sequence[Experiment], bf16_is_free: bool) -> Iterator[tuple[Basis, Evidence]]:
    """Yield what there is on a claim: how near it is to the paper's experiment, and the trials."""
    preset_spec = presets.get(claim.preset, algebra="quaternion")
    for experiment in experiments:
        if unscaled(experiment.preset) != claim.preset:
            continue
        for curve in experiment.tickets:
            if curve.algebra != "quaternion":
                continue
            spec, scale, twin = experiment.specs.get(curve.run), scale_of(experiment.preset), real_twin(curve, experiment)
            evidence = Evidence(
                quaternion=curve.traces,
                real=twin.traces if twin else (),
                controls={other.control: other.traces for other in experiment.curves if other.run == curve.run},
            )
            yield basis_of(spec, scale, preset_spec, bf16_is_free), evidence


def ours_in_words(one: Judged) -> str:
    """Return what our rows say on a claim: the finding, its interval, the number of trials, and whose experiment it is."""
    if not one.basis:
        return NOT_RUN
    ours = one.ours
    parts = [ours.text]
    if ours.low is not None or ours.high is not None:
        ends = ["…" if end is None else f"{end:.2f}".replace("-", "−") for end in (ours.low, ours.high)]
        parts.append(f"95 % interval {ends[0]} to {ends[1]}")
    parts.append(f"{ours.trials} trial{'' if ours.trials == 1 else 's'}")
    if one.basis != AS_PUBLISHED:
        parts.append(one.basis)
    return "; ".join(parts)


def theirs_in_words(one: Judged) -> str:
    """Return what the paper's own curves say on its claim."""
    return "not published" if one.theirs is None else f"{one.theirs.verdict}: {one.theirs.text}"
