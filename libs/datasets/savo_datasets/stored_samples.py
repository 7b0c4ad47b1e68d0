"""Data set on disk from the collected samples of an object store.

    samples/classes.json  samples/meta/<sha256>.json  samples/labels/<sha256>.txt  samples/images/<sha256>.<ext>

Downloads are kept in a folder beside the output, so an interrupted command does not fetch them again. The output
folder appears complete, in one step. By default each sample stays in the split of its collection. With new shares,
photos of one subject and near-duplicates stay together, and anonymous or incompletely labelled samples go to train, as
at collection.
"""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from pydantic import ValidationError

from savo_contracts.documents import ClassList, SampleMeta, sample_image_key, sample_labels_key
from savo_datasets.class_map import ClassMap, class_map, map_labels
from savo_datasets.class_table import ClassTable, class_table
from savo_datasets.errors import DatasetError
from savo_datasets.formats.new_folder import require_empty
from savo_datasets.groups import GROUPS_FILE, Grouping, Groups, group_photos, write_groups
from savo_datasets.labels import count_classes, parse_labels
from savo_datasets.look_alikes import LookAlikeRule
from savo_datasets.preparation import Prepared, count_prepared
from savo_datasets.sessions import Photo
from savo_datasets.signatures import BLANK, Signature, signature_of
from savo_datasets.splits import SPLITS, assign_splits
from savo_datasets.yolo_writer import place_photo, write_description
from savo_runtime.storage.concurrency import map_limited
from savo_runtime.storage.digests import file_sha256
from savo_runtime.storage.port import ObjectNotFoundError, ObjectStore

__all__ = ["PAGE", "prepare_stored"]

PAGE = 256
"""Number of samples between two progress reports."""

ERASED = "erased meanwhile"
DAMAGED = "damaged: its bytes are not those of its name"
UNREADABLE = "unreadable label file or meta"

OnFetched = Callable[[int], None]
"""Receives the number of samples fetched so far."""


@dataclass(frozen=True)
class _Sample:
    sha256: str
    suffix: str
    split: str
    subject: str
    train_only: bool


@dataclass
class _Fetched:
    samples: list[_Sample] = field(default_factory=list)
    class_ids: set[int] = field(default_factory=set)
    left_out: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class _Cache:
    """Downloaded photos and label files. They are kept when the command is interrupted."""

    folder: Path

    def open(self, origin: str) -> None:
        """Create the folders, after deleting downloads of another origin."""
        origin_file = self.folder / "origin"
        if self.folder.exists() and (not origin_file.exists() or origin_file.read_text(encoding="utf-8") != origin):
            shutil.rmtree(self.folder)
        for kind in ("images", "labels"):
            (self.folder / kind).mkdir(parents=True, exist_ok=True)
        origin_file.write_text(origin, encoding="utf-8")

    def image(self, sha256: str, suffix: str) -> Path:
        return self.folder / "images" / f"{sha256}{suffix}"

    def labels(self, sha256: str) -> Path:
        return self.folder / "labels" / f"{sha256}.txt"

    @property
    def ready(self) -> Path:
        """The output while it is being built."""
        return self.folder / "ready"


async def prepare_stored(
    store: ObjectStore,
    prefix: str,
    output: Path,
    shares: Sequence[float] | None,
    look_alikes: LookAlikeRule | None,
    seed: int,
    on_fetched: OnFetched,
    *,
    strict: bool = False,
) -> tuple[Prepared, ClassMap]:
    """Write the samples under `prefix` to `output`, a new or empty folder.

    `shares`: fractions of train, val and test, or None for the splits of the collection. `look_alikes`: see
    `Grouping`. `strict`: refuse samples that cannot be used. Raises `DatasetError`, and the store's errors.
    """
    base, classes = await _find_classes(store, prefix)
    await asyncio.to_thread(require_empty, output)
    cache = _Cache(output.with_name(f".{output.name}.fetching"))
    await asyncio.to_thread(cache.open, f"{prefix}\n")
    fetched = await _fetch(store, base, cache, on_fetched)
    if not fetched.samples:
        next_step = "collect samples first, or check --input"
        raise DatasetError(f"{base}meta/ has no usable sample ({_reasons(fetched.left_out)}): {next_step}")
    if strict and fetched.left_out:
        raise DatasetError(f"{base}meta/ has samples that cannot be used: {_reasons(fetched.left_out)}")
    mapping = class_map(fetched.class_ids, classes)
    prepared = await asyncio.to_thread(_prepare_fetched, fetched, mapping, shares, look_alikes, seed, cache, output)
    return prepared, mapping


async def _find_classes(store: ObjectStore, prefix: str) -> tuple[str, ClassList]:
    """The prefix of the samples (`prefix`/samples/ or `prefix` itself) and its class list."""
    start = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
    for base in (f"{start}samples/", start):
        try:
            return base, ClassList.model_validate_json(await store.get(f"{base}classes.json"))
        except (ObjectNotFoundError, ValueError) as error:
            if isinstance(error, ValidationError):
                raise DatasetError(f"{base}classes.json cannot be read: {error.errors()[0]['msg']}") from error
    missing = f"no {start}samples/classes.json, with images/, labels/ and meta/ beside it"
    raise DatasetError(f"there are no samples here: {missing}; check --input")


async def _fetch(store: ObjectStore, base: str, cache: _Cache, on_fetched: OnFetched) -> _Fetched:
    fetched = _Fetched()
    requests = map_limited(store.list(f"{base}meta/"), lambda info: _fetch_sample(store, base, info.key, cache))
    async with aclosing(requests) as results:
        async for found in results:
            if isinstance(found, str):
                fetched.left_out[found] += 1
                continue
            sample, ids = found
            fetched.samples.append(sample)
            fetched.class_ids |= ids
            if len(fetched.samples) % PAGE == 0:
                on_fetched(len(fetched.samples))
    on_fetched(len(fetched.samples))
    return fetched


