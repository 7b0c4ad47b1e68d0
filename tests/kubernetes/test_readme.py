"""Tests of the commands in deploy/kubernetes/README.md: known options, existing resources and files.

No cluster is needed.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys

import pytest
import yaml

from tests.kubernetes.manifests import SECRETS, example_secrets, of_kind, pods, secrets_of
from tests.kubernetes.rules import ROOT
from tests.parts.kubernetes import MANIFESTS, Render

GUIDE = (MANIFESTS / "README.md").read_text()
needs_kubectl = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")


def lines() -> list[str]:
    """Each command of the shell blocks without its comment; the parts of a pipe are separate commands."""
    commands = [
        line.split("    #")[0].strip()
        for block in re.findall(r"```sh\n(.*?)```", GUIDE, re.DOTALL)
        for line in block.splitlines()
        if line.strip()
    ]
    return [part.strip() for line in commands for part in line.split(" | ")]


def kubectl_lines() -> list[list[str]]:
    return [shlex.split(line) for line in lines() if line.startswith("kubectl")]


def subcommand_and_options(command: list[str]) -> tuple[list[str], list[str]]:
    """The subcommand and its options. Arguments after -- belong to another program."""
    own = command[1 : command.index("--")] if "--" in command else command[1:]
    own = own[2:] if own[0] == "-n" else own
    depth = 3 if own[:2] == ["create", "secret"] else 2 if own[0] == "rollout" else 1
    return own[:depth], [argument.partition("=")[0] for argument in own[depth:] if argument.startswith("-")]


@needs_kubectl
@pytest.mark.parametrize("command", kubectl_lines(), ids=" ".join)
def test_kubectl_knows_the_subcommand_and_its_options(command: list[str]) -> None:
    subcommand, options = subcommand_and_options(command)
    result = subprocess.run(
        ["kubectl", *subcommand, "--help"], capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 0, result.stderr
    assert [option for option in options if not re.search(rf"(^|\s){re.escape(option)}[=, ]", result.stdout)] == []


@pytest.mark.kubernetes
def test_the_resources_in_the_commands_are_deployed(render: Render) -> None:
    deployed = {f"{each['kind'].lower()}/{each['metadata']['name']}" for each in render("production")}
    components = {
        each["metadata"].get("labels", {}).get("app.kubernetes.io/component") for each in render("production")
    }
    names = set(re.findall(r"\b(?:deployment|service|job)/[\w-]+", GUIDE))
    assert names
    assert names <= deployed
    assert set(re.findall(r"component=(\w+)", GUIDE)) <= components


@needs_kubectl
def test_the_secret_can_be_created_from_the_example() -> None:
    (command,) = [shlex.split(line) for line in lines() if "create secret" in line]
    example = [argument.replace("secrets.env", "secrets.env.example") for argument in command]
    created = subprocess.run(example, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert created.returncode == 0, created.stderr
    secret = yaml.safe_load(created.stdout)
    assert secret["metadata"] == {"name": SECRETS, "namespace": "savo"} | {
        key: value for key, value in secret["metadata"].items() if value is None
    }
    assert secret["data"].keys() <= example_secrets().keys()


@pytest.mark.kubernetes
def test_every_required_secret_is_in_the_example(render: Render) -> None:
    given = {
        line.partition("=")[0]
        for line in (MANIFESTS / "secrets.env.example").read_text().splitlines()
        if line and not line.startswith("#")
    }
    for container in [container for pod in pods(render("production")) for container in pod.containers]:
        optional = {
            each["name"]
            for each in container["env"]
            if each.get("valueFrom", {}).get("secretKeyRef", {}).get("optional")
        }
        assert {key for variable, key in secrets_of(container).items() if variable not in optional} <= given


@pytest.mark.parametrize("arguments", [line.partition("savo_cli ")[2] for line in lines() if "savo_cli" in line])
def test_the_savo_command_accepts_the_options_shown(arguments: str) -> None:
    given = shlex.split(arguments)
    names = [argument for argument in given[:2] if not argument.startswith("-")]
    result = subprocess.run(
        [sys.executable, "-m", "savo_cli", *names, "--help"],
        capture_output=True,
        text=True,
        check=False,
        env={"COLUMNS": "200"},
    )
    assert result.returncode == 0, result.stderr
    assert [argument for argument in given if argument.startswith("--") and argument not in result.stdout] == []


def test_files_and_link_targets_exist() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)", GUIDE) if not link.startswith("http")]
    files = [text.partition("=")[2] or text for line in lines() for text in line.split() if "deploy/" in text]
    assert links
    assert files
    assert [link for link in links if not (MANIFESTS / link).exists()] == []
    assert [file for file in files if not (ROOT / file).exists() and not file.endswith("secrets.env")] == []


@pytest.mark.kubernetes
def test_the_number_of_connections_follows_from_the_manifests(render: Render) -> None:
    manifests = render("production")
    scaled = {
        each["spec"]["scaleTargetRef"]["name"]: each["spec"]["maxReplicaCount"]
        for each in of_kind(manifests, "ScaledObject")
    }
    services = [
        each
        for each in of_kind(manifests, "Deployment")
        if each["metadata"]["labels"].get("app.kubernetes.io/component") == "service"
    ]
    replicas = sum(scaled.get(each["metadata"]["name"]) or each["spec"]["replicas"] for each in services)
    assert f"at its largest has {replicas} replicas: allow {15 * replicas}" in GUIDE
