"""Tests of the rendered manifests in deploy/kubernetes: Kubernetes' schemas, the operators' schemas, our rules.

No cluster is needed.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import cache
from typing import Any

import jsonschema
import kubernetes_validate
import pytest

from tests.kubernetes import rules
from tests.kubernetes.manifests import named, of_kind, pods, settings
from tests.parts.kubernetes import CUSTOM_RESOURCES, MANIFESTS, Manifest, Render

pytestmark = pytest.mark.kubernetes

OVERLAYS = sorted(path.name for path in (MANIFESTS / "overlays").iterdir())
OLDEST, NEWEST = "1.31", kubernetes_validate.latest_version()

Schemas = Callable[[str, str], Manifest]
Change = Callable[[list[Manifest]], object]


def check(manifest: Manifest, schema: Schemas) -> None:
    # `jsonschema.validate` would first validate the operators' schema itself, which takes seconds.
    jsonschema.Draft202012Validator(schema(manifest["apiVersion"], manifest["kind"])).validate(manifest)


def is_custom(manifest: Manifest) -> bool:
    return (manifest["apiVersion"], manifest["kind"]) in CUSTOM_RESOURCES


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_kubernetes_accepts_every_manifest(render: Render, version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Without the cache it reads a megabyte of definitions for each manifest.
    monkeypatch.setattr(kubernetes_validate.utils, "schema_contents", cache(kubernetes_validate.utils.schema_contents))
    distinct: list[Manifest] = []
    for manifest in [each for overlay in OVERLAYS for each in render(overlay) if not is_custom(each)]:
        distinct += [] if manifest in distinct else [manifest]
    for manifest in distinct:
        kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("overlay", [overlay for overlay in OVERLAYS if overlay != "small"])
def test_the_operators_schemas_accept_every_custom_resource(
    render: Render, custom_schema: Schemas, overlay: str
) -> None:
    custom = [each for each in render(overlay) if is_custom(each)]
    assert {each["kind"] for each in custom} >= {"ScaledObject", "TriggerAuthentication", "PodMonitor"}
    for manifest in custom:
        check(manifest, custom_schema)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("ScaledObject/savo-vision", lambda spec: spec.update(maxReplicas=3)),
        ("ScaledObject/savo-vision", lambda spec: spec.update(maxReplicaCount="many")),
        ("RayCluster/savo-ray", lambda spec: spec["workerGroupSpecs"][0].update(maxWorkers=3)),
        ("RayCluster/savo-ray", lambda spec: spec["headGroupSpec"]["template"]["spec"]["containers"][0].pop("name")),
        ("PodMonitor/savo", lambda spec: spec["podMetricsEndpoints"][0].update(every="15s")),
    ],
)
def test_a_mistake_in_a_custom_resource_is_caught(
    render: Render, custom_schema: Schemas, name: str, change: Callable[[Any], object]
) -> None:
    manifest = deepcopy(named(render("production-ray"), name))
    change(manifest["spec"])
    with pytest.raises(jsonschema.ValidationError):
        check(manifest, custom_schema)


def test_a_mistake_in_a_manifest_is_caught(render: Render) -> None:
    manifest = deepcopy(named(render("small"), "Deployment/savo-vision"))
    manifest["spec"]["template"]["spec"]["containers"][0]["readOnlyRootFilesystem"] = True
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(manifest, OLDEST, strict=True)


def test_keda_knows_every_parameter_of_the_kafka_triggers(render: Render, keda_kafka_parameters: set[str]) -> None:
    triggers = [
        trigger
        for scaled in of_kind(render("production"), "ScaledObject")
        for trigger in scaled["spec"]["triggers"]
        if trigger["type"] == "kafka"
    ]
    assert triggers
    assert {name for trigger in triggers for name in trigger["metadata"]} <= keda_kafka_parameters


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("rule", rules.RULES, ids=lambda rule: rule.__name__)
def test_every_overlay_obeys_the_rules(render: Render, rule: rules.Rule, overlay: str) -> None:
    assert list(rule(render(overlay))) == []


def in_pod(owner: str, change: Callable[[Manifest], object]) -> Change:
    return lambda manifests: change(next(pod for pod in pods(manifests) if pod.owner == owner).spec)


def in_container(owner: str, change: Callable[[Manifest], object]) -> Change:
    return in_pod(owner, lambda spec: change(spec["containers"][0]))


def in_spec(name: str, change: Callable[[Manifest], object]) -> Change:
    return lambda manifests: change(named(manifests, name)["spec"])


def in_settings(**values: str) -> Change:
    return lambda manifests: settings(manifests).update(values)


def database(container: Manifest) -> Manifest:
    found: Manifest = next(
        each["valueFrom"]["secretKeyRef"] for each in container["env"] if each["name"] == "SAVO_DATABASE_URL"
    )
    return found


def without(name: str) -> Change:
    return lambda manifests: manifests.remove(named(manifests, name))


VISION, GATEWAY, DIGEST = "Deployment/savo-vision", "Deployment/savo-gateway", "CronJob/savo-digest"
ALLOWS_ALL = {"from": [{"podSelector": {}}], "ports": [{"port": "http"}]}
A_SECRET = {"name": "GOOGLE_API_KEY", "valueFrom": {"secretKeyRef": {"name": "savo-secrets", "key": "GOOGLE_API_KEY"}}}
PROVIDERS_KEYS = {"secretRef": {"name": "savo-provider-keys", "optional": True}}

PLANTED: list[tuple[rules.Rule, str, Change]] = [
    (
        rules.least_privilege,
        "may run as root",
        in_pod(VISION, lambda spec: spec["securityContext"].pop("runAsNonRoot")),
    ),
    (
        rules.least_privilege,
        "may run as root",
        in_pod(DIGEST, lambda spec: spec["securityContext"].update(runAsUser=0)),
    ),
    (
        rules.least_privilege,
        "seccomp",
        in_pod("RayCluster/savo-ray", lambda spec: spec["securityContext"].pop("seccompProfile")),
    ),
    (rules.least_privilege, "token", in_pod("Job/savo-topics", lambda spec: spec.pop("automountServiceAccountToken"))),
    (
        rules.least_privilege,
        "has access to its node",
        in_pod(VISION, lambda spec: spec["volumes"].append({"name": "host", "hostPath": {"path": "/"}})),
    ),
    (
        rules.least_privilege,
        "write to its root",
        in_container(GATEWAY, lambda container: container["securityContext"].update(readOnlyRootFilesystem=False)),
    ),
    (
        rules.least_privilege,
        "gain privileges",
        in_container("Job/savo-vision-tables", lambda container: container["securityContext"].pop("capabilities")),
    ),
    (
        rules.least_privilege,
        "gain privileges",
        in_container(VISION, lambda container: container["securityContext"].update(privileged=True)),
    ),
    (rules.known_settings, "SAVO_USE_CUSTOM_VISON is no setting", in_settings(SAVO_USE_CUSTOM_VISON="true")),
    (
        rules.known_settings,
        "SAVO_KEY is no setting",
        in_container(VISION, lambda container: container["env"].append({"name": "SAVO_KEY", "value": "x"})),
    ),
    (rules.known_settings, "SAVO_GATEWAY_PORT", in_pod(VISION, lambda spec: spec.pop("enableServiceLinks"))),
    (rules.valid_settings, "vision would not start", in_settings(SAVO_VISION_CONFIDENCE_THRESHOLD="60")),
    (rules.valid_settings, "would not start", in_settings(SAVO_KAFKA_BOOTSTRAP_SERVERS="embedded")),
    (
        rules.own_secrets,
        " gets ",
        in_container("Deployment/savo-collector", lambda container: container["env"].append(A_SECRET)),
    ),
    (
        rules.own_secrets,
        " gets ",
        in_container("Deployment/savo-collector", lambda container: container.update(envFrom=[PROVIDERS_KEYS])),
    ),
    (rules.own_secrets, " gets ", in_container(VISION, lambda container: container.pop("envFrom"))),
    (
        rules.own_secrets,
        "database role",
        in_container(VISION, lambda container: database(container).update(key="GATEWAY_DATABASE_URL")),
    ),
    (rules.complete_services, "reasoning is not deployed", without("Deployment/savo-reasoning")),
    (rules.complete_services, "no PodDisruptionBudget", without("PodDisruptionBudget/savo-trainer")),
    (rules.complete_services, "no NetworkPolicy", without("NetworkPolicy/savo-collector")),
    (rules.complete_services, "no Job creates its tables", without("Job/savo-rollout-tables")),
    (
        rules.complete_services,
        "has wrong probes",
        in_container(VISION, lambda container: container.pop("startupProbe")),
    ),
    (
        rules.complete_services,
        "longer than the probe's timeout",
        in_container(VISION, lambda container: container["readinessProbe"].pop("timeoutSeconds")),
    ),
    (
        rules.complete_services,
        "does not run vision",
        in_container(VISION, lambda container: container.update(image="savo-gateway:0.1.0")),
    ),
    (
        rules.complete_services,
        "never be drained",
        in_spec("PodDisruptionBudget/savo-vision", lambda spec: spec.update(maxUnavailable=0)),
    ),
    (
        rules.enough_time_to_stop,
        "is killed too early",
        in_pod(GATEWAY, lambda spec: spec.update(terminationGracePeriodSeconds=25)),
    ),
    (
        rules.limited_resources,
        "limit of memory",
        in_container(VISION, lambda container: container["resources"].pop("limits")),
    ),
    (rules.limited_resources, "cannot write", in_container(VISION, lambda container: container["volumeMounts"].pop())),
    (
        rules.limited_resources,
        "may fill its node",
        in_pod("Deployment/savo-trainer", lambda spec: spec["volumes"][0].update(emptyDir={})),
    ),
    (
        rules.one_version,
        "savo-vision:latest is not of version",
        in_container(VISION, lambda container: container.update(image="savo-vision:latest")),
    ),
    (
        rules.scaled_within_partitions,
        "25 replicas",
        in_spec("ScaledObject/savo-vision", lambda spec: spec.update(maxReplicaCount=25)),
    ),
    (rules.scaled_within_partitions, "sets replicas", in_spec(VISION, lambda spec: spec.update(replicas=2))),
    (
        rules.scaled_within_partitions,
        "has no group savo.vision",
        in_spec(
            "ScaledObject/savo-vision", lambda spec: spec["triggers"][0]["metadata"].update(consumerGroup="savo.vision")
        ),
    ),
    (rules.scaled_within_partitions, "KEDA connects to Kafka with", in_settings(SAVO_KAFKA_SASL_MECHANISM="PLAIN")),
    (rules.only_needed_traffic, "is not refused", without("NetworkPolicy/savo-default-deny")),
    (
        rules.only_needed_traffic,
        "calls that ingress rules allow",
        in_spec("NetworkPolicy/savo-trainer", lambda spec: spec["ingress"].append(ALLOWS_ALL)),
    ),
    (
        rules.only_needed_traffic,
        "calls that egress rules allow",
        in_spec("NetworkPolicy/savo-gateway", lambda spec: spec.update(egress=[])),
    ),
    (
        rules.only_needed_traffic,
        "allows every caller",
        in_spec("NetworkPolicy/savo-gateway", lambda spec: spec["ingress"].append({})),
    ),
]


@pytest.mark.parametrize(
    ("rule", "message", "plant"),
    PLANTED,
    ids=lambda value: value.__name__ if callable(value) and value.__name__ != "<lambda>" else None,
)
def test_a_planted_violation_is_caught(render: Render, rule: rules.Rule, message: str, plant: Change) -> None:
    manifests = render("production-ray")
    plant(manifests)
    assert any(message in violation for violation in rule(manifests)), list(rule(manifests))


def test_every_rule_has_a_planted_violation() -> None:
    assert {rule for rule, _, _ in PLANTED} == set(rules.RULES)


def test_the_readme_states_whether_the_trainer_supports_ray(render: Render) -> None:
    """Until the trainer accepts SAVO_TRAINER_RUNNER=ray, the Ray overlay is only prepared."""
    readme = (MANIFESTS / "README.md").read_text()
    assert ("The trainer does not support Ray yet" in readme) == (not rules.trainer_knows_ray())
    assert not any(of_kind(render(overlay), "RayCluster") for overlay in ("small", "production"))
