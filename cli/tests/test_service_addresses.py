"""Addresses of the services of `savo up`, and the services that a plan leaves out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from savo_cli.diagnose.service_addresses import find_services
from savo_cli.start.plan import UpOptions, make_plan
from savo_cli.topics.broker import broker_settings
from savo_contracts.topics import SERVICES
from tests.parts.addresses import free_port

HERE = {name: f"http://127.0.0.1:{number}" for number, name in enumerate(SERVICES, 1) if name != "trainer"}


@pytest.fixture
def small_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAVO_DATA_DIR", str(tmp_path))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "up.json").write_text(
        json.dumps({"pid": 1, "gateway_url": HERE["gateway"], "kafka": "127.0.0.1:9", "services": HERE})
    )


@pytest.mark.usefixtures("small_plan")
def test_the_address_of_the_local_gateway_selects_the_local_services() -> None:
    assert find_services(HERE["gateway"] + "/").services == HERE
    assert find_services(None).is_local


@pytest.mark.usefixtures("small_plan")
def test_services_that_savo_up_does_not_run_are_optional_for_topics_lag() -> None:
    assert broker_settings(None).optional_services == "trainer"
    assert broker_settings("kafka:9092").optional_services is None, "another Kafka is another plan"


def test_only_with_one_process_the_trainer_is_optional(
    tmp_path: Path,
) -> None:
    small, full = (
        make_plan(UpOptions(free_port(), tmp_path, one_process=one_process)) for one_process in (True, False)
    )
    assert small.environment["SAVO_OPTIONAL_SERVICES"] == "trainer"
    assert "SAVO_OPTIONAL_SERVICES" not in full.environment


@pytest.mark.parametrize(
    ("variables", "host", "notes"),
    [
        ({}, "127.0.0.1", ["no samples are collected"]),
        ({"SAVO_COLLECT_TRAINING_DATA": "true"}, "127.0.0.1", ["SAVO_COLLECT_TRAINING_DATA=true"]),
        ({"PORT": "10000"}, "0.0.0.0", ["listens on 0.0.0.0 (this host sets PORT or RENDER)", "needs an API key"]),
        ({"RENDER": "true"}, "0.0.0.0", ["/training/stats is open", "an app that sends no key is refused"]),
        ({"RENDER": "true", "SAVO_APP_ANONYMOUS": "true"}, "0.0.0.0", ["an app that sends no key is let in"]),
        ({"RENDER": "true", "SAVO_AUTH": "jwt"}, "0.0.0.0", ["needs a token of the sign-in service"]),
        ({"RENDER": "true", "SAVO_AUTH": "none"}, "0.0.0.0", ["everyone who reaches this address may call"]),
        ({"PORT": "10000", "SAVO_HTTP_HOST": "127.0.0.1"}, "127.0.0.1", ["no samples are collected"]),
        ({"SAVO_HTTP_HOST": "0.0.0.0"}, "0.0.0.0", ["listens on 0.0.0.0 (SAVO_HTTP_HOST)"]),
    ],
)
def test_a_hosting_platform_opens_the_address_and_a_key_is_needed_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], host: str, notes: list[str]
) -> None:
    names = (
        "PORT",
        "RENDER",
        "SAVO_HTTP_HOST",
        "SAVO_AUTH",
        "SAVO_APP_ANONYMOUS",
        "SAVO_COLLECT_TRAINING_DATA",
        "SAVO_USE_CUSTOM_VISION",
    )
    for name in names:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    plan = make_plan(UpOptions(free_port(), tmp_path))
    assert plan.host == host
    assert "SAVO_USE_CUSTOM_VISION" not in plan.environment, "savo up sets no variable of the owner"
    assert plan.environment.get("SAVO_COLLECT_TRAINING_DATA") == variables.get("SAVO_COLLECT_TRAINING_DATA")
    text = "; ".join(plan.notes)
    for note in notes:
        assert note in text
