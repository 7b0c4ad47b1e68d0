"""Logs of kept processes: bounded on disk, and on our own output where a host reads that."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from savo_cli.start import processes
from savo_cli.start.processes import GaveUpError, ProcessSpec, SupervisedProcess

TALKER = "print('one line more ' * 20); raise SystemExit(2)"


async def once(log: Path, *, echo: bool = False) -> None:
    spec = ProcessSpec("talker", (sys.executable, "-c", TALKER), os.environ, log, echo=echo)
    with pytest.raises(GaveUpError):
        await asyncio.wait_for(SupervisedProcess(spec, print).run(), 60)


async def test_a_log_takes_no_more_than_twice_its_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "MOST_LOG_BYTES", 500)
    for _ in range(5):
        await once(tmp_path / "talker.log")
    kept = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert kept.keys() <= {"talker.log", "talker.log.1"}
    assert sum(kept.values()) < 2 * (500 + 300)


async def test_lines_go_to_our_output_only_when_asked(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    await once(tmp_path / "quiet.log")
    assert b"one line more" not in capfdbinary.readouterr().out
    await once(tmp_path / "loud.log", echo=True)
    assert b"one line more" in capfdbinary.readouterr().out
