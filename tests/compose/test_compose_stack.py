"""The product in Docker Compose: build, start, scans, replay, backup, scaling, crashes and shutdown."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from savo_contracts.topics import SERVICES
from tests.compose.stack import BUILD_SECONDS, ROOT, Stack, eventually, why_no_stack
from tests.parts.addresses import free_port
from tests.parts.containers import why_no_container
from tests.parts.parts_table import record
from tests.runbooks.pages import PAGES, PARTS, RUNBOOKS, Page

pytestmark = [pytest.mark.real, pytest.mark.timeout(2400)]

SCENES = "/var/lib/savo/images"
REPLAY = (ROOT / "docs/replay.md").read_text(encoding="utf-8")
SANDBOX_COMMANDS = [
    line.partition("  #")[0].strip()
    for line in re.findall(r"^docker compose run .*$", REPLAY.replace(" \\\n  ", " "), re.MULTILINE)
]
GUIDE = (ROOT / "docs/deployment.md").read_text(encoding="utf-8")
BACKUP_COMMANDS = re.search(r"```sh no-run: needs Docker\n(mkdir [^`]*backup[^`]*)```", GUIDE)
ALL = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    if reason := why_no_stack():
        record("compose", "skipped", reason)
        pytest.skip(reason)
    stack = Stack.new(tmp_path_factory.mktemp("compose"))
    stack.compose("build", "--quiet", *SERVICES, "standin", within=BUILD_SECONDS)
    try:
        seconds = stack.up()
        record("compose", "real", f"docker compose, healthy after {seconds:.0f} s")
        yield stack
    finally:
        stack.down()


@pytest.fixture(scope="module")
def key(stack: Stack) -> str:
    return stack.compose(
        "run", "--rm", "savo", "keys", "create", "laptop", "--scope", "scans", "--scope", "training", "--scope", "ops"
    ).strip()


@pytest.fixture(scope="module")
def photos(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Photos whose content the stand-in knows."""
    folder = tmp_path_factory.mktemp("photos")
    stack.compose("cp", f"standin:{SCENES}", str(folder))
    return sorted((folder / "images").glob("*.jpg"))


def scan(stack: Stack, key: str, *photos: Path) -> list[dict[str, Any]]:
    done = stack.savo("scan", *map(str, photos), "--user", "ada", "--json", key=key)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def scans_by_replica(stack: Stack, replicas: int) -> list[float]:
    program = "from urllib.request import urlopen; print(urlopen('http://127.0.0.1:8000/metrics').read().decode())"
    texts = [stack.exec("vision", "python", "-c", program, index=index + 1).stdout for index in range(replicas)]
    return [
        sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith("savo_scans_total{"))
        for text in texts
    ]


def shell(stack: Stack, line: str) -> str:
    done = subprocess.run(
        ["bash", "-c", line],
        env=stack.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr[-4000:]}"
    return done.stdout


def rows(stack: Stack, service: str, table: str) -> int:
    """Number of rows of a table, read with the service's own role."""
    url = f"postgres://savo_{service}:{stack.variable(f'{service.upper()}_DATABASE_PASSWORD')}@127.0.0.1/savo"
    return int(stack.exec("postgres", "psql", url, "-At", "-c", f"SELECT count(*) FROM {table}").stdout)


def list_samples(stack: Stack) -> str:
    return stack.exec("s3", "ls", "-lR", "/data/savo/samples").stdout


def caught_mails(stack: Stack) -> str:
    """Mails from the mail catcher's API; empty for a catcher that logs its mails instead."""
    try:
        return httpx2.get(f"http://127.0.0.1:{stack.variable('MAIL_PORT')}/api/v1/messages", trust_env=False).text
    except httpx2.HTTPError:
        return ""


def test_services_are_healthy_and_one_off_containers_succeeded(stack: Stack) -> None:
    rows = [json.loads(line) for line in stack.compose("ps", "--all", "--format", "json").splitlines()]
    states = {row["Service"]: row["Health"] or f"exit {row['ExitCode']}" for row in rows}
    assert states == {
        **dict.fromkeys([*SERVICES, "kafka", "postgres", "s3", "standin", "prometheus", "alertmanager"], "healthy"),
        "prepare": "exit 0",
        "roles": "exit 0",
    }


