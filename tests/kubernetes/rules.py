"""Rules for the manifests of every overlay. A rule yields its violations, one line each."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from pydantic import SecretStr

from savo_cli.weekly.settings import DigestSettings
from savo_contracts.topics import SERVICES, topic_named
from savo_providers.catalogue import PROVIDERS
from savo_runtime.messaging.kafka.client_arguments import group_of
from savo_runtime.service_runner import STOP_SECONDS
from savo_runtime.settings import RuntimeSettings, installed_settings, known_variables
from savo_runtime.telemetry.health import CHECK_SECONDS
from tests.kubernetes.manifests import (
    PROVIDER_KEYS,
    Pod,
    example_secrets,
    name_of,
    named,
    of_kind,
    pods,
    secrets_given_as_whole,
    secrets_of,
    selects,
    settings,
)
from tests.parts.kubernetes import Manifest

ROOT = Path(__file__).parents[2]
COMMAND_VARIABLES = {"SAVO_URL", "SAVO_SERVICES", "SAVO_API_KEY"} | known_variables([DigestSettings])
"""Variables of the `savo` command, which no service reads."""

RAY_SETTINGS = {"SAVO_TRAINER_RUNNER": "ray", "RAY_ADDRESS": "http://savo-ray-head-svc:8265"}
"""Planned settings of the trainer. Overlays with a RayCluster may set them before the trainer accepts them."""

EXIT_SECONDS = 5.0
Rule = Callable[[list[Manifest]], Iterator[str]]


def least_privilege(manifests: list[Manifest]) -> Iterator[str]:
    """No root, a read-only root file system, no privilege escalation, no token of the cluster's API."""
    for pod in pods(manifests):
        context = pod.spec.get("securityContext", {})
        if context.get("runAsNonRoot") is not True or not context.get("runAsUser"):
            yield f"{pod.owner} may run as root"
        if context.get("seccompProfile") != {"type": "RuntimeDefault"}:
            yield f"{pod.owner} has no seccomp profile"
        if pod.spec.get("automountServiceAccountToken") is not False and pod.name != "ray-head":
            yield f"{pod.owner} has a token of the cluster's API"
        if any(pod.spec.get(option) for option in ("hostNetwork", "hostPID", "hostIPC")) or any(
            "hostPath" in volume for volume in pod.spec.get("volumes", [])
        ):
            yield f"{pod.owner} has access to its node"
        for container in pod.containers:
            own = container.get("securityContext", {})
            if own.get("readOnlyRootFilesystem") is not True:
                yield f"{pod.owner}, {container['name']} may write to its root file system"
            if (
                own.get("allowPrivilegeEscalation") is not False
                or own.get("privileged")
                or own.get("capabilities") != {"drop": ["ALL"]}
            ):
                yield f"{pod.owner}, {container['name']} may gain privileges"


def known_settings(manifests: list[Manifest]) -> Iterator[str]:
    """Every variable is a known setting: a mistyped one would have no effect and no error."""
    known = known_variables(installed_settings().values()) | COMMAND_VARIABLES
    planned = RAY_SETTINGS.keys() if of_kind(manifests, "RayCluster") else set()
    given = [variable for each in of_kind(manifests, "ConfigMap") for variable in each["data"]]
    yield from (f"ConfigMap: {variable} is no setting of Savo" for variable in given if variable not in known | planned)
    for pod in pods(manifests):
        if pod.spec.get("enableServiceLinks") is not False:
            yield f"{pod.owner} gets variables of other Services, such as SAVO_GATEWAY_PORT"
        for container in pod.containers:
            yield from (
                f"{pod.owner}: {each['name']} is no setting of Savo"
                for each in container.get("env", [])
                if each["name"] not in known
            )


def valid_settings(manifests: list[Manifest]) -> Iterator[str]:
    """Each service accepts the values of ConfigMap and Secret as its settings."""
    given = settings(manifests)
    if not trainer_knows_ray() and of_kind(manifests, "RayCluster"):
        given = {name: value for name, value in given.items() if RAY_SETTINGS.get(name) != value}
    for pod in pods(manifests):
        if pod.service is None:
            continue
        secrets = {variable: example_secrets()[key] for variable, key in secrets_of(pod.containers[0]).items()}
        values = {name: value for name, value in (given | secrets).items() if value}
        try:
            installed_settings()[pod.service].model_validate(values)
        except ValueError as error:
            yield f"{pod.owner} would not start: {error}"


def own_secrets(manifests: list[Manifest]) -> Iterator[str]:
    """A service gets only the secrets that it reads, and its own database role."""
    for pod in pods(manifests):
        for container in pod.containers:
            given = secrets_of(container)
            yield from (
                f"{pod.owner}: {key} is not in secrets.env.example"
                for key in given.values()
                if key not in example_secrets()
            )
            if pod.service and not _fits(container, _secrets_read_by(pod.service)):
                yield f"{pod.owner} gets {sorted(given)} and reads {sorted(_secrets_read_by(pod.service))}"
            if pod.service and given.get("SAVO_DATABASE_URL") != f"{pod.service.upper()}_DATABASE_URL":
                yield f"{pod.owner} does not have the database role of {pod.service}"


