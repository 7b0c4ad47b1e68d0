"""Builders of dashboards and panels: numbers, lines over time and bars, from PromQL expressions with a legend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from grafana_foundation_sdk.builders import bargauge, stat, timeseries
from grafana_foundation_sdk.builders.common import (
    GraphThresholdsStyleConfig,
    ReduceDataOptions,
    VizLegendOptions,
    VizTooltipOptions,
)
from grafana_foundation_sdk.builders.dashboard import CustomVariable, Dashboard, QueryVariable, Row, ThresholdsConfig
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery as AnyQuery
from grafana_foundation_sdk.models import common, dashboard

from savo_contracts import measures

__all__ = [
    "Panel",
    "Queries",
    "Target",
    "bars",
    "board",
    "choice",
    "in_grafana_units",
    "lines",
    "number",
    "target_of",
    "unit_of",
    "values_of",
]

SOURCE = dashboard.DataSourceRef(type_val="prometheus", uid="prometheus")

Queries = Mapping[str, str]
"""PromQL expressions by their legend."""

Unit = Literal["short", "s", "percentunit", "currencyUSD", "bytes", "decbytes", "decmbytes"]

Panel = Builder[dashboard.Panel]
Variable = Builder[dashboard.VariableModel]


@dataclass(frozen=True)
class Target:
    """A target value, drawn as a line. Colours show which side meets it."""

    value: float
    above_is_good: bool = False

    def thresholds(self) -> ThresholdsConfig:
        """Grafana's thresholds: green on the side that meets the target, red on the other."""
        below, above = ("red", "green") if self.above_is_good else ("green", "red")
        steps = [dashboard.Threshold(value=None, color=below), dashboard.Threshold(value=self.value, color=above)]
        return ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(steps)


_UNITS: dict[measures.Unit, tuple[Unit, int]] = {
    measures.Unit.SHARE: ("percentunit", 1),
    measures.Unit.MILLISECONDS: ("s", 1000),
    measures.Unit.USD: ("currencyUSD", 1),
}
"""Grafana's unit for each unit of a measure, and the factor between them."""


def unit_of(measure: measures.Measure) -> Unit:
    """Grafana's unit of a measure. Prometheus stores times in seconds."""
    return _UNITS[measure.unit][0]


def in_grafana_units(measure: measures.Measure, value: float) -> float:
    """A value of the measure in Grafana's unit."""
    return value / _UNITS[measure.unit][1]


def target_of(measure: measures.Measure) -> Target:
    """The measure's target in Grafana's unit."""
    return Target(in_grafana_units(measure, measure.target), measure.higher_is_better)


NO_TARGET = (
    ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps([dashboard.Threshold(value=None, color="text")])
)


def number(
    title: str, meaning: str, queries: Queries, unit: Unit = "short", target: Target | None = None, width: int = 4
) -> Panel:
    """A panel with the newest value of each query."""
    panel = stat.Panel().title(title).description(meaning).datasource(SOURCE).unit(unit).height(4).span(width)
    panel = panel.thresholds(target.thresholds() if target else NO_TARGET).graph_mode(common.BigValueGraphMode.NONE)
    return panel.reduce_options(ReduceDataOptions().calcs(["lastNotNull"]).fields("")).targets(
        _targets(queries, instant=True)
    )


def lines(
    title: str, meaning: str, queries: Queries, unit: Unit = "short", target: Target | None = None, width: int = 12
) -> Panel:
    """A panel with a time series of each query, and the target as a dashed line."""
    panel = (
        timeseries.Panel().title(title).description(meaning).datasource(SOURCE).unit(unit).height(8).span(width).min(0)
    )
    panel = panel.legend(
        VizLegendOptions()
        .display_mode(common.LegendDisplayMode.LIST)
        .placement(common.LegendPlacement.BOTTOM)
        .show_legend(True)
    )
    panel = panel.tooltip(VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING))
    if target:
        panel = panel.thresholds(target.thresholds()).thresholds_style(
            GraphThresholdsStyleConfig().mode(common.GraphTresholdsStyleMode.DASHED)
        )
    return panel.targets(_targets(queries))


def bars(title: str, meaning: str, queries: Queries, unit: Unit = "short", width: int = 12, height: int = 8) -> Panel:
    """A panel with the newest value of each series as a bar."""
    panel = (
        bargauge.Panel()
        .title(title)
        .description(meaning)
        .datasource(SOURCE)
        .unit(unit)
        .height(height)
        .span(width)
        .min(0)
        .thresholds(NO_TARGET)
    )
    panel = panel.orientation(common.VizOrientation.HORIZONTAL).display_mode(common.BarGaugeDisplayMode.BASIC)
    return panel.reduce_options(ReduceDataOptions().calcs(["lastNotNull"]).fields("")).targets(
        _targets(queries, instant=True)
    )


def choice(name: str, label: str, options: Sequence[str]) -> Variable:
    """A dashboard variable with fixed values; the first is selected."""
    selected = dashboard.VariableOption(selected=True, text=options[0], value=options[0])
    return CustomVariable(name).label(label).values(",".join(options)).current(selected)


def values_of(name: str, label: str, query: str) -> Variable:
    """A dashboard variable with the values of a label: `query` is `label_values(METRIC, LABEL)`. All are selected."""
    selected = dashboard.VariableOption(selected=True, text="All", value="$__all")
    variable = (
        QueryVariable(name)
        .label(label)
        .datasource(SOURCE)
        .query(query)
        .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
    )
    return (
        variable.sort(dashboard.VariableSort.ALPHABETICAL_ASC)
        .include_all(True)
        .all_value(".*")
        .multi(True)
        .current(selected)
    )


def board(
    name: str,
    title: str,
    meaning: str,
    rows: Mapping[str, Sequence[Panel]],
    variables: Sequence[Variable] = (),
    since: str = "now-6h",
) -> dashboard.Dashboard:
    """A dashboard of rows with titles. `name` is the name of its file and part of its uid."""
    builder = (
        Dashboard(title)
        .uid(f"savo-{name}")
        .description(meaning)
        .tags(["savo"])
        .timezone("utc")
        .time(since, "now")
        .refresh("30s")
        .readonly()
    )
    builder = builder.variables(list(variables))
    for row, panels in rows.items():
        builder = builder.with_row(Row(row))
        for panel in panels:
            builder = builder.with_panel(panel)
    built = builder.build()
    for panel_id, built_panel in enumerate(built.panels or [], start=1):
        built_panel.id_val = panel_id
    return built


def _targets(queries: Queries, *, instant: bool = False) -> list[Builder[AnyQuery]]:
    found: list[Builder[AnyQuery]] = []
    for ref_id, (legend, expression) in zip("ABCDEFGH", queries.items(), strict=False):
        query = Dataquery().expr(expression).legend_format(legend).ref_id(ref_id).datasource(SOURCE)
        found.append(query.instant() if instant else query.range())
    return found
