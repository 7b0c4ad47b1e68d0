"""The `savo` command: its own commands, and those that services and the demo add (entry points `savo.commands`)."""

from __future__ import annotations

import os
from importlib.metadata import entry_points

import typer
from rich.console import Console

from savo_runtime.command_line.lazy_commands import Command, Group, add_commands

__all__ = ["COMMANDS", "add_commands_of_others", "app"]

COMMANDS: tuple[Command | Group, ...] = (
    Command("up", "savo_cli.start.up:up", "Start every service; embedded unless --kafka is given."),
    Command("scan", "savo_cli.scans.scan:scan", "Send photos and show what is in them."),
    Command(
        "confirm",
        "savo_cli.scans.confirm:confirm",
        "Confirm or correct a scan: with --all-correct, or with a file of items.",
    ),
    Command(
        "trace",
        "savo_cli.scans.trace:trace",
        "Why a scan was answered as it was: its arm, its model, each hop's time and where each event stands in Kafka.",
    ),
    Command(
        "rebuild",
        "savo_cli.operate.rebuild:rebuild",
        "Build a service's tables anew from its topics and compare them with the live ones. Changes nothing without --apply; publishes nothing ever.",
    ),
    Command("stats", "savo_cli.scans.stats:stats", "Samples, corrections and storage so far."),
    Group(
        "rollout",
        "The candidate's share of traffic: evidence, pins, pauses.",
        (
            Command("show", "savo_cli.operate.rollout:show", "Where the trial stands, and what it waits for."),
            Command("set", "savo_cli.operate.rollout:set_share", "Pin the share; the automation rests until `resume`."),
            Command(
                "pause",
                "savo_cli.operate.rollout:pause",
                "Keep the share where it is; a sure breach still ends the trial.",
            ),
            Command("resume", "savo_cli.operate.rollout:resume", "Let the evidence decide again."),
            Command(
                "rollback",
                "savo_cli.operate.rollout:rollback",
                "Take all traffic from the candidate; the champion stays.",
            ),
        ),
    ),
    Group(
        "models",
        "Models in the registry, and which of them is champion.",
        (
            Command(
                "promote",
                "savo_cli.operate.models:promote",
                "Make a version champion at once, without a trial: it answers all scans that no candidate answers.",
            ),
            Command(
                "rollback",
                "savo_cli.operate.models:rollback",
                "Back to the champion before, or to the vision provider where there was none before.",
            ),
        ),
    ),
    Group(
        "topics",
        "The topics and what travels on them.",
        (
            Command(
                "drop-sandbox",
                "savo_cli.topics.sandboxes:drop_sandbox",
                "Delete a sandbox of `savo replay`: its topics and groups, tables, objects and files. Nothing live is touched.",
            ),
            Command(
                "list",
                "savo_cli.topics.listing:list_topics",
                "Every topic: event, key, who writes, who reads. Needs no broker.",
            ),
            Command("describe", "savo_cli.topics.listing:describe", "One topic with the fields of its event."),
            Command(
                "tail",
                "savo_cli.topics.tail:tail",
                "Show events as they come, decoded, until Ctrl-C. Commits nothing and disturbs no service.",
            ),
            Command(
                "lag",
                "savo_cli.topics.lag:lag",
                "Which groups are behind, by partition: position, end, and records between. Asks Kafka, so it also tells of a service that is down.",
            ),
            Command(
                "grow",
                "savo_cli.topics.partitions:grow_topic",
                "Add partitions to a topic of SAVO_KAFKA_BOOTSTRAP_SERVERS, while nothing waits on it.",
            ),
        ),
    ),
    Command(
        "replay",
        "savo_cli.replay.replay:replay",
        "Carry records of a topic into a sandbox, or into the topic once more. The same command goes on where an interrupted one was.",
    ),
    Group(
        "dlq",
        "Dead letters: records that could not be worked on.",
        (
            Command(
                "list",
                "savo_cli.topics.dlq:list_letters",
                "How many of which topic, service and reason; how many of them were sent back already.",
            ),
            Command(
                "show",
                "savo_cli.topics.dlq:show",
                "The letters themselves: every header, and the body decoded, or as bytes where it cannot be.",
            ),
            Command(
                "redrive",
                "savo_cli.topics.dlq:redrive",
                "Send letters back to the topic that they came from, each once. One that came back three times stays. Exit 1 when some were refused.",
            ),
        ),
    ),
    Command(
        "audit",
        "savo_cli.operate.audit:audit",
        "Changes of share and alias, models, cancelled runs, redriven dead letters, replays: who, what, before → after, why.",
    ),
    Command(
        "digest",
        "savo_cli.weekly.digest:digest",
        "Progress against the goals, arms, costs and models of the last seven days.",
    ),
    Command(
        "doctor",
        "savo_cli.diagnose.doctor:doctor",
        "Check every setting, dependency and the running services, and say what to fix. Exit 1 when something is wrong.",
    ),
    Command(
        "backup",
        "savo_cli.operate.backup:backup",
        "Copy offsets, databases and objects to a folder, while everything runs.",
    ),
    Command(
        "restore",
        "savo_cli.operate.backup:restore",
        "Put a backup in the place of what is there. Stop the services first; what was erased since does not come back.",
    ),
)

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Savo's vision flywheel: photos in, ingredients out, every confirmation a sample.",
)
add_commands(app, COMMANDS)


def add_commands_of_others() -> None:
    """Commands of services and the demo. A package that is broken costs its own commands and one line, not `savo`."""
    for entry in sorted(entry_points(group="savo.commands"), key=lambda entry: entry.name):
        try:
            entry.load()(app)
        except Exception as error:  # noqa: BLE001 — other packages' code: whatever it raises, the rest must work
            _report_broken(entry.name, error)


def _report_broken(name: str, error: Exception) -> None:
    if "_SAVO_COMPLETE" in os.environ:  # a shell that completes a command shows no remarks
        return
    message = f"savo: the commands of {name} are left out: {type(error).__name__}: {error}"
    Console(stderr=True).print(message, style="yellow", markup=False, highlight=False)
