"""Rollout metrics, such as accuracy and cost: unit, statistic, target and dashboard panel of each.

Gates, report, command line, digest, dashboards and demo read a measure's attributes from its row.
`savo_rollout.evidence` computes a measure's figure for a scan.
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
    "Reference",
    "References",
    "Unit",
]


class Unit(StrEnum):
    """Unit of a figure, with its text format."""

    SHARE = "share"
    MILLISECONDS = "milliseconds"
    USD = "usd"

    def text(self, value: float) -> str:
        """Display text, such as 80.0%, 412 ms or $0.0004."""
        return _TEXTS[self].format(value)


_TEXTS = {Unit.SHARE: "{:.1%}", Unit.MILLISECONDS: "{:.0f} ms", Unit.USD: "${:.4f}"}


@dataclass(frozen=True)
class Mean:
    """Statistic that compares the mean of the scans' figures with the target.

    Confidence bounds need bounded values, so a scan's figure is capped at `cap` (in the measure's unit).
    """

    cap: float = 1.0

    @property
    def scale(self) -> float:
        """The figure of a value of 1, in the unit of the bounds."""
        return self.cap

    def value(self, figure: float, target: float) -> float:
        """A scan's figure scaled to 0…1."""
        return round(min(1.0, figure / self.cap), 4)

    def threshold(self, target: float) -> float:
        """The target scaled like the values."""
        return target / self.cap


@dataclass(frozen=True)
class Quantile:
    """Statistic that compares a quantile of the scans' figures with the target.

    p95 is below a limit exactly when fewer than 5 % of the scans are above it. So a value is 1 above the target and 0
    below, and the bounds are those of the share of scans above the target.
    """

    percent: int

    scale = 1.0

    def value(self, figure: float, target: float) -> float:
        """1 for a scan above the target, otherwise 0."""
        return float(figure > target)

    def threshold(self, target: float) -> float:
        """The share of scans that may be above the target."""
        return (100 - self.percent) / 100


@dataclass(frozen=True)
class Ratio:
    """Increase of one Prometheus counter ÷ increase of another. Both selectors include their label matchers."""

    numerator: str
    denominator: str


@dataclass(frozen=True)
class Durations:
    """A Prometheus histogram in seconds, without `_bucket`; `where` is its label matcher."""

    metric: str
    where: str


@dataclass(frozen=True)
class Panel:
    """Panel of a measure on the arms' dashboard: the current number and its history by assigned arm."""

    title: str
    description: str
    source: Ratio | Durations


@dataclass(frozen=True)
class Reference:
    """A cell of the guide's table "A/B Test Metrics": what the product owner expects of an arm."""

    value: float
    """In the measure's unit."""
    text: str
    """The cell as the guide writes it, such as ~85% or < 800ms."""


@dataclass(frozen=True)
class References:
    """A measure's row of that table: the Google and the custom column. Its target is the measure's own."""

    google: Reference
    custom: Reference


@dataclass(frozen=True, eq=False)
class Measure:
    """A quantity by which a rollout judges its arms. Measures are compared by identity."""

    name: str
    """Key in tables, JSON and reports. Never renamed; at most 20 characters (the column `subject_values.measure`)."""
    title: str
    """Name within a sentence: "certainty about the correction rate"."""
    value_label: str
    """Label of a number without its unit: "US dollars a scan"."""
    unit: Unit
    statistic: Mean | Quantile
    higher_is_better: bool
    target: float
    """The product owner's target, in the measure's unit. A setting of the rollout service can override it."""
    alarm_share: Fraction
    """Share of α for this measure's alarm. All measures together use at most 1 (ADR 5).

    0: the measure has no alarm. It can hold a candidate back but never ends a trial.
    """
    must_be_proven: bool = True
    """Whether a step needs proof that the target is met.

    False: the measure is only an alarm, which is silent while the baseline is surely as bad.
    """
    references: References | None = None
    """None when the guide has no row for the measure."""
    panel: Panel | None = None
    """None when the dashboard shows the measure differently or not at all."""

    @property
    def bounds_unit(self) -> Unit:
        """Unit of the confidence bounds: a quantile's bounds are those of a share of scans."""
        return Unit.SHARE if isinstance(self.statistic, Quantile) else self.unit

    @property
    def sign(self) -> str:
        """Relation of a good figure to the target: ">" or "<"."""
        return ">" if self.higher_is_better else "<"

    def text(self, value: float) -> str:
        """Display text of a figure or target."""
        return self.unit.text(value)

    def bound_text(self, value: float) -> str:
        """Display text of a confidence bound."""
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
    references=References(google=Reference(0.85, "~85%"), custom=Reference(0.80, "~80%+")),
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
    references=References(google=Reference(0.30, "~30%"), custom=Reference(0.35, "< 35%")),
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
    references=References(google=Reference(1200.0, "1200ms"), custom=Reference(800.0, "< 800ms")),
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
    statistic=Mean(cap=REFERENCE_COST_USD),  # no scan should cost more
    higher_is_better=False,
    target=0.10,
    alarm_share=_FIFTH,
    references=References(google=Reference(REFERENCE_COST_USD, "$1.50"), custom=Reference(0.01, "$0.01")),
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
"""All measures in display order. ADR 5 says how a new measure gets its share of α."""
