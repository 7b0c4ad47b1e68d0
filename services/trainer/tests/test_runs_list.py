"""Tables of `savo runs list` and `savo models list`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from savo_trainer.adapters.trainer_client import TrainerClient
from savo_trainer.command_line import terminal
from savo_trainer.command_line.list_models import list_models
from savo_trainer.command_line.runs import command as runs_command

RUN_ID = "hand-caf0af6074607fdce3eaff70"


class Trainer:
    def get(self, path: str) -> dict[str, Any]:
        facts = {"dataset_version": "holdout-c9f11168790c", "version": "v1", "evaluation": {"map50": 0.5}}
        return {
            "runs": [
                {
                    "id": RUN_ID,
                    "state": "rejected",
                    "facts": facts,
                    "progress": None,
                    "requested_at": "2026-11-24T03:22:41",
                }
            ]
        }


def test_run_ids_are_complete_on_a_narrow_screen(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(TrainerClient, "from_settings", Trainer)
    monkeypatch.setattr(terminal, "out", Console(width=80))
    runs_command.show_runs(as_json=False)
    assert RUN_ID in capsys.readouterr().out


def test_a_list_without_runs_says_what_starts_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(TrainerClient, "from_settings", TrainerWithoutRuns)
    runs_command.show_runs(as_json=False)
    assert "no training runs yet" in capsys.readouterr().out
    runs_command.show_runs(as_json=True)
    assert json.loads(capsys.readouterr().out) == {"runs": []}


class TrainerWithoutRuns:
    def get(self, path: str) -> dict[str, Any]:
        return {"runs": []}


def test_a_list_without_models_names_the_next_step(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("SAVO_DATA_DIR", str(tmp_path))
    list_models()
    assert "savo models register" in capsys.readouterr().out
    list_models(as_json=True)
    assert json.loads(capsys.readouterr().out) == {"models": []}
