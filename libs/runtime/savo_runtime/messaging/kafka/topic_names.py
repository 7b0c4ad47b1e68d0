"""Topic names on Kafka: the name in the registry, with a prefix in a sandbox.

A sandbox is a second set of all topics, `sandbox.<name>.<topic>`. A service started with SAVO_SANDBOX=<name> reads and
writes those topics. Its consumer groups are derived from their names, and it has tables and objects of its own. So a
replay into a sandbox does not affect the live product.
"""

from __future__ import annotations

__all__ = ["name_in_registry", "name_on_kafka"]

_PREFIX = "sandbox."


def name_on_kafka(topic: str, sandbox: str | None) -> str:
    """The Kafka name of a topic of the registry; `sandbox` None means the live topic."""
    return f"{_PREFIX}{sandbox}.{topic}" if sandbox else topic


def name_in_registry(name: str) -> tuple[str, str | None]:
    """The inverse: the topic's name in the registry and its sandbox, which is None for a live topic."""
    if not name.startswith(_PREFIX):
        return name, None
    sandbox, _, topic = name.removeprefix(_PREFIX).partition(".")
    return topic, sandbox
