"""The list of `savo` commands: those of this package, and those that services and the demo add (`savo.commands`)."""

from __future__ import annotations

import os
from importlib.metadata import entry_points

import typer
from rich.console import Console

from savo_runtime.command_line.lazy_commands import Command, Group, add_commands

__all__ = ["COMMANDS", "add_commands_of_others", "app"]

COMMANDS: tuple[Command | Group, ...] = (
    Command("up", "savo_cli.start.up:up", "Start all services, with an embedded broker unless --kafka is given."),
    Command("scan", "savo_cli.scans.scan:scan", "Send photos and show the ingredients in them."),
    Command(
        "confirm",
        "savo_cli.scans.confirm:confirm",
        "Confirm or correct a scan: with --all-correct, or with a file of items.",
    ),
    Command(
        "trace",
        "savo_cli.scans.trace:trace",
        "Explain a scan's answer: its arm, model, the time of each hop and the place of each event in Kafka.",
    ),
    Command(
        "rebuild",
        "savo_cli.operate.rebuild:rebuild",
        "Rebuild a service's tables from its topics and compare them with the live ones. "
        "Changes nothing without --apply, and never publishes an event.",
    ),
    Command(
        "export",
        "savo_cli.exports.export:export",
        "Download the collected samples as one archive: images/, labels/, classes.txt, dataset.yaml and "
        "manifest.jsonl.",
    ),
    Command(
        "import",
        "savo_cli.exports.import_command:import_samples",
        "Import labelled photos as samples: YOLO, COCO, Pascal VOC, an export, or as the app's API has stored them.",
    ),
    Command("stats", "savo_cli.scans.stats:stats", "Show the totals of samples, corrections and storage."),
    Group(
        "rollout",
        "The candidate's share of traffic: evidence, pins, pauses.",
        (
            Command(
                "show", "savo_cli.operate.rollout:show", "Show the trial's state, its evidence and what is missing."
            ),
            Command("set", "savo_cli.operate.rollout:set_share", "Pin the share; automation is off until `resume`."),
            Command(
                "pause",
                "savo_cli.operate.rollout:pause",
                "Keep the share as it is; a breached gate still ends the trial.",
            ),
            Command("resume", "savo_cli.operate.rollout:resume", "Let the evidence decide the share again."),
            Command(
                "rollback",
                "savo_cli.operate.rollout:rollback",
                "Take all traffic from the candidate; the champion stays.",
            ),
        ),
    ),
    Group(
        "models",
        "Models in the registry, and the choice of the champion.",
        (
            Command(
                "promote",
                "savo_cli.operate.model_promotion:promote",
                "Make a version champion at once, without a trial. It answers every scan that no candidate answers.",
            ),
            Command(
                "rollback",
                "savo_cli.operate.model_promotion:rollback",
                "Return to the previous champion, or to the vision provider if there was none.",
            ),
        ),
    ),
    Group(
        "topics",
        "Topics, their events and their consumers.",
        (
            Command(
                "drop-sandbox",
                "savo_cli.topics.sandboxes:drop_sandbox",
                "Delete a sandbox of `savo replay`: its topics, groups, tables, objects and files. Live data stays.",
            ),
            Command(
                "list",
                "savo_cli.topics.listing:list_topics",
                "List every topic: event, key, producers, consumers. Needs no broker.",
            ),
            Command("describe", "savo_cli.topics.listing:describe", "Describe a topic and the fields of its event."),
            Command(
                "tail",
                "savo_cli.topics.tail:tail",
                "Print events as they arrive, decoded, until Ctrl-C. Commits no offset and affects no service.",
            ),
            Command(
                "lag",
                "savo_cli.topics.lag:lag",
                "Show the lag of each consumer group by partition: position, end, and the records between them. "
                "Asks Kafka, so it also covers services that are down.",
            ),
            Command(
                "grow",
                "savo_cli.topics.partitions:grow_topic",
                "Add partitions to a topic of SAVO_KAFKA_BOOTSTRAP_SERVERS that has no lag.",
            ),
        ),
    ),
    Command(
        "replay",
        "savo_cli.replay.replay:replay",
        "Copy a topic's records into a sandbox, or into the same topic again. "
        "The same command continues an interrupted replay.",
    ),
    Group(
        "dlq",
        "Dead letters: records that a service could not process.",
        (
            Command(
                "list",
                "savo_cli.topics.dlq:list_dead_letters",
                "Count dead letters by topic, service and reason, and those already sent back.",
            ),
            Command(
                "show",
                "savo_cli.topics.dlq:show",
                "Show dead letters: every header, and the body, decoded or as bytes.",
            ),
            Command(
                "redrive",
                "savo_cli.topics.dlq:redrive",
                "Send dead letters back to their original topic, each once. One that failed three times stays. "
                "Exit 1 if any was refused.",
            ),
        ),
    ),
    Command(
        "audit",
        "savo_cli.operate.audit:audit",
        "List changes of shares, aliases, models, runs, dead letters and replays: who, what, before → after, why.",
    ),
    Command(
        "digest",
        "savo_cli.weekly.digest:digest",
        "Report progress against the goals, arms, costs and models of the last seven days.",
    ),
    Command(
        "doctor",
        "savo_cli.diagnose.doctor:doctor",
        "Check settings, dependencies and running services, and say what to fix. Exit 1 if something is wrong.",
    ),
    Group(
        "storage",
        "Copies of the object folder in a bucket.",
        (
            Command(
                "move",
                "savo_cli.operate.storage:move",
                "Copy the folder's objects to a bucket and print the variables to set; the product keeps running. "
                "Exit 3 if the bucket has other versions of some objects.",
            ),
            Command(
                "sync",
                "savo_cli.operate.storage:sync",
                "Make a bucket a backup of the folder's objects: copy what is new, and delete what was erased. "
                "Exit 3 if the bucket has other versions of some objects.",
            ),
        ),
    ),
    Command(
        "backup",
        "savo_cli.operate.backup:backup",
        "Copy offsets, databases and objects to a folder while the product runs.",
    ),
    Command(
        "restore",
        "savo_cli.operate.backup:restore",
        "Replace offsets, databases and objects with a backup. Stop the services first. "
        "What was erased since the backup stays erased.",
    ),
)

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Savo's vision flywheel: photos in, ingredients out, every confirmation a sample.",
)
add_commands(app, COMMANDS)


def add_commands_of_others() -> None:
    """Add the commands of services and the demo.

    A package that fails to import loses its own commands, with one line on stderr; the others work.
    """
    for entry in sorted(entry_points(group="savo.commands"), key=lambda entry: entry.name):
        try:
            entry.load()(app)
        except Exception as error:  # noqa: BLE001 — code of other packages: any error costs only their own commands
            _report_broken(entry.name, error)


def _report_broken(name: str, error: Exception) -> None:
    if "_SAVO_COMPLETE" in os.environ:  # no message while a shell completes a command
        return
    message = f"savo: the commands of {name} are left out: {type(error).__name__}: {error}"
    Console(stderr=True).print(message, style="yellow", markup=False, highlight=False)
