from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cli.tests.conftest import Savo
from savo_cli.gateway import running_here


def findings(savo: Savo) -> tuple[int, dict[str, dict[str, Any]]]:
    told = savo("doctor", "--json")
    return told.exit_code, {finding["what"]: finding for finding in json.loads(told.stdout)}


def test_a_missing_key_is_a_note_with_both_ways_out(savo: Savo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOOGLE_API_KEY", raising=False)
    code, found = findings(savo)
    assert code == 0
    assert found["vision provider"]["state"] == "note"
    assert "--standin" in found["vision provider"]["fix"]


def test_a_senseless_setting_is_wrong_in_each_service_that_reads_it(savo: Savo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAVO_ROLLOUT_MIN_CONFIRMED", "-3")
    code, found = findings(savo)
    assert code == 1
    assert found["settings of rollout"]["state"] == "wrong"
    assert "SAVO_ROLLOUT_MIN_CONFIRMED" in found["settings of rollout"]["found"]
    assert found["settings of collector"]["state"] == "ok"


def test_a_misspelt_variable_is_noticed(savo: Savo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAVO_USE_CUSTOM_VISON", "true")
    assert "did you mean SAVO_USE_CUSTOM_VISION?" in findings(savo)[1]["environment"]["found"]


def test_a_kafka_that_is_away_is_wrong(savo: Savo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAVO_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    code, found = findings(savo)
    assert (code, found["Kafka"]["state"]) == (1, "wrong")


def test_a_model_of_ones_own_that_is_not_there_is_wrong(savo: Savo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAVO_CUSTOM_VISION_MODEL_PATH", "nowhere.onnx")
    code, found = findings(savo)
    assert (code, found["own model"]["state"]) == (1, "wrong")
    assert "SAVO_CUSTOM_VISION_MODEL_PATH='nowhere.onnx'" in found["own model"]["found"]


def test_a_service_that_was_started_again_is_asked_where_it_listens_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAVO_DATA_DIR", str(tmp_path))
    run = tmp_path / "run"
    run.mkdir()
    (run / "up.json").write_text(json.dumps({"pid": 1, "services": {"vision": "http://127.0.0.1:1", "rollout": "http://127.0.0.1:2"}}))
    (run / "vision.json").write_text(json.dumps({"pid": 3, "url": "http://127.0.0.1:3"}))
    here = running_here()
    assert here is not None
    assert here["services"] == {"vision": "http://127.0.0.1:3", "rollout": "http://127.0.0.1:2"}
