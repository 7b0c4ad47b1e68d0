"""Commands of the README and of docs/{models,replay,guide}.md: targets and options exist, and calls succeed."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from typer.testing import CliRunner

from libs.detection.tests.tiny_models import NAMES, constant_model, raw_rows
from savo_cli.commands import add_commands_of_others, app
from savo_contracts.topics import SCANS_REQUESTED
from savo_demo.drawing.scene_folder import write_scenes
from savo_demo.drawing.scenes import draw_scenes
from tests.docs.guide_page import GUIDE, SECTIONS, guide_rows
from tests.parts.wheel import Wheel, running_wheel

ROOT = Path(__file__).parents[2]
README, MODELS, REPLAY = (
    (ROOT / page).read_text(encoding="utf-8") for page in ("README.md", "docs/models.md", "docs/replay.md")
)
SAVO = [sys.executable, "-m", "savo_cli"]

COMMANDS_OF_THE_GUIDE = (
    "curl https://YOUR-SERVICE.onrender.com/training/stats",
    "https://YOUR-SERVICE.onrender.com/docs#/training",
    "POST /training/upload-image",
    "du -sh /opt/render/project/src/services/api/training_data",
    "SAVO_COLLECT_TRAINING_DATA=true",
    "cd /opt/render/project/src/services/api/training_data",
    "tar -czf training_data.tar.gz images/ labels/",
    "cd services/ml",
    "python data/prepare.py --input ../api/training_data --output ./datasets/savo_v1 --split 0.7 0.2 0.1",
    "python train.py --data ./datasets/savo_v1/dataset.yaml --epochs 100 --batch 16 --device 0",
    "YOLO('runs/train/savo_v1/weights/best.pt').export(format='onnx')",
    "git add services/ml/models/best.onnx",
    'git commit -m "Add custom vision model v1"',
    "git push",
)
"""Commands of the owner's Phase 2 guide, in its words and without line breaks."""


def shell_lines(readme: str = README) -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", readme, re.DOTALL)
    return [re.split(r"\s{2,}#", line)[0].strip() for block in blocks for line in block.splitlines() if line.strip()]


def savo_commands() -> list[str]:
    """The `savo` commands in text and tables."""
    return sorted(
        {
            match.removeprefix("uv run ").strip()
            for match in re.findall(r"`((?:uv run )?savo [a-z][^`]*)`", README + MODELS + REPLAY + GUIDE)
        }
    )


@pytest.mark.parametrize("line", [line for line in shell_lines() if line.startswith("make")])
def test_a_make_target_exists(line: str) -> None:
    target = line.split()[1]
    assert re.search(rf"^{target}:.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("command", savo_commands())
def test_a_savo_command_has_the_options_shown(command: str) -> None:
    arguments = command.split()
    depth = 2 if arguments[1] in {"runs", "models", "topics", "dlq", "keys", "rollout"} else 1
    environment = {"COLUMNS": "200", "TERM": "dumb"}
    shown = subprocess.run(
        [*SAVO, *arguments[1 : 1 + depth], "--help"], capture_output=True, text=True, check=False, env=environment
    )
    assert shown.returncode == 0, shown.stderr
    assert [option for option in arguments if option.startswith("--") and option not in shown.stdout] == []


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 180


@pytest.mark.parametrize(
    "page",
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))],
    ids=lambda page: page.name,
)
def test_every_link_has_a_target(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)|src=\"([^\"]+)\"", page.read_text(encoding="utf-8"))
    files = [link or picture for link, picture in links if not (link or picture).startswith("http")]
    assert [file for file in files if not (page.parent / file).exists()] == []


@pytest.mark.parametrize("folder", ["docs", "docs/decisions", "docs/measurements", "docs/runbooks"])
def test_the_index_of_a_folder_of_the_documentation_names_every_page(folder: str) -> None:
    index = (ROOT / folder / "README.md").read_text(encoding="utf-8")
    pages = [page.name for page in sorted((ROOT / folder).glob("*.md")) if page.name != "README.md"]
    assert pages
    assert [page for page in pages if f"({page})" not in index] == []


