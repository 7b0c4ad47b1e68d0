"""The committed dashboards and alerts, parsed for tests."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
DASHBOARDS = ROOT / "deploy/grafana/dashboards"
ALERTS = ROOT / "deploy/prometheus/alerts.yml"
RUNBOOKS = ROOT / "docs/runbooks"


@dataclass(frozen=True)
class Query:
    """An expression of a dashboard's panel."""

    board: str
    panel: str
    expression: str

    def __str__(self) -> str:
        return f"{self.board} / {self.panel}: {self.expression}"

    def filled(self, window: str = "1m") -> str:
        """The expression with Grafana's variables replaced, and the dashboard's at their defaults."""
        filled = re.sub(r"\$__(range|rate_interval|interval)\b|\$window\b", window, self.expression)
        return re.sub(r"\$(topic|figure)\b", ".*", filled)


@dataclass(frozen=True)
class Alert:
    """An alerting rule with its runbook."""

    name: str
    expression: str
    runbook: str

    @property
    def page(self) -> str:
        """Name of its runbook: ConsumerStuck → consumer-stuck."""
        return re.sub(r"(?<!^)(?=[A-Z])", "-", self.name).lower()


def boards() -> dict[str, dict[str, Any]]:
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(DASHBOARDS.glob("*.json"))}


def queries() -> list[Query]:
    return [
        Query(name, panel["title"], target["expr"])
        for name, board in boards().items()
        for panel in board["panels"]
        for target in panel.get("targets", ())
    ]


def alerts() -> list[Alert]:
    groups = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    return [
        Alert(rule["alert"], rule["expr"], rule["annotations"]["runbook"])
        for group in groups
        for rule in group["rules"]
    ]
