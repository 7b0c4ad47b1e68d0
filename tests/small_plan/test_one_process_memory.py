"""Memory of the small plan: `savo up --one-process` with a bucket needs at most 512 MB of memory and 400 MB of disk.

Photos have 12 megapixels. Half of the scans run a YOLOv8n of full size (640 px) in the same process. Its weights are
random, so its confidence is low and the stand-in for Google answers too: both paths use memory.
"""

from __future__ import annotations

import asyncio
import io
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
from PIL import Image

from savo_demo.drawing.scene_folder import write_scenes
from savo_demo.drawing.scenes import Scene, draw_scenes
from savo_demo.simulated_users import ScanOutcome, SimulatedUsers, Upload, new_client
from tests.parts.memory import MemoryPeak, peak_rss_mb
from tests.parts.s3 import S3Server
from tests.parts.wheel import Wheel, running_wheel

pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    pytest.mark.torch,
    pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc"),
]

MEMORY_LIMIT_MB = 512.0
DISK_LIMIT_MB = 400.0
PHOTO = (4032, 3024)
SCANS = 48

_EXPORT = """
import sys
from ultralytics.models import YOLO
YOLO("yolov8n.yaml").save(f"{sys.argv[1]}/full_size.pt")
model = YOLO(f"{sys.argv[1]}/full_size.pt")
model.export(format="onnx", imgsz=640, opset=17, simplify=False, dynamic=True, device="cpu")
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if find_spec("ultralytics") is None:  # its import would access the network
        pytest.skip("ultralytics is not installed")
    folder = tmp_path_factory.mktemp("model")
    environment = {"YOLO_CONFIG_DIR": str(folder), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", _EXPORT, str(folder)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return folder / "full_size.onnx"


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [replace(scene, jpeg=enlarged(scene.jpeg)) for scene in draw_scenes(16, seed=7)]


@pytest.fixture
def wheel(tmp_path: Path, moto_s3: S3Server, model: Path, scenes: list[Scene]) -> Iterator[Wheel]:
    bucket = replace(moto_s3, bucket="savo-small-plan")
    bucket.create_bucket()
    write_scenes(tmp_path / "truth", scenes)
    settings = {
        "SAVO_S3_ENDPOINT_URL": bucket.endpoint_url,
        "R2_BUCKET_NAME": bucket.bucket,
        "R2_ACCESS_KEY_ID": bucket.access_key_id,
        "R2_SECRET_ACCESS_KEY": bucket.secret_access_key,
        "SAVO_STORAGE_LIMIT_GB": "0.4",
        "SAVO_CUSTOM_VISION_MODEL_PATH": str(model),
        "SAVO_CUSTOM_VISION_ROLLOUT": "0.5",
    }
    with running_wheel(tmp_path / "savo", tmp_path / "truth", settings, "--one-process") as wheel:
        yield wheel


async def test_scans_stay_within_the_small_plan(wheel: Wheel, scenes: list[Scene]) -> None:
    peak = MemoryPeak(leave_out=frozenset({"savo_demo.standin"}))
    monitoring = asyncio.create_task(watch(peak, wheel))
    outcomes: list[ScanOutcome] = []
    async with new_client(wheel.url) as client:
        uploads = (
            Upload(f"user-{number}", scenes[number % len(scenes)].jpeg, scenes[number % len(scenes)].truth)
            for number in range(SCANS)
        )
        await SimulatedUsers(client, random.Random(1), at_once=4).run(uploads, outcomes.append)
        stats = (await client.get("/training/stats")).json()
    monitoring.cancel()
    assert sum(outcome.confirmed for outcome in outcomes) == SCANS
    assert {outcome.arm for outcome in outcomes} == {"baseline", "candidate"}
    assert stats["total_samples"] > 0
    process = wheel.pid_of("gateway")
    assert process
    assert all(wheel.pid_of(name) == process for name in ("vision", "collector", "rollout", "reasoning"))
    assert wheel.pid_of("trainer") is None
    assert peak_rss_mb(process) <= MEMORY_LIMIT_MB
    assert peak.megabytes <= MEMORY_LIMIT_MB, peak.by_process
    assert disk_mb(wheel.data_dir) <= DISK_LIMIT_MB
    assert not any((wheel.data_dir / "objects").iterdir()), "photos, samples and models are in the bucket"
    print(
        f"peak RSS {peak_rss_mb(process):.0f} MB, all processes {peak.megabytes:.0f} MB (PSS), "
        f"disk {disk_mb(wheel.data_dir):.1f} MB after {SCANS} scans"
    )


async def watch(peak: MemoryPeak, wheel: Wheel) -> None:
    while True:
        peak.measure(wheel.process.pid)
        await asyncio.sleep(0.2)


def disk_mb(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def enlarged(jpeg: bytes) -> bytes:
    """The photo in 12 megapixels, as a phone takes it."""
    large = io.BytesIO()
    Image.open(io.BytesIO(jpeg)).resize(PHOTO).save(large, "JPEG", quality=88)
    return large.getvalue()
