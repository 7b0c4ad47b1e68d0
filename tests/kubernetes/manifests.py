"""Rendered manifests, looked at: pods and their containers, what they are given, settings, what scales what."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from savo_contracts.topics import SERVICES
from tests.parts.kubernetes import MANIFESTS, Manifest

SECRETS = "savo-secrets"
PROVIDER_KEYS = "savo-provider-keys"
"""Keys of providers that the manifests do not name, given whole."""


@dataclass(frozen=True, eq=False)
class Pod:
    """A pod's template, wherever it stands."""

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
        return (
            self.name if self.name in SERVICES and self.labels.get("app.kubernetes.io/component") == "service" else None
        )


def name_of(manifest: Manifest) -> str:
    return f"{manifest['kind']}/{manifest['metadata']['name']}"


def of_kind(manifests: list[Manifest], kind: str) -> list[Manifest]:
    return [each for each in manifests if each["kind"] == kind]


def named(manifests: list[Manifest], name: str) -> Manifest:
    """`Deployment/savo-vision`. Raises `KeyError`."""
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
    """The services' one ConfigMap; its name ends in a hash of what is in it."""
    (found,) = [
        each for each in of_kind(manifests, "ConfigMap") if each["metadata"]["name"].startswith("savo-settings")
    ]
    data: dict[str, str] = found["data"]
    return data


def secrets_of(container: Manifest) -> dict[str, str]:
    """Variable → key in the Secret."""
    given = {
        each["name"]: each["valueFrom"]["secretKeyRef"]
        for each in container.get("env", [])
        if "secretKeyRef" in each.get("valueFrom", {})
    }
    assert all(reference["name"] == SECRETS for reference in given.values())
    return {variable: reference["key"] for variable, reference in given.items()}


def secrets_given_whole(container: Manifest) -> set[str]:
    """Names of the Secrets all of whose keys are variables of the container."""
    return {each["secretRef"]["name"] for each in container.get("envFrom", []) if "secretRef" in each}


def example_secrets() -> dict[str, str]:
    """Those of secrets.env.example, the commented ones too."""
    text = (MANIFESTS / "secrets.env.example").read_text()
    return dict(re.findall(r"^(?:# )?([A-Z0-9_]+)=(.*)$", text, re.MULTILINE))


def selects(selector: Manifest, labels: dict[str, str]) -> bool:
    """A label selector, as Kubernetes reads it; of expressions `In` alone, which is all that we use."""
    equal = all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())
    return equal and all(
        labels.get(each["key"]) in each["values"]
        for each in selector.get("matchExpressions", [])
        if each["operator"] == "In"
    )
