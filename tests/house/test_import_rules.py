"""Import rules: the code keeps them, and a planted violation of each is found."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SERVICES = ("gateway", "vision", "collector", "trainer", "rollout", "reasoning")

# Modules of a service outside its domain, where transports and settings are allowed.
OUTER_MODULES = {
    "__init__",
    "app",
    "settings",
    "handlers",
    "adapters",
    "migrations",
    "commands",
    "http",
    "yolo",
    "pages",
    "keys_command",
}

PLANTS = {
    "contracts import no package of the product": (
        "libs/contracts/savo_contracts",
        "figures.py",
        "import savo_runtime.errors",
        "Contracts import no other package",
    ),
    "contracts do no I/O": ("libs/contracts/savo_contracts", "figures.py", "import numpy", "Contracts are pure"),
    "libs import no service": (
        "libs/runtime/savo_runtime",
        "errors.py",
        "import savo_gateway.app",
        "Libs import no service",
    ),
    "services do not import each other": (
        "services/vision/savo_vision",
        "handlers.py",
        "import savo_collector.handlers",
        "No service imports another",
    ),
    "domain modules do not import Kafka": (
        "services/collector/savo_collector",
        "splits.py",
        "import aiokafka",
        "Domain modules import no",
    ),
    "domain modules do not import SQL": (
        "services/rollout/savo_rollout",
        "steps.py",
        "import sqlalchemy",
        "Domain modules import no",
    ),
    "SDKs are imported when their provider is chosen": (
        "libs/providers/savo_providers",
        "calls.py",
        "import savo_providers.openai_sdk",
        "No provider's SDK is imported",
    ),
    "only the trainer imports torch": (
        "services/vision/savo_vision",
        "handlers.py",
        "import torch",
        "Only the trainer imports torch",
    ),
    "data sets use the port of the object store": (
        "libs/datasets/savo_datasets",
        "labels.py",
        "import savo_runtime.storage.s3",
        "Datasets import the port",
    ),
    "the trainer's service does not import its commands": (
        "services/trainer/savo_trainer",
        "handlers.py",
        "import savo_trainer.command_line.train",
        "The trainer's service imports",
    ),
    "only the command line imports the operators' tools": (
        "services/vision/savo_vision",
        "handlers.py",
        "import savo_operations.replay.replay",
        "Only the CLI imports the operators' tools",
    ),
    "detection does not import Kafka": (
        "libs/detection/savo_detection",
        "nms.py",
        "import aiokafka",
        "Detection imports no",
    ),
    "the command line uses HTTP": (
        "cli/savo_cli",
        "main.py",
        "import savo_gateway.app",
        "The CLI and the demo reach services",
    ),
}


def lint(overlay: Path | None = None) -> subprocess.CompletedProcess[str]:
    paths = [str(overlay)] if overlay else []
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    lint_imports = Path(sys.executable).parent / "lint-imports"
    command = [str(lint_imports), "--no-cache", "--config", str(ROOT / ".importlinter")]
    return subprocess.run(command, cwd=overlay or ROOT, env=environment, capture_output=True, text=True, check=False)


def test_the_code_keeps_the_import_rules() -> None:
    outcome = lint()
    assert outcome.returncode == 0, outcome.stdout


@pytest.mark.parametrize("plant", PLANTS)
def test_a_planted_violation_is_found(plant: str, tmp_path: Path) -> None:
    package, module, line, rule = PLANTS[plant]
    planted = tmp_path / Path(package).name
    shutil.copytree(ROOT / package, planted, ignore=shutil.ignore_patterns("__pycache__"))
    target = planted / module
    target.write_text(target.read_text(encoding="utf-8") + f"\n{line}\n", encoding="utf-8")
    outcome = lint(tmp_path)
    assert outcome.returncode != 0
    broken = [row for row in outcome.stdout.splitlines() if row.endswith("BROKEN")]
    assert any(row.startswith(rule) for row in broken), outcome.stdout


@pytest.mark.parametrize("service", SERVICES)
def test_every_module_is_an_outer_module_or_follows_the_domain_rule(service: str) -> None:
    package = ROOT / "services" / service / f"savo_{service}"
    modules = {
        path.stem for path in package.iterdir() if (path.suffix == ".py" or (path.is_dir() and any(path.glob("*.py"))))
    }
    assert modules - OUTER_MODULES == domain_modules(service)


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_has_the_same_files(service: str) -> None:
    package = ROOT / "services" / service / f"savo_{service}"
    missing = [
        name
        for name in ("app.py", "settings.py", "handlers.py", "ports.py", "errors.py", "adapters")
        if not (package / name).exists()
    ]
    assert missing == []
    assert (package.parent / "README.md").exists()
    assert list((package.parent / "tests").glob("test_*.py"))


def domain_modules(service: str) -> set[str]:
    parser = ConfigParser()
    parser.read(ROOT / ".importlinter")
    listed = parser["importlinter:contract:domain-imports-no-transport"]["source_modules"].split()
    return {name.split(".")[1] for name in listed if name.startswith(f"savo_{service}.")}