def complete_services(manifests: list[Manifest]) -> Iterator[str]:
    """Each service has probes, a disruption budget, a network policy, and a Job that creates its tables."""
    running = {pod.service: pod for pod in pods(manifests) if pod.service}
    yield from (f"{service} is not deployed" for service in SERVICES if service not in running)
    for service, pod in running.items():
        container = pod.containers[0]
        if container["command"] != ["python", "-m", "savo_runtime", service] or not container["image"].split(":")[
            0
        ].endswith(f"savo-{service}"):
            yield f"{pod.owner} does not run {service}"
        probes = {
            name: container.get(f"{name}Probe", {}).get("httpGet", {}).get("path")
            for name in ("startup", "liveness", "readiness")
        }
        if probes != {"startup": "/livez", "liveness": "/livez", "readiness": "/readyz"}:
            yield f"{pod.owner} has wrong probes: {probes}"
        elif container["readinessProbe"].get("timeoutSeconds", 1) <= CHECK_SECONDS:
            yield f"{pod.owner}: /readyz may take {CHECK_SECONDS:g} s, longer than the probe's timeout"
        for kind in ("PodDisruptionBudget", "NetworkPolicy"):
            selectors = [
                each["spec"].get("selector", each["spec"].get("podSelector")) for each in of_kind(manifests, kind)
            ]
            if {"matchLabels": {"app.kubernetes.io/name": service}} not in selectors:
                yield f"{pod.owner} has no {kind} of its own"
        if not any(each["metadata"]["name"] == f"savo-{service}-tables" for each in of_kind(manifests, "Job")):
            yield f"{pod.owner}: no Job creates its tables"
    for budget in of_kind(manifests, "PodDisruptionBudget"):
        if budget["spec"].get("maxUnavailable") != 1:
            yield f"{name_of(budget)}: a node with the last replica could never be drained"


def enough_time_to_stop(manifests: list[Manifest]) -> Iterator[str]:
    """Kubernetes waits until running handlers are finished and committed (docs/decisions/0003)."""
    for pod in pods(manifests):
        if pod.service is None:
            continue
        before = pod.containers[0].get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        needed = before + STOP_SECONDS + EXIT_SECONDS
        if pod.spec.get("terminationGracePeriodSeconds", 30) < needed:
            yield f"{pod.owner} is killed too early: it may need {needed:g} s to stop"


def limited_resources(manifests: list[Manifest]) -> Iterator[str]:
    """Each container has requests, a memory limit, and limited volumes to write to."""
    folder = settings(manifests)["SAVO_DATA_DIR"]
    for pod in pods(manifests):
        for container in pod.containers:
            resources = container.get("resources", {})
            if not {"cpu", "memory"} <= resources.get("requests", {}).keys() or "memory" not in resources.get(
                "limits", {}
            ):
                yield f"{pod.owner}, {container['name']} has no requests or no limit of memory"
            if not {folder, "/tmp"} <= {mount["mountPath"] for mount in container.get("volumeMounts", [])}:
                yield f"{pod.owner}, {container['name']} cannot write to {folder} and /tmp"
        for volume in pod.spec.get("volumes", []):
            if "sizeLimit" not in volume.get("emptyDir", {}):
                yield f"{pod.owner}: volume {volume['name']} may fill its node"


def one_version(manifests: list[Manifest]) -> Iterator[str]:
    """Every image is one of ours, with the product's version."""
    for pod in pods(manifests):
        for container in pod.containers:
            if not container["image"].startswith("savo-") or container["image"].partition(":")[2] != _version():
                yield f"{pod.owner}: {container['image']} is not of version {_version()}"


def scaled_within_partitions(manifests: list[Manifest]) -> Iterator[str]:
    """Scaling by the lag of an existing group of the service, to at most the topic's number of partitions."""
    for scaled in of_kind(manifests, "ScaledObject"):
        target = scaled["spec"]["scaleTargetRef"]["name"]
        service = target.removeprefix("savo-")
        if "replicas" in named(manifests, f"Deployment/{target}")["spec"]:
            yield f"Deployment/{target} sets replicas, which {name_of(scaled)} decides"
        for trigger in (each["metadata"] for each in scaled["spec"]["triggers"] if each["type"] == "kafka"):
            topic = topic_named(trigger["topic"])
            if service not in topic.consumers or trigger["consumerGroup"] != group_of(service, topic.name):
                yield f"{name_of(scaled)}: {service} has no group {trigger['consumerGroup']} on {topic.name}"
            replicas = scaled["spec"]["maxReplicaCount"]
            if replicas > topic.partitions:
                yield f"{name_of(scaled)}: {replicas} replicas, and {topic.name} has {topic.partitions} partitions"
            differences = _connection_differences(trigger, settings(manifests))
            yield from (f"{name_of(scaled)}: {difference}" for difference in differences)


