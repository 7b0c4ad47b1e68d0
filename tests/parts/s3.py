"""S3 servers: moto in a process of its own, and versitygw built with Go."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import boto3  # type: ignore[import-untyped]
import pytest
from botocore.config import Config

from tests.parts.addresses import end, free_port, wait_for_port
from tests.parts.table import record

VERSITYGW = "github.com/versity/versitygw/cmd/versitygw@v1.8.0"

# One request at a time: moto looks and writes in two steps, which threads would interleave.
_MOTO = """
import sys
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple
run_simple("127.0.0.1", int(sys.argv[1]), DomainDispatcherApplication(create_backend_app), threaded=False)
"""


@dataclass(frozen=True)
class S3Server:
    """Where a test's bucket is."""

    endpoint_url: str
    bucket: str = "savo-test"
    access_key_id: str = "savo-test-key"
    secret_access_key: str = "savo-test-secret"

    def create_bucket(self) -> None:
        settings = Config(request_checksum_calculation="when_required", s3={"addressing_style": "path"}, retries={"total_max_attempts": 1})
        client = boto3.client(
            "s3",
            endpoint_url=self.endpoint_url,
            aws_access_key_id=self.access_key_id,
            aws_secret_access_key=self.secret_access_key,
            region_name="us-east-1",
            config=settings,
        )
        client.create_bucket(Bucket=self.bucket)
        client.close()


@pytest.fixture(scope="session")
def moto_s3() -> Iterator[S3Server]:
    port = free_port()
    process = subprocess.Popen([sys.executable, "-c", _MOTO, str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
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
    binary = _versitygw()
    port = free_port()
    server = S3Server(f"http://127.0.0.1:{port}")
    keys = {"ROOT_ACCESS_KEY": server.access_key_id, "ROOT_SECRET_KEY": server.secret_access_key}
    command = [str(binary), "--port", f"127.0.0.1:{port}", "posix", str(tmp_path_factory.mktemp("versitygw"))]
    process = subprocess.Popen(command, env={**os.environ, **keys}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for_port(port, process)
        server.create_bucket()
        record("S3", "real", VERSITYGW.rpartition("/")[2])
        yield server
    finally:
        end(process)


def _versitygw() -> Path:
    """From PATH or the cache, or built once (about 95 s)."""
    if found := shutil.which("versitygw"):
        return Path(found)
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "savo" / "bin"
    if not (cache / "versitygw").exists():
        if not shutil.which("go"):
            _skip("versitygw is not installed, and there is no go to build it")
        built = subprocess.run(["go", "install", VERSITYGW], env={**os.environ, "GOBIN": str(cache)}, capture_output=True, text=True, timeout=600, check=False)
        if built.returncode:
            _skip(f"versitygw could not be built: {built.stderr.strip().splitlines()[-1]}")
    return cache / "versitygw"


def _skip(reason: str) -> None:
    record("S3", "skipped", reason)
    pytest.skip(reason)
