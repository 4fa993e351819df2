"""What is known of a level's stability: the line between two copies of it, and how much the masks of two trials agree."""

import dataclasses
import json
from dataclasses import dataclass

from fourfold.record.errors import UserError
from fourfold.record.metric import TOP1, Metric
from fourfold.record.reading import READING_ERRORS, build, parse_object
from fourfold.record.rows import Provenance


@dataclass(frozen=True, kw_only=True)
class Connectivity:
    """Test errors and losses on the line between two copies of one network."""

    step: int
    """Optimiser step up to which the copies were one network."""
    positions: tuple[float, ...]
    """From 0 (the first copy) to 1 (the second)."""
    errors: tuple[float, ...]
    """Of the test images, in percent; of other tasks than classification, what `Metric.error` makes of their metric."""
    losses: tuple[float, ...]
    """Test losses: of classification, cross-entropies in nats."""

    @property
    def barrier(self) -> float:
        """The largest error on the line over the mean of both ends, in points or the unit of the metric (Frankle et al. 2020,
        section 2)."""
        return max(self.errors) - (self.errors[0] + self.errors[-1]) / 2


@dataclass(frozen=True, kw_only=True)
class ConnectivityRow:
    """The connectivity of one level of one trial."""

    run: str
    """Id of the run."""
    trial: int
    level: int
    """0 is dense."""
    fraction_of_real: float
    """That of the level's row."""
    mask: str
    """SHA-256 of the level's mask, as in its row."""
    connectivity: Connectivity
    provenance: Provenance
    data: str | None = None
    """SHA-256 of the images and labels, as in a row."""
    metric: Metric = TOP1
    """What the errors are of."""

    def to_line(self) -> str:
        """Return the row as one line of JSON; nan and infinity are refused."""
        value = dataclasses.asdict(self)
        if self.metric == TOP1:
            del value["metric"]
        return json.dumps(value, allow_nan=False, separators=(",", ":"))

    @classmethod
    def from_line(cls, line: str, source: str = "row") -> "ConnectivityRow":
        """Read a row back.

        Raises:
            UserError: it is no such row.
        """
        try:
            row = build(cls, parse_object(line))
            points = row.connectivity
            if not len(points.positions) == len(points.errors) == len(points.losses) >= 2:
                raise ValueError("a line has at least two points, each with an error and a loss")
            return row
        except READING_ERRORS as error:
            raise UserError(f"{source} is no row of connectivity ({error!r})") from error


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """Two masks of one network, weight by weight."""

    both: int
    """Weights that both keep."""
    either: int
    """Weights that at least one of them keeps."""
    expected: float
    """Mean of `both` if each layer's kept weights were drawn at random, as many as there are."""
    deviation: float
    """Standard deviation of `both` in such draws (hypergeometric, layers independent)."""

    @property
    def jaccard(self) -> float:
        """`both / either`; 1 for two empty masks."""
        return self.both / self.either if self.either else 1.0

    @property
    def by_chance(self) -> float:
        """What `jaccard` would be with `expected` weights in common."""
        return self.expected / (self.both + self.either - self.expected) if self.either else 1.0


@dataclass(frozen=True, kw_only=True)
class OverlapRow(Overlap):
    """The overlap of the masks of two trials at one level."""

    run: str
    """Id of the run."""
    level: int
    trials: tuple[int, int]
    fraction_of_real: float
    """Mean of both levels' rows."""

    def to_line(self) -> str:
        """Return the row as one line of JSON."""
        return json.dumps(dataclasses.asdict(self), allow_nan=False, separators=(",", ":"))

    @classmethod
    def from_line(cls, line: str, source: str = "row") -> "OverlapRow":
        """Read a row back.

        Raises:
            UserError: it is no such row.
        """
        try:
            return build(cls, parse_object(line))
        except READING_ERRORS as error:
            raise UserError(f"{source} is no row of an overlap ({error!r})") from error
