"""Tests of the dashboards: generated from Python, readable for Grafana, with existing metrics."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard
from prometheus_client.metrics import MetricWrapperBase

from savo_runtime.telemetry import metrics as catalogue
from tests.monitoring.boards import DASHBOARDS, ROOT, Alert, Query, alerts, boards, queries
from tests.parts.prometheus import promtool

BUILT_IN = {"__range", "__rate_interval"}
OTHER_METRICS = {"up", "ALERTS", "process_resident_memory_bytes", "process_cpu_seconds_total"}
NAMES = sorted(boards())


def names_in_the_catalogue() -> set[str]:
    metrics = [value for value in vars(catalogue).values() if isinstance(value, MetricWrapperBase)]
    names = {
        family.name + ("_total" if family.type == "counter" else "")
        for metric in metrics
        for family in metric.describe()
    }
    return names | {name + suffix for name in names for suffix in ("_bucket", "_count", "_sum")}


def test_the_committed_json_is_up_to_date() -> None:
    checked = subprocess.run(
        [sys.executable, "-m", "deploy.grafana", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_four_dashboards_exist() -> None:
    assert NAMES == ["arms", "flywheel", "overview", "pipeline"]


@pytest.mark.parametrize("name", NAMES)
def test_grafanas_types_read_a_dashboard_without_loss(name: str) -> None:
    """The types drop unknown fields and add missing ones with defaults."""
    register_default_plugins()
    board = boards()[name]
    read = json.loads(json.dumps(Dashboard.from_json(board), cls=JSONEncoder))
    assert lost_paths(board, read) == []


@pytest.mark.parametrize("name", NAMES)
def test_panels_have_unique_ids_and_do_not_overlap(name: str) -> None:
    panels = boards()[name]["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for first, second in combinations(panels, 2):
        assert not overlap(first["gridPos"], second["gridPos"]), (first["title"], second["title"])
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels)


@pytest.mark.parametrize("name", NAMES)
def test_every_used_variable_is_defined(name: str) -> None:
    board = boards()[name]
    defined = {variable["name"] for variable in board["templating"].get("list", ())}
    text = " ".join(query.expression for query in queries() if query.board == name)
    assert set(re.findall(r"\$(\w+)", text)) - BUILT_IN == defined


def test_panels_use_the_provisioned_data_source() -> None:
    config = yaml.safe_load((ROOT / "deploy/grafana/provisioning/datasources/savo.yml").read_text())
    panels = [panel for board in boards().values() for panel in board["panels"] if panel["type"] != "row"]
    assert {panel["datasource"]["uid"] for panel in panels} == {config["datasources"][0]["uid"]}


def test_every_metric_is_in_the_catalogue() -> None:
    everything: list[Query | Alert] = [*queries(), *alerts()]
    used = {
        name
        for query in everything
        for name in re.findall(r"\b(?:savo|process|up|ALERTS)\w*", without_strings(query.expression))
    }
    assert used - names_in_the_catalogue() - OTHER_METRICS == set()


def test_every_metric_of_the_catalogue_is_on_a_dashboard_or_in_an_alert() -> None:
    text = " ".join([*(query.expression for query in queries()), *(alert.expression for alert in alerts())])
    metrics = [value for value in vars(catalogue).values() if isinstance(value, MetricWrapperBase)]
    assert [family.name for metric in metrics for family in metric.describe() if family.name not in text] == []


@pytest.mark.prometheus
def test_prometheus_parses_every_expression(tmp_path: Path) -> None:
    rules: list[dict[str, Any]] = [
        {"record": f"panel:{number}", "expr": query.filled()} for number, query in enumerate(queries())
    ]
    assert len(rules) > 60
    (tmp_path / "panels.yml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    promtool("check", "rules", "--lint=none", str(tmp_path / "panels.yml"))


def test_the_folders_that_grafana_mounts_are_named_in_the_provisioning() -> None:
    provider = yaml.safe_load((ROOT / "deploy/grafana/provisioning/dashboards/savo.yml").read_text())["providers"][0]
    assert provider["options"]["path"] in (ROOT / "deploy/grafana/README.md").read_text()
    assert DASHBOARDS.is_dir()


def lost_paths(given: Any, read: Any, at: str = "") -> list[str]:
    """Paths of the values in `given` that are missing or different in `read`."""
    if isinstance(given, dict) and isinstance(read, dict):
        return [
            path
            for key, value in given.items()
            for path in (lost_paths(value, read[key], f"{at}.{key}") if key in read else [f"{at}.{key}"])
        ]
    if isinstance(given, list) and isinstance(read, list) and len(given) == len(read):
        return [
            path
            for index, pair in enumerate(zip(given, read, strict=True))
            for path in lost_paths(*pair, f"{at}[{index}]")
        ]
    return [] if given == read else [at]


def overlap(first: dict[str, int], second: dict[str, int]) -> bool:
    beside = first["x"] + first["w"] <= second["x"] or second["x"] + second["w"] <= first["x"]
    below = first["y"] + first["h"] <= second["y"] or second["y"] + second["h"] <= first["y"]
    return not (beside or below)


def without_strings(expression: str) -> str:
    return re.sub(r'"[^"]*"', '""', expression)
