"""Address of the trainer: from SAVO_SERVICES, else from the file that the trainer wrote."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from savo_runtime.http.addresses import WrongServicesError
from savo_trainer.adapters.trainer_client import TrainerClient
from savo_trainer.errors import TrainerUnreachableError


@pytest.fixture
def trainer() -> Iterator[str]:
    """URL of a trainer without runs."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b'{"runs": []}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """No log output."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def _data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAVO_DATA_DIR", str(tmp_path))


def test_the_address_of_savo_services_is_used(trainer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAVO_SERVICES", f"gateway=http://gateway:8000,trainer={trainer}/")
    assert TrainerClient.from_settings().get("/runs") == {"runs": []}


def test_the_address_file_is_used_without_savo_services(trainer: str, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/trainer.json").write_text(json.dumps({"pid": 1, "url": trainer}))
    assert TrainerClient.from_settings().get("/runs") == {"runs": []}


def test_an_unreachable_trainer_is_reported_with_the_address_that_was_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(
        TrainerUnreachableError,
        match=r"no trainer answers here \(.*run/trainer\.json: no such file\)\. Start it with `savo up`",
    ):
        TrainerClient.from_settings().get("/runs")
    monkeypatch.setenv("SAVO_SERVICES", "trainer=http://127.0.0.1:1")
    with pytest.raises(
        TrainerUnreachableError, match=r"no trainer answers at http://127\.0\.0\.1:1, which SAVO_SERVICES names"
    ):
        TrainerClient.from_settings().get("/runs")
    monkeypatch.setenv("SAVO_SERVICES", "trainer")
    with pytest.raises(
        WrongServicesError, match=r"SAVO_SERVICES: 'trainer' makes no sense: write gateway=http://HOST:PORT"
    ):
        TrainerClient.from_settings()
