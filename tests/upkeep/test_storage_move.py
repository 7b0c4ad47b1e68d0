"""`savo storage move` and `sync` on an S3 server: a killed copy, denied buckets, and a product that moves."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx2
import pytest

from savo_demo.drawing.scene_folder import write_scenes
from savo_demo.drawing.scenes import draw_scenes
from savo_demo.simulated_users import SimulatedUsers, Upload, new_client
from savo_runtime.storage.s3 import S3Store
from tests.parts.s3 import S3Server
from tests.parts.wheel import running_wheel

pytestmark = pytest.mark.s3

COMMAND = [sys.executable, "-m", "savo_cli", "storage"]


def variables(server: S3Server) -> dict[str, str]:
    return {
        "SAVO_S3_ENDPOINT_URL": server.endpoint_url,
        "SAVO_S3_REGION": "us-east-1",
        "R2_ACCESS_KEY_ID": server.access_key_id,
        "R2_SECRET_ACCESS_KEY": server.secret_access_key,
    }


def environment(data_dir: Path, settings: Mapping[str, str]) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("SAVO_", "R2_"))}
    return clean | {"SAVO_DATA_DIR": str(data_dir)} | dict(settings)


def storage(data_dir: Path, settings: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    env = environment(data_dir, settings)
    return subprocess.run([*COMMAND, *arguments], env=env, capture_output=True, text=True, check=False, timeout=300)


@pytest.fixture
def bucket(moto_s3: S3Server, request: pytest.FixtureRequest) -> S3Server:
    """An empty bucket of this test."""
    server = S3Server(moto_s3.endpoint_url, f"move-{abs(hash(request.node.nodeid)):x}"[:40])
    server.create_bucket()
    return server


def stored(server: S3Server) -> dict[str, bytes]:
    client = server.client()
    keys = [found["Key"] for page in pages(client, server) for found in page.get("Contents", ())]
    objects = {key: client.get_object(Bucket=server.bucket, Key=key)["Body"].read() for key in keys}
    client.close()
    return objects


def pages(client: object, server: S3Server) -> Iterator[dict[str, list[dict[str, str]]]]:
    return iter(client.get_paginator("list_objects_v2").paginate(Bucket=server.bucket))  # type: ignore[attr-defined]


def objects_of(data_dir: Path) -> dict[str, bytes]:
    root = data_dir / "objects"
    files = (path for path in root.rglob("*") if path.is_file() and ".savo" not in path.parts)
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def write_objects(data_dir: Path, count: int) -> None:
    folder = data_dir / "objects/samples/images"
    folder.mkdir(parents=True)
    for number in range(count):
        (folder / f"{number:04}.jpg").write_bytes(random.Random(number).randbytes(2_000))


@pytest.mark.real
@pytest.mark.slow
def test_a_killed_move_is_continued_and_ends_with_the_variables_to_set(bucket: S3Server, tmp_path: Path) -> None:
    write_objects(tmp_path, 150)
    (tmp_path / "objects/large.onnx").write_bytes(random.Random(1).randbytes(9_000_000))  # in two parts
    arguments = ("move", "--to", f"s3://{bucket.bucket}")
    killed = subprocess.Popen([*COMMAND, *arguments], env=environment(tmp_path, variables(bucket)))
    client = bucket.client()
    deadline = time.monotonic() + 120
    while len(client.list_objects_v2(Bucket=bucket.bucket).get("Contents", ())) < 20:
        assert killed.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    killed.kill()
    killed.wait()
    already = len(client.list_objects_v2(Bucket=bucket.bucket)["Contents"])
    client.close()
    done = storage(tmp_path, variables(bucket), *arguments, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert stored(bucket) == objects_of(tmp_path)
    assert report["objects"] <= 151 - already, "what is there is not uploaded again"
    assert report["variables"]["R2_BUCKET_NAME"] == bucket.bucket
    assert bucket.secret_access_key not in done.stdout
    repeated = storage(tmp_path, variables(bucket), *arguments)
    assert "copied 0 objects (0.0 MB)" in repeated.stdout
    assert f"R2_BUCKET_NAME={bucket.bucket}" in repeated.stdout
    assert "Run this command again" in repeated.stdout


@pytest.mark.real
@pytest.mark.slow
def test_a_sync_is_a_backup_and_a_changed_object_there_makes_exit_code_3(bucket: S3Server, tmp_path: Path) -> None:
    write_objects(tmp_path, 5)
    arguments = ("sync", "--to", f"s3://{bucket.bucket}")
    assert storage(tmp_path, variables(bucket), *arguments).returncode == 0
    (tmp_path / "objects/samples/images/0000.jpg").unlink()
    client = bucket.client()
    client.put_object(Bucket=bucket.bucket, Key="samples/images/0001.jpg", Body=b"another")
    client.close()
    done = storage(tmp_path, variables(bucket), *arguments)
    assert done.returncode == 3, done.stderr
    assert "deleted 1 copies of objects that were erased" in done.stdout
    assert "kept the bucket's version of 1 objects; --overwrite replaces them: samples/images/0001.jpg" in done.stdout
    assert storage(tmp_path, variables(bucket), *arguments, "--overwrite").returncode == 0
    assert stored(bucket) == objects_of(tmp_path)


@contextmanager
def refusing_server(status: int, code: str) -> Iterator[str]:
    """An S3 server that has the bucket and refuses each upload."""
    body = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()

    class Refusing(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # the client asks with `Expect: 100-continue`

        def do_HEAD(self) -> None:
            is_bucket = self.path.strip("/").count("/") == 0
            self.send_response(200 if is_bucket else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (403, "AccessDenied", "the object store refuses R2_ACCESS_KEY_ID or R2_SECRET_ACCESS_KEY for bucket 'denied'"),
        (507, "InsufficientStorage", "the object store has no room"),
    ],
)
def test_a_bucket_that_refuses_is_named_in_one_line(tmp_path: Path, status: int, code: str, message: str) -> None:
    write_objects(tmp_path, 3)
    with refusing_server(status, code) as url:
        settings = {"SAVO_S3_ENDPOINT_URL": url, "R2_ACCESS_KEY_ID": "k", "R2_SECRET_ACCESS_KEY": "s"}
        done = storage(tmp_path, settings, "move", "--to", "s3://denied")
    assert done.returncode == 1
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.real
@pytest.mark.slow
def test_wrong_use_is_explained(moto_s3: S3Server, tmp_path: Path) -> None:
    (tmp_path / "objects").mkdir()
    path = storage(tmp_path, variables(moto_s3), "move", "--to", "s3://savo/folder")
    assert (path.returncode, "allowed is s3://BUCKET, without a path" in path.stderr) == (2, True)
    keys = storage(tmp_path, {}, "move", "--to", "s3://savo")
    assert keys.returncode == 2
    assert "R2_ACCOUNT_ID" in keys.stderr
    missing = storage(tmp_path, variables(moto_s3), "move", "--to", "s3://no-such-bucket")
    assert (missing.returncode, "there is no such bucket" in missing.stderr) == (1, True)
    elsewhere = storage(tmp_path / "elsewhere", variables(moto_s3), "sync", "--to", "s3://savo")
    assert (elsewhere.returncode, "set SAVO_DATA_DIR" in elsewhere.stderr) == (1, True)


async def test_an_object_of_several_parts_is_read_back_with_its_digest(bucket: S3Server, tmp_path: Path) -> None:
    import hashlib

    store = S3Store(
        endpoint_url=bucket.endpoint_url,
        bucket=bucket.bucket,
        access_key_id=bucket.access_key_id,
        secret_access_key=bucket.secret_access_key,
        region="us-east-1",
    )
    data = random.Random(2).randbytes(9_000_000)
    (tmp_path / "file").write_bytes(data)
    await store.upload("large", tmp_path / "file")
    assert await store.sha256("large") == hashlib.sha256(data).hexdigest()
    await store.close()


@pytest.mark.real
@pytest.mark.slow
async def test_a_product_moves_to_a_bucket_and_has_its_scans_samples_and_aliases(
    bucket: S3Server, tmp_path: Path
) -> None:
    scenes = list(draw_scenes(6, seed=17))
    write_scenes(tmp_path / "truth", scenes)
    data_dir, arguments = tmp_path / "savo", ("move", "--to", f"s3://{bucket.bucket}")
    with running_wheel(data_dir, tmp_path / "truth", {}, "--one-process", latency_scale=0.02) as wheel:
        async with new_client(wheel.url) as client:
            uploads = (Upload(f"user-{number}", scene.jpeg, scene.truth) for number, scene in enumerate(scenes))
            await SimulatedUsers(client, random.Random(1), at_once=2).run(uploads, lambda _: None)
            await samples_of(client, at_least=1)
        (data_dir / "objects/models/ingredients/aliases").mkdir(parents=True, exist_ok=True)
        (data_dir / "objects/models/ingredients/aliases/champion.json").write_text('{"version": "v3"}')
        moved = await asyncio.to_thread(storage, data_dir, variables(bucket), *arguments)
        assert moved.returncode == 0, moved.stderr
        before = await stats(wheel.url)
        scans = httpx2.get(f"{wheel.url}/v1/scans", params={"user_id": "user-0"}, trust_env=False).json()["scans"]
    again = await asyncio.to_thread(storage, data_dir, variables(bucket), *arguments)
    assert again.returncode == 0, again.stderr
    files = await asyncio.to_thread(objects_of, data_dir)
    (data_dir / "objects").rename(tmp_path / "old-objects")
    settings = variables(bucket) | {"R2_BUCKET_NAME": bucket.bucket}
    with running_wheel(data_dir, tmp_path / "truth", settings, "--one-process", latency_scale=0.02) as wheel:
        assert (await stats(wheel.url))["total_samples"] == before["total_samples"]
        for scan in scans:
            photo = httpx2.get(f"{wheel.url}/v1/scans/{scan['scan_id']}/photo", trust_env=False)
            assert photo.status_code == 200
    found = await asyncio.to_thread(stored, bucket)
    assert {key: found.get(key) for key in files} == files


async def stats(url: str) -> dict[str, int]:
    async with httpx2.AsyncClient(trust_env=False, timeout=60) as client:
        answer: dict[str, int] = (await client.get(f"{url}/training/stats")).json()
    return answer


async def samples_of(client: httpx2.AsyncClient, *, at_least: int) -> None:
    deadline = time.monotonic() + 120
    while (await client.get("/training/stats")).json()["total_samples"] < at_least:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.5)
