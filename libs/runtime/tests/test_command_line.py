"""Command line: errors and exit codes of commands, and lazy commands."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from savo_runtime.command_line.lazy_commands import Command, Group, add_commands
from savo_runtime.command_line.output import CommandError, WrongUseError, reported_errors
from savo_runtime.errors import FatalError

cli = CliRunner()

MODULE = '''
from typing import Annotated
import typer

def count(to: Annotated[int, typer.Argument()] = 2, quiet: bool = False) -> None:
    """Count to a number.

    Slowly, and without a number that was
    counted before.
    """
    typer.echo(" ".join(map(str, range(1, to + 1))))
'''


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> typer.Typer:
    (tmp_path / "counting.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "counting", raising=False)
    app = typer.Typer(no_args_is_help=True)
    row = Command("count", "counting:count", "Count to a number.")
    add_commands(app, [row, Group("sums", "Sums.", (row,))])
    add_commands(
        app, [Group("sums", "Not shown: the group exists already.", (Command("absent", "no.such:function", "Gone."),))]
    )
    return app


def test_the_list_of_commands_imports_none_of_them(app: typer.Typer) -> None:
    listed = cli.invoke(app, ["--help"]).output
    assert "Count to a number." in listed
    assert "Sums." in listed
    assert "counting" not in sys.modules


def test_a_lazy_command_runs_with_its_own_parameters(app: typer.Typer) -> None:
    assert cli.invoke(app, ["count", "3"]).output == "1 2 3\n"
    assert cli.invoke(app, ["sums", "count"]).output == "1 2\n"
    assert cli.invoke(app, ["count", "three"]).exit_code == 2


def test_the_help_of_a_command_is_its_complete_docstring(app: typer.Typer) -> None:
    output = cli.invoke(app, ["sums", "count", "--help"]).output
    assert "sums count [OPTIONS]" in output
    assert "Slowly, and without a number that was counted before." in output
    assert "--quiet" in output


def test_a_command_that_cannot_be_imported_does_not_affect_its_group(app: typer.Typer) -> None:
    assert "absent" in cli.invoke(app, ["sums", "--help"]).output
    assert isinstance(cli.invoke(app, ["sums", "absent"]).exception, ModuleNotFoundError)
    assert cli.invoke(app, ["sums", "count"]).exit_code == 0


def test_a_shell_completes_the_options_of_a_lazy_command(tmp_path: Path) -> None:
    (tmp_path / "counting.py").write_text(MODULE)
    code = """
import typer
from savo_runtime.command_line.lazy_commands import Command, add_commands
app = typer.Typer()
add_commands(app, [Command("count", "counting:count", "Count."), Command("other", "counting:count", "Count.")])
app(prog_name="tool")
"""
    environment = {
        "_TOOL_COMPLETE": "complete_bash",
        "COMP_WORDS": "tool count --q",
        "COMP_CWORD": "2",
        "PYTHONPATH": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stdout.split() == ["--quiet"], done.stderr


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        (CommandError("no broker"), 1),
        (WrongUseError("no broker"), 2),
        (FatalError("no broker"), 1),
        (LookupError("no broker"), 1),
    ],
)
def test_an_expected_error_is_one_sentence_with_its_exit_code(
    error: Exception, exit_code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as ended, reported_errors(LookupError):
        raise error
    assert (ended.value.exit_code, capsys.readouterr().err) == (exit_code, "savo: no broker\n")


def test_next_steps_follow_the_error_line_by_line(capsys: pytest.CaptureFixture[str]) -> None:
    error = CommandError("no broker")
    error.next_steps = ("start one",)  # type: ignore[attr-defined]
    with pytest.raises(typer.Exit), reported_errors():
        raise error
    assert capsys.readouterr().err == "savo: no broker\n  start one\n"


def test_ctrl_c_ends_quietly_and_a_bug_keeps_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended, reported_errors():
        raise KeyboardInterrupt
    assert (ended.value.exit_code, capsys.readouterr().err) == (130, "")
    with pytest.raises(ZeroDivisionError), reported_errors():
        raise ZeroDivisionError


def test_a_path_that_the_system_refuses_is_named_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(typer.Exit) as ended, reported_errors():
        (tmp_path / "file" / "folder").mkdir()
    assert ended.value.exit_code == 1
    assert capsys.readouterr().err == (
        f"savo: {tmp_path}/file/folder: Not a directory; check the path, its rights and free space\n"
    )
    with pytest.raises(ConnectionRefusedError), reported_errors():
        raise ConnectionRefusedError("a bug: nothing caught it")
