"""`savo storage move` and `savo storage sync`: a copy of the object folder in a bucket, beside the running product."""

from __future__ import annotations

import asyncio
import re
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

import typer

from savo_cli.options import AsJson
from savo_operations.folder_copy import CopyJournal, FolderCopy, FolderCopyReport
from savo_runtime.command_line.output import CommandError, WrongUseError, print_json, reported_errors
from savo_runtime.command_line.progress import OnProgress, progress_bar
from savo_runtime.settings import RuntimeSettings, load_settings
from savo_runtime.storage.port import StorageFullError
from savo_runtime.storage.s3 import S3Store
from savo_runtime.telemetry.logs import configure_command_logs

__all__ = ["move", "sync"]

WITH_GAPS = 3

To = Annotated[
    str,
    typer.Option(
        "--to",
        metavar="s3://BUCKET",
        help="Bucket of R2_ACCOUNT_ID, or of SAVO_S3_ENDPOINT_URL.",
        show_default=False,
    ),
]
Overwrite = Annotated[
    bool,
    typer.Option("--overwrite", help="Copy deleted objects again, and replace those that were changed in the bucket."),
]


@reported_errors(StorageFullError)
def move(to: To, overwrite: Overwrite = False, as_json: AsJson = False) -> None:
    """Copy the folder's objects to a bucket and print the variables to set; the product keeps running.
    Exit 3 if the bucket has other versions of some objects.
    """
    settings, report = _copy(to, is_backup=False, overwrite=overwrite, as_json=as_json)
    _finish(report, settings, _next_steps(settings, report), as_json=as_json)


@reported_errors(StorageFullError)
def sync(to: To, overwrite: Overwrite = False, as_json: AsJson = False) -> None:
    """Make a bucket a backup of the folder's objects: copy what is new, and delete what was erased.
    Exit 3 if the bucket has other versions of some objects.
    """
    settings, report = _copy(to, is_backup=True, overwrite=overwrite, as_json=as_json)
    _finish(report, settings, [], as_json=as_json)


def _copy(to: str, *, is_backup: bool, overwrite: bool, as_json: bool) -> tuple[RuntimeSettings, FolderCopyReport]:
    settings = load_settings(RuntimeSettings, r2_bucket_name=_bucket(to))
    configure_command_logs(settings)
    root = settings.data_dir.resolve() / "objects"
    if not root.is_dir():
        raise CommandError(f"{root} has no objects: set SAVO_DATA_DIR to the product's data folder")
    with progress_bar("objects", shown=not as_json) as on_progress:
        work = _copy_folder(settings, root, on_progress, is_backup=is_backup, overwrite=overwrite)
        return settings, asyncio.run(work)


async def _copy_folder(
    settings: RuntimeSettings, root: Path, on_progress: OnProgress, *, is_backup: bool, overwrite: bool
) -> FolderCopyReport:
    secret = settings.r2_secret_access_key
    store = S3Store(
        endpoint_url=settings.s3_endpoint,
        bucket=settings.r2_bucket_name or "",
        access_key_id=settings.r2_access_key_id or "",
        secret_access_key=secret.get_secret_value() if secret else "",
        region=settings.s3_region,
    )
    journal = CopyJournal(_journal_path(settings))
    try:
        await store.check()
        return await FolderCopy(root, store, journal, copies_missing=is_backup, overwrites=overwrite).run(on_progress)
    finally:
        journal.close()
        await store.close()


def _bucket(to: str) -> str:
    found = re.fullmatch(r"s3://([0-9a-z][0-9a-z.-]{1,61}[0-9a-z])/?", to)
    if found is None:
        raise WrongUseError(f"--to {to!r} makes no sense: allowed is s3://BUCKET, without a path")
    return found[1]


def _journal_path(settings: RuntimeSettings) -> Path:
    """A journal for each bucket, beside the objects."""
    name = sha256(f"{settings.s3_endpoint}/{settings.r2_bucket_name}".encode()).hexdigest()[:16]
    return settings.data_dir.resolve() / "storage-copies" / f"{name}.sqlite3"


def _variables(settings: RuntimeSettings) -> dict[str, str]:
    """What selects the bucket, without the values of the keys."""
    own = "(the key that this command used)"
    where = (
        {"SAVO_S3_ENDPOINT_URL": settings.s3_endpoint_url}
        if settings.s3_endpoint_url
        else {"R2_ACCOUNT_ID": settings.r2_account_id or ""}
    )
    region = {"SAVO_S3_REGION": settings.s3_region} if settings.s3_region != "auto" else {}
    keys = {"R2_ACCESS_KEY_ID": own, "R2_SECRET_ACCESS_KEY": own}
    return {**where, **region, **keys, "R2_BUCKET_NAME": settings.r2_bucket_name or ""}


def _next_steps(settings: RuntimeSettings, report: FolderCopyReport) -> list[str]:
    steps = ["1. Set these variables for the product:"]
    steps += [f"     {name}={value}" for name, value in _variables(settings).items()]
    if settings.storage_limit_gb is not None:
        steps.append(
            f"   Raise SAVO_STORAGE_LIMIT_GB={settings.storage_limit_gb:g}: it limits the samples in a bucket too."
        )
    steps += [
        "2. Restart the product.",
        "3. Run this command again: it copies what was written until the restart.",
        f"4. Delete {settings.data_dir.resolve() / 'objects'}: the product no longer reads it.",
    ]
    return steps


def _finish(report: FolderCopyReport, settings: RuntimeSettings, next_steps: list[str], *, as_json: bool) -> None:
    if as_json:
        print_json(_as_json(report, settings))
    else:
        typer.echo("\n".join([*_sentences(report, settings), *next_steps]))
    if report.differing:
        raise typer.Exit(WITH_GAPS)


def _as_json(report: FolderCopyReport, settings: RuntimeSettings) -> dict[str, Any]:
    return {"bucket": settings.r2_bucket_name, **vars(report), "variables": _variables(settings)}


def _sentences(report: FolderCopyReport, settings: RuntimeSettings) -> list[str]:
    copied = f"copied {report.objects} objects ({report.bytes / 1e6:.1f} MB) to s3://{settings.r2_bucket_name}"
    lines = [f"{copied}; {report.verified} are there; each was compared by SHA-256"]
    if report.removed:
        lines.append(f"deleted {report.removed} copies of objects that were erased from the folder")
    if report.left_out:
        lines.append(
            f"left out {report.left_out} objects that were copied earlier and deleted in the bucket since;"
            " --overwrite copies them again"
        )
    if report.differing:
        keys = ", ".join(report.kept_in_bucket)
        lines.append(f"kept the bucket's version of {report.differing} objects; --overwrite replaces them: {keys}")
    if not report.has_journal:
        lines.append("the disk has no room for the journal of copies: a repeated run compares every object again")
    return lines
