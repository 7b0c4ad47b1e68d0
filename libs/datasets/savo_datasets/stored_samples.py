"""Collected samples of an object store as a data set on disk: read page by page, one object at a time.

    samples/classes.json  samples/meta/<sha256>.json  samples/labels/<sha256>.txt  samples/images/<sha256>.<ext>

What was fetched waits in a folder beside the output and is not fetched again; the output appears whole, in one step.
By default each sample stays in the split that it was given when it was collected, for ever; dealt anew, the photos of one
subject and what resembles them stay together, and what is anonymous or not labelled completely goes to train, as at collection.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from pydantic import ValidationError

from savo_contracts.documents import ClassList, SampleMeta, sample_image_key, sample_labels_key
from savo_contracts.samples import Split
from savo_datasets.class_ids import ClassMap, class_map, dense_labels
from savo_datasets.groups import SPLITS, Grouping, Photo, deal, group_photos
from savo_datasets.labels import parse_labels
from savo_datasets.yolo_folder import FolderError, Prepared, write_data, write_groups
from savo_runtime.storage.concurrency import gather_limited
from savo_runtime.storage.digests import file_sha256
from savo_runtime.storage.port import ObjectInfo, ObjectNotFoundError, ObjectStore

__all__ = ["FETCHED", "prepare_stored"]

FETCHED = 256
"""Samples of one page."""

ERASED, DAMAGED, UNREADABLE = "erased meanwhile", "damaged: its bytes are not those of its name", "unreadable label file or meta"

OnFetched = Callable[[int], None]


@dataclass(frozen=True)
class _Sample:
    """What is remembered of a sample while the rest is read."""

    sha256: str
    suffix: str
    split: str
    subject: str
    confined: bool
    """May stand in train only."""
    hash: int


@dataclass
class _Fetched:
    samples: list[_Sample] = field(default_factory=list)
    class_ids: set[int] = field(default_factory=set)
    left_out: Counter[str] = field(default_factory=Counter)


async def prepare_stored(
    store: ObjectStore, prefix: str, output: Path, shares: Sequence[float] | None, near_bits: int, seed: int, on_fetched: OnFetched
) -> tuple[Prepared, ClassMap]:
    """`shares` None: the splits of the collection. Raises `FolderError`, and what the store raises."""
    base, classes = await _find_classes(store, prefix)
    waiting = output.with_name(f".{output.name}.fetching")
    await asyncio.to_thread(_open_folders, output, waiting, f"{prefix}\n")
    fetched = await _fetch(store, base, waiting, on_fetched)
    if not fetched.samples:
        raise FolderError(
            f"{base}meta/ holds no sample that can be used ({_words(fetched.left_out)}): nothing was collected there yet, or another --input is meant"
        )
    mapping = class_map(fetched.class_ids, classes)
    groups = _groups(fetched.samples, near_bits, dealt=shares is not None)
    splits = _deal(fetched.samples, groups, shares, seed) if shares else [sample.split for sample in fetched.samples]
    return await asyncio.to_thread(_write, fetched, mapping, groups, splits, waiting, output), mapping


async def _find_classes(store: ObjectStore, prefix: str) -> tuple[str, ClassList]:
    """Under the prefix, or the prefix itself."""
    start = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
    for base in (f"{start}samples/", start):
        try:
            return base, ClassList.model_validate_json(await store.get(f"{base}classes.json"))
        except (ObjectNotFoundError, ValueError) as flaw:
            if isinstance(flaw, ValidationError):
                raise FolderError(f"{base}classes.json cannot be read: {flaw.errors()[0]['msg']}") from flaw
    raise FolderError(f"there are no samples here: no {start}samples/classes.json, with images/, labels/ and meta/ beside it; is another --input meant?")


def _open_folders(output: Path, waiting: Path, origin: str) -> None:
    if output.exists() and any(output.iterdir()):
        raise FolderError(f"{output} is not empty: give another --output, or remove it first")
    note = waiting / "origin"
    if waiting.exists() and (not note.exists() or note.read_text(encoding="utf-8") != origin):
        shutil.rmtree(waiting)
    for kind in ("images", "labels"):
        (waiting / kind).mkdir(parents=True, exist_ok=True)
    note.write_text(origin, encoding="utf-8")


async def _fetch(store: ObjectStore, base: str, waiting: Path, on_fetched: OnFetched) -> _Fetched:
    fetched = _Fetched()
    async for page in _pages(store.list(f"{base}meta/")):
        for found in await gather_limited(page, lambda info: _sample(store, base, info.key, waiting)):
            if isinstance(found, str):
                fetched.left_out[found] += 1
            else:
                sample, ids = found
                fetched.samples.append(sample)
                fetched.class_ids |= ids
        on_fetched(len(fetched.samples))
    return fetched


async def _pages(infos: AsyncIterator[ObjectInfo]) -> AsyncIterator[list[ObjectInfo]]:
    page: list[ObjectInfo] = []
    async for info in infos:
        page.append(info)
        if len(page) == FETCHED:
            yield page
            page = []
    if page:
        yield page


async def _sample(store: ObjectStore, base: str, meta_key: str, waiting: Path) -> tuple[_Sample, set[int]] | str:
    """With the ids of its classes, or why it is left out."""
    try:
        meta = SampleMeta.model_validate_json(await store.get(meta_key))
        labels = (await store.get(base + _own(sample_labels_key(meta.sha256)))).decode()
        ids = {label.class_id for label in parse_labels(labels)}
        image_key = base + _own(sample_image_key(meta.sha256, meta.media_type))
    except ObjectNotFoundError:
        return ERASED
    except (ValueError, KeyError):
        return UNREADABLE
    suffix = PurePosixPath(image_key).suffix
    image = waiting / "images" / f"{meta.sha256}{suffix}"
    if not await asyncio.to_thread(image.exists):
        try:
            await store.download(image_key, image)
        except ObjectNotFoundError:
            return ERASED
        if await asyncio.to_thread(file_sha256, image) != meta.sha256:
            await asyncio.to_thread(image.unlink)
            return DAMAGED
    await asyncio.to_thread((waiting / "labels" / f"{meta.sha256}.txt").write_text, labels, "utf-8")
    return _Sample(meta.sha256, suffix, meta.split, meta.subject, meta.anonymous or not meta.exhaustive, int(meta.perceptual_hash, 16)), ids


def _own(key: str) -> str:
    return key.removeprefix("samples/")


def _groups(samples: Sequence[_Sample], near_bits: int, *, dealt: bool) -> list[str]:
    """The subject, and joined across subjects by likeness where splits are dealt anew."""
    if not dealt:
        return [sample.subject for sample in samples]
    named = {sample.sha256: sample.subject for sample in samples}
    return group_photos([Photo(sample.sha256, sample.hash) for sample in samples], Grouping(0, near_bits, named))


def _deal(samples: Sequence[_Sample], groups: Sequence[str], shares: Sequence[float], seed: int) -> list[str]:
    """A group with one confined photo goes to train with all of its photos."""
    confined = {group for group, sample in zip(groups, samples, strict=True) if sample.confined}
    free = [group for group in groups if group not in confined]
    try:
        dealt = dict(zip(free, deal(free, shares, seed), strict=True)) if free else {}
    except ValueError as flaw:
        raise FolderError(f"{flaw}. Without --split each sample keeps the split that it was given when it was collected") from flaw
    return [dealt.get(group, Split.TRAIN.value) for group in groups]


def _write(fetched: _Fetched, mapping: ClassMap, groups: Sequence[str], splits: Sequence[str], waiting: Path, output: Path) -> Prepared:
    """Built beside the output and given its name at the end."""
    ready, boxes = waiting / "ready", Counter[str]()
    shutil.rmtree(ready, ignore_errors=True)
    for sample, split in zip(fetched.samples, splits, strict=True):
        for kind in ("images", "labels"):
            (ready / kind / split).mkdir(parents=True, exist_ok=True)
        text = dense_labels((waiting / "labels" / f"{sample.sha256}.txt").read_text(encoding="utf-8"), mapping)
        (ready / "labels" / split / f"{sample.sha256}.txt").write_text(text, encoding="utf-8")
        _place(waiting / "images" / f"{sample.sha256}{sample.suffix}", ready / "images" / split / f"{sample.sha256}{sample.suffix}")
        boxes[split] += text.count("\n")
    write_groups(ready, [sample.sha256 for sample in fetched.samples], splits, groups)
    write_data(ready, mapping.names, root=output, present=[split for split in SPLITS if split in splits])
    if output.exists():
        output.rmdir()
    output.parent.mkdir(parents=True, exist_ok=True)
    ready.replace(output)
    shutil.rmtree(waiting)
    by_split = {split: {group for group, chosen in zip(groups, splits, strict=True) if chosen == split} for split in SPLITS}
    return Prepared(
        counts={split: splits.count(split) for split in SPLITS},
        groups={split: len(found) for split, found in by_split.items()},
        boxes={split: boxes[split] for split in SPLITS},
        left_out=dict(fetched.left_out),
        data=output / "dataset.yaml",
    )


def _place(source: Path, target: Path) -> None:
    """A second name for the same bytes, where the file system knows that."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _words(left_out: Counter[str]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in left_out.items()) or "none is there"