def test_without_a_key_scans_are_refused_but_statistics_are_public(stack: Stack, photos: list[Path]) -> None:
    refused = stack.savo("scan", str(photos[0]))
    assert refused.returncode == 1
    assert "401" in refused.stderr
    assert "SAVO_API_KEY" in refused.stderr
    assert json.loads(stack.savo("stats", "--json").stdout)["total_samples"] == 0


def test_a_photo_is_scanned_and_a_confirmation_becomes_a_sample(stack: Stack, key: str, photos: list[Path]) -> None:
    (answer,) = scan(stack, key, photos[0])
    assert answer["status"] == "completed"
    assert answer["result"]["items"]
    assert answer["result"]["model_version"].startswith("standin-"), "the stand-in names itself in its answer"
    assert stack.savo("confirm", answer["scan_id"], "--all-correct", key=key).returncode == 0
    eventually(lambda: json.loads(stack.savo("stats", "--json").stdout)["total_samples"] == 1)


def test_the_doctor_in_compose_finds_a_stopped_service(stack: Stack) -> None:
    def findings() -> dict[str, str]:
        report = stack.exec_once("savo", "doctor", "--json").stdout
        return {finding["what"]: finding["state"] for finding in json.loads(report)}

    found = findings()
    assert {service: found.get(service) for service in SERVICES} == dict.fromkeys(SERVICES, "ok")
    assert {"vision provider", "training"} & found.keys() == set(), "only the services have keys and torch"
    assert {"data", "storage"} <= found.keys()
    stack.compose("stop", "vision")
    assert [what for what, state in findings().items() if state == "wrong"] == ["vision"]
    stack.compose("up", "--wait", "vision")


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_runs_unprivileged_with_a_read_only_image(stack: Stack, service: str) -> None:
    assert stack.exec(service, "id", "-u").stdout.strip() == "10001"
    assert "Read-only file system" in stack.exec(service, "touch", "/opt/savo/x").stderr


@pytest.mark.parametrize("service", [name for name in SERVICES if name != "trainer"])
def test_only_the_trainers_image_has_torch_and_none_has_a_compiler(stack: Stack, service: str) -> None:
    assert "No module named 'torch'" in stack.exec(service, "python", "-c", "import torch").stderr
    assert stack.exec(service, "sh", "-c", "command -v gcc cc uv || true").stdout == ""


def test_the_trainers_image_can_train(stack: Stack) -> None:
    ready = stack.exec("trainer", "python", "-c", "import torch, ultralytics, onnx; print(torch.__version__)")
    assert ready.returncode == 0, ready.stderr


def test_a_role_can_read_only_its_own_schema(stack: Stack, key: str) -> None:
    assert key
    url = f"postgres://savo_vision:{stack.variable('VISION_DATABASE_PASSWORD')}@127.0.0.1/savo"
    own = stack.exec("postgres", "psql", url, "-At", "-c", "SELECT count(*) >= 0 FROM vision.alembic_version")
    other = stack.exec("postgres", "psql", url, "-c", "SELECT * FROM gateway.api_keys")
    assert own.stdout.strip() == "t"
    assert "permission denied for schema gateway" in other.stderr


def test_all_topics_of_the_registry_exist(stack: Stack) -> None:
    tailed = stack.savo(
        "topics",
        "tail",
        "scans.requested",
        "--from-start",
        "--limit",
        "1",
        "--json",
        "--kafka",
        f"127.0.0.1:{stack.variable('KAFKA_PORT')}",
    )
    assert json.loads(tailed.stdout)["topic"] == "scans.requested", tailed.stderr
    assert "all topics and the bucket were there" in stack.compose("run", "--rm", "prepare")


def test_prometheus_scrapes_every_service(stack: Stack) -> None:
    def scraped() -> set[str]:
        output = stack.exec(
            "prometheus", "promtool", "query", "instant", "http://127.0.0.1:9090", 'up{job="savo"} == 1'
        ).stdout
        return set(re.findall(r'service="(\w+)"', output))

    eventually(lambda: scraped() == set(SERVICES))


