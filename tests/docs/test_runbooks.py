"""Runbooks: each has its parts, valid links and valid commands."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from savo_cli.commands import add_commands_of_others, app
from tests.runbooks.pages import PAGES, PARTS, RUNBOOKS, Page

GROUPS = {"dlq", "keys", "models", "rollout", "runs", "storage", "topics"}
"""Groups of commands."""


def savo_commands() -> list[str]:
    """The `savo` commands in blocks and text."""
    found: set[str] = set()
    for path in RUNBOOKS.glob("*.md"):
        text = path.read_text(encoding="utf-8")
        found |= {
            line
            for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
            for line in block.splitlines()
            if line.startswith("savo ")
        }
        found |= set(re.findall(r"`(savo [a-z][^`]*)`", text)) - {"savo up"}
    return sorted(found)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_its_meaning_cause_fix_and_check(name: str) -> None:
    page = Page(name)
    assert "**It means:**" in page.text
    assert "**Users notice:**" in page.text
    for title in PARTS:
        assert page.part(title).strip()
    assert page.commands("Find the cause")
    assert any("promtool query" in command for command in page.commands("It is fixed when"))


@pytest.mark.parametrize("path", sorted(RUNBOOKS.glob("*.md")), ids=lambda path: path.stem)
def test_every_link_has_a_target(path: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8"))
    assert [link for link in links if not link.startswith("http") and not (RUNBOOKS / link).exists()] == []


@pytest.mark.parametrize("name", PAGES)
def test_every_command_is_valid_shell(name: str) -> None:
    page = Page(name)
    commands = [
        command for title in PARTS for outside in (False, True) for command in page.commands(title, outside=outside)
    ]
    checked = subprocess.run(["bash", "-n", "-c", "\n".join(commands)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


@pytest.fixture(scope="module")
def help_of() -> Callable[[str], str]:
    add_commands_of_others()

    def show(command: str) -> str:
        shown = CliRunner().invoke(app, [*command.split(), "--help"], env={"COLUMNS": "200", "TERM": "dumb"})
        assert shown.exit_code == 0, f"savo {command}: {shown.output}"
        return shown.output

    return show


@pytest.mark.parametrize("command", savo_commands())
def test_a_savo_command_has_the_options_shown(command: str, help_of: Callable[[str], str]) -> None:
    arguments = command.split()[1:]
    shown = help_of(" ".join(arguments[: 2 if arguments[0] in GROUPS else 1]))
    assert [option for option in arguments if option.startswith("--") and option not in shown] == []
