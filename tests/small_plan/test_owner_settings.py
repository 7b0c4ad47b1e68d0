"""Owner's settings: the product starts with exactly the variables of the owner's guide."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import pytest

from tests.parts.addresses import free_port
from tests.parts.parts_table import record
from tests.parts.s3 import S3Server

pytestmark = [pytest.mark.slow]

KEYS = {
    "total_samples",
    "samples_today",
    "samples_this_week",
    "average_detections_per_image",
    "correction_rate",
    "storage_size_mb",
    "last_updated",
}

# Names are those of the guide. Values are examples; the R2 account does not exist.
OWNER_SETTINGS = {
    "SAVO_COLLECT_TRAINING_DATA": "true",
    "SAVO_VISION_PROVIDER": "google",
    "SAVO_REASONING_PROVIDER": "openai",
    "GOOGLE_API_KEY": "a-key-of-the-owner",
    "OPENAI_API_KEY": "another-key",
    "SAVO_USE_CUSTOM_VISION": "false",
    "SAVO_CUSTOM_VISION_MODEL_PATH": "/models/savo_v1/best.pt",
    "SAVO_VISION_CONFIDENCE_THRESHOLD": "0.6",
    "SAVO_CUSTOM_VISION_ROLLOUT": "0.05",
    "R2_ACCOUNT_ID": "no-such-account",
    "R2_ACCESS_KEY_ID": "key",
    "R2_SECRET_ACCESS_KEY": "secret",
    "R2_BUCKET_NAME": "savo-training",
}


@pytest.mark.parametrize("bucket", ["a folder", pytest.param("a bucket", marks=pytest.mark.real)])
def test_the_product_starts_with_the_owners_settings(
    bucket: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    settings = dict(OWNER_SETTINGS)
    if bucket == "a folder":
        settings = {name: value for name, value in OWNER_SETTINGS.items() if not name.startswith("R2_")}
    else:  # R2 cannot be reached here, so one more variable names a local S3 server
        server: S3Server = request.getfixturevalue("moto_s3")
        settings |= {
            "SAVO_S3_ENDPOINT_URL": server.endpoint_url,
            "R2_ACCESS_KEY_ID": server.access_key_id,
            "R2_SECRET_ACCESS_KEY": server.secret_access_key,
        }
        settings["R2_BUCKET_NAME"] = server.bucket
    port = free_port()
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SAVO_", "R2_", "GOOGLE_", "OPENAI_")) and name not in ("PORT", "RENDER")
    }
    settings |= {"PORT": str(port), "RENDER": "true"}  # as Render does
    command = [sys.executable, "-m", "savo_cli", "up", "--one-process"]
    with (tmp_path / "output").open("wb") as output:
        process = subprocess.Popen(command, cwd=tmp_path, env=clean | settings, stdout=output, stderr=subprocess.STDOUT)
    try:
        wait_until_up(process, tmp_path)
        answer = httpx2.get(f"http://127.0.0.1:{port}/training/stats", trust_env=False, timeout=90)
        assert answer.status_code == 200
        assert answer.json().keys() == KEYS
        check_from_outside(port)
        assert json.loads((tmp_path / ".savo/run/up.json").read_text())["services"].keys() >= {
            "gateway",
            "vision",
            "collector",
        }
        assert (
            "a-key-of-the-owner"
            not in "".join(log.read_text() for log in (tmp_path / ".savo/logs").glob("*.log"))
            + (tmp_path / "output").read_text()
        )
    finally:
        process.terminate()
        assert process.wait(120) == 0


# A process of its own, because the network guard of the tests allows loopback addresses only. Connecting a UDP socket
# sends nothing.
_OUTSIDE_CALLS = """
import json, socket, sys
import httpx2
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
    try:
        probe.connect(("192.0.2.1", 9))
    except OSError:
        sys.exit()
    address = probe.getsockname()[0]
if not address.startswith("127."):
    with httpx2.Client(base_url=f"http://{address}:{sys.argv[1]}", trust_env=False, timeout=90) as client:
        found = {path: client.get(path).status_code for path in sys.argv[2:]}
        upload = client.post("/training/upload-image", files={"image": b"photo"})
        print(json.dumps(found | {"upload": upload.status_code}))
"""


def check_from_outside(port: int) -> None:
    """Calls by the machine's own address: what needs no key answers, and everything else asks for one."""
    paths = ("/training/stats", "/docs", "/livez", "/training/progress")
    command = [sys.executable, "-c", _OUTSIDE_CALLS, str(port), *paths]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=200)
    if not done.stdout:
        record("own address", "skipped", "this machine has no address but the loopback one")
        return
    expected = {"/training/stats": 200, "/docs": 200, "/livez": 200, "/training/progress": 401, "upload": 401}
    assert json.loads(done.stdout) == expected


def wait_until_up(process: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + 280
    while "savo is up" not in (folder / "output").read_text():
        assert process.poll() is None, (folder / "output").read_text()
        assert time.monotonic() < deadline, (folder / "output").read_text()
        time.sleep(0.2)
