"""From a confirmed scan to a sample, a rejection, or nothing."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest

from savo_collector.adapters.sample_database import SqlSampleDatabase
from savo_collector.collection import CollectSample
from savo_contracts.documents import (
    CLASSES_KEY,
    ClassList,
    SampleMeta,
    sample_image_key,
    sample_labels_key,
    sample_meta_key,
)
from savo_contracts.geometry import BoundingBox
from savo_contracts.samples import RejectionReason, SampleErased, SampleRejected, SampleStored, Split
from savo_contracts.scans import Action, BoxSource, ServedBy
from savo_detection.photos.decoding import decode, probe
from savo_runtime.service import Runtime
from savo_runtime.storage.port import StorageFullError
from savo_runtime.testing import published_by_outbox

Factory = Callable[..., Any]


async def test_a_confirmed_photo_is_stored_unchanged_with_yolo_labels_and_its_origin(
    collect: CollectSample, runtime: Runtime, confirm: Factory, kept: Factory
) -> None:
    items = (kept("milk"), kept("Cherry Tomatoes", action=Action.ADDED), kept("tofu", action=Action.REMOVED))
    confirmed = await confirm(runtime, items=items, nothing_missing=False)
    event = await collect(confirmed)
    assert isinstance(event, SampleStored)
    assert event.labels == {"milk": 1, "cherry_tomato": 1}
    assert event.edited
    assert event.detections == 2
    sha256 = confirmed.image.sha256
    assert await runtime.store.get(sample_image_key(sha256, "image/jpeg")) == await runtime.store.get(
        confirmed.image.key
    )
    lines = (await runtime.store.get(sample_labels_key(sha256))).decode().splitlines()
    classes = ClassList.model_validate_json(await runtime.store.get(CLASSES_KEY))
    assert [classes.names()[int(line.split()[0])] for line in lines] == ["milk", "cherry_tomato"]
    box = BoundingBox.from_yolo([float(value) for value in lines[0].split()[1:]])
    assert box is not None
    assert box.iou(items[0].bbox) > 0.9999
    meta = SampleMeta.model_validate_json(await runtime.store.get(sample_meta_key(sha256)))
    assert (meta.scan_id, meta.split, meta.exhaustive, meta.revision) == ("scan-1", event.split, False, 1)
    assert [box.box_source for box in meta.boxes] == [ServedBy.GOOGLE, BoxSource.USER]


async def test_nothing_is_stored_while_collection_is_off_or_consent_is_missing(
    collect: CollectSample, runtime: Runtime, confirm: Factory, build: Factory
) -> None:
    confirmed = await confirm(runtime)
    before = dict(runtime.store.objects)  # type: ignore[attr-defined]
    assert await build(runtime, collect_training_data=False)(confirmed) is None
    assert await collect(confirmed.model_copy(update={"consent": False})) is None
    assert await build(runtime, require_consent=True)(confirmed) is None
    assert runtime.store.objects == before  # type: ignore[attr-defined]
    allowed = confirmed.model_copy(update={"consent": True})
    assert isinstance(await build(runtime, require_consent=True)(allowed), SampleStored)


async def test_blurred_dark_small_and_damaged_photos_are_rejected_with_measured_values(
    collect: CollectSample, runtime: Runtime, confirm: Factory, draw: Factory, jpeg: Factory
) -> None:
    scene = draw(1)
    cases = {
        RejectionReason.BLURRED: jpeg(cv2.GaussianBlur(scene, (0, 0), 8)),
        RejectionReason.DARK: jpeg((scene * 0.12).astype(np.uint8)),
        RejectionReason.TOO_SMALL: jpeg(cv2.resize(scene, (160, 120))),
        RejectionReason.UNREADABLE: jpeg(scene)[:900],
    }
    for reason, photo in cases.items():
        event = await collect(await confirm(runtime, f"scan-{reason.value}", photo=photo))
        assert isinstance(event, SampleRejected)
        assert event.reason == reason
        assert event.detail
    assert not [key for key in runtime.store.objects if key.startswith("samples/")]  # type: ignore[attr-defined]


async def test_a_sharp_photo_with_blurred_items_is_rejected(
    collect: CollectSample, runtime: Runtime, confirm: Factory, draw: Factory, jpeg: Factory
) -> None:
    scene = draw(1)
    scene[:, :160] = cv2.GaussianBlur(scene, (0, 0), 8)[:, :160]  # the item is in the left half
    event = await collect(await confirm(runtime, photo=jpeg(scene)))
    assert isinstance(event, SampleRejected)
    assert event.reason == RejectionReason.BLURRED


async def test_a_photo_that_was_deleted_is_unreadable(
    collect: CollectSample, runtime: Runtime, confirm: Factory
) -> None:
    confirmed = await confirm(runtime)
    await runtime.store.delete(confirmed.image.key)
    event = await collect(confirmed)
    assert isinstance(event, SampleRejected)
    assert event.reason == RejectionReason.UNREADABLE


async def test_another_scan_of_the_same_bytes_is_a_duplicate(
    collect: CollectSample, runtime: Runtime, confirm: Factory
) -> None:
    assert isinstance(await collect(await confirm(runtime, "scan-1", seed=5)), SampleStored)
    event = await collect(await confirm(runtime, "scan-2", seed=5, subject="another-subject"))
    assert isinstance(event, SampleRejected)
    assert event.reason == RejectionReason.DUPLICATE
    assert "scan-1" in event.detail


async def test_of_concurrent_scans_of_the_same_bytes_exactly_one_gets_the_sample(
    collect: CollectSample, runtime: Runtime, confirm: Factory
) -> None:
    scans = [await confirm(runtime, f"scan-{number}", seed=5, subject=f"subject-{number}") for number in range(8)]
    events = await asyncio.gather(*map(collect, scans))
    stored = [event for event in events if isinstance(event, SampleStored)]
    assert len(stored) == 1
    assert {event.reason for event in events if isinstance(event, SampleRejected)} == {RejectionReason.DUPLICATE}
    meta = SampleMeta.model_validate_json(await runtime.store.get(sample_meta_key(stored[0].sha256)))
    assert meta.scan_id == stored[0].scan_id


async def test_the_same_confirmation_twice_gives_the_same_event_and_counts_once(
    collect: CollectSample, runtime: Runtime, confirm: Factory
) -> None:
    confirmed = await confirm(runtime)
    first = await collect(confirmed)
    runtime.clock.advance(60)  # type: ignore[attr-defined]
    assert await collect(confirmed) == first
    async with SqlSampleDatabase(runtime.database, runtime.outbox).transaction() as transaction:
        assert (await transaction.counts()).samples == 1


async def test_a_repeated_rejection_is_the_same_event(
    collect: CollectSample, runtime: Runtime, confirm: Factory, kept: Factory
) -> None:
    confirmed = await confirm(runtime, items=(kept(bbox=None),))
    first = await collect(confirmed)
    runtime.clock.advance(60)  # type: ignore[attr-defined]
    assert await collect(confirmed) == first


async def test_a_correction_replaces_the_labels_and_keeps_photo_split_and_count(
    collect: CollectSample, runtime: Runtime, confirm: Factory, revised: Factory, kept: Factory
) -> None:
    confirmed = await confirm(runtime)
    first = await collect(confirmed)
    await runtime.store.delete(confirmed.image.key)  # scans/ keeps photos for 30 days
    second = await collect(revised(confirmed, items=(kept("egg"), kept("egg"))))
    assert isinstance(first, SampleStored)
    assert isinstance(second, SampleStored)
    assert (second.revision, second.labels, second.split, second.image) == (2, {"egg": 2}, first.split, first.image)
    assert await collect(confirmed) == second, "an older confirmation never undoes a newer one"
    async with SqlSampleDatabase(runtime.database, runtime.outbox).transaction() as transaction:
        assert (await transaction.counts()).samples == 1


async def test_a_photo_in_which_every_item_was_removed_and_none_is_missing_is_a_background_sample(
    collect: CollectSample, runtime: Runtime, confirm: Factory, kept: Factory
) -> None:
    removed = kept("frobnicated_gloop", action=Action.REMOVED, box_source=ServedBy.OPENAI, confidence=0.7)
    confirmed = await confirm(runtime, items=(removed, kept("egg", action=Action.REMOVED, bbox=None)))
    event = await collect(confirmed)
    assert isinstance(event, SampleStored)
    assert (event.labels, event.detections, event.edited) == ({}, 0, True)
    assert await runtime.store.get(sample_labels_key(event.sha256)) == b""
    meta = SampleMeta.model_validate_json(await runtime.store.get(sample_meta_key(event.sha256)))
    assert (meta.schema_version, meta.boxes, meta.exhaustive) == (2, (), True)
    rejected = meta.rejected[0]
    assert [box.label for box in meta.rejected] == ["frobnicated_gloop"], "a box without a place says nothing"
    assert (rejected.bbox, rejected.box_source, rejected.confidence) == (removed.bbox, ServedBy.OPENAI, 0.7)


async def test_a_background_sample_and_a_labelled_one_replace_each_other(
    collect: CollectSample, runtime: Runtime, confirm: Factory, kept: Factory, revised: Factory
) -> None:
    confirmed = await confirm(runtime)
    first = await collect(confirmed)
    empty = revised(confirmed, items=(kept(action=Action.REMOVED),))
    events = [await collect(empty), await collect(revised(empty, items=(kept("egg"),)))]
    assert isinstance(first, SampleStored)
    assert [event.labels for event in events if isinstance(event, SampleStored)] == [{}, {"egg": 1}]
    unclear = revised(empty, revision=4, items=(kept(action=Action.REMOVED),), nothing_missing=False)
    assert isinstance(await collect(unclear), SampleRejected)
    assert [type(event) for event in await published_by_outbox(runtime)] == [SampleErased]


async def test_items_without_a_box_and_unknown_labels_keep_the_photo_out_of_the_training_data(
    collect: CollectSample, runtime: Runtime, confirm: Factory, kept: Factory
) -> None:
    boxless = await collect(await confirm(runtime, "scan-1", items=(kept(), kept("egg", bbox=None))))
    unknown = await collect(await confirm(runtime, "scan-2", items=(kept(), kept("frobnicated_gloop"))))
    removed = (kept(action=Action.REMOVED),)
    more = await collect(await confirm(runtime, "scan-3", items=removed, nothing_missing=False))
    nothing = await collect(await confirm(runtime, "scan-4", items=()))
    reasons = [event.reason for event in (boxless, unknown, more, nothing) if isinstance(event, SampleRejected)]
    no_items = [RejectionReason.NO_ITEMS] * 2
    assert reasons == [RejectionReason.NEEDS_BOXES, RejectionReason.NEEDS_CLASS, *no_items]
    async with SqlSampleDatabase(runtime.database, runtime.outbox).transaction() as transaction:
        assert [
            rejection.confirmed.scan_id
            for rejection in await transaction.pending_rejections(RejectionReason.NEEDS_BOXES)
        ] == ["scan-1"]
        assert [
            rejection.confirmed.scan_id
            for rejection in await transaction.pending_rejections(RejectionReason.NEEDS_CLASS)
        ] == ["scan-2"]
    assert not [key for key in runtime.store.objects if key.startswith("samples/images/")]  # type: ignore[attr-defined]


async def test_a_rejected_photo_becomes_a_sample_when_its_boxes_are_confirmed(
    collect: CollectSample, runtime: Runtime, confirm: Factory, revised: Factory, kept: Factory
) -> None:
    confirmed = await confirm(runtime, items=(kept(bbox=None),))
    assert isinstance(await collect(confirmed), SampleRejected)
    assert isinstance(await collect(revised(confirmed, items=(kept(),))), SampleStored)
    async with SqlSampleDatabase(runtime.database, runtime.outbox).transaction() as transaction:
        assert await transaction.rejection_of("scan-1") is None


async def test_a_correction_without_usable_labels_withdraws_the_sample_until_the_next_correction(
    collect: CollectSample, runtime: Runtime, confirm: Factory, revised: Factory, kept: Factory
) -> None:
    confirmed = await confirm(runtime)
    first = await collect(confirmed)
    second = revised(confirmed, items=(kept(), kept("egg", bbox=None)))
    rejected = await collect(second)
    assert isinstance(rejected, SampleRejected)
    assert rejected.reason == RejectionReason.NEEDS_BOXES
    assert [type(event) for event in await published_by_outbox(runtime)] == [SampleErased]
    assert await runtime.store.head(sample_labels_key(confirmed.image.sha256)) is None
    assert await collect(confirmed) == rejected, "a repeat of the older confirmation restores nothing"
    third = await collect(revised(second, items=(kept("egg"),)))
    assert isinstance(first, SampleStored)
    assert isinstance(third, SampleStored)
    assert (third.split, third.revision) == (first.split, 3)
    async with SqlSampleDatabase(runtime.database, runtime.outbox).transaction() as transaction:
        assert (await transaction.counts()).samples == 1


async def test_a_revoked_consent_withdraws_the_sample(
    collect: CollectSample, runtime: Runtime, confirm: Factory, revised: Factory
) -> None:
    confirmed = await confirm(runtime)
    await collect(confirmed)
    assert await collect(revised(confirmed, consent=False)) is None
    assert [type(event) for event in await published_by_outbox(runtime)] == [SampleErased]
    assert await runtime.store.head(sample_image_key(confirmed.image.sha256, "image/jpeg")) is None


async def test_a_rotated_photo_is_stored_upright_and_recognised_by_either_hash(
    collect: CollectSample, runtime: Runtime, confirm: Factory, draw: Factory, jpeg: Factory
) -> None:
    photo = jpeg(draw(3), orientation=6)
    event = await collect(await confirm(runtime, "scan-1", photo=photo))
    assert isinstance(event, SampleStored)
    assert event.sha256 != hashlib.sha256(photo).hexdigest()
    assert (event.image.width, event.image.height) == (240, 320)
    stored = await runtime.store.get(event.image.key)
    assert hashlib.sha256(stored).hexdigest() == event.sha256
    assert probe(stored).orientation == 1
    difference = np.abs(decode(stored).astype(int) - decode(photo).astype(int)).mean()
    assert difference < 4
    again = await collect(await confirm(runtime, "scan-2", photo=photo))
    assert isinstance(again, SampleRejected)
    assert again.reason == RejectionReason.DUPLICATE


async def test_photos_past_the_storage_limit_are_rejected_by_counted_bytes(
    runtime: Runtime, build: Factory, confirm: Factory
) -> None:
    first = await confirm(runtime, "scan-1")
    collect = build(runtime, storage_limit_gb=(first.image.bytes + 100) / 1e9)
    assert isinstance(await collect(first), SampleStored)
    event = await collect(await confirm(runtime, "scan-2"))
    assert isinstance(event, SampleRejected)
    assert event.reason == RejectionReason.STORAGE_FULL


async def test_a_full_disk_rejects_the_photo_and_leaves_nothing_behind(
    collect: CollectSample, runtime: Runtime, confirm: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    confirmed = await confirm(runtime)

    async def full(*_: object, **__: object) -> bool:
        raise StorageFullError("no space left on device")

    monkeypatch.setattr(runtime.store, "put_if_absent", full)
    event = await collect(confirmed)
    assert isinstance(event, SampleRejected)
    assert event.reason == RejectionReason.STORAGE_FULL
    monkeypatch.undo()
    assert isinstance(await collect(confirmed), SampleStored), "once there is space, the same confirmation is collected"


async def test_anonymous_and_incomplete_photos_go_to_train_only(
    collect: CollectSample, runtime: Runtime, confirm: Factory
) -> None:
    for number in range(12):
        anonymous = await collect(await confirm(runtime, f"a-{number}", subject=f"anonymous-{number}", anonymous=True))
        partial = await collect(
            await confirm(runtime, f"p-{number}", subject=f"person-{number}", nothing_missing=False)
        )
        assert isinstance(anonymous, SampleStored)
        assert isinstance(partial, SampleStored)
        assert (anonymous.split, partial.split) == (Split.TRAIN, Split.TRAIN)
