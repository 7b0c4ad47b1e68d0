"""Import and export of a running product: killed in the middle, and the commands of docs/export.md."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.exports.products import label_line, unpacked, write_photo
from tests.parts.wheel import Wheel, running_wheel

ROOT = Path(__file__).parents[2]
LINES = [
    line
    for block in re.findall(r"```sh\n(.*?)```", (ROOT / "docs/export.md").read_text(encoding="utf-8"), re.DOTALL)
    for line in block.splitlines()
]
PHOTOS = 150
SETTINGS = {"SAVO_MIN_SHARPNESS": "0", "GOOGLE_API_KEY": "unused: no photo is scanned"}

pytestmark = [pytest.mark.real, pytest.mark.slow(90)]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wheel]:
    with running_wheel(tmp_path_factory.mktemp("exports") / "savo", None, SETTINGS, "--one-process") as running:
        yield running


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("data") / "data"
    data.mkdir()
    (data / "classes.txt").write_text("tomato\negg\n")
    for number in range(PHOTOS):
        write_photo(data, f"{number:03x}x", label_line(number % 2, number % 20), number)
    return data


def savo(wheel: Wheel, *arguments: object, cwd: Path | None = None) -> subprocess.Popen[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("SAVO_", "R2_"))}
    return subprocess.Popen(
        [sys.executable, "-m", "savo_cli", *map(str, arguments)],
        cwd=cwd,
        env=clean | {"SAVO_DATA_DIR": str(wheel.data_dir)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def done(process: subprocess.Popen[str]) -> Any:
    out, error = process.communicate(timeout=300)
    assert process.returncode == 0, out + error
    return json.loads(out) if out.startswith("{") else out


def stored(wheel: Wheel) -> set[str]:
    return {path.stem for path in (wheel.data_dir / "objects/samples/meta").glob("*.json")}


def wait_until_stored(wheel: Wheel, count: int, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while len(stored(wheel)) < count:
        assert time.monotonic() < deadline, f"{len(stored(wheel))} of {count} samples are stored"
        time.sleep(0.2)


def test_a_killed_import_continues_and_a_killed_download_too(wheel: Wheel, folder: Path, tmp_path: Path) -> None:
    first = savo(wheel, "import", folder, "--json")
    wait_until_stored(wheel, 5)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    report = done(savo(wheel, "import", folder, "--json"))
    assert sum(report["photos"].values()) == PHOTOS
    wait_until_stored(wheel, PHOTOS)
    assert done(savo(wheel, "import", folder, "--json"))["photos"] == {"unchanged": PHOTOS}
    assert len(stored(wheel)) == PHOTOS

    download = savo(wheel, "export", "--output", "killed.tar.gz", "--url", wheel.url, cwd=tmp_path)
    while not (tmp_path / "killed.tar.gz.part").exists() and download.poll() is None:
        time.sleep(0.002)
    download.send_signal(signal.SIGKILL)
    download.communicate()
    if not (tmp_path / "killed.tar.gz").exists():
        part = tmp_path / "killed.tar.gz.part"
        os.truncate(part, part.stat().st_size // 2)
        done(savo(wheel, "export", "--output", "killed.tar.gz", "--url", wheel.url, cwd=tmp_path))
    report = done(savo(wheel, "export", "--output", "whole.tar.gz", "--url", wheel.url, "--json", cwd=tmp_path))
    assert report["samples"] == PHOTOS
    assert unpacked(tmp_path / "killed.tar.gz") == unpacked(tmp_path / "whole.tar.gz")
    with tarfile.open(tmp_path / "whole.tar.gz") as tar:
        assert len(tar.getnames()) == 2 * PHOTOS + len(
            {"classes.txt", "classes.json", "dataset.yaml", "subjects.csv", "manifest.jsonl", "export.json"}
        ) + len({path for path in tar.getnames() if path in ("train.txt", "val.txt", "test.txt")})


def test_the_commands_of_the_page_succeed(wheel: Wheel, folder: Path, tmp_path: Path) -> None:
    wait_until_stored(wheel, PHOTOS)
    for line in LINES:
        arguments = line.split()[1:]
        if "--since" in arguments:  # the samples of this test are of today
            del arguments[arguments.index("--since") : arguments.index("--since") + 4]
        arguments = ["engineer" if argument == "user" else argument for argument in arguments]
        if arguments[0] == "export":
            arguments += ["--url", wheel.url]
        done(savo(wheel, *arguments, cwd=tmp_path))
    assert (tmp_path / "datasets/savo_v1/dataset.yaml").exists()
