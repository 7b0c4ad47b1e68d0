"""A real PostgreSQL on a free port, in a temporary folder, run by an ordinary user."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.parts.addresses import free_port
from tests.parts.table import record

_FAST = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=200")


@dataclass(frozen=True)
class PostgresServer:
    """A running server; `new_database` gives each test its own."""

    binaries: Path
    folder: Path
    port: int

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' " + " ".join(f"-c {option}" for option in _FAST)
        self._run("pg_ctl", "-D", str(self.folder / "data"), "-o", options, "-l", str(self.folder / "log"), "-w", "start")

    def stop(self, mode: str = "fast") -> None:
        """`immediate` is a crash."""
        self._run("pg_ctl", "-D", str(self.folder / "data"), "-m", mode, "-w", "stop")

    def new_database(self) -> str:
        """URL of an empty database."""
        name = f"savo_{secrets.token_hex(6)}"
        self._run("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "savo", name)
        return f"postgresql://savo:savo@127.0.0.1:{self.port}/{name}"

    def init(self) -> None:
        self._run("initdb", "-D", str(self.folder / "data"), "-U", "savo", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")

    def version(self) -> str:
        return self._run("postgres", "--version").split()[2]

    def _run(self, program: str, *arguments: str) -> str:
        command = [*_as_ordinary_user(), str(self.binaries / program), *arguments]
        # The server inherits the standard streams: pipes would stay open as long as it runs.
        with tempfile.TemporaryFile("w+") as output:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, cwd="/", timeout=60, check=False)
            output.seek(0)
            text = output.read()
        assert done.returncode == 0, f"{program} failed:\n{text}"
        return text


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    binaries = _binaries()
    if binaries is None:
        reason = "PostgreSQL's initdb is not installed"
        record("PostgreSQL", "skipped", reason)
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="savo-postgres-"))
    if user := _ordinary_user():
        shutil.chown(folder, user)
    server = PostgresServer(binaries, folder, free_port())
    try:
        server.init()
        server.start()
        record("PostgreSQL", "real", server.version())
        yield server
        server.stop("immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> str:
    """An empty database of this test's own."""
    return postgres_server.new_database()


def _binaries() -> Path | None:
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    packaged = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return packaged[-1].parent if packaged else None


def _ordinary_user() -> str | None:
    """PostgreSQL refuses to run as root; None when we are not root."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _as_ordinary_user() -> list[str]:
    user = _ordinary_user()
    return ["runuser", "-u", user, "--"] if user else []
