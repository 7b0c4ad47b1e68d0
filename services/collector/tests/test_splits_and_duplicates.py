"""Splits of samples, and the near-duplicates that share one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from savo_collector.collection import CollectSample
from savo_collector.duplicates import bands
from savo_collector.errors import RejectedError
from savo_collector.splits import choose_split, split_of_subject
from savo_contracts.samples import RejectionReason, SampleRejected, SampleStored, Split
from savo_detection.photos.decoding import decode
from savo_detection.photos.fingerprints import MAX_DISTANCE, Fingerprint, fingerprint_of, is_near_duplicate
from savo_runtime.service import Runtime
from savo_runtime.testing import memory_runtime


def subject_in(split: Split, number: int = 0) -> str:
    return [f"subject-{n}" for n in range(1000) if split_of_subject(f"subject-{n}") is split][number]


def test_subjects_are_split_seventy_twenty_ten() -> None:
    counts = Counter(split_of_subject(f"subject-{number}") for number in range(20_000))
    assert counts[Split.TRAIN] / 20_000 == pytest.approx(0.70, abs=0.01)
    assert counts[Split.VAL] / 20_000 == pytest.approx(0.20, abs=0.01)
    assert counts[Split.TEST] / 20_000 == pytest.approx(0.10, abs=0.01)


def test_a_subjects_hash_decides_unless_a_split_is_given() -> None:
    assert choose_split(subject_in(Split.TEST), [], train_only=False) is Split.TEST
    assert choose_split(subject_in(Split.TEST), [Split.VAL, Split.VAL], train_only=False) is Split.VAL
    assert choose_split(subject_in(Split.TEST), [], train_only=True) is Split.TRAIN


@pytest.mark.parametrize(("given_splits", "train_only"), [([Split.TRAIN, Split.TEST], False), ([Split.TEST], True)])
def test_a_photo_that_links_two_splits_is_rejected(given_splits: list[Split], train_only: bool) -> None:
    with pytest.raises(RejectedError) as rejected:
        choose_split("subject", given_splits, train_only=train_only)
    assert rejected.value.reason is RejectionReason.SPLIT_CONFLICT


@settings(deadline=None)
@given(st.integers(0, 2**64 - 1), st.sets(st.integers(0, 63), max_size=MAX_DISTANCE))
def test_hashes_that_differ_in_few_bits_share_a_band(value: int, flipped: set[int]) -> None:
    other = value
    for bit in flipped:
        other ^= 1 << bit
    assert any(left == right for left, right in zip(bands(f"{value:016x}"), bands(f"{other:016x}"), strict=True))


def test_a_smaller_or_recompressed_copy_is_a_near_duplicate_and_another_scene_is_not(
    draw: Callable[..., Any], jpeg: Callable[..., bytes]
) -> None:
    scene = draw(1, width=640, height=480)
    original = fingerprint_of(scene)
    assert is_near_duplicate(
        original, fingerprint_of(np.asarray(cv2.resize(scene, (320, 240), interpolation=cv2.INTER_AREA), np.uint8))
    )
    assert is_near_duplicate(original, fingerprint_of(decode(jpeg(scene, quality=60))))
    assert not any(
        is_near_duplicate(original, fingerprint_of(draw(number, width=640, height=480))) for number in range(2, 40)
    )


def test_both_hashes_must_agree() -> None:
    assert not is_near_duplicate(Fingerprint("0" * 16, "0" * 16), Fingerprint("0" * 16, "f" * 16))


async def test_all_photos_of_a_subject_are_in_one_split(
    collect: CollectSample, runtime: Runtime, confirm: Callable[..., Any]
) -> None:
    for split in Split:
        events = [
            await collect(await confirm(runtime, f"{split}-{number}", subject=subject_in(split))) for number in range(3)
        ]
        assert [event.split for event in events if isinstance(event, SampleStored)] == [split] * 3


async def test_a_near_duplicate_joins_the_earlier_photos_split_with_its_whole_subject(
    collect: CollectSample,
    runtime: Runtime,
    confirm: Callable[..., Any],
    draw: Callable[..., Any],
    jpeg: Callable[..., bytes],
) -> None:
    first = await collect(await confirm(runtime, "scan-1", photo=jpeg(draw(1)), subject=subject_in(Split.TEST)))
    copy = await collect(
        await confirm(runtime, "scan-2", photo=jpeg(draw(1), quality=70), subject=subject_in(Split.TRAIN))
    )
    later = await collect(await confirm(runtime, "scan-3", subject=subject_in(Split.TRAIN)))
    assert [event.split for event in (first, copy, later) if isinstance(event, SampleStored)] == [Split.TEST] * 3


async def test_a_photo_that_links_two_splits_is_pending(
    collect: CollectSample,
    runtime: Runtime,
    confirm: Callable[..., Any],
    draw: Callable[..., Any],
    jpeg: Callable[..., bytes],
) -> None:
    await collect(await confirm(runtime, "scan-1", photo=jpeg(draw(1)), subject=subject_in(Split.TEST)))
    await collect(await confirm(runtime, "scan-2", subject=subject_in(Split.TRAIN)))
    event = await collect(
        await confirm(runtime, "scan-3", photo=jpeg(draw(1), quality=70), subject=subject_in(Split.TRAIN))
    )
    assert isinstance(event, SampleRejected)
    assert event.reason == RejectionReason.SPLIT_CONFLICT
    assert "test and train" in event.detail


async def test_a_database_rebuilt_in_another_order_gives_the_same_owners_and_splits(
    collect: CollectSample,
    runtime: Runtime,
    build: Callable[..., CollectSample],
    confirm: Callable[..., Any],
    draw: Callable[..., Any],
    jpeg: Callable[..., bytes],
) -> None:
    photo, copy = jpeg(draw(1)), jpeg(draw(1), quality=70)
    scans = [
        await confirm(runtime, "scan-1", photo=photo, subject=subject_in(Split.TEST)),
        await confirm(runtime, "scan-2", photo=copy, subject=subject_in(Split.TRAIN)),
        await confirm(runtime, "scan-3", photo=photo, subject=subject_in(Split.VAL)),
    ]
    before = [_outcome(await collect(scan)) for scan in scans]
    async with memory_runtime("collector", migrations="savo_collector.migrations") as empty:
        rebuilt = build(replace(empty, store=runtime.store))
        after = [_outcome(await rebuilt(scan)) for scan in reversed(scans)]
    assert before == after[::-1] == ["test", "test", "duplicate"]


def _outcome(event: SampleStored | SampleRejected | None) -> str:
    assert event is not None
    return event.split.value if isinstance(event, SampleStored) else event.reason
