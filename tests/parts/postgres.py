"""PostgreSQL for tests: a container where Docker runs, else this machine's own in a temporary folder."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.parts.addresses import free_port
from tests.parts.containers import container, why_no_container
from tests.parts.parts_table import record
from tests.parts.server_folders import server_folder

IMAGE = "postgres:17.6-bookworm"
START_WITHIN = 200.0

_FAST = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=200")


class PostgresServer(Protocol):
    """A running server. `new_database` creates a database for one test."""

    def start(self) -> None: ...

    def stop(self, mode: str = "fast") -> None:
        """Stop the server; mode `immediate` simulates a crash."""
        ...

    def new_database(self) -> str:
        """Create an empty database; returns its URL."""
        ...

    def version(self) -> str: ...

    def remove(self) -> None: ...


@dataclass(frozen=True)
class LocalPostgres:
    """PostgreSQL from this machine's packages."""

    binaries: Path
    folder: Path
    port: int

    def start(self) -> None:
        addresses = "listen_addresses=127.0.0.1", "unix_socket_directories=''"
        options = " ".join([f"-p {self.port}", *(f"-c {option}" for option in (*addresses, *_FAST))])
        data, log = str(self.folder / "data"), str(self.folder / "log")
        self._run("pg_ctl", "-D", data, "-o", options, "-l", log, "-w", "start")

    def stop(self, mode: str = "fast") -> None:
        self._run("pg_ctl", "-D", str(self.folder / "data"), "-m", mode, "-w", "stop")

    def new_database(self) -> str:
        name = f"savo_{secrets.token_hex(6)}"
        self._run("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "savo", name)
        return f"postgresql://savo:savo@127.0.0.1:{self.port}/{name}"

    def init(self) -> None:
        options = ["-U", "savo", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
        self._run("initdb", "-D", str(self.folder / "data"), *options)

    def version(self) -> str:
        return self._run("postgres", "--version").split()[2]

    def remove(self) -> None:
        try:
            if (self.folder / "data" / "postmaster.pid").exists():
                self.stop("immediate")
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, program: str, *arguments: str) -> str:
        command = [*_as_ordinary_user(), str(self.binaries / program), *arguments]
        # A file instead of pipes: the server inherits the streams and would keep a pipe open.
        with tempfile.TemporaryFile("w+") as output:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd="/",
                timeout=200,
                check=False,
            )
            output.seek(0)
            text = output.read()
        assert done.returncode == 0, f"{program} failed:\n{text}"
        return text


class DockerPostgres:
    """PostgreSQL in a container, on a fixed port of this machine, so that it keeps its address after a restart."""

    def __init__(self) -> None:
        self.port = free_port()
        self._container: Any = container(IMAGE).with_bind_ports(5432, self.port)
        for name, value in {"POSTGRES_USER": "savo", "POSTGRES_PASSWORD": "savo", "POSTGRES_DB": "savo"}.items():
            self._container.with_env(name, value)
        self._container.with_command(" ".join(f"-c {option}" for option in _FAST))
        self._created = False

    def start(self) -> None:
        if self._created:
            self._container.get_wrapped_container().start()
        else:
            self._container.start()
            self._created = True
        self._wait()

    def stop(self, mode: str = "fast") -> None:
        inside = self._container.get_wrapped_container()
        inside.kill() if mode == "immediate" else inside.stop()

    def new_database(self) -> str:
        name = f"savo_{secrets.token_hex(6)}"
        self._check_output("createdb", "-h", "127.0.0.1", "-U", "savo", name)
        return f"postgresql://savo:savo@127.0.0.1:{self.port}/{name}"

    def version(self) -> str:
        query = ["-At", "-c", "SHOW server_version"]
        return self._check_output("psql", "-h", "127.0.0.1", "-U", "savo", *query, "savo").split()[0]

    def remove(self) -> None:
        self._container.stop()

    def _wait(self) -> None:
        """Wait until it answers by TCP: during its initialisation it listens only on a Unix socket."""
        deadline = time.monotonic() + START_WITHIN
        while self._exec("pg_isready", "-q", "-h", "127.0.0.1", "-U", "savo", "-d", "savo")[0]:
            assert time.monotonic() < deadline, f"PostgreSQL did not answer within {START_WITHIN:g} s"
            time.sleep(0.1)

    def _check_output(self, *command: str) -> str:
        code, output = self._exec(*command)
        assert code == 0, f"{command[0]} failed:\n{output}"
        return output

    def _exec(self, *command: str) -> tuple[int, str]:
        done = self._container.get_wrapped_container().exec_run(list(command), environment={"PGPASSWORD": "savo"})
        return int(done.exit_code), done.output.decode(errors="replace")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    yield from _running()


def _running() -> Iterator[PostgresServer]:
    server, source = _server()
    try:
        server.start()
        record("PostgreSQL", "real", f"{server.version()}, {source}")
        yield server
    finally:
        server.remove()


temporary_postgres = contextmanager(_running)
"""A server for a benchmark, removed after the block. Raises pytest's `Skipped` where none can run."""


def _server() -> tuple[PostgresServer, str]:
    no_container = why_no_container(IMAGE)
    if no_container is None:
        return DockerPostgres(), "Docker"
    binaries = _binaries()
    if binaries is None:
        reason = f"{no_container}, and PostgreSQL's initdb is not installed"
        record("PostgreSQL", "skipped", reason)
        pytest.skip(reason)
    folder = server_folder("savo-postgres-")
    if user := _ordinary_user():
        shutil.chown(folder, user)
    server = LocalPostgres(binaries, folder, free_port())
    server.init()
    return server, f"this machine's own ({no_container})"


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> str:
    """URL of an empty database for one test."""
    return postgres_server.new_database()


def _binaries() -> Path | None:
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    packaged = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return packaged[-1].parent if packaged else None


def _ordinary_user() -> str | None:
    """User to run PostgreSQL as, since it refuses to run as root; None when the tests do not run as root."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _as_ordinary_user() -> list[str]:
    user = _ordinary_user()
    return ["runuser", "-u", user, "--"] if user else []
