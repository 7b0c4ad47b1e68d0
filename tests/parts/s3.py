"""S3 servers for tests: moto in a separate process; versitygw in a container where Docker runs, else built with Go."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import boto3  # type: ignore[import-untyped]
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from tests.parts.addresses import end, free_port, wait_for_port
from tests.parts.containers import container, why_no_container
from tests.parts.parts_table import record

VERSION = "v1.8.0"
IMAGE = f"versity/versitygw:{VERSION}"
SOURCE = f"github.com/versity/versitygw/cmd/versitygw@{VERSION}"
START_WITHIN = 120.0

# One thread: moto checks a condition and writes in two steps, which threads would interleave.
_MOTO = """
import sys
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple
run_simple("127.0.0.1", int(sys.argv[1]), DomainDispatcherApplication(create_backend_app), threaded=False)
"""


@dataclass(frozen=True)
class S3Server:
    """Address, bucket and keys of an S3 server."""

    endpoint_url: str
    bucket: str = "savo-test"
    access_key_id: str = "savo-test-key"
    secret_access_key: str = "savo-test-secret"

    @property
    def port(self) -> int:
        return int(self.endpoint_url.rpartition(":")[2])

    @property
    def root_keys(self) -> dict[str, str]:
        """The keys as versitygw's environment variables."""
        return {"ROOT_ACCESS_KEY": self.access_key_id, "ROOT_SECRET_KEY": self.secret_access_key}

    def create_bucket(self) -> None:
        client = self.client()
        client.create_bucket(Bucket=self.bucket)
        client.close()

    def client(self) -> Any:
        settings = Config(
            request_checksum_calculation="when_required",
            s3={"addressing_style": "path"},
            retries={"total_max_attempts": 1},
        )
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint_url,
            aws_access_key_id=self.access_key_id,
            aws_secret_access_key=self.secret_access_key,
            region_name="us-east-1",
            config=settings,
        )


@pytest.fixture(scope="session")
def moto_s3() -> Iterator[S3Server]:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-c", _MOTO, str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_for_port(port, process)
        server = S3Server(f"http://127.0.0.1:{port}")
        server.create_bucket()
        record("S3", "stood in", f"moto {version('moto')}")
        yield server
    finally:
        end(process)


@pytest.fixture(scope="session")
def versitygw_s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with temporary_versitygw(tmp_path_factory.mktemp("versitygw")) as server:
        yield server


@contextmanager
def temporary_versitygw(folder: Path) -> Iterator[S3Server]:
    """A server with an empty bucket. Without Docker, it keeps its objects in `folder`."""
    server = S3Server(f"http://127.0.0.1:{free_port()}")
    no_container = why_no_container(IMAGE)
    running = _in_docker(server) if no_container is None else _as_process(server, folder)
    source = "Docker" if no_container is None else f"a process ({no_container})"
    with running:
        server.create_bucket()
        record("S3", "real", f"versitygw {VERSION}, {source}")
        yield server


@contextmanager
def _in_docker(server: S3Server) -> Iterator[None]:
    inside = container(IMAGE).with_bind_ports(7070, server.port).with_command("--port :7070 posix /tmp")
    for name, value in server.root_keys.items():
        inside.with_env(name, value)
    inside.start()
    try:
        _wait_for_answer(server)
        yield
    finally:
        inside.stop()


@contextmanager
def _as_process(server: S3Server, folder: Path) -> Iterator[None]:
    command = [str(_versitygw()), "--port", f"127.0.0.1:{server.port}", "posix", str(folder)]
    process = subprocess.Popen(
        command, env={**os.environ, **server.root_keys}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_for_port(server.port, process)
        yield
    finally:
        end(process)


def _wait_for_answer(server: S3Server) -> None:
    """Wait until the server answers: Docker's proxy accepts connections before the container does."""
    deadline = time.monotonic() + START_WITHIN
    while True:
        try:
            server.client().list_buckets()
        except BotoCoreError:
            assert time.monotonic() < deadline, f"{IMAGE} did not answer within {START_WITHIN:g} s"
            time.sleep(0.1)
        else:
            return


def _versitygw() -> Path:
    """The program: from PATH or the cache, or built once in about 95 s."""
    if found := shutil.which("versitygw"):
        return Path(found)
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "savo" / "bin"
    if not (cache / "versitygw").exists():
        if not shutil.which("go"):
            _skip("versitygw is not installed, and Go is not installed to build it")
        built = subprocess.run(
            ["go", "install", SOURCE],
            env={**os.environ, "GOBIN": str(cache)},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        if built.returncode:
            _skip(f"versitygw could not be built: {built.stderr.strip().splitlines()[-1]}")
    return cache / "versitygw"


def _skip(reason: str) -> None:
    record("S3", "skipped", reason)
    pytest.skip(reason)
