"""Metrics catalogue: no metric is defined elsewhere, and Prometheus' linter accepts the exported metrics."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.metrics import MetricWrapperBase

from savo_runtime.telemetry import metrics as catalogue
from tests.parts.parts_table import record

ROOT = Path(__file__).parents[2]
METRICS = [value for value in vars(catalogue).values() if isinstance(value, MetricWrapperBase)]
PERSONAL = {"user", "user_id", "subject", "scan", "scan_id", "device_id"}


def described() -> list[Metric]:
    return [family for metric in METRICS for family in metric.describe()]


def test_no_metric_is_defined_outside_the_catalogue() -> None:
    definition = re.compile(r"\b(Counter|Gauge|Histogram|Summary)\(\s*[\"']savo_")
    sources = [
        path
        for folder in ("libs", "services", "cli", "demo")
        for path in (ROOT / folder).rglob("*.py")
        if "tests" not in path.parts
    ]
    assert sources
    assert [
        str(path)
        for path in sources
        if path.name != "metrics.py" and definition.search(path.read_text(encoding="utf-8"))
    ] == []


def test_no_label_names_a_person_or_a_scan() -> None:
    assert METRICS
    assert [metric for metric in METRICS if PERSONAL & set(metric._labelnames)] == []


def test_every_metric_has_a_description() -> None:
    assert [family.name for family in described() if not family.documentation.endswith(".")] == []


@pytest.mark.prometheus
def test_promtool_finds_no_problem() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        record("Prometheus", "skipped", "promtool is not installed")
        pytest.skip("promtool is not installed")
    registry = CollectorRegistry()
    for metric in METRICS:
        registry.register(metric)
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=generate_latest(registry), capture_output=True, check=False
    )
    record("Prometheus", "real", "promtool")
    assert checked.returncode == 0, checked.stdout.decode() + checked.stderr.decode()
