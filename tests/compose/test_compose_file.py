"""Compose file, .env.example and Dockerfile agree with the code. Only `docker compose config` needs Docker."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from savo_contracts.topics import SERVICES
from savo_runtime.settings import RuntimeSettings, installed_settings, known_variables
from tests.parts import kafka, postgres, s3
from tests.parts.containers import why_no_compose

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
ALL: dict[str, dict[str, Any]] = COMPOSE["services"]
EXAMPLE = (ROOT / ".env.example").read_text(encoding="utf-8")
DOCKERFILE = (ROOT / "deploy/docker/Dockerfile").read_text(encoding="utf-8")

SET_BY_IMAGE = {"PORT", "SAVO_HTTP_HOST", "SAVO_HTTP_PORT", "SAVO_DATA_DIR", "SAVO_LOG_FORMAT"}
NOT_IN_CONTAINERS = {"SAVO_EMBEDDED_BROKER", "SAVO_OPTIONAL_SERVICES", "SAVO_SANDBOX"} | {
    f"SAVO_KAFKA_SSL_{part}_FILE" for part in ("CA", "CERT", "KEY")
}
"""Settings without a use in compose: embedded broker, sandboxes, and files that are not mounted."""

COMMAND_SETTINGS = {"SAVO_URL", "SAVO_API_KEY"}


def first_names(settings: type[RuntimeSettings]) -> set[str]:
    """One variable per setting, without the second names that SDKs know."""
    aliases = {"GOOGLE_GEMINI_BASE_URL", "OPENAI_BASE_URL"}
    return known_variables([settings]) - aliases


def example_variables() -> set[str]:
    return set(re.findall(r"^(?:# )?([A-Z][A-Z0-9_]*)=", EXAMPLE, re.MULTILINE))


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_gets_exactly_its_settings(service: str) -> None:
    variables = set(ALL[service]["environment"])
    assert variables == first_names(installed_settings()[service]) - SET_BY_IMAGE - NOT_IN_CONTAINERS


def test_one_off_containers_get_only_known_settings() -> None:
    known = known_variables([RuntimeSettings, *installed_settings().values()]) | COMMAND_SETTINGS | {"SAVO_SERVICES"}
    for name in ("prepare", "savo"):
        assert set(ALL[name]["environment"]) <= known, name
    assert set(ALL["digest"]["environment"]) == {
        *COMMAND_SETTINGS,
        "SMTP_URL",
        "SAVO_DIGEST_TO",
        "SAVO_DIGEST_FROM",
        "SAVO_PUBLIC_URL",
    }


def test_the_doctor_gets_the_address_of_each_service() -> None:
    addresses = dict(entry.split("=") for entry in ALL["savo"]["environment"]["SAVO_SERVICES"].split(","))
    assert addresses == {service: f"http://{service}:8000" for service in SERVICES}


def test_every_variable_of_the_compose_file_is_a_setting_or_in_the_example() -> None:
    read = set(re.findall(r"\$\{([A-Z][A-Z0-9_]*)", TEXT))
    assert read - known_variables(installed_settings().values()) - example_variables() == set()


def test_every_variable_of_the_example_is_used() -> None:
    passed = {name for service in ALL.values() for name in service.get("environment", {})}
    read = set(re.findall(r"\$\{([A-Z][A-Z0-9_]*)", TEXT)) | passed | {"COMPOSE_PROFILES"}
    assert example_variables() - read == set()


@pytest.mark.parametrize("service", [*SERVICES, "prepare", "savo", "standin", "digest"])
def test_containers_of_the_product_are_read_only_and_unprivileged(service: str) -> None:
    container = ALL[service]
    assert container["read_only"]
    assert container["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in container["security_opt"]
    assert container["image"].startswith("savo-")


def test_each_container_has_limits_of_memory_and_logs_and_a_restart_policy() -> None:
    assert {name for name, service in ALL.items() if not {"mem_limit", "logging", "restart"} <= service.keys()} == set()


def test_ports_are_open_only_on_this_machine() -> None:
    ports = [port for service in ALL.values() for port in service.get("ports", [])]
    assert ports
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


def test_third_party_images_are_pinned_and_equal_those_of_the_tests() -> None:
    third_party = {service["image"] for service in ALL.values() if not service["image"].startswith("savo-")}
    assert [image for image in third_party if not re.search(r":v?\d+\.\d+\.?\d*(-[a-z]+)?$", image)] == []
    assert {kafka.IMAGE, postgres.IMAGE, s3.IMAGE} <= third_party
    assert re.search(r"^ARG PYTHON=3\.11\.\d+-slim-bookworm$", DOCKERFILE, re.MULTILINE)
    (postgres_release,) = re.findall(r"^ARG POSTGRES=(\S+)$", DOCKERFILE, re.MULTILINE)
    assert f"postgres:{postgres_release}" == postgres.IMAGE, "backup programs must have the server's release"
    assert set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)) <= {
        "python:${PYTHON}",
        "postgres:${POSTGRES}",
        "uv",
        "dependencies",
        "base",
    }


def test_only_vision_is_built_with_optional_parts_and_every_part_exists() -> None:
    arguments = {name: service["build"]["args"] for name, service in ALL.items() if "build" in service}
    assert [name for name, given in arguments.items() if "EXTRAS" in given] == ["vision"]
    parts = set(re.findall(r"^# EXTRAS=(\S+)$", EXAMPLE, re.MULTILINE))
    packages = tomllib.loads((ROOT / "services/vision/pyproject.toml").read_text(encoding="utf-8"))
    assert parts == set(packages["project"]["optional-dependencies"])


def test_mounted_paths_of_the_repository_exist() -> None:
    mounted = [
        volume.split(":")[0]
        for service in ALL.values()
        for volume in service.get("volumes", [])
        if volume.startswith("./")
    ]
    assert mounted
    assert [path for path in mounted if not (ROOT / path).exists()] == []


def test_persistent_data_is_in_volumes() -> None:
    persistent = {
        "kafka": "/var/lib/kafka/data",
        "postgres": "/var/lib/postgresql/data",
        "s3": "/data",
        "trainer": "/var/lib/savo",
    }
    for name, path in persistent.items():
        (volume,) = ALL[name]["volumes"]
        assert volume == f"{name}:{path}"
    assert persistent.keys() <= COMPOSE["volumes"].keys()


def test_each_service_has_its_own_database_role() -> None:
    for service in SERVICES:
        url = ALL[service]["environment"]["SAVO_DATABASE_URL"]
        assert url.startswith(f"postgres://savo_{service}:${{{service.upper()}_DATABASE_PASSWORD:?")
    roles = (ROOT / "deploy/docker/roles.sql").read_text(encoding="utf-8")
    assert re.findall(r"^\\getenv (\w+) ", roles, re.MULTILINE) == list(SERVICES)


def test_new_env_writes_different_secrets_and_overwrites_no_file(tmp_path: Path) -> None:
    target = tmp_path / "env"
    command = [str(ROOT / "deploy/docker/new-env"), str(target)]
    subprocess.run(command, check=True, capture_output=True)
    text = target.read_text()
    secrets = re.findall(r"^\w+=([0-9a-f]{48})$", text, re.MULTILINE)
    assert len(secrets) == len(set(secrets)) == len(re.findall("=fresh$", EXAMPLE, re.MULTILINE))
    assert "=fresh" not in text
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    again = subprocess.run(command, check=False, capture_output=True, text=True)
    assert again.returncode == 1
    assert "nothing was changed" in again.stderr
    assert target.read_text() == text


def test_docker_compose_accepts_the_file() -> None:
    if reason := why_no_compose():
        pytest.skip(reason)
    command = ["docker", "compose", "--env-file", ".env.example", "--profile", "*", "config", "--format", "json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    read = json.loads(done.stdout)["services"]
    assert set(SERVICES) < read.keys()
    assert read["vision"]["environment"]["SAVO_GOOGLE_BASE_URL"] == "http://standin:8000"
    assert read["vision"]["environment"].get("GOOGLE_API_KEY") is None


class TestWeekly:
    """deploy/docker/weekly, the scheduler of the digest."""

    def test_a_missed_week_is_sent_once(self, tmp_path: Path) -> None:
        stamp, sent = tmp_path / "stamp", tmp_path / "sent"
        stamp.write_text("2026-W01\n")
        with weekly(stamp, f"echo x >> {sent}"):
            eventually(lambda: stamp.read_text() not in ("", "2026-W01\n"))
        sent_once = sent.read_text()
        with weekly(stamp, f"echo x >> {sent}") as process, pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.3)
        assert sent.read_text() == sent_once == "x\n"

    def test_a_failed_command_is_retried(self, tmp_path: Path) -> None:
        stamp, tries = tmp_path / "stamp", tmp_path / "tries"
        stamp.write_text("2026-W01\n")
        with weekly(stamp, f"echo x >> {tries}; [ $(wc -l < {tries}) -gt 1 ]"):
            eventually(lambda: stamp.read_text() not in ("", "2026-W01\n"))
        assert tries.read_text() == "x\nx\n"
        assert "failed with 1; again in 0.05 s" in stamp.with_suffix(".log").read_text()

    def test_the_week_of_the_first_start_counts_as_done(self, tmp_path: Path) -> None:
        stamp = tmp_path / "stamp"
        with weekly(stamp, f"touch {tmp_path}/sent") as process:
            eventually(lambda: stamp.exists() and stamp.read_text() != "")
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.3)
        assert not (tmp_path / "sent").exists()


@contextmanager
def weekly(stamp: Path, command: str) -> Iterator[subprocess.Popen[bytes]]:
    arguments = [str(ROOT / "deploy/docker/weekly"), str(stamp), "sh", "-c", command]
    with stamp.with_suffix(".log").open("w") as output:
        process = subprocess.Popen(arguments, env={**os.environ, "EVERY": "0.05"}, stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
