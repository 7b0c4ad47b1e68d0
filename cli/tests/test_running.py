"""Where services are, and which of them a plan does without."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from savo_cli.diagnose.service_addresses import find_running
from savo_cli.start.up import UpOptions, _plan
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
def test_the_gateway_of_savo_up_by_its_own_address_is_that_of_here() -> None:
    assert find_running(HERE["gateway"] + "/").services == HERE
    assert find_running(None).here


@pytest.mark.usefixtures("small_plan")
def test_topics_lag_leaves_out_who_does_not_run_in_the_small_plan_here() -> None:
    assert broker_settings(None).optional_services == "trainer"
    assert broker_settings("kafka:9092").optional_services is None, "another Kafka is another plan"


def test_the_small_plan_tells_its_services_that_it_has_no_trainer_and_the_whole_plan_waits_for_one(
    tmp_path: Path,
) -> None:
    small, whole = (_plan(UpOptions(free_port(), tmp_path, one_process=one_process)) for one_process in (True, False))
    assert small.environment["SAVO_OPTIONAL_SERVICES"] == "trainer"
    assert "SAVO_OPTIONAL_SERVICES" not in whole.environment
