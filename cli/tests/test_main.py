from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint
from typing import Any

import pytest

from savo_cli import commands


def test_help_lists_every_command_and_imports_no_heavy_module() -> None:
    code = (
        "import sys; sys.argv=['savo','--help']\nfrom savo_cli.main import run\ntry: run()\nexcept SystemExit: pass\n"
    )
    heavy = {"torch", "cv2", "numpy", "aiokafka", "sqlalchemy", "onnxruntime", "ultralytics"}
    code += f"print('HEAVY', sorted({heavy} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    for command in ("up", "scan", "confirm", "stats", "rollout", "topics", "doctor", "train", "models", "synthesize"):
        assert f" {command} " in result.stdout
    assert "HEAVY []" in result.stdout
    assert result.stderr == ""


CTRL_C_WHILE_IMPORTING = """
import sys

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == "typer":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupting())
from savo_cli.main import run
run()
"""


def test_ctrl_c_while_the_commands_are_loaded_ends_quietly() -> None:
    result = subprocess.run(
        [sys.executable, "-c", CTRL_C_WHILE_IMPORTING], capture_output=True, text=True, check=False, timeout=120
    )
    assert (result.returncode, result.stdout, result.stderr) == (130, "", "")


def test_a_package_that_cannot_be_imported_loses_only_its_own_commands(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(**_: Any) -> list[EntryPoint]:
        return [EntryPoint("trainer", "savo_trainer.no_such_module:register", "savo.commands")]

    monkeypatch.setattr(commands, "entry_points", broken)
    commands.add_commands_of_others()
    assert capsys.readouterr().err.startswith("savo: the commands of trainer are left out: ModuleNotFoundError")
