"""Tests of the alerts: rules, runbooks, and delivery by mail."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
import yaml

from savo_contracts.measures import CORRECTION_RATE, COST, FAILURES, LATENCY
from savo_contracts.topics import SERVICES
from tests.monitoring.boards import ALERTS, ROOT, RUNBOOKS, Alert, alerts
from tests.parts.parts_table import record
from tests.parts.prometheus import promtool

PROMETHEUS = ROOT / "deploy/prometheus"
UNIT_TESTS = [PROMETHEUS / "alerts.test.yml", PROMETHEUS / "alerts.days.test.yml"]


@pytest.mark.prometheus
def test_promtool_accepts_the_rules() -> None:
    promtool("check", "rules", str(ALERTS))


@pytest.mark.prometheus
@pytest.mark.parametrize("name", ["prometheus.yml", "savo-up.yml"])
def test_promtool_accepts_the_configuration(name: str) -> None:
    promtool("check", "config", str(PROMETHEUS / name))


@pytest.mark.prometheus
def test_each_alert_fires_and_resolves_as_in_its_unit_test() -> None:
    promtool("test", "rules", *map(str, UNIT_TESTS))


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert.name)
def test_an_alert_has_a_unit_test_and_a_runbook(alert: Alert) -> None:
    assert f"alertname: {alert.name}" in "".join(path.read_text() for path in UNIT_TESTS)
    assert alert.runbook == f"docs/runbooks/{alert.page}.md"
    assert (ROOT / alert.runbook).exists()


def test_every_runbook_has_an_alert() -> None:
    assert {path.stem for path in RUNBOOKS.glob("*.md")} - {"README"} == {alert.page for alert in alerts()}


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("ScansSlow", LATENCY.target / 1000),
        ("ScansFailing", FAILURES.target),
        ("CostOverTarget", COST.target),
        ("CorrectionsHigh", CORRECTION_RATE.target),
    ],
)
def test_an_alert_on_a_measure_has_the_measures_target(name: str, target: float) -> None:
    expression = next(alert.expression for alert in alerts() if alert.name == name)
    limits = re.findall(r" > ([\d.]+)(?:\s|$)", expression)
    assert [float(limit) for limit in limits] == [target]


def test_every_service_is_scraped_and_its_absence_raises_an_alert() -> None:
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    scraped = config["scrape_configs"][0]["dns_sd_configs"][0]["names"]
    assert sorted(scraped) == sorted(SERVICES)
    watched = re.findall(r'absent\(savo_service_info\{service="(\w+)"\}\)', ALERTS.read_text())
    assert sorted(watched) == sorted(SERVICES)


def test_alertmanager_sends_every_alert_by_mail() -> None:
    config = yaml.safe_load((ROOT / "deploy/alertmanager/alertmanager.yml").read_text())
    receivers = {receiver["name"]: receiver for receiver in config["receivers"]}
    for route in [config["route"], *config["route"]["routes"]]:
        assert receivers[route["receiver"]]["email_configs"][0]["to"]
    known = {alert.name for alert in alerts()}
    matchers = [
        matcher
        for rule in config["inhibit_rules"]
        for side in ("source_matchers", "target_matchers")
        for matcher in rule[side]
    ]
    assert {name for matcher in matchers for name in re.findall(r"[A-Z]\w+", matcher)} <= known


def test_alertmanager_accepts_its_configuration() -> None:
    amtool = shutil.which("amtool")
    if amtool is None:
        record("Alertmanager", "skipped", "amtool is not installed")
        pytest.skip("amtool is not installed")
    checked = subprocess.run(
        [amtool, "check-config", str(ROOT / "deploy/alertmanager/alertmanager.yml")],
        capture_output=True,
        text=True,
        check=False,
    )
    record("Alertmanager", "real", "amtool")
    assert checked.returncode == 0, checked.stdout + checked.stderr
