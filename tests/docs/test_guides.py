"""Commands of docs/deployment.md and docs/upgrading.md: they run here, or their options and files are checked."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from savo_demo.drawing.scene_folder import write_scenes
from savo_demo.drawing.scenes import draw_scenes
from tests.parts.s3 import S3Server
from tests.parts.wheel import Wheel, running_wheel

ROOT = Path(__file__).parents[2]
GUIDES = {path: path.read_text(encoding="utf-8") for path in (ROOT / "docs/deployment.md", ROOT / "docs/upgrading.md")}
NOTHING: Mapping[str, str] = {}
SAVO = [sys.executable, "-m", "savo_cli"]


@dataclass(frozen=True)
class Block:
    """A shell block of a guide. `needs` is what it requires; if empty, it runs in this test."""

    guide: str
    text: str
    needs: str


BLOCKS = [
    Block(path.name, text, needs)
    for path, guide in GUIDES.items()
    for needs, text in re.findall(r"```sh(?: no-run: ([^\n]*))?\n(.*?)```", guide, re.DOTALL)
]
LINES = [(block, line) for block in BLOCKS for line in block.text.splitlines()]


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.text.splitlines()[0])
def test_every_block_is_valid_shell(block: Block) -> None:
    checked = subprocess.run(["bash", "-n"], input=block.text, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


def test_every_link_has_a_target() -> None:
    for path, guide in GUIDES.items():
        for link in re.findall(r"\]\(([^)]+)\)", guide):
            file, _, anchor = link.partition("#")
            target = (path.parent / file) if file else path
            assert target.exists(), f"{path.name}: {link}"
            if anchor:
                headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
                assert anchor in {
                    re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings
                }, link


@pytest.mark.parametrize("line", sorted({line for _, line in LINES if line.startswith(("savo ", ".venv/bin/savo "))}))
def test_a_savo_command_has_the_options_shown(line: str) -> None:
    arguments = line.split()[1:]
    depth = 2 if arguments[0] in {"topics", "keys", "runs", "storage"} else 1
    shown = subprocess.run(
        [*SAVO, *arguments[:depth], "--help"],
        capture_output=True,
        text=True,
        check=False,
        env={"COLUMNS": "200", "TERM": "dumb"},
    )
    assert shown.returncode == 0, shown.stderr
    assert [option for option in arguments if option.startswith("--") and option not in shown.stdout] == []


def test_named_files_and_make_targets_exist() -> None:
    for _, line in LINES:
        for path in line.split():
            if path.startswith("deploy/"):
                assert (ROOT / path).exists(), line
        if line.startswith("make "):
            assert re.search(rf"^{line.split()[1]}:.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE), line


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wheel]:
    folder = tmp_path_factory.mktemp("guides")
    write_scenes(folder / "truth", draw_scenes(2, seed=31))
    with running_wheel(folder / "savo", folder / "truth", {}, "--one-process") as running:
        yield running


def run(line: str, data_dir: Path, settings: Mapping[str, str] = NOTHING) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("SAVO_", "R2_"))}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-c", line],
        cwd=data_dir.parent,
        env=clean | {"SAVO_DATA_DIR": str(data_dir), "PATH": path} | dict(settings),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.real
@pytest.mark.slow
def test_commands_for_a_running_product_succeed(wheel: Wheel) -> None:
    for block, line in LINES:
        if block.needs or line.startswith(
            ("make ", "python -m savo_runtime.migrate", "savo restore", "savo runs", "savo storage")
        ):
            continue  # `make` is tested with the README, the others below; `savo runs` needs a trainer
        done = run(line.replace("http://127.0.0.1:8000", wheel.url), wheel.data_dir)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        if line.startswith("curl"):
            assert "total_samples" in json.loads(done.stdout)


@pytest.mark.slow
def test_the_migration_commands_of_the_guide_work(tmp_path: Path) -> None:
    lines = [line for _, line in LINES if line.startswith("python -m savo_runtime.migrate")]
    assert len(lines) == 2
    for line in lines:
        done = run(line, tmp_path / "savo")
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"


@pytest.mark.slow
def test_the_backup_commands_of_the_guide_work(tmp_path: Path) -> None:
    """With SQLite and a folder; tests/upkeep covers Kafka, PostgreSQL and S3."""
    data_dir = tmp_path / "savo"
    assert run("python -m savo_runtime.migrate gateway", data_dir).returncode == 0
    (data_dir / "objects/models").mkdir(parents=True)
    (data_dir / "objects/models/card.md").write_text("a model")
    backed_up, restored = (
        next(line for _, line in LINES if line.startswith(f"savo {name}")) for name in ("backup", "restore")
    )
    assert run(backed_up, data_dir).returncode == 0
    (data_dir / "objects/models/card.md").unlink()
    (data_dir / "db/gateway.sqlite3").unlink()
    done = run(restored, data_dir)
    assert done.returncode == 0, done.stderr
    assert (data_dir / "objects/models/card.md").read_text() == "a model"
    assert (data_dir / "db/gateway.sqlite3").stat().st_size > 0


@pytest.mark.slow
@pytest.mark.s3
def test_the_storage_commands_of_the_guide_work(tmp_path: Path, moto_s3: S3Server) -> None:
    data_dir = tmp_path / "savo"
    (data_dir / "objects/models").mkdir(parents=True)
    (data_dir / "objects/models/card.md").write_text("a model")
    settings = {
        "SAVO_S3_ENDPOINT_URL": moto_s3.endpoint_url,
        "R2_ACCESS_KEY_ID": moto_s3.access_key_id,
        "R2_SECRET_ACCESS_KEY": moto_s3.secret_access_key,
    }
    lines = [line for _, line in LINES if line.startswith("savo storage")]
    assert {line.split()[2] for line in lines} == {"move", "sync"}
    for line in lines:
        here = re.sub(r"s3://\S+", f"s3://{moto_s3.bucket}", line)
        done = run(here, data_dir, settings)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        assert f"to s3://{moto_s3.bucket}" in done.stdout
