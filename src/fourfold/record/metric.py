"""`Metric`: what a measured value is called, its unit, and which way is up. No torch."""

from collections.abc import Iterable
from dataclasses import dataclass

from fourfold.record.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Metric:
    """What a task is judged by: axes, stop rules and claims read it."""

    name: str
    """Of the value in `Row.metrics`, such as `top1` or `rmse`."""
    unit: str = ""
    """Such as `%`; empty for a pure number."""
    higher_is_better: bool = True
    title: str = ""
    """As figures and tables print it, such as `top-1 accuracy`; empty means its name."""

    def __post_init__(self) -> None:
        for field in ("name", "unit", "title"):
            value = getattr(self, field)
            if not isinstance(value, str) or not (value or field != "name") or (value and not value.isprintable()):
                raise UserError(f"`metric.{field}` (={value!r}) must be a printable text")
        if not isinstance(self.higher_is_better, bool):
            raise UserError(f"`metric.higher_is_better` (={self.higher_is_better!r}) must be True or False")

    @property
    def label(self) -> str:
        """Its title and unit, as an axis has it."""
        return f"{self.title or self.name}{f' ({self.unit})' if self.unit else ''}"

    @property
    def short(self) -> str:
        """Its name in a line or a cell."""
        return "top-1" if self.name == "top1" else self.name

    @property
    def axis(self) -> str:
        """What an axis of test values says."""
        if self.name == "top1":
            return "Top-1 test accuracy (%)"
        less = "" if self.higher_is_better else ", less is better"
        return f"Test {self.title or self.name}{f' ({self.unit})' if self.unit else ''}{less}"

    def number(self, value: float) -> str:
        """Return a value as tables print it: percents to two decimals, others to four digits."""
        return f"{value:.2f}" if self.is_percent else f"{value:.4g}"

    @property
    def is_percent(self) -> bool:
        """Whether values lie between 0 and 100."""
        return self.unit == "%"

    def better(self, value: float, other: float) -> bool:
        """Whether a value is better than another one."""
        return value > other if self.higher_is_better else value < other

    def error(self, value: float) -> float:
        """Return what is lost: 100 less a percentage that shall be high, a value that shall be low, or less a value that shall
        be high, so that less is better."""
        if not self.higher_is_better:
            return value
        return 100 - value if self.is_percent else -value

    @property
    def error_label(self) -> str:
        """What `error` is of, with its unit."""
        if self == TOP1:
            return "Error (%)"
        lost = f"100 − {self.name}" if self.is_percent else f"− {self.name}"
        return f"{lost if self.higher_is_better else self.name}{f' ({self.unit})' if self.unit else ''}"

    @property
    def difference_unit(self) -> str:
        """What differences of two values are in."""
        return "points" if self.is_percent else self.unit or self.name

    def best(self, values: Iterable[float]) -> float:
        """Return the best of some values."""
        return max(values) if self.higher_is_better else min(values)

    def text(self, value: float) -> str:
        """Return a value as tables print it, with its unit."""
        return f"{self.number(value)} {self.unit}".rstrip()


TOP1 = Metric(name="top1", unit="%", title="top-1 accuracy")
"""What images are classified by, and the metric of all rows that name none."""
