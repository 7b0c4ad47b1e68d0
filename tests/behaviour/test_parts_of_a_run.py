"""The table at the end of a run, and the wall around tests."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.parts.network import ExternalConnectionError

ROOT = Path(__file__).parents[2]

EXAMPLE = """
import pytest
from tests.parts.parts_table import record

def test_recorded():
    record("S3", "stood in", "moto 9")

@pytest.mark.torch
def test_marked():
    assert True

@pytest.mark.browser
def test_skipped():
    pytest.skip("Chromium is not installed")
"""


@pytest.mark.parametrize("workers", [[], ["-n", "2"]])
def test_the_table_tells_what_was_real_stood_in_for_or_skipped(tmp_path: Path, workers: list[str]) -> None:
    (tmp_path / "test_example.py").write_text(EXAMPLE)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    torch\n    browser\n")
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["tests.parts.parts_table"]\n')
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *workers]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    for line in (
        "S3           stood in   moto 9",
        "torch        real       1 tests",
        "Chromium     skipped    Chromium is not installed (1 tests)",
        "Kafka        not used   no test of this run needs it",
    ):
        assert line in done.stdout.splitlines()


@pytest.mark.parametrize("host", ["192.0.2.1", "example.com", "8.8.8.8"])
def test_a_test_cannot_reach_another_machine(host: str) -> None:
    with pytest.raises(ExternalConnectionError, match=host):
        socket.create_connection((host, 80), timeout=0.1)


def test_a_test_reaches_this_machine() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname(), timeout=1) as client,
    ):
        assert client.getpeername() == server.getsockname()