async def _fetch_sample(store: ObjectStore, base: str, meta_key: str, cache: _Cache) -> tuple[_Sample, set[int]] | str:
    """The sample with its class ids, or why it is left out."""
    try:
        meta = SampleMeta.model_validate_json(await store.get(meta_key))
        labels = (await store.get(base + _relative(sample_labels_key(meta.sha256)))).decode()
        ids = {label.class_id for label in parse_labels(labels)}
        image_key = base + _relative(sample_image_key(meta.sha256, meta.media_type))
    except ObjectNotFoundError:
        return ERASED
    except (ValueError, KeyError):
        return UNREADABLE
    suffix = PurePosixPath(image_key).suffix
    if problem := await _fetch_image(store, image_key, meta.sha256, cache.image(meta.sha256, suffix)):
        return problem
    await asyncio.to_thread(cache.labels(meta.sha256).write_text, labels, "utf-8")
    train_only = meta.anonymous or not meta.exhaustive
    return _Sample(meta.sha256, suffix, meta.split, meta.subject, train_only), ids


async def _fetch_image(store: ObjectStore, key: str, sha256: str, image: Path) -> str | None:
    """Why the image is left out; None when it is in the cache."""
    if await asyncio.to_thread(image.exists):
        return None
    try:
        await store.download(key, image)
    except ObjectNotFoundError:
        return ERASED
    if await asyncio.to_thread(file_sha256, image) != sha256:
        await asyncio.to_thread(image.unlink)
        return DAMAGED
    return None


def _relative(key: str) -> str:
    """The key without samples/, which can be under another prefix here."""
    return key.removeprefix("samples/")


def _prepare_fetched(
    fetched: _Fetched,
    mapping: ClassMap,
    shares: Sequence[float] | None,
    look_alikes: LookAlikeRule | None,
    seed: int,
    cache: _Cache,
    output: Path,
) -> Prepared:
    boxes = [count_classes(text) for text in _dense_labels(fetched, mapping, cache)]
    signatures = _signatures(fetched.samples, cache) if shares and look_alikes else [BLANK] * len(fetched.samples)
    division = _divide(fetched.samples, signatures, boxes, mapping.names, shares, look_alikes, seed)
    return _write(fetched, mapping, division, cache, output)


def _dense_labels(fetched: _Fetched, mapping: ClassMap, cache: _Cache) -> Iterator[str]:
    """The label file of each sample with positions in the mapping's names as ids, read one at a time."""
    for sample in fetched.samples:
        yield map_labels(cache.labels(sample.sha256).read_text(encoding="utf-8"), mapping)


def _signatures(samples: Sequence[_Sample], cache: _Cache) -> list[Signature]:
    photos = (cache.image(sample.sha256, sample.suffix) for sample in samples)
    return [signature_of(photo.read_bytes()) or BLANK for photo in photos]


@dataclass(frozen=True)
class _Division:
    """How the samples are divided, in their order."""

    splits: list[str]
    groups: Groups
    table: ClassTable


def _divide(
    samples: Sequence[_Sample],
    signatures: Sequence[Signature],
    boxes: Sequence[Counter[int]],
    names: Sequence[str],
    shares: Sequence[float] | None,
    look_alikes: LookAlikeRule | None,
    seed: int,
) -> _Division:
    """Groups and splits of the samples. `boxes`: of each sample by class, a position in `names`.

    With new shares, subjects with photos that look alike form one group, and a group with a train-only sample goes to
    train.
    """
    subjects = [sample.subject for sample in samples]
    if shares is None:
        splits, groups = [sample.split for sample in samples], Groups(subjects, subjects)
        return _Division(splits, groups, class_table(names, boxes, splits, groups, expected=splits, is_fixed=True))
    named = {sample.sha256: sample.subject for sample in samples}
    grouping = Grouping(session_gap=0, look_alikes=look_alikes, named=named)
    photos = [Photo(sample.sha256, signature) for sample, signature in zip(samples, signatures, strict=True)]
    groups = group_photos(photos, grouping)
    train_only = {group for group, sample in zip(groups.groups, samples, strict=True) if sample.train_only}
    splits = assign_splits(groups.groups, shares, seed, boxes, train_only)
    expected = [split for split, share in zip(SPLITS, shares, strict=True) if share > 0]
    table = class_table(names, boxes, splits, groups, expected=expected, train_only=train_only)
    return _Division(splits, groups, table)


def _write(
    fetched: _Fetched,
    mapping: ClassMap,
    division: _Division,
    cache: _Cache,
    output: Path,
) -> Prepared:
    """Build the data set beside the output and rename it at the end."""
    shutil.rmtree(cache.ready, ignore_errors=True)
    splits = division.splits
    texts = _dense_labels(fetched, mapping, cache)
    for sample, split, text in zip(fetched.samples, splits, texts, strict=True):
        place_photo(cache.image(sample.sha256, sample.suffix), text, split, cache.ready, link=True)
    write_groups(cache.ready / GROUPS_FILE, [sample.sha256 for sample in fetched.samples], splits, division.groups)
    division.table.write(cache.ready)
    present = [split for split in SPLITS if split in splits]
    write_description(cache.ready, mapping.names, root=output, present=present)
    if output.exists():
        output.rmdir()
    output.parent.mkdir(parents=True, exist_ok=True)
    cache.ready.replace(output)
    shutil.rmtree(cache.folder)
    return count_prepared(splits, division.groups.groups, division.table, fetched.left_out, output / "dataset.yaml")


def _reasons(left_out: Counter[str]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in left_out.items()) or "it is empty"
