"""`savo prepare`: makes a data set on disk from a folder, a tar or an object store."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from savo_datasets.archives import Unpacked, unpack
from savo_datasets.class_map import ClassMap
from savo_datasets.class_table import ClassTable
from savo_datasets.errors import DatasetError
from savo_datasets.formats.new_folder import errors_named
from savo_datasets.found_photos import FoundPhotos
from savo_datasets.groups import Grouping, read_groups
from savo_datasets.look_alikes import RULE, LookAlikeRule
from savo_datasets.preparation import Prepared, find_photos
from savo_datasets.preparation import prepare as prepare_photos
from savo_datasets.splits import SPLITS
from savo_datasets.stored_samples import prepare_stored
from savo_runtime.command_line.output import reported_errors
from savo_runtime.errors import DependencyDownError
from savo_runtime.settings import RuntimeSettings, load_settings
from savo_runtime.storage.factory import open_store
from savo_runtime.storage.folder import FolderStore
from savo_runtime.storage.port import ObjectStore
from savo_trainer.command_line.options import AsJson
from savo_trainer.command_line.terminal import err, out, print_json, print_line

__all__ = ["prepare"]

Shares = tuple[float, float, float]

DEFAULT_SHARES: Shares = (0.7, 0.2, 0.1)
GAPS = 3
"""Exit code: a data set that is written, in which a class is missing where it could have been."""
SHOWN_FILES = 20
"""Files that are listed for each reason."""


@reported_errors()
def prepare(
    source: Annotated[
        str,
        typer.Option(
            "--input",
            metavar="SOURCE",
            help="Folder or tar with a data set in YOLO, COCO, Pascal VOC or Label Studio form, or as the app's API "
            "stores it; or s3://BUCKET with the samples of an object store.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", metavar="DIR", help="Empty folder for images/, labels/ and dataset.yaml.")
    ],
    split: Annotated[
        Shares | None,
        typer.Option(
            "--split",
            metavar="SHARES",
            help="Three numbers, the shares of train, val and test; default for a folder: 0.7 0.2 0.1. "
            "For an object store it splits again by subject; default: the splits of the collection.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="The same seed gives the same splits.")] = 0,
    groups: Annotated[
        Path | None,
        typer.Option("--groups", metavar="FILE", help="CSV with name,group: photos of one group stay in one split."),
    ] = None,
    session_gap: Annotated[
        int,
        typer.Option(
            "--session-gap",
            metavar="N",
            min=0,
            help="Largest gap of camera numbers in a session; 0 turns sessions off.",
        ),
    ] = 20,
    near_duplicates: Annotated[bool, typer.Option(help="Keep photos that look alike in one split.")] = True,
    allow_gaps: Annotated[
        bool, typer.Option("--allow-gaps", help="Exit with 0 instead of 3 when a split lacks a class.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse the input when a photo or row of it cannot be used.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Split labelled photos into train, val and test by session and class.

    Photos of a person or a session, and photos that look alike, share a split. A session is divided at its widest gaps
    only where it alone has a class. Exit 3 if train lacks a class, or val or test lacks one that it could have.

    Samples of an object store (s3://, with the R2_* settings or SAVO_S3_ENDPOINT_URL, or the folder .savo/objects) keep
    the split of their collection unless --split is given. The same command continues an interrupted download.

    Photos whose metadata mark them as synthetic (`savo synthesize`) go to train alone.

    A photo or a row of a label file that cannot be used is left out and counted; with --strict nothing is written then.
    """
    _check_shares(split)
    look_alikes = RULE if near_duplicates else None
    if _is_store(source):
        with errors_named(output):
            prepared, classes = asyncio.run(_from_store(source, output, split, look_alikes, seed, strict=strict))
        _print(prepared, classes.names, as_json=as_json)
        _exit_with_gaps(prepared.table, allow_gaps=allow_gaps)
        return
    named = read_groups(groups) if groups else None
    with err.status("reading photos"), _unpacked(Path(source), output) as unpacked:
        found = find_photos(unpacked.folder)
        found = replace(found, left_out=unpacked.left_out.merged(found.left_out.files))
        if strict:
            found.left_out.refuse()
        grouping = Grouping(session_gap, look_alikes, found.groups if named is None else named)
        is_copy = unpacked.folder != Path(source)
        prepared = prepare_photos(found, output, split or DEFAULT_SHARES, grouping, seed, link=is_copy)
    _print(prepared, found.classes, found, as_json=as_json)
    _exit_with_gaps(prepared.table, allow_gaps=allow_gaps)


def _exit_with_gaps(table: ClassTable, *, allow_gaps: bool) -> None:
    """Raises `typer.Exit` when a class is missing where it could have been."""
    if any(table.gaps.values()) and not allow_gaps:
        raise typer.Exit(GAPS)


def _check_shares(shares: Shares | None) -> None:
    if shares and (abs(sum(shares) - 1) > 1e-6 or min(shares) < 0):
        raise typer.BadParameter("--split needs three shares that add up to 1, such as 0.7 0.2 0.1")


