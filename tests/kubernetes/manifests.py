"""Queries on rendered Kubernetes manifests: pods, containers, settings, secrets, selectors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from savo_contracts.topics import SERVICES
from tests.parts.kubernetes import MANIFESTS, Manifest

SECRETS = "savo-secrets"
PROVIDER_KEYS = "savo-provider-keys"
"""Secret with the keys of providers, which a pod gets as a whole."""


@dataclass(frozen=True, eq=False)
class Pod:
    """A pod template of any kind of manifest. `owner`: kind and name of the manifest."""

    owner: str
    labels: dict[str, str]
    spec: Manifest

    @property
    def containers(self) -> list[Manifest]:
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]

    @property
    def name(self) -> str:
        return self.labels["app.kubernetes.io/name"]

    @property
    def service(self) -> str | None:
        """The service that this pod runs; None for Jobs and Ray."""
        is_service = self.labels.get("app.kubernetes.io/component") == "service"
        return self.name if self.name in SERVICES and is_service else None


def name_of(manifest: Manifest) -> str:
    return f"{manifest['kind']}/{manifest['metadata']['name']}"


def of_kind(manifests: list[Manifest], kind: str) -> list[Manifest]:
    return [each for each in manifests if each["kind"] == kind]


def named(manifests: list[Manifest], name: str) -> Manifest:
    """The manifest of a name such as `Deployment/savo-vision`. Raises `KeyError`."""
    for each in manifests:
        if name_of(each) == name:
            return each
    raise KeyError(name)


def pods(manifests: list[Manifest]) -> list[Pod]:
    return [
        Pod(name_of(manifest), template["metadata"]["labels"], template["spec"])
        for manifest in manifests
        for template in _templates(manifest.get("spec", {}))
    ]


def _templates(node: Any) -> Iterator[Manifest]:
    if isinstance(node, list):
        for each in node:
            yield from _templates(each)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key == "template" and "containers" in value.get("spec", {}):
                yield value
            else:
                yield from _templates(value)


def settings(manifests: list[Manifest]) -> dict[str, str]:
    """Data of the services' ConfigMap. Its name ends with a hash of its content."""
    config_maps = of_kind(manifests, "ConfigMap")
    (found,) = [each for each in config_maps if each["metadata"]["name"].startswith("savo-settings")]
    data: dict[str, str] = found["data"]
    return data


def secrets_of(container: Manifest) -> dict[str, str]:
    """Variables of the container → their keys in the Secret."""
    given = {
        each["name"]: each["valueFrom"]["secretKeyRef"]
        for each in container.get("env", [])
        if "secretKeyRef" in each.get("valueFrom", {})
    }
    assert all(reference["name"] == SECRETS for reference in given.values())
    return {variable: reference["key"] for variable, reference in given.items()}


def secrets_given_as_whole(container: Manifest) -> set[str]:
    """Names of the Secrets whose keys are all variables of the container."""
    return {each["secretRef"]["name"] for each in container.get("envFrom", []) if "secretRef" in each}


def example_secrets() -> dict[str, str]:
    """Keys and values of secrets.env.example, commented ones included."""
    text = (MANIFESTS / "secrets.env.example").read_text()
    return dict(re.findall(r"^(?:# )?([A-Z0-9_]+)=(.*)$", text, re.MULTILINE))


def selects(selector: Manifest, labels: dict[str, str]) -> bool:
    """Whether a label selector matches. Of the operators it supports `In`, the only one in our manifests."""
    equal = all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())
    return equal and all(
        labels.get(each["key"]) in each["values"]
        for each in selector.get("matchExpressions", [])
        if each["operator"] == "In"
    )
