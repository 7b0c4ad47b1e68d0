"""`savo import`: makes samples of photos that were labelled before the product, or in another one."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from savo_cli.options import AsJson
from savo_cli.topics.broker import Kafka, broker_settings
from savo_contracts.topics import SCANS_CONFIRMED
from savo_datasets.groups import read_groups
from savo_operations.imports.channel import KafkaChannel
from savo_operations.imports.data_set import DataSet, ImportOptions, NamedClass, read_data_set
from savo_operations.imports.photo_import import CORRECTED, NEW, ImportReport, PhotoImport
from savo_operations.imports.sources import open_source
from savo_runtime.command_line.output import CommandError, print_json, reported_errors, table_console
from savo_runtime.command_line.progress import OnProgress, progress_bar
from savo_runtime.errors import DependencyDownError
from savo_runtime.settings import RuntimeSettings, load_settings
from savo_runtime.storage.factory import open_store
from savo_runtime.telemetry.audit import audit, this_user
from savo_runtime.timing.clock import utc_now

__all__ = ["import_samples"]

_SHOWN_FILES = 10


@reported_errors()
def import_samples(
    source: Annotated[str, typer.Argument(metavar="DIR|TAR|ZIP|s3://BUCKET/PREFIX", help="The labelled photos.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would happen, and change nothing.")] = False,
    not_exhaustive: Annotated[
        bool,
        typer.Option("--not-exhaustive", help="The photos show ingredients without a label: they go to train only."),
    ] = False,
    consent: Annotated[
        bool | None,
        typer.Option(
            "--consent/--no-consent",
            help="Whether the people agreed to training. SAVO_REQUIRE_CONSENT needs --consent.",
            show_default=False,
        ),
    ] = None,
    new_classes: Annotated[
        bool | None,
        typer.Option(
            "--new-classes/--known-classes",
            help="Add names that the catalogue lacks as classes. Default: only those of an export of the product.",
            show_default=False,
        ),
    ] = None,
    groups: Annotated[
        Path | None,
        typer.Option("--groups", metavar="FILE", help="CSV with name,group: photos of one group get one split."),
    ] = None,
    session_gap: Annotated[
        int,
        typer.Option("--session-gap", metavar="N", min=0, help="Largest gap of camera numbers in a session; 0: none."),
    ] = 20,
    kafka: Kafka = None,
    as_json: AsJson = False,
) -> None:
    """Import labelled photos as samples: YOLO, COCO, Pascal VOC, an export, or as the app's API has stored them.

    Photos lose their metadata, and the collector checks them like any other: its rules decide what becomes a sample.
    Names of classes are matched through the catalogue. The same command continues an interrupted import, and imports
    nothing twice; corrected labels replace the earlier ones. The collector needs SAVO_COLLECT_TRAINING_DATA=true.
    """
    options = ImportOptions(
        exhaustive=not not_exhaustive,
        new_classes=new_classes,
        consent=consent,
        groups=read_groups(groups) if groups else {},
        session_gap=session_gap,
    )
    settings = load_settings(RuntimeSettings) if dry_run else broker_settings(kafka)
    with progress_bar("importing", shown=not as_json) as on_progress:
        data, report = asyncio.run(_run(source, settings, options, on_progress, dry_run=dry_run))
    if as_json:
        print_json(_as_json(data, report, dry_run=dry_run))
    else:
        _print(data, report, dry_run=dry_run)


async def _run(
    source: str, settings: RuntimeSettings, options: ImportOptions, on_progress: OnProgress, *, dry_run: bool
) -> tuple[DataSet, ImportReport]:
    store = open_store(settings)
    try:
        async with open_source(source, settings.own_dir) as unpacked:
            data = await asyncio.to_thread(read_data_set, unpacked, options, lambda count: on_progress(0, count))
            if dry_run:
                return data, await PhotoImport(store, None, options, utc_now, on_progress).run(data)
            async with KafkaChannel(settings) as channel:
                report = await PhotoImport(store, channel, options, utc_now, on_progress).run(data)
                if published := report.photos[NEW] + report.photos[CORRECTED]:
                    after = {"photos": published, "boxes": report.boxes, "groups": report.groups}
                    await audit(
                        channel.publisher.publish,
                        "samples.imported",
                        by=this_user(),
                        about=SCANS_CONFIRMED.name,
                        after=after,
                    )
                return data, report
    except DependencyDownError as error:
        raise CommandError(f"{error}. Run the same command again to continue") from error
    finally:
        await store.close()


def _as_json(data: DataSet, report: ImportReport, *, dry_run: bool) -> dict[str, object]:
    return {
        "dry_run": dry_run,
        "photos": dict(report.photos),
        "boxes": report.boxes,
        "groups": report.groups,
        "train_only_groups": report.train_only_groups,
        "classes": [
            {"name": named.name, "label": named.label, "boxes": named.boxes, "status": _status(named, report)}
            for named in data.classes
        ],
        "left_out": {reason: len(files) for reason, files in report.left_out.items()},
        "left_out_files": report.left_out,
    }


def _status(named: NamedClass, report: ImportReport) -> str:
    if not named.known:
        return "unknown"
    return "added" if named.label in report.added_classes else "class"


def _print(data: DataSet, report: ImportReport, *, dry_run: bool) -> None:
    console = table_console()
    classes = Table("name in the data set", "label", "boxes", "status")
    for named in data.classes:
        classes.add_row(named.name, named.label or "–", f"{named.boxes:,}", _status(named, report))
    console.print(classes)
    photos = Table("photos", "number")
    for state, count in report.photos.items():
        photos.add_row(state, f"{count:,}")
    for reason, files in report.left_out.items():
        photos.add_row(f"left out: {reason}", f"{len(files):,}")
    console.print(photos)
    for reason, files in report.left_out.items():
        for file in files[:_SHOWN_FILES]:
            typer.echo(f"left out, {reason}: {file}")
        if len(files) > _SHOWN_FILES:
            typer.echo(f"  and {len(files) - _SHOWN_FILES:,} more; --json lists all")
    train_only = f", {report.train_only_groups:,} of them for train only" if report.train_only_groups else ""
    typer.echo(f"{report.boxes:,} boxes; the photos are in {report.groups:,} groups{train_only}")
    typer.echo("nothing was changed" if dry_run else "next: savo stats, and /training/progress for what is refused")
