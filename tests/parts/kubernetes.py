"""Kubernetes tools for tests, without a cluster: kustomize and the published schemas of operators."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.parts.parts_table import record

PART = "Kubernetes"
KUSTOMIZE = "sigs.k8s.io/kustomize/kustomize/v5@v5.8.1"
KEDA = "github.com/kedacore/keda/v2@v2.21.0"
KUBERAY = "github.com/ray-project/kuberay/ray-operator@v1.4.2"
PROMETHEUS_OPERATOR = "github.com/prometheus-operator/prometheus-operator@v0.85.0"

CUSTOM_RESOURCES = {
    ("keda.sh/v1alpha1", "ScaledObject"): (KEDA, "config/crd/bases/keda.sh_scaledobjects.yaml"),
    ("keda.sh/v1alpha1", "TriggerAuthentication"): (KEDA, "config/crd/bases/keda.sh_triggerauthentications.yaml"),
    ("ray.io/v1", "RayCluster"): (KUBERAY, "config/crd/bases/ray.io_rayclusters.yaml"),
    ("monitoring.coreos.com/v1", "PodMonitor"): (
        PROMETHEUS_OPERATOR,
        "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
    ),
}

GO_SECONDS = 240

MANIFESTS = Path(__file__).parents[2] / "deploy" / "kubernetes"

Manifest = dict[str, Any]
Render = Callable[[str], list[Manifest]]


@pytest.fixture(scope="session")
def render() -> Render:
    """Renders an overlay by name: its manifests, as `kubectl apply -k` would send them."""
    command = _kustomize()

    @cache
    def rendered(overlay: str) -> str:
        done = subprocess.run(
            [*command, str(MANIFESTS / "overlays" / overlay)], capture_output=True, text=True, timeout=200, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return lambda overlay: list(yaml.load_all(rendered(overlay), yaml.CSafeLoader))


@pytest.fixture(scope="session")
def custom_schema() -> Callable[[str, str], Manifest]:
    """The schema of a custom resource by apiVersion and kind.

    Additional fields are forbidden, since the operators would ignore a misspelt field silently.
    """

    @cache
    def schema(api_version: str, kind: str) -> Manifest:
        module, path = CUSTOM_RESOURCES[api_version, kind]
        definition = yaml.load((_module(module) / path).read_text(), yaml.CSafeLoader)
        version = api_version.partition("/")[2]
        found: Manifest = next(
            entry["schema"]["openAPIV3Schema"] for entry in definition["spec"]["versions"] if entry["name"] == version
        )
        _forbid_additional_fields(found)
        return found

    return schema


@pytest.fixture(scope="session")
def keda_kafka_parameters() -> set[str]:
    """Names in a trigger's `metadata` that KEDA's Kafka scaler reads, from its source code.

    No schema lists them, and KEDA ignores unknown names.
    """
    source = (_module(KEDA) / "pkg" / "scalers" / "kafka_scaler.go").read_text()
    found = re.findall(r'keda:"name=(\w+),\s*order=([\w;]+)', source)
    assert found, "no parameter found: KEDA's source declares those of its Kafka scaler differently now"
    plain = {name for name, order in found if "triggerMetadata" in order}
    return plain | {f"{name}FromEnv" for name, order in found if "resolvedEnv" in order}


def _forbid_additional_fields(schema: Any) -> None:
    if isinstance(schema, list):
        for item in schema:
            _forbid_additional_fields(item)
    elif isinstance(schema, dict):
        if isinstance(schema.get("properties"), dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
            schema.setdefault("additionalProperties", False)
        for value in schema.values():
            _forbid_additional_fields(value)


def _kustomize() -> list[str]:
    """The command: kustomize or kubectl from PATH, or kustomize from the cache, built once in about a minute."""
    if shutil.which("kustomize"):
        return _recorded(["kustomize", "build"], _output_of("kustomize", "version"))
    if (inside := _inside_kubectl()) and inside.startswith("v5"):
        return _recorded(["kubectl", "kustomize"], f"{inside} inside kubectl")
    binary = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "savo" / "bin" / "kustomize"
    if not binary.exists():
        if not shutil.which("go"):
            _skip("neither kustomize nor kubectl is installed, and Go is not installed to build kustomize")
        built = _go("install", KUSTOMIZE, GOBIN=str(binary.parent))
        if built.returncode:
            _skip(f"kustomize could not be built: {_last_line(built)}")
    return _recorded([str(binary), "build"], _output_of(str(binary), "version"))


def _recorded(command: list[str], version: str) -> list[str]:
    record(PART, "stood in", f"no cluster: rendered by kustomize {version}, checked by schemas")
    return command


def _inside_kubectl() -> str | None:
    if not shutil.which("kubectl"):
        return None
    try:
        return str(json.loads(_output_of("kubectl", "version", "--client", "-o", "json")).get("kustomizeVersion"))
    except ValueError:
        return None


@cache
def _module(module: str) -> Path:
    """Folder of a Go module in Go's cache, downloaded once and verified by Go's checksum database."""
    if not shutil.which("go"):
        _skip("Go is not installed to fetch the schemas of KEDA, KubeRay and the Prometheus operator")
    fetched = _go("mod", "download", "-json", module)
    if fetched.returncode:
        _skip(
            f"{module} could not be fetched: {json.loads(fetched.stdout or '{}').get('Error') or _last_line(fetched)}"
        )
    record(PART, "stood in", f"schemas of {module.rpartition('@')[0].split('/')[1]} {module.rpartition('@')[2]}")
    return Path(json.loads(fetched.stdout)["Dir"])


def _go(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            ["go", *arguments],
            cwd="/",
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=GO_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(arguments, 1, "", f"still running after {GO_SECONDS} s")


def _output_of(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False).stdout.strip()


def _last_line(done: subprocess.CompletedProcess[str]) -> str:
    return (done.stderr.strip().splitlines() or ["no output on stderr"])[-1]


def _skip(reason: str) -> None:
    record(PART, "skipped", reason)
    pytest.skip(reason)