@contextmanager
def _unpacked(source: Path, output: Path) -> Iterator[Unpacked]:
    """The folder itself, or the tar's files in a folder beside the output, which has the space for them."""
    if not source.exists():
        hint = "give a folder or a tar with images/ and labels/, or s3://BUCKET/PREFIX"
        raise DatasetError(f"{source} does not exist: {hint}")
    if source.is_dir():
        yield Unpacked(source)
        return
    parent = output.absolute().parent
    with errors_named(output):
        parent.mkdir(parents=True, exist_ok=True)
        unpacked = tempfile.TemporaryDirectory(prefix=f".{output.name}.unpacked-", dir=parent)
    with unpacked as folder:
        yield unpack(source, Path(folder))


def _is_store(source: str) -> bool:
    """Whether the source is an object store, including a folder with its layout, as `savo up` keeps it."""
    return source.startswith("s3://") or (Path(source) / "samples" / "classes.json").exists()


async def _from_store(
    source: str, output: Path, shares: Shares | None, look_alikes: LookAlikeRule | None, seed: int, *, strict: bool
) -> tuple[Prepared, ClassMap]:
    store, prefix, name = _open(source)
    try:
        with err.status("reading samples") as status:
            await store.check()

            def on_fetched(count: int) -> None:
                status.update(f"reading samples: {count:,}")

            return await prepare_stored(store, prefix, output, shares, look_alikes, seed, on_fetched, strict=strict)
    except DependencyDownError as error:
        raise DatasetError(f"{name} cannot be read: {error}. Run the same command again to continue") from error
    finally:
        await store.close()


def _open(source: str) -> tuple[ObjectStore, str, str]:
    """The store, the prefix in it, and its name for messages."""
    if not source.startswith("s3://"):
        return FolderStore(Path(source)), "", source
    bucket, _, prefix = source.removeprefix("s3://").partition("/")
    if not bucket:
        raise typer.BadParameter("--input s3:// names no bucket: s3://BUCKET or s3://BUCKET/PREFIX")
    settings = load_settings(RuntimeSettings, r2_bucket_name=bucket)
    endpoint = "SAVO_S3_ENDPOINT_URL" if settings.s3_endpoint_url else "R2_ACCOUNT_ID"
    return open_store(settings), prefix, f"{source} at {settings.s3_endpoint} ({endpoint})"


def _print(prepared: Prepared, classes: Sequence[str], found: FoundPhotos | None = None, *, as_json: bool) -> None:
    if as_json:
        counts = {"photos": prepared.counts, "groups": prepared.groups, "boxes": prepared.boxes}
        labels = {"left_out_files": found.left_out.files, "counted": found.counted} if found else {}
        names = {"unknown_classes": found.unknown_classes, "unboxed_photos": prepared.unboxed} if found else {}
        synthetic = {"synthetic_photos": prepared.synthetic} if found else {}
        left_out = {"left_out": prepared.left_out} | labels
        balance = prepared.table.as_dict()
        print_json(
            {"data": str(prepared.data), **counts, **left_out, "classes": classes, **names, **synthetic, **balance}
        )
        return
    _print_splits(prepared)
    _print_classes(prepared.table)
    if prepared.synthetic:
        print_line(f"synthetic: {prepared.synthetic} photos, in train alone with the photos of their groups")
    for reason, count in prepared.left_out.items():
        print_line(f"left out: {count} ({reason})")
        _print_files(found.left_out.files[reason] if found else ())
    if found:
        _print_counted(found)
    print_line(f"next: savo train --data {prepared.data}")


def _print_splits(prepared: Prepared) -> None:
    columns = {"photos": prepared.counts, "groups": prepared.groups, "boxes": prepared.boxes}
    if any(prepared.unboxed.values()):
        columns["photos with unboxed items"] = prepared.unboxed
    table = Table("split", *columns)
    for split in prepared.counts:
        table.add_row(split, *(str(column[split]) for column in columns.values()))
    out.print(table)


def _print_classes(table: ClassTable) -> None:
    rows = Table("class", *SPLITS, "note")
    for name, boxes in table.boxes.items():
        rows.add_row(name, *(str(boxes[split]) for split in SPLITS), _note(name, table))
    out.print(rows)
    for split, names in table.gaps.items():
        if names:
            print_line(f"gap: {split} lacks {', '.join(names)}; try another --seed or --split, or label more photos")
    for warning in table.warnings:
        print_line(f"warning: {warning}")


def _note(name: str, table: ClassTable) -> str:
    lacking = [split for split, missing in table.missing.items() if name in missing]
    notes = [f"not in {', '.join(lacking)}"] if lacking else []
    return "; ".join([*notes, *(["same session"] if name in table.same_session else [])])


def _print_files(files: Sequence[str]) -> None:
    for file in files[:SHOWN_FILES]:
        print_line(f"  {file}")
    if len(files) > SHOWN_FILES:
        print_line(f"  and {len(files) - SHOWN_FILES} more; --json lists all")


def _print_counted(found: FoundPhotos) -> None:
    for description, count in found.counted.items():
        print_line(f"counted: {count} {description}")
    if found.unknown_classes:
        print_line(f"not in the catalogue, check the spelling: {', '.join(found.unknown_classes)}")
