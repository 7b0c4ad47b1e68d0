"""What a topic is called on Kafka: its name in the registry, or in a sandbox one of its own.

A sandbox is a second set of all topics, `sandbox.<name>.<topic>`. A service that is started with SAVO_SANDBOX=<name> reads and writes there;
its consumer groups follow from the topics' names, its tables and objects are the sandbox's own. So a replay into it touches nothing live.
"""

from __future__ import annotations

__all__ = ["name_in_registry", "name_on_kafka"]

_PREFIX = "sandbox."


def name_on_kafka(topic: str, sandbox: str | None) -> str:
    """The name of a topic of the registry; `sandbox` None: the live one."""
    return f"{_PREFIX}{sandbox}.{topic}" if sandbox else topic


def name_in_registry(name: str) -> tuple[str, str | None]:
    """The inverse: the topic's name in the registry, and its sandbox, None for a live one."""
    if not name.startswith(_PREFIX):
        return name, None
    sandbox, _, topic = name.removeprefix(_PREFIX).partition(".")
    return topic, sandbox