@pytest.mark.parametrize(
    ("topic", "service", "table", "outcome"),
    [
        ("scans.requested", "vision", "results", "scans.completed"),
        ("scans.confirmed", "collector", "samples", "samples.stored"),
    ],
)
def test_a_replay_runs_in_a_sandbox_and_changes_no_live_data(
    stack: Stack, key: str, topic: str, service: str, table: str, outcome: str
) -> None:
    assert key
    replay, work, tail, _ = SANDBOX_COMMANDS
    live = rows(stack, service, f"{service}.{table}"), list_samples(stack)
    replayed = json.loads(shell(stack, f"{replay.replace('scans.requested', topic)} --json"))
    assert replayed["chosen"] == replayed["sent"] > 0
    service_process = subprocess.Popen(
        ["bash", "-c", f"exec {work.replace('vision', service)}"],
        env=stack.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        eventually(lambda: outcome in shell(stack, tail.replace("scans.completed", outcome)))
    finally:
        service_process.terminate()
        stack.stop_once(service)
        service_process.wait(60)
    assert rows(stack, service, f"sandbox_replay_{service}.{table}") > 0
    assert (rows(stack, service, f"{service}.{table}"), list_samples(stack)) == live


def test_a_database_administrator_removes_the_sandbox(stack: Stack) -> None:
    *_, remove = SANDBOX_COMMANDS
    refused = stack.exec_once("savo", "topics", "drop-sandbox", "replay", "--yes")
    assert refused.returncode == 1
    assert "set SAVO_DATABASE_URL to that of an administrator" in refused.stderr
    password = f"POSTGRES_PASSWORD={stack.variable('POSTGRES_PASSWORD')}"
    assert "dropped sandbox replay" in shell(stack, f"{password}; {remove}")
    assert "no sandbox replay" in stack.exec_once("savo", "topics", "drop-sandbox", "replay", "--yes").stderr
    assert stack.exec("s3", "find", "/data/savo/sandbox", "-type", "f").stdout == ""


def as_administrator(stack: Stack) -> str:
    return f"SAVO_DATABASE_URL=postgres://postgres:{stack.variable('POSTGRES_PASSWORD')}@postgres:5432/savo"


def test_a_rebuild_of_another_services_tables_needs_an_administrator(
    stack: Stack,
) -> None:
    refused = stack.exec_once("savo", "rebuild", "vision")
    assert refused.returncode == 1
    assert "Traceback" not in refused.stderr
    message = " ".join(refused.stderr.split())
    assert (
        "savo_gateway has no rights in the schema vision, which belongs to savo_vision:"
        " set SAVO_DATABASE_URL to the login of savo_vision or of" in message
    )
    rebuilt = json.loads(
        stack.compose("run", "--rm", "-e", as_administrator(stack), "savo", "rebuild", "vision", "--json")
    )
    assert rebuilt["equal"]


def test_a_backup_is_restored_by_the_guides_commands(
    stack: Stack, key: str, photos: list[Path], tmp_path: Path
) -> None:
    refused = stack.exec_once("savo", "backup", "--output", "/tmp/backup")
    assert refused.returncode == 1
    message = " ".join(refused.stderr.split())
    assert "may not read" in message
    assert "set SAVO_DATABASE_URL to that of an administrator" in message
    assert BACKUP_COMMANDS
    commands = BACKUP_COMMANDS[1].replace(" \\\n  ", " ").replace(" .env)", f" {stack.env_file})")
    *backup, stop, restore, up = commands.splitlines()
    output = shell(stack, "\n".join(["set -e", f"cd {tmp_path}", *backup]))
    assert "backed up to /backup: 6 databases" in " ".join(output.split())
    assert (tmp_path / "backup").stat().st_mode & 0o077 == 0
    (newer,) = scan(stack, key, photos[5])
    output = shell(stack, "\n".join(["set -e", f"cd {tmp_path}", *backup[:2], stop, restore]))
    assert "restored from /backup: 6 databases" in " ".join(output.split())
    stack.up()
    assert up == "docker compose up --wait"
    assert json.loads(stack.savo("stats", "--json").stdout)["total_samples"] == 1
    assert scan(stack, key, photos[6])[0]["status"] == "completed"
    # Kafka still has the scans that are newer than the backup, so the services process them again.
    eventually(lambda: rows(stack, "vision", f"vision.results WHERE scan_id = '{newer['scan_id']}'") == 1)


def diagnostic_commands() -> list[str]:
    """`savo` commands of the runbooks' first and last parts, without those with placeholders."""
    pages = [Page(name) for name in PAGES]
    commands = {
        command
        for page in pages
        for part in (PARTS[0], PARTS[-1])
        for command in page.commands(part)
        if not page.has_placeholders(command)
    }
    return sorted(command for command in commands if command.startswith("savo "))


def test_the_runbooks_commands_work_in_their_compose_form(stack: Stack, key: str) -> None:
    form = re.search(
        r"With Docker Compose, write\s+`([^`]+)`\s+instead of `savo`",
        (RUNBOOKS / "README.md").read_text(encoding="utf-8"),
    )
    assert form
    commands = diagnostic_commands()
    assert len(commands) > 20
    for command in commands:
        shell(stack, f"export SAVO_API_KEY={key}; {command.replace('savo', form[1], 1)}")


def test_the_digest_of_a_missed_week_is_sent(stack: Stack, key: str) -> None:
    catcher = ALL["mail"]["image"]
    if reason := why_no_container(catcher):
        pytest.skip(reason)
    mail = partial(stack.compose, "--profile", "mail")
    with stack.env_file.open("a") as file:
        file.write(f"SAVO_API_KEY={key}\nMAIL_PORT={free_port()}\n")
    try:
        mail("run", "--rm", "--no-deps", "--entrypoint", "sh", "digest", "-c", "echo 2026-W01 >digest.week")
        mail("up", "--detach", "mail", "digest")
        eventually(lambda: "sent to 1 address" in mail("logs", "digest"))
        eventually(
            lambda: (
                re.search(r"Savo, \d{4}-W\d\d: 1 new sample", mail("logs", "mail") + caught_mails(stack)) is not None
            )
        )
    finally:
        mail("rm", "--stop", "--force", "mail", "digest")


def test_three_replicas_of_vision_share_the_load(stack: Stack, key: str, photos: list[Path]) -> None:
    stack.up("--no-recreate", "--scale", "vision=3", "vision")
    try:
        eventually(lambda: bool(scan(stack, key, *photos[:20])) and min(scans_by_replica(stack, 3)) > 0, within=240)
    finally:
        stack.up("--no-recreate", "--scale", "vision=1", "vision")


@pytest.mark.parametrize("service", ["gateway", "vision"])
def test_a_crashed_service_restarts_and_continues(stack: Stack, key: str, photos: list[Path], service: str) -> None:
    before = stack.state(service)
    try:
        # A signal to the process is a crash. After `docker kill` Docker would not restart the container.
        os.kill(before["State"]["Pid"], signal.SIGKILL)
    except (PermissionError, ProcessLookupError) as reason:
        pytest.skip(f"the processes of containers cannot be killed from here: {reason}")
    eventually(lambda: stack.state(service)["RestartCount"] == before["RestartCount"] + 1)
    eventually(lambda: stack.state(service)["State"]["Health"]["Status"] == "healthy")
    assert scan(stack, key, photos[1])[0]["status"] == "completed"


def test_data_survives_down_and_up(stack: Stack, key: str, photos: list[Path]) -> None:
    (before,) = scan(stack, key, photos[2])
    stack.compose("down", within=180)
    stack.up()
    shown = subprocess.run(
        ["curl", "-s", "-H", f"X-API-Key: {key}", f"{stack.url}/v1/scans/{before['scan_id']}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(shown.stdout)["result"]["items"] == before["result"]["items"]
    assert json.loads(stack.savo("stats", "--json").stdout)["total_samples"] == 1
    assert scan(stack, key, photos[3])[0]["status"] == "completed"


def test_the_commands_of_the_deployment_guide_work(stack: Stack, tmp_path: Path) -> None:
    section = GUIDE.partition("\n## Docker Compose\n")[2].partition("\n## ")[0]
    (block,) = re.findall(r"```sh no-run: needs Docker\n(.*?)```", section, re.DOTALL)
    script = "set -e\n" + block.replace("deploy/docker/new-env", "true").replace(
        "http://127.0.0.1:8000", stack.url
    ).replace("uv run savo", f"{sys.executable} -m savo_cli")
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env=stack.environment,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-4000:]}"
    assert "google standin-gemini" in done.stdout
    assert stack.compose("ps", "--quiet") == ""
    left = ["docker", "volume", "ls", "--quiet", "--filter", f"label=com.docker.compose.project={stack.project}"]
    assert subprocess.run(left, capture_output=True, text=True, timeout=30, check=True).stdout == ""
