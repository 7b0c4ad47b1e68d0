"""Runbooks for tests: the commands of their parts, and a shell that runs them beside a running product."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.parts.prometheus import Prometheus
from tests.parts.wheel import Wheel

RUNBOOKS = Path(__file__).parents[2] / "docs/runbooks"
PAGES = sorted(path.stem for path in RUNBOOKS.glob("*.md") if path.stem != "README")
PARTS = ("Find the cause", "Fix it", "It is fixed when")

_WINDOWS = (
    ("offset 15m", "offset 20s"),
    ("offset 1h", "offset 20s"),
    ("[15m]", "[20s]"),
    ("[1h]", "[20s]"),
    ("[1h:1m]", "[20s:1s]"),
    ("seconds) > 60", "seconds) > 10"),
)


def shortened(text: str) -> str:
    """Replaces minutes and hours in alerts by seconds, so that tests need not wait for them."""
    for long, short in _WINDOWS:
        text = text.replace(long, short)
    return text


@dataclass(frozen=True)
class Page:
    """A runbook, by the name of its file."""

    name: str

    @property
    def text(self) -> str:
        return (RUNBOOKS / f"{self.name}.md").read_text(encoding="utf-8")

    def part(self, title: str) -> str:
        found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", self.text, re.DOTALL | re.MULTILINE)
        assert found, f"{self.name} has no part '{title}'"
        return found[1]

    def commands(self, title: str, *, outside: bool = False) -> list[str]:
        """Commands in the `sh` blocks of a part; with `outside`, in the blocks that a test machine cannot run."""
        kind = "sh outside" if outside else "sh"
        blocks = re.findall(rf"^```{kind}\n(.*?)^```", self.part(title), re.DOTALL | re.MULTILINE)
        return [line for block in blocks for line in block.splitlines() if line.strip()]

    def has_placeholders(self, command: str) -> bool:
        return re.search(r"\b(TOPIC|REASON|VERSION|RUN_ID|SCAN_ID|PID)\b", command) is not None


@dataclass(frozen=True)
class Shell:
    """A shell in the folder of a running `savo up`, whose data is in `.savo` there."""

    wheel: Wheel
    prometheus: Prometheus

    def run(self, command: str) -> str:
        """The output of a command, which must exit with 0. `savo doctor` may exit with 1: it found a problem."""
        addresses = {"http://127.0.0.1:8000": self.wheel.url, "http://127.0.0.1:9090": self.prometheus.url}
        here = command
        for documented, actual in addresses.items():
            here = here.replace(documented, actual)
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("SAVO_", "R2_"))}
        environment = clean | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "SAVO_DATA_DIR": str(self.wheel.data_dir),
            "COLUMNS": "200",
        }
        done = subprocess.run(
            ["bash", "-c", shortened(here)],
            cwd=self.wheel.data_dir.parent,
            env=environment,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert done.returncode in ((0, 1) if command == "savo doctor" else (0,)), (
            f"{here}\n{done.stdout}\n{done.stderr}"
        )
        return done.stdout

    def run_part(self, page: Page, title: str) -> dict[str, str]:
        """Output of each command of a part that has no placeholder."""
        return {command: self.run(command) for command in page.commands(title) if not page.has_placeholders(command)}
