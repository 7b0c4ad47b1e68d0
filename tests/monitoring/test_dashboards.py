"""The dashboards are what Python says, what Grafana reads, and ask for metrics that exist."""

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
OTHERS = {"up", "ALERTS", "process_resident_memory_bytes", "process_cpu_seconds_total"}
NAMES = sorted(boards())


def names_in_the_catalogue() -> set[str]:
    metrics = [value for value in vars(catalogue).values() if isinstance(value, MetricWrapperBase)]
    names = {
        family.name + ("_total" if family.type == "counter" else "")
        for metric in metrics
        for family in metric.describe()
    }
    return names | {name + ending for name in names for ending in ("_bucket", "_count", "_sum")}


def test_the_committed_json_is_what_python_says() -> None:
    checked = subprocess.run(
        [sys.executable, "-m", "deploy.grafana", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_there_are_the_four_that_operators_were_promised() -> None:
    assert NAMES == ["arms", "flywheel", "overview", "pipeline"]


@pytest.mark.parametrize("name", NAMES)
def test_grafanas_own_types_read_it_and_lose_nothing(name: str) -> None:
    """What they do not know they drop; what was left out they fill with defaults."""
    register_default_plugins()
    board = boards()[name]
    read = json.loads(json.dumps(Dashboard.from_json(board), cls=JSONEncoder))
    assert lost(board, read) == []


@pytest.mark.parametrize("name", NAMES)
def test_panels_have_ids_of_their_own_and_do_not_overlap(name: str) -> None:
    panels = boards()[name]["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for one, other in combinations(panels, 2):
        assert not overlap(one["gridPos"], other["gridPos"]), (one["title"], other["title"])
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels)


@pytest.mark.parametrize("name", NAMES)
def test_every_variable_that_is_used_is_there(name: str) -> None:
    board = boards()[name]
    defined = {variable["name"] for variable in board["templating"].get("list", ())}
    text = " ".join(query.expression for query in queries() if query.board == name)
    assert set(re.findall(r"\$(\w+)", text)) - BUILT_IN == defined


def test_panels_ask_the_data_source_that_is_provisioned() -> None:
    provisioned = yaml.safe_load((ROOT / "deploy/grafana/provisioning/datasources/savo.yml").read_text())[
        "datasources"
    ][0]
    asked = {
        panel["datasource"]["uid"] for board in boards().values() for panel in board["panels"] if panel["type"] != "row"
    }
    assert asked == {provisioned["uid"]}


def test_every_metric_is_in_the_catalogue() -> None:
    everything: list[Query | Alert] = [*queries(), *alerts()]
    asked = {
        name
        for query in everything
        for name in re.findall(r"\b(?:savo|process|up|ALERTS)\w*", without_strings(query.expression))
    }
    assert asked - names_in_the_catalogue() - OTHERS == set()


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


def lost(given: Any, read: Any, at: str = "") -> list[str]:
    """Paths of what is in `given` and not, or otherwise, in `read`."""
    if isinstance(given, dict) and isinstance(read, dict):
        return [
            path
            for key, value in given.items()
            for path in (lost(value, read[key], f"{at}.{key}") if key in read else [f"{at}.{key}"])
        ]
    if isinstance(given, list) and isinstance(read, list) and len(given) == len(read):
        return [
            path for place, pair in enumerate(zip(given, read, strict=True)) for path in lost(*pair, f"{at}[{place}]")
        ]
    return [] if given == read else [at]


def overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
    below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
    return not (beside or below)


def without_strings(expression: str) -> str:
    return re.sub(r'"[^"]*"', '""', expression)
