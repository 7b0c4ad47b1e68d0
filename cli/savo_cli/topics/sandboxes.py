"""Sandboxes of `savo replay`: their names on Kafka, and `savo topics drop-sandbox`, which deletes one."""

from __future__ import annotations

from typing import Annotated

import typer

from savo_cli.options import AsJson
from savo_cli.topics.broker import SANDBOX_NAMES, Kafka, broker_settings, is_sandbox_name, run_with_kafka
from savo_operations.replay.sandbox_removal import Sandbox, find_sandbox, list_sandboxes, remove_sandbox
from savo_runtime.command_line.output import CommandError, print_json, reported_errors, table_console
from savo_runtime.errors import DependencyDownError, SavoError
from savo_runtime.settings import RuntimeSettings, load_settings

__all__ = ["drop_sandbox", "hint_at_sandboxes", "require_sandbox"]


@reported_errors()
def drop_sandbox(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="Name that was given to `savo replay --sandbox`; its default is replay."),
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Delete without a question.")] = False,
    kafka: Kafka = None,
    as_json: AsJson = False,
) -> None:
    """Delete a sandbox of `savo replay`: its topics, groups, tables, objects and files. Live data stays."""
    if as_json and not yes:
        raise typer.BadParameter("--json needs --yes, because it cannot ask for confirmation")
    settings, has_broker = _settings(kafka)
    if not is_sandbox_name(name):
        raise typer.BadParameter(f"{name!r} is not a sandbox name: {SANDBOX_NAMES}{_others(settings, has_broker)}")
    found = run_with_kafka(find_sandbox(settings, name, on_kafka=has_broker))
    if found.has_only_undeletable_topics:
        raise CommandError(f"there is nothing of sandbox {name} to delete: {_TOPICS_STAY}")
    if not found.exists:
        raise CommandError(f"there is no sandbox {name}{_others(settings, has_broker)}")
    if not yes:
        _ask(found)
    run_with_kafka(remove_sandbox(settings, found))
    print_json(found.as_json()) if as_json else _print(found)


def hint_at_sandboxes(settings: RuntimeSettings) -> str:
    """End of an error message that lists the sandboxes on Kafka; empty if none is found."""
    try:
        names = list_sandboxes(settings)
    except SavoError:
        names = []
    return f"; on Kafka there are: {', '.join(names)}" if names else ""


def require_sandbox(settings: RuntimeSettings) -> None:
    """Check that the sandbox to read exists. Raises `CommandError` naming those that do."""
    try:
        is_missing = settings.sandbox is not None and settings.sandbox not in list_sandboxes(settings)
    except DependencyDownError as error:
        raise CommandError(f"{error}; check its address, or give another with --kafka HOST:PORT") from error
    if is_missing:
        raise CommandError(f"there is no sandbox {settings.sandbox}{hint_at_sandboxes(settings)}")


def _settings(kafka: str | None) -> tuple[RuntimeSettings, bool]:
    """The settings, and whether a broker runs. Without one, a sandbox may still have tables and files."""
    try:
        return broker_settings(kafka), True
    except CommandError:
        if kafka:
            raise
        return load_settings(RuntimeSettings).model_copy(update={"embedded_broker": True, "sandbox": None}), False


def _others(settings: RuntimeSettings, has_broker: bool) -> str:
    return hint_at_sandboxes(settings) if has_broker else ""


def _ask(found: Sandbox) -> None:
    table_console().print(f"sandbox {found.name}: {_contents(found)}", markup=False, soft_wrap=True)
    if not typer.confirm("Delete all of it?", default=False):
        raise CommandError("nothing was deleted")


def _contents(found: Sandbox) -> str:
    parts = {
        "topics": 0 if found.embedded else len(found.topics),
        "groups": len(found.groups),
        "objects": found.objects,
        "schemas": len(found.schemas),
        "files": found.files,
        "progress files": found.replays,
    }
    return ", ".join(f"{count:,} {what}" for what, count in parts.items() if count)


def _print(found: Sandbox) -> None:
    console = table_console()
    console.print(f"dropped sandbox {found.name}: {_contents(found)}", markup=False, soft_wrap=True)
    if found.embedded and found.topics:
        console.print(_TOPICS_STAY, markup=False, soft_wrap=True)


_TOPICS_STAY = (
    "its topics stay in the embedded broker's memory until `savo up` ends; "
    "until then use another sandbox with --sandbox NAME"
)
