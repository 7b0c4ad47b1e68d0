"""Tests of the Blueprints in deploy/render: known fields, known settings, existing commands.

Render publishes a JSON schema without a licence to copy it, so the fields below come from the reference
(render.com/docs/blueprint-spec). `render blueprints validate FILE` validates at Render and needs an account.
"""

from __future__ import annotations

import re
import shlex
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
import yaml

from savo_cli.gateway import Gateway
from savo_cli.weekly.settings import DigestSettings
from savo_contracts.topics import SERVICES
from savo_runtime.settings import installed_settings, known_variables

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "render"
BLUEPRINTS = {path.name: yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.yaml"))}
FULL, SMALL = BLUEPRINTS["render.yaml"], BLUEPRINTS["small.yaml"]

ROOT_KEYS = {"services", "databases", "envVarGroups", "projects", "ungrouped", "previews", "version"}
SERVICE_KEYS = set(
    "type name runtime repo branch rootDir plan region numInstances scaling buildCommand startCommand preDeployCommand"
    " dockerCommand dockerContext dockerfilePath registryCredential image healthCheckPath maxShutdownDelaySeconds"
    " envVars disk domains autoDeployTrigger autoDeploy buildFilter initialDeployHook previews ipAllowList"
    " renderSubdomainPolicy schedule".split()
)
ONLY_WEB = {"healthCheckPath", "domains", "renderSubdomainPolicy", "ipAllowList"}
DATABASE_KEYS = set(
    "name plan previewPlan diskSizeGB previewDiskSizeGB storageAutoscalingEnabled postgresMajorVersion databaseName"
    " user region ipAllowList readReplicas highAvailability".split()
)
PLANS = {"free", "starter", "standard", "pro", "pro plus", "pro max", "pro ultra"}
DATABASE_PLAN = re.compile(r"free|basic-(256mb|1gb|4gb)|(pro|accelerated)-\d+gb")
SOURCES = {"value", "generateValue", "sync", "fromService", "fromDatabase", "fromGroup"}
RENDER_VARIABLES = {"PYTHON_VERSION"}
COMMAND_VARIABLES = {"SAVO_URL", "SAVO_API_KEY"}
"""Options of `savo` commands (savo_cli.options)."""
SECRET = re.compile(r"KEY|SECRET|PASSWORD|DATABASE_URL|ACCOUNT_ID|USERNAME")

EACH_BLUEPRINT = pytest.mark.parametrize("blueprint", BLUEPRINTS.values(), ids=BLUEPRINTS)


def services(blueprint: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {service["name"]: service for service in blueprint["services"]}


def own_variables(service: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {variable["key"]: variable for variable in service["envVars"] if "key" in variable}


def all_variables(blueprint: dict[str, Any]) -> list[dict[str, Any]]:
    groups = [*blueprint.get("envVarGroups", []), *blueprint["services"]]
    return [variable for group in groups for variable in group["envVars"] if "key" in variable]


def environment(blueprint: dict[str, Any], name: str) -> dict[str, str]:
    """The variables of the service's process, with a placeholder for each that a person or Render sets."""
    placeholders = {
        "SAVO_KAFKA_BOOTSTRAP_SERVERS": "kafka.example.com:9092",
        "SAVO_DATABASE_URL": "postgresql://savo:placeholder@db/savo",
        "SAVO_ROLLOUT_URL": "x:8001",
    }
    groups = {group["name"]: group["envVars"] for group in blueprint.get("envVarGroups", [])}
    found: dict[str, str] = {}
    for variable in services(blueprint)[name]["envVars"]:
        for each in groups[variable["fromGroup"]] if "fromGroup" in variable else [variable]:
            found[each["key"]] = each.get("value", placeholders.get(each["key"], "placeholder"))
    return found


@EACH_BLUEPRINT
def test_a_blueprint_has_only_fields_that_render_knows(blueprint: dict[str, Any]) -> None:
    assert blueprint.keys() <= ROOT_KEYS
    for service in blueprint["services"]:
        assert service.keys() <= SERVICE_KEYS
        assert service["type"] in {"web", "pserv", "worker", "cron"}
        assert service["type"] == "web" or not service.keys() & ONLY_WEB
        assert {"name", "runtime", "buildCommand", "startCommand"} <= service.keys()
        assert service["plan"] in PLANS
        assert ("schedule" in service) == (service["type"] == "cron")
        assert 1 <= service.get("maxShutdownDelaySeconds", 30) <= 300
        if disk := service.get("disk"):
            assert disk.keys() == {"name", "mountPath", "sizeGB"}
            assert service.get("numInstances", 1) == 1, "a service with a disk has one instance on Render"
    for database in blueprint.get("databases", []):
        assert database.keys() <= DATABASE_KEYS
        assert DATABASE_PLAN.fullmatch(database["plan"])
        assert isinstance(database["postgresMajorVersion"], str)


@EACH_BLUEPRINT
def test_every_variable_is_a_setting_of_the_product_and_has_one_source(blueprint: dict[str, Any]) -> None:
    known = known_variables([*installed_settings().values(), DigestSettings]) | RENDER_VARIABLES | COMMAND_VARIABLES
    for variable in all_variables(blueprint):
        assert variable["key"] in known
        assert len(variable.keys() & SOURCES) == 1
        assert isinstance(variable.get("value", ""), str), f"{variable['key']} must be a string for Render"
    for group in blueprint.get("envVarGroups", []):
        assert all("value" in variable for variable in group["envVars"]), (
            "Render ignores sync: false and references in a group"
        )


@EACH_BLUEPRINT
def test_a_blueprint_contains_no_secret(blueprint: dict[str, Any]) -> None:
    for variable in all_variables(blueprint):
        assert not (SECRET.search(variable["key"]) and "value" in variable), variable["key"]
        assert variable.get("sync", False) is False


@EACH_BLUEPRINT
def test_every_reference_has_its_target(blueprint: dict[str, Any]) -> None:
    groups = {group["name"] for group in blueprint.get("envVarGroups", [])}
    databases = {database["name"] for database in blueprint.get("databases", [])}
    for service in blueprint["services"]:
        assert {variable["fromGroup"] for variable in service["envVars"] if "fromGroup" in variable} <= groups
        for variable in own_variables(service).values():
            if source := variable.get("fromDatabase"):
                assert source["name"] in databases
                assert source["property"] == "connectionString"
            if source := variable.get("fromService"):
                other = services(blueprint)[source["name"]]
                assert other["type"] == source["type"]
                assert source.get("property") == "hostport" or "sync" in own_variables(other)[source["envVarKey"]]


@EACH_BLUEPRINT
def test_every_command_exists(blueprint: dict[str, Any]) -> None:
    for service in blueprint["services"]:
        script, *options = service["buildCommand"].split()
        assert (ROOT / script).is_file()
        assert set(options) <= {"--no-dev", "--extra", "yolo"}
        for command in [service["startCommand"], *service.get("preDeployCommand", "").split(" && ")]:
            assert_runs(shlex.split(command))


def assert_runs(command: list[str]) -> None:
    if not command:
        return
    installed = {entry.name for entry in entry_points(group="savo.services")}
    if command[0] == ".venv/bin/savo":
        from typer.testing import CliRunner

        from savo_cli.commands import app

        help_text = CliRunner().invoke(app, [command[1], "--help"], env={"COLUMNS": "200"}).stdout
        assert [option for option in command[2:] if option not in help_text] == []
        return
    assert command[:2] == [".venv/bin/python", "-m"]
    if command[2] == "savo_runtime":
        assert set(command[3:]) <= installed
    else:
        assert (ROOT / "libs/runtime" / f"{command[2].replace('.', '/')}.py").is_file()


def test_each_service_is_deployed_once_and_only_the_gateway_is_public() -> None:
    running = [service for service in FULL["services"] if service["type"] != "cron"]
    assert sorted(service["startCommand"].split()[-1] for service in running) == sorted(SERVICES)
    assert [service["name"] for service in FULL["services"] if service["type"] == "web"] == ["savo-gateway"]
    assert all(database["ipAllowList"] == [] for database in FULL["databases"])


def test_only_the_trainer_has_a_disk_and_torch() -> None:
    assert [service["name"] for service in FULL["services"] if "disk" in service] == ["savo-trainer"]
    assert [service["name"] for service in FULL["services"] if "yolo" in service["buildCommand"]] == ["savo-trainer"]
    trainer = services(FULL)["savo-trainer"]
    assert own_variables(trainer)["SAVO_DATA_DIR"]["value"].startswith(trainer["disk"]["mountPath"])


def test_the_digest_runs_once_a_week_with_its_mail_server_and_the_gateways_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    digest = services(FULL)["savo-digest"]
    assert re.fullmatch(r"\d+ \d+ \* \* [0-6]", digest["schedule"])
    assert own_variables(digest)["SAVO_URL"]["fromService"]["name"] == "savo-gateway"
    given = environment(FULL, "savo-digest") | {
        "SAVO_DIGEST_TO": "owner@example.com",
        "SAVO_PUBLIC_URL": "https://savo.example.com",
    }
    with_only(given, monkeypatch)
    assert DigestSettings().recipients == ["owner@example.com"]
    with Gateway("savo-gateway:10000") as gateway:
        assert gateway.url == "http://savo-gateway:10000", "Render's reference has no scheme"


@pytest.mark.parametrize("name", SERVICES)
def test_each_service_accepts_its_variables(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Checked by its settings class: production, an external Kafka with SASL_SSL, R2, PostgreSQL."""
    given = environment(FULL, f"savo-{name}")
    with_only(given, monkeypatch)
    settings = installed_settings()[name]()
    assert (settings.env, settings.kafka_security_protocol, settings.object_store) == ("production", "SASL_SSL", "s3")
    assert settings.s3_endpoint.endswith(".r2.cloudflarestorage.com")
    assert settings.database_url
    assert set(given) <= known_variables([installed_settings()[name]]) | RENDER_VARIABLES | set(shared_variables())


def shared_variables() -> list[str]:
    return [variable["key"] for variable in FULL["envVarGroups"][0]["envVars"]]


def test_the_small_plan_is_one_process_with_r2_and_a_small_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    (service,) = SMALL["services"]
    assert service["plan"] == "starter"
    assert "--one-process" in service["startCommand"]
    with_only(environment(SMALL, "savo"), monkeypatch)
    for name in set(SERVICES) - {"trainer"}:
        settings = installed_settings()[name]()
        assert settings.object_store == "s3"
        assert settings.storage_limit_gb == 0.4
        assert str(settings.data_dir).startswith(service["disk"]["mountPath"])


def with_only(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in known_variables(installed_settings().values()):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