def only_needed_traffic(manifests: list[Manifest]) -> Iterator[str]:
    """Network policies allow exactly the needed calls, and refuse everything else."""
    policies = of_kind(manifests, "NetworkPolicy")
    if not any(
        each["spec"]["podSelector"] == {} and "ingress" not in each["spec"] and "egress" not in each["spec"]
        for each in policies
    ):
        yield "traffic that no policy allows is not refused"
    every = [pod for pod in pods(manifests) if pod.labels.get("app.kubernetes.io/component") != "ray"]
    needed = {
        ("gateway", "rollout"),
        *(("toolbox", service) for service in SERVICES),
        *((("digest", "gateway"),) if of_kind(manifests, "CronJob") else ()),
    }
    for direction, is_allowed in (("ingress", _may_enter), ("egress", _may_leave)):
        found = {
            (caller.name, callee.name)
            for caller in every
            for callee in every
            if caller is not callee and is_allowed(policies, caller, callee)
        }
        if found != needed:
            yield f"calls that {direction} rules allow: {sorted(found)}; needed: {sorted(needed)}"
    for policy in policies:
        for rule in policy["spec"].get("ingress", []):
            if not rule.get("from") or (not rule.get("ports") and policy["metadata"]["name"] != "savo-ray"):
                yield f"{name_of(policy)} allows every caller"


RULES: tuple[Rule, ...] = (
    least_privilege,
    known_settings,
    valid_settings,
    own_secrets,
    complete_services,
    enough_time_to_stop,
    limited_resources,
    one_version,
    scaled_within_partitions,
    only_needed_traffic,
)


def trainer_knows_ray() -> bool:
    return "ray" in str(installed_settings()["trainer"].model_fields["trainer_runner"].annotation)


@cache
def _version() -> str:
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"])


@cache
def _secrets_read_by(service: str) -> set[str]:
    fields = _settings_of(service).model_fields.values()
    return {
        str(info.validation_alias)
        for info in fields
        if "SecretStr" in str(info.annotation) or info.annotation is SecretStr
    }


def _fits(container: Manifest, read: set[str]) -> bool:
    """Whether the container gets each secret by name; keys of providers come as a whole Secret."""
    whole, keys = secrets_given_as_whole(container), {provider.key_variable for provider in PROVIDERS} & read
    if whole != ({PROVIDER_KEYS} if keys else set()):
        return False
    return read - keys <= secrets_of(container).keys() <= read


def _settings_of(service: str) -> type[RuntimeSettings]:
    return installed_settings()[service]


def _connection_differences(trigger: dict[str, str], given: dict[str, str]) -> Iterator[str]:
    """Differences between the trigger's connection to Kafka and the services'."""
    protocol = given.get("SAVO_KAFKA_SECURITY_PROTOCOL", "PLAINTEXT")
    mechanism = given.get("SAVO_KAFKA_SASL_MECHANISM", "SCRAM-SHA-512")
    keda_names = {"PLAIN": "plaintext", "SCRAM-SHA-256": "scram_sha256", "SCRAM-SHA-512": "scram_sha512"}
    sasl = keda_names[mechanism] if protocol.startswith("SASL") else "none"
    tls = "enable" if protocol.endswith("SSL") else "disable"
    if (trigger.get("sasl", "none"), trigger.get("tls", "disable")) != (sasl, tls):
        keda = f"sasl {trigger.get('sasl')}, tls {trigger.get('tls')}"
        yield f"KEDA connects to Kafka with {keda}, the services with {protocol}, {mechanism}"


def _may_enter(policies: list[Manifest], caller: Pod, callee: Pod) -> bool:
    return any(_allows(rule.get("from", []), caller) for rule in _rules(policies, "ingress", callee))


def _may_leave(policies: list[Manifest], caller: Pod, callee: Pod) -> bool:
    rules = [
        rule
        for rule in _rules(policies, "egress", caller)
        if {"port": "http"} in [{"port": each.get("port")} for each in rule.get("ports", [])]
    ]
    return any(_allows(rule.get("to", []), callee) for rule in rules)


def _rules(policies: list[Manifest], direction: str, pod: Pod) -> list[Manifest]:
    chosen = [policy["spec"] for policy in policies if selects(policy["spec"]["podSelector"], pod.labels)]
    return [rule for spec in chosen for rule in spec.get(direction, [])]


def _allows(peers: list[Manifest], pod: Pod) -> bool:
    return any(
        "podSelector" in peer and selects(peer["podSelector"], pod.labels)
        for peer in peers
        if "namespaceSelector" not in peer
    )
