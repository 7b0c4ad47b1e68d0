from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cli.tests.conftest import Savo
from cli.tests.small_gateway import SmallGateway
from savo_cli.gateway import read_up_file


def findings(savo: Savo) -> tuple[int, dict[str, dict[str, Any]]]:
    result = savo("doctor", "--json")
    return result.exit_code, {finding["what"]: finding for finding in json.loads(result.stdout)}


def test_a_missing_key_is_a_note_with_both_solutions(savo: Savo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOOGLE_API_KEY", raising=False)
    code, found = findings(savo)
    assert code == 0
    assert found["vision provider"]["state"] == "note"
    assert "--standin" in found["vision provider"]["fix"]


def test_an_invalid_setting_is_wrong_in_each_service_that_reads_it(savo: Savo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAVO_ROLLOUT_MIN_CONFIRMED", "-3")
    code, found = findings(savo)
    assert code == 1
    assert found["settings of rollout"]["state"] == "wrong"
    assert "SAVO_ROLLOUT_MIN_CONFIRMED" in found["settings of rollout"]["found"]
    assert found["settings of collector"]["state"] == "ok"


def test_a_misspelt_variable_is_reported(savo: Savo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAVO_USE_CUSTOM_VISON", "true")
    assert "did you mean SAVO_USE_CUSTOM_VISION?" in findings(savo)[1]["environment"]["found"]


def test_an_unreachable_kafka_is_wrong(savo: Savo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAVO_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    code, found = findings(savo)
    assert (code, found["Kafka"]["state"]) == (1, "wrong")


def test_a_configured_model_file_that_does_not_exist_is_wrong(savo: Savo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAVO_CUSTOM_VISION_MODEL_PATH", "nowhere.onnx")
    code, found = findings(savo)
    assert (code, found["own model"]["state"]) == (1, "wrong")
    assert "SAVO_CUSTOM_VISION_MODEL_PATH='nowhere.onnx'" in found["own model"]["found"]


def test_a_restarted_service_is_checked_at_its_new_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAVO_DATA_DIR", str(tmp_path))
    run = tmp_path / "run"
    run.mkdir()
    (run / "up.json").write_text(
        json.dumps({"pid": 1, "services": {"vision": "http://127.0.0.1:1", "rollout": "http://127.0.0.1:2"}})
    )
    (run / "vision.json").write_text(json.dumps({"pid": 3, "url": "http://127.0.0.1:3"}))
    here = read_up_file()
    assert here is not None
    assert here["services"] == {"vision": "http://127.0.0.1:3", "rollout": "http://127.0.0.1:2"}


@pytest.fixture
def containers(monkeypatch: pytest.MonkeyPatch, gateway: SmallGateway) -> SmallGateway:
    """A shell in a container: SAVO_SERVICES names a gateway that is ready and a vision that is stopped."""
    monkeypatch.delenv("GOOGLE_API_KEY", raising=False)
    monkeypatch.setenv("SAVO_SERVICES", f"gateway={gateway.url},vision={UNUSED_ADDRESS}")
    gateway.answers_with("GET", "/readyz", {"service": "gateway", "status": "ready", "checks": {}})
    return gateway


UNUSED_ADDRESS = "http://127.0.0.1:1"


def test_an_unreachable_service_in_a_container_is_wrong(savo: Savo, containers: SmallGateway) -> None:
    code, found = findings(savo)
    assert (code, found["gateway"]["state"], found["vision"]["state"]) == (1, "ok", "wrong")
    assert f"{UNUSED_ADDRESS} does not answer" in found["vision"]["found"]
    assert "docker compose logs vision" in found["vision"]["fix"]
    assert "port" not in found


def test_with_services_in_containers_the_key_and_packages_of_this_shell_are_not_checked(
    savo: Savo, containers: SmallGateway
) -> None:
    _, found = findings(savo)
    assert {"vision provider", "training", "settings of vision", "environment"} & found.keys() == set()
    assert found["settings"]["state"] == "ok"


def test_with_a_given_gateway_no_other_service_is_checked(
    savo: Savo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / ".savo" / "run"
    run.mkdir(parents=True)
    (run / "up.json").write_text(
        json.dumps({"pid": 1, "gateway_url": "http://127.0.0.1:2", "services": {"gateway": "http://127.0.0.1:2"}})
    )
    monkeypatch.setenv("SAVO_URL", UNUSED_ADDRESS)
    code, found = findings(savo)
    assert (code, found["gateway"]["state"]) == (1, "wrong")
    assert UNUSED_ADDRESS in found["gateway"]["found"]
    assert (
        found["data and storage"]["state"],
        "the gateway does not answer" in found["data and storage"]["found"],
    ) == ("note", True)
    assert "SAVO_SERVICES" in found["services"]["fix"]


def test_the_reasons_why_a_service_is_not_ready_are_listed(savo: Savo, containers: SmallGateway) -> None:
    checks = {
        "database": {"ok": False, "reason": "it is locked"},
        "kafka": {"ok": True},
        "object-store": {"ok": False, "reason": "no answer in 3 s"},
    }
    containers.answers_with(
        "GET", "/readyz", {"service": "gateway", "status": "not ready", "checks": checks}, status=503
    )
    assert findings(savo)[1]["gateway"]["found"] == "not ready: database: it is locked; object-store: no answer in 3 s"


def test_an_address_where_another_service_answers_is_wrong(
    savo: Savo, containers: SmallGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAVO_SERVICES", f"vision={containers.url}")
    assert f"{containers.url} is not vision, but gateway" in findings(savo)[1]["vision"]["found"]


def test_invalid_addresses_are_reported(savo: Savo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAVO_SERVICES", "vision:8000")
    code, found = findings(savo)
    assert (code, "'vision:8000' makes no sense" in found["services"]["found"]) == (1, True)


@pytest.mark.parametrize(
    ("variable", "value", "why"), [("SMTP_URL", "foo", "smtp://"), ("SAVO_DIGEST_TO", "x", "a mail address")]
)
def test_the_settings_of_the_digest_are_checked_if_any_is_set(
    savo: Savo, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, why: str
) -> None:
    assert "settings of savo digest" not in findings(savo)[1]
    monkeypatch.setenv(variable, value)
    code, found = findings(savo)
    assert (code, why in found["settings of savo digest"]["found"]) == (1, True)


def test_log_messages_of_the_kafka_client_are_not_printed(tmp_path: Path) -> None:
    environment = os.environ | {"SAVO_DATA_DIR": str(tmp_path), "SAVO_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    result = subprocess.run(
        [sys.executable, "-m", "savo_cli", "doctor"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (result.returncode, result.stderr) == (1, "")
