"""The measures that a rollout judges an arm by, one row each.

Everything that a measure *is* stands in its row: gates, report, command line, digest, dashboards and demo read it here.
How the rollout service reads a measure's figure from a scan is in `savo_rollout.evidence`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from savo_contracts.figures import REFERENCE_COST_USD

__all__ = [
    "ACCURACY",
    "CORRECTION_RATE",
    "COST",
    "FAILURES",
    "LATENCY",
    "MEASURES",
    "Durations",
    "Mean",
    "Measure",
    "Panel",
    "Quantile",
    "Ratio",
    "Unit",
]


class Unit(StrEnum):
    """What a figure counts, and how people read it."""

    SHARE = "share"
    MILLISECONDS = "milliseconds"
    USD = "usd"

    def text(self, value: float) -> str:
        """For people: 80.0%, 412 ms, $0.0004."""
        return _TEXTS[self].format(value)


_TEXTS = {Unit.SHARE: "{:.1%}", Unit.MILLISECONDS: "{:.0f} ms", Unit.USD: "${:.4f}"}


@dataclass(frozen=True)
class Mean:
    """The mean of the scans' figures is compared with the target.

    Confidence bounds need bounded values, so a scan's figure counts as `most` at the most (in the measure's unit).
    """

    cap: float = 1.0

    @property
    def scale(self) -> float:
        """What a value of 1 is in the unit of the bounds."""
        return self.cap

    def value(self, figure: float, target: float) -> float:
        """A scan's figure as a value in 0…1."""
        return round(min(1.0, figure / self.cap), 4)

    def threshold(self, target: float) -> float:
        """The target on the scale of the values."""
        return target / self.cap


@dataclass(frozen=True)
class Quantile:
    """A quantile of the scans' figures is compared with the target.

    p95 is below a limit exactly when fewer than 5 % of the scans are above it: the values are 1 above the target and
    0 below, and the bounds are those of the share of scans above it.
    """

    percent: int

    scale = 1.0

    def value(self, figure: float, target: float) -> float:
        """1 for a scan above the target, 0 for one below."""
        return float(figure > target)

    def threshold(self, target: float) -> float:
        """The share of scans that may be above the target."""
        return (100 - self.percent) / 100


@dataclass(frozen=True)
class Ratio:
    """Growth of one Prometheus counter ÷ growth of another, each written with its label matchers."""

    part: str
    whole: str


@dataclass(frozen=True)
class Durations:
    """A Prometheus histogram in seconds, without `_bucket`; `where` is its label matcher."""

    metric: str
    where: str


@dataclass(frozen=True)
class Panel:
    """How the arms' dashboard draws a measure: as a number and over time, by assigned arm."""

    title: str
    description: str
    source: Ratio | Durations


@dataclass(frozen=True, eq=False)
class Measure:
    """One row. Rows are compared by identity."""

    name: str
    """Key in tables, JSON and reports. Never renamed; at most 20 characters (the column `subject_values.measure`)."""
    title: str
    """Within a sentence: "certainty about the correction rate"."""
    value_label: str
    """What a bare number of it counts, unit in words: "US dollars a scan"."""
    unit: Unit
    statistic: Mean | Quantile
    higher_is_better: bool
    target: float
    """The owner's number, in the measure's unit; a setting of the rollout service may replace it."""
    alarm_share: Fraction
    """Part of α that this measure's alarm may use. Over all rows the sum is at most 1 (ADR 5).

    0: the measure has no alarm; it can hold a candidate back but never ends a trial.
    """
    must_be_proven: bool = True
    """False: an alarm alone. It needs no proof before a step, and is silent while the baseline is surely as bad."""
    panel: Panel | None = None
    """None: the dashboard has no panel that is like those of the other measures."""

    @property
    def bounds_unit(self) -> Unit:
        """A quantile's bounds are those of a share of scans."""
        return Unit.SHARE if isinstance(self.statistic, Quantile) else self.unit

    @property
    def sign(self) -> str:
        """On which side of the target the figure has to be."""
        return ">" if self.higher_is_better else "<"

    def text(self, value: float) -> str:
        """A figure or a target for people."""
        return self.unit.text(value)

    def bound_text(self, value: float) -> str:
        """A confidence bound for people."""
        return self.bounds_unit.text(value)


_FIFTH = Fraction(1, 5)

ACCURACY = Measure(
    name="accuracy",
    title="accuracy",
    value_label="accuracy",
    unit=Unit.SHARE,
    statistic=Mean(),
    higher_is_better=True,
    target=0.80,
    alarm_share=_FIFTH,
    panel=Panel(
        "Accuracy",
        "kept ÷ (kept + renamed + removed + added) items.",
        Ratio('savo_confirmed_items_total{action="kept"}', 'savo_confirmed_items_total{action!="moved"}'),
    ),
)
CORRECTION_RATE = Measure(
    name="correction_rate",
    title="correction rate",
    value_label="scans with a correction",
    unit=Unit.SHARE,
    statistic=Mean(),
    higher_is_better=False,
    target=0.30,
    alarm_share=_FIFTH,
    panel=Panel(
        "Corrections",
        "Confirmed scans with an edit ÷ confirmed scans.",
        Ratio("savo_corrected_scans_total", "savo_confirmed_scans_total"),
    ),
)
LATENCY = Measure(
    name="latency_p95_ms",
    title="p95 latency",
    value_label="p95 in ms, with the share of slow scans",
    unit=Unit.MILLISECONDS,
    statistic=Quantile(95),
    higher_is_better=False,
    target=1000.0,
    alarm_share=_FIFTH,
    panel=Panel(
        "Latency, p95",
        "Accepted to result stored.",
        Durations("savo_scan_duration_seconds", '{stage="total"}'),
    ),
)
COST = Measure(
    name="cost_usd",
    title="mean cost",
    value_label="US dollars a scan",
    unit=Unit.USD,
    statistic=Mean(cap=REFERENCE_COST_USD),  # the dearest that one scan should be
    higher_is_better=False,
    target=0.10,
    alarm_share=_FIFTH,
    panel=Panel(
        "Cost of a scan",
        f"Measured; the owner's reference for the paid provider is ${REFERENCE_COST_USD:.2f}.",
        Ratio("savo_arm_cost_usd_total", "savo_scans_total"),
    ),
)
FAILURES = Measure(
    name="failures",
    title="failure rate",
    value_label="failed scans",
    unit=Unit.SHARE,
    statistic=Mean(),
    higher_is_better=False,
    target=0.02,
    alarm_share=_FIFTH,
    must_be_proven=False,
)

MEASURES = (ACCURACY, CORRECTION_RATE, LATENCY, COST, FAILURES)
"""In the order in which people see them. ADR 5 says how a further row gets its share of α."""
