"""Every runbook has its parts, its links lead somewhere, and its commands are commands."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from savo_cli.commands import add_commands_of_others, app
from tests.runbooks.pages import PAGES, PARTS, RUNBOOKS, Page

GROUPS = {"dlq", "keys", "models", "rollout", "runs", "topics"}
"""Commands with commands of their own."""


def savo_commands() -> list[str]:
    """In blocks and in running text."""
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
def test_a_page_says_what_it_means_how_to_find_the_cause_how_to_fix_it_and_when_it_is_fixed(name: str) -> None:
    page = Page(name)
    assert "**It means:**" in page.text
    assert "**Users notice:**" in page.text
    for title in PARTS:
        assert page.part(title).strip()
    assert page.commands("Find the cause")
    assert any("promtool query" in command for command in page.commands("It is fixed when"))


@pytest.mark.parametrize("path", sorted(RUNBOOKS.glob("*.md")), ids=lambda path: path.stem)
def test_every_link_leads_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8"))
    assert [link for link in links if not link.startswith("http") and not (RUNBOOKS / link).exists()] == []


@pytest.mark.parametrize("name", PAGES)
def test_every_command_is_one_that_a_shell_can_read(name: str) -> None:
    page = Page(name)
    commands = [
        command for title in PARTS for outside in (False, True) for command in page.commands(title, outside=outside)
    ]
    read = subprocess.run(["bash", "-n", "-c", "\n".join(commands)], capture_output=True, text=True, check=False)
    assert read.returncode == 0, read.stderr


@pytest.fixture(scope="module")
def help_of() -> Callable[[str], str]:
    add_commands_of_others()

    def ask(words: str) -> str:
        asked = CliRunner().invoke(app, [*words.split(), "--help"], env={"COLUMNS": "200", "TERM": "dumb"})
        assert asked.exit_code == 0, f"savo {words}: {asked.output}"
        return asked.output

    return ask


@pytest.mark.parametrize("command", savo_commands())
def test_a_savo_command_takes_the_options_shown(command: str, help_of: Callable[[str], str]) -> None:
    words = command.split()[1:]
    shown = help_of(" ".join(words[: 2 if words[0] in GROUPS else 1]))
    assert [word for word in words if word.startswith("--") and word not in shown] == []
