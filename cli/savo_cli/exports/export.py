"""`savo export`: downloads the collected samples as one archive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from savo_cli.exports.download import Download
from savo_cli.exports.tables import write_tables
from savo_cli.gateway import Gateway
from savo_cli.options import AsJson, Key, Url
from savo_contracts.documents import ExportSummary
from savo_contracts.samples import Split
from savo_datasets.exports.layouts import Format
from savo_runtime.command_line.output import CommandError, WrongUseError, print_json, reported_errors
from savo_runtime.command_line.progress import progress_bar

__all__ = ["export"]

_DATES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]


@reported_errors()
def export(
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="FILE", help="The archive to write, such as training_data.tar.gz."),
    ] = None,
    tables: Annotated[
        Path | None,
        typer.Option("--tables", metavar="DIR", help="Write scans and confirmations here as Parquet; needs pyarrow."),
    ] = None,
    form: Annotated[
        Format, typer.Option("--format", metavar="FORMAT", help="yolo, coco, voc or ndjson.")
    ] = Format.YOLO,
    classes: Annotated[
        list[str] | None, typer.Option("--class", metavar="NAME", help="Samples with a box of this class; repeat it.")
    ] = None,
    splits: Annotated[
        list[Split] | None,
        typer.Option("--split", metavar="train|val|test", help="Samples of this split of the collection; repeat it."),
    ] = None,
    box_sources: Annotated[
        list[str] | None,
        typer.Option(
            "--box-source",
            metavar="SOURCE",
            help="Samples with a box from custom, google, openai, user or engineer; repeat it.",
        ),
    ] = None,
    since: Annotated[
        datetime | None, typer.Option(metavar="DATE", formats=_DATES, help="First stored on this day or later, UTC.")
    ] = None,
    until: Annotated[
        datetime | None, typer.Option(metavar="DATE", formats=_DATES, help="First stored before this day, UTC.")
    ] = None,
    version: Annotated[
        str | None,
        typer.Option(
            "--version",
            metavar="VERSION",
            help="Samples of this data set version, with their labels of today; `savo dataset checkout` has the old.",
        ),
    ] = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Download the collected samples as one archive: images/, labels/, classes.txt, dataset.yaml and manifest.jsonl.

    Erased samples, and those of people who withdrew their consent, are left out. The same command continues an
    interrupted download. With SAVO_AUTH, it needs a key with the scope ops.
    """
    dates = {"since": since, "until": until}
    query = {"class": classes or [], "split": [each.value for each in splits or ()], "box_source": box_sources or []}
    query |= {"format": [form.value], "version": [version] if version else []}
    query |= {name: [f"{moment.isoformat()}Z"] for name, moment in dates.items() if moment}
    if output is None and tables is None:
        raise WrongUseError("give --output FILE for the samples, --tables DIR for scans and confirmations, or both")
    report: dict[str, object] = {}
    with Gateway(url, key) as gateway:
        if tables is not None:
            report["tables"] = counts = write_tables(gateway, tables)
            if not as_json:
                typer.echo(f"{tables}: " + ", ".join(f"{count:,} rows of {name}" for name, count in counts.items()))
        if output is not None:
            summary = _download(gateway, query, output, as_json=as_json)
            report |= _as_json(summary, output)
            if not as_json:
                _print(summary, output)
    if as_json:
        print_json(report)


def _download(gateway: Gateway, query: Mapping[str, Sequence[str]], output: Path, *, as_json: bool) -> ExportSummary:
    with progress_bar("exporting, MB", shown=not as_json) as on_progress:
        summary = Download(gateway, query, output).run(on_progress)
    if not summary.samples:
        output.unlink()
        raise CommandError("no sample matches, so nothing was written; see `savo stats`, or give other filters")
    return summary


def _as_json(summary: ExportSummary, output: Path) -> dict[str, object]:
    return {"output": str(output), "archive_bytes": output.stat().st_size, **summary.model_dump(mode="json")}


def _print(summary: ExportSummary, output: Path) -> None:
    size = f"{output.stat().st_size / 1e6:,.1f} MB"
    typer.echo(f"{output}: {summary.samples:,} samples, {summary.boxes:,} boxes, {size}")
    if summary.erased_meanwhile:
        typer.echo(
            f"{summary.erased_meanwhile:,} samples were erased during the export: use only those that manifest.jsonl "
            "lists"
        )
    typer.echo(f"next: savo prepare --input {output} --output DIR")
