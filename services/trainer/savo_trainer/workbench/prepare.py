"""`savo prepare`: from a folder, a tar or an object store to a data set on disk."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import typer
from rich.table import Table

from savo_datasets.archives import unpack
from savo_datasets.class_ids import ClassMap
from savo_datasets.errors import DatasetError
from savo_datasets.groups import SUBJECTS_FILE, Grouping, read_groups
from savo_datasets.preparation import Prepared, find_photos, prepare
from savo_datasets.stored_samples import prepare_stored
from savo_datasets.yolo_folder import read_classes
from savo_runtime.errors import DependencyDownError
from savo_runtime.settings import RuntimeSettings, load_settings
from savo_runtime.storage.factory import open_store
from savo_runtime.storage.folder import FolderStore
from savo_runtime.storage.port import ObjectStore
from savo_trainer.workbench.console import err, out

__all__ = ["prepare_from"]

Shares = tuple[float, float, float]

USUAL: Shares = (0.7, 0.2, 0.1)
NEAR_BITS = 6


def prepare_from(source: str, output: Path, shares: Shares | None, seed: int, groups: Path | None, gap: int, *, near_duplicates: bool, as_json: bool) -> None:
    """`shares` None: of a folder the usual ones, of an object store the splits that were given at collection."""
    if shares and (abs(sum(shares) - 1) > 1e-6 or min(shares) < 0):
        raise typer.BadParameter("--split needs three shares that add up to 1, such as 0.7 0.2 0.1")
    near_bits = NEAR_BITS if near_duplicates else -1
    if _is_store(source):
        done, classes = asyncio.run(_of_store(source, output, shares, near_bits, seed))
        _tell(done, classes.names, as_json=as_json)
        return
    folder = Path(source)
    if not folder.exists():
        raise DatasetError(f"{source} does not exist; give a folder or a tar with images/ and labels/, or s3://BUCKET/PREFIX")
    with tempfile.TemporaryDirectory(prefix="savo-prepare-") as unpacked, err.status("reading photos"):
        folder = folder if folder.is_dir() else unpack(folder, Path(unpacked))
        names = read_classes(folder)
        grouping = Grouping(gap, near_bits, read_groups(groups or folder / SUBJECTS_FILE))
        prepared = prepare(find_photos(folder, names), names, output, shares or USUAL, grouping, seed)
    _tell(prepared, names, as_json=as_json)


def _is_store(source: str) -> bool:
    """Also a folder that is laid out like one: the object store of `savo up`."""
    return source.startswith("s3://") or (Path(source) / "samples" / "classes.json").exists()


async def _of_store(source: str, output: Path, shares: Shares | None, near_bits: int, seed: int) -> tuple[Prepared, ClassMap]:
    store, prefix, place = _open(source)
    try:
        with err.status("reading samples") as status:
            await store.check()
            return await prepare_stored(store, prefix, output, shares, near_bits, seed, lambda count: status.update(f"reading samples: {count:,}"))
    except DependencyDownError as down:
        raise DatasetError(f"{place} cannot be read: {down}. The same command goes on from here") from down
    finally:
        await store.close()


def _open(source: str) -> tuple[ObjectStore, str, str]:
    """The store, the prefix in it, and what to call it."""
    if not source.startswith("s3://"):
        return FolderStore(Path(source)), "", source
    bucket, _, prefix = source.removeprefix("s3://").partition("/")
    if not bucket:
        raise typer.BadParameter("--input s3:// names no bucket: s3://BUCKET or s3://BUCKET/PREFIX")
    settings = load_settings(RuntimeSettings, r2_bucket_name=bucket)
    endpoint = "SAVO_S3_ENDPOINT_URL" if settings.s3_endpoint_url else "R2_ACCOUNT_ID"
    return open_store(settings), prefix, f"{source} at {settings.s3_endpoint} ({endpoint})"


def _tell(done: Prepared, classes: Sequence[str], *, as_json: bool) -> None:
    if as_json:
        told = {"data": str(done.data), "photos": done.counts, "groups": done.groups, "boxes": done.boxes, "left_out": done.left_out, "classes": classes}
        typer.echo(json.dumps(told, indent=2, ensure_ascii=False))
        return
    table = Table("split", "photos", "groups", "boxes")
    for split, count in done.counts.items():
        table.add_row(split, str(count), str(done.groups[split]), str(done.boxes[split]))
    out.print(table)
    for reason, count in done.left_out.items():
        out.print(f"left out: {count} ({reason})")
    out.print(f"next: savo train --data {done.data}", highlight=False, soft_wrap=True)
