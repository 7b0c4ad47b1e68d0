"""Log files of supervised processes: their limit on disk, and the copy on standard output."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from savo_cli.start import processes
from savo_cli.start.processes import ProcessFailedError, ProcessSpec, SupervisedProcess

SCRIPT = "print('one line more ' * 20); raise SystemExit(2)"


async def run_once(log: Path, *, echo: bool = False) -> None:
    spec = ProcessSpec("printer", (sys.executable, "-c", SCRIPT), os.environ, log, echo=echo)
    with pytest.raises(ProcessFailedError):
        await asyncio.wait_for(SupervisedProcess(spec, print).run(), 60)


async def test_a_log_takes_at_most_twice_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "MAX_LOG_BYTES", 500)
    for _ in range(5):
        await run_once(tmp_path / "printer.log")
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert sizes.keys() <= {"printer.log", "printer.log.1"}
    assert sum(sizes.values()) < 2 * (500 + 300)


async def test_output_is_copied_to_standard_output_only_with_echo(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    await run_once(tmp_path / "quiet.log")
    assert b"one line more" not in capfdbinary.readouterr().out
    await run_once(tmp_path / "loud.log", echo=True)
    assert b"one line more" in capfdbinary.readouterr().out
