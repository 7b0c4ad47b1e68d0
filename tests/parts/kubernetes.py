"""kustomize, which renders deploy/kubernetes, and the schemas that KEDA, KubeRay and the Prometheus operator publish. No cluster."""

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
    """An overlay's name → its manifests, as `kubectl apply -k` would send them."""
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
    """apiVersion and kind of a custom resource → its schema, closed: a field that it does not name is a mistake. The operators would drop it silently."""

    @cache
    def schema(api_version: str, kind: str) -> Manifest:
        module, path = CUSTOM_RESOURCES[api_version, kind]
        definition = yaml.load((_module(module) / path).read_text(), yaml.CSafeLoader)
        version = api_version.partition("/")[2]
        found: Manifest = next(
            each["schema"]["openAPIV3Schema"] for each in definition["spec"]["versions"] if each["name"] == version
        )
        _close(found)
        return found

    return schema


@pytest.fixture(scope="session")
def keda_kafka_parameters() -> set[str]:
    """What KEDA's Kafka scaler reads of a trigger's `metadata`: no schema knows these names, and KEDA passes over those that it does not know."""
    source = (_module(KEDA) / "pkg" / "scalers" / "kafka_scaler.go").read_text()
    found = re.findall(r'keda:"name=(\w+),\s*order=([\w;]+)', source)
    assert found, "KEDA declares the parameters of its Kafka scaler in another way now"
    plain = {name for name, order in found if "triggerMetadata" in order}
    return plain | {f"{name}FromEnv" for name, order in found if "resolvedEnv" in order}


def _close(schema: Any) -> None:
    if isinstance(schema, list):
        for each in schema:
            _close(each)
    elif isinstance(schema, dict):
        if isinstance(schema.get("properties"), dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
            schema.setdefault("additionalProperties", False)
        for each in schema.values():
            _close(each)


def _kustomize() -> list[str]:
    """From PATH, alone or inside kubectl; from the cache; or built once (about a minute)."""
    if shutil.which("kustomize"):
        return _recorded(["kustomize", "build"], _said("kustomize", "version"))
    if (inside := _inside_kubectl()) and inside.startswith("v5"):
        return _recorded(["kubectl", "kustomize"], f"{inside} inside kubectl")
    binary = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "savo" / "bin" / "kustomize"
    if not binary.exists():
        if not shutil.which("go"):
            _skip("there is neither kustomize nor kubectl, and no go to build kustomize")
        built = _go("install", KUSTOMIZE, GOBIN=str(binary.parent))
        if built.returncode:
            _skip(f"kustomize could not be built: {_last_line(built)}")
    return _recorded([str(binary), "build"], _said(str(binary), "version"))


def _recorded(command: list[str], version: str) -> list[str]:
    record(PART, "stood in", f"no cluster: rendered by kustomize {version}, checked by schemas")
    return command


def _inside_kubectl() -> str | None:
    if not shutil.which("kubectl"):
        return None
    try:
        return str(json.loads(_said("kubectl", "version", "--client", "-o", "json")).get("kustomizeVersion"))
    except ValueError:
        return None


@cache
def _module(module: str) -> Path:
    """A Go module's folder in Go's own cache; fetched once, checked against Go's checksum database."""
    if not shutil.which("go"):
        _skip("there is no go to fetch the schemas of KEDA, KubeRay and the Prometheus operator")
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
        return subprocess.CompletedProcess(arguments, 1, "", f"no end after {GO_SECONDS} s")


def _said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False).stdout.strip()


def _last_line(done: subprocess.CompletedProcess[str]) -> str:
    return (done.stderr.strip().splitlines() or ["it says nothing"])[-1]


def _skip(reason: str) -> None:
    record(PART, "skipped", reason)
    pytest.skip(reason)