@pytest.mark.parametrize("page", sorted((ROOT / "docs/decisions").glob("0*.md")), ids=lambda page: page.stem)
def test_a_decision_begins_with_what_we_do_and_why(page: Path) -> None:
    first = page.read_text(encoding="utf-8").split("\n\n")[1]
    assert first.startswith("We ")
    assert "because" in first


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Wheel, Path]]:
    folder = tmp_path_factory.mktemp("readme")
    write_scenes(folder / ".savo/standin", draw_scenes(3, seed=1))  # as `make up` does
    with running_wheel(
        folder / "savo", folder / ".savo/standin", {}, "--standin-option=--errors", "--standin-option=0"
    ) as running:
        yield running, folder


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.slow
def test_the_commands_of_the_first_scan_work(wheel: tuple[Wheel, Path]) -> None:
    running, folder = wheel
    results: dict[str, object] = {}
    for line in (line for line in shell_lines() if line.startswith(("cp ", "curl "))):
        command = line.replace("http://127.0.0.1:8000", running.url).replace("SCAN_ID", str(results.get("scan_id")))
        done = subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        answer = json.loads(done.stdout or "{}")
        assert "code" not in answer, f"{command}\n{answer}"
        results |= answer
    assert results["status"] == "published"
    assert {"total_samples", "correction_rate"} <= results.keys()


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.slow
def test_the_guide_s_commands_for_a_running_product_work(
    wheel: tuple[Wheel, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    running, folder = wheel
    monkeypatch.setenv("SAVO_DATA_DIR", str(running.data_dir))
    shutil.copy(next((folder / ".savo/standin/images").iterdir()), folder / "photo.jpg")
    answers = {}
    for _, line in guide_rows("With the product running"):
        if line.startswith("savo "):
            answers[line] = output_of(line)
            continue
        command = line.replace("http://127.0.0.1:8000", running.url).replace("curl -s", "curl -sf")
        done = subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        answers[line] = done.stdout
    stats, docs, uploaded, doctor, stats_again = answers.values()
    assert "total_samples" in json.loads(stats)
    assert "openapi.json" in docs
    assert {"image_hash", "scan_id", "path"} <= json.loads(uploaded).keys()
    assert "storage cost" in doctor
    assert "samples" in stats_again


def test_the_guide_s_page_has_every_command_of_the_guide() -> None:
    page = " ".join(guide for section in SECTIONS for guide, _ in guide_rows(section))
    assert [command for command in COMMANDS_OF_THE_GUIDE if command not in page] == []


@pytest.mark.slow
def test_the_commands_of_the_replay_page_work(wheel: tuple[Wheel, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    running, folder = wheel
    monkeypatch.chdir(folder)
    monkeypatch.setenv("SAVO_DATA_DIR", str(running.data_dir))
    (folder / "best.onnx").write_bytes(constant_model(raw_rows([(16, 16, 32, 32, 0, 0.9)], 3)))
    scanned = output_of("savo scan .savo/standin/images/scene-1-00001.jpg --json")
    assert '"completed"' in scanned
    asyncio.run(publish_poison(json.loads((running.data_dir / "run" / "up.json").read_text())["kafka"]))
    poisoned = output_with("savo dlq list", "scans.requested")
    assert "vision" in poisoned
    lines = shell_lines(REPLAY)
    answers = {line: output_of(line) for line in lines}
    assert len(answers) == 10
    assert (folder / "compared" / "index.html").exists()
    assert "1 dead letters sent back to scans.requested" in answers[lines[-1]]


@pytest.mark.slow
def test_the_command_that_a_replay_prints_processes_the_sandbox_without_a_key(
    wheel: tuple[Wheel, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    running, folder = wheel
    monkeypatch.chdir(folder)
    monkeypatch.setenv("SAVO_DATA_DIR", str(running.data_dir))
    (live,) = json.loads(f"[{output_of('savo scan .savo/standin/images/scene-1-00002.jpg --json')}]")
    printed = dict(
        re.findall(
            r"^(to process it|to inspect it): +(.+)$",
            output_of("savo replay --topic scans.requested --sandbox work"),
            re.MULTILINE,
        )
    )
    with running_command(printed["to process it"], folder):
        shown = output_with(f"{printed['to inspect it']} --to end --type ScanCompleted --json", live["scan_id"])
    assert live["result"]["model_version"] in shown, "the recorded answer"


@contextmanager
def running_command(line: str, folder: Path) -> Iterator[None]:
    """A command in a shell without keys and virtual environment. It must exit with 0 after SIGTERM."""
    environment = {"HOME": str(folder), "PATH": "/usr/bin:/bin"}
    log = folder / "sandbox.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            ["bash", "-c", f"exec env {line}"],
            cwd=folder,
            env=environment,
            stdout=out,
            stderr=out,
            stdin=subprocess.DEVNULL,
        )
    try:
        yield
        assert process.poll() is None, log.read_text()
    finally:
        process.terminate()
        assert process.wait(120) == 0, log.read_text()


@pytest.mark.slow
def test_the_commands_of_the_models_page_work(wheel: tuple[Wheel, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    running, folder = wheel
    monkeypatch.chdir(folder)
    monkeypatch.setenv("SAVO_DATA_DIR", str(running.data_dir))
    write_model_and_holdout(folder)
    alias = running.data_dir / "objects/models/ingredients/aliases/champion.json"
    answers = []
    for line in shell_lines(MODELS):
        answers.append(output_of(line))
        if " promote " in line:
            assert version_of_alias(alias, "measured by hand") == "v1"
    assert len(answers) == 6
    assert "v1: registered" in answers[1]
    assert "champion: the vision provider → v1" in answers[3]
    assert "champion: v1 → the vision provider" in answers[4]
    assert version_of_alias(alias, "it misses the milk") is None


def version_of_alias(alias: Path, reason: str) -> str | None:
    """The version of the alias, which the rollout's worker writes after the command's answer."""
    deadline = time.monotonic() + 60
    while not (alias.exists() and reason in alias.read_text()):
        assert time.monotonic() < deadline, f"the alias does not get the reason {reason!r}"
        time.sleep(0.1)
    version: str | None = json.loads(alias.read_text())["version"]
    return version


def write_model_and_holdout(folder: Path) -> None:
    """A model with constant output, and photos whose labels match it."""
    (folder / "best.onnx").write_bytes(constant_model(raw_rows([(16, 16, 32, 32, 0, 0.9)], 3)))
    for kind in ("images", "labels"):
        (folder / "set" / kind).mkdir(parents=True, exist_ok=True)
    for photo in sorted((folder / ".savo/standin/images").iterdir()):
        (folder / "set/images" / photo.name).write_bytes(photo.read_bytes())
        (folder / "set/labels" / photo.name).with_suffix(".txt").write_text("0 0.375 0.375 0.25 0.25\n")
    (folder / "dataset.yaml").write_text(
        json.dumps({"path": str(folder / "set"), "test": "images", "names": list(NAMES)})
    )


def output_of(line: str) -> str:
    """The output of a command, which must exit with 0."""
    add_commands_of_others()
    done = CliRunner().invoke(app, shlex.split(line.removeprefix("uv run "))[1:], env={"COLUMNS": "200"})
    assert done.exit_code == 0, f"{line}\n{done.output}"
    return done.stdout


def output_with(line: str, text: str) -> str:
    """The output of a command that is repeated until it contains the text."""
    for _ in range(60):
        if text in (answer := output_of(line)):
            return answer
    raise AssertionError(f"{line} never printed {text}: {answer}")


async def publish_poison(kafka: str) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=kafka)
    await producer.start()
    try:
        await producer.send_and_wait(SCANS_REQUESTED.name, b"no event", key=b"scan-x")
    finally:
        await producer.stop()
