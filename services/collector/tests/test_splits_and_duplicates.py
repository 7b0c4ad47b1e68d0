from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from savo_collector.collection import CollectSample
from savo_collector.duplicates import MAX_DISTANCE, Fingerprint, bands, fingerprint_of, is_near_duplicate
from savo_collector.errors import RefusedError
from savo_collector.splits import choose_split, split_of_subject
from savo_contracts.samples import RejectionReason, SampleRejected, SampleStored, Split
from savo_detection.photos.decoding import decode
from savo_runtime.service import Runtime
from savo_runtime.testing import memory_runtime


def subject_in(split: Split, number: int = 0) -> str:
    return [f"subject-{n}" for n in range(1000) if split_of_subject(f"subject-{n}") is split][number]


def test_subjects_are_dealt_seventy_twenty_ten() -> None:
    dealt = Counter(split_of_subject(f"somebody-{number}") for number in range(20_000))
    assert dealt[Split.TRAIN] / 20_000 == pytest.approx(0.70, abs=0.01)
    assert dealt[Split.VAL] / 20_000 == pytest.approx(0.20, abs=0.01)
    assert dealt[Split.TEST] / 20_000 == pytest.approx(0.10, abs=0.01)


def test_a_new_subject_is_dealt_by_hash_and_follows_what_is_given() -> None:
    assert choose_split(subject_in(Split.TEST), [], train_only=False) is Split.TEST
    assert choose_split(subject_in(Split.TEST), [Split.VAL, Split.VAL], train_only=False) is Split.VAL
    assert choose_split(subject_in(Split.TEST), [], train_only=True) is Split.TRAIN


@pytest.mark.parametrize(("given_splits", "train_only"), [([Split.TRAIN, Split.TEST], False), ([Split.TEST], True)])
def test_a_photo_that_links_two_sides_is_refused(given_splits: list[Split], train_only: bool) -> None:
    with pytest.raises(RefusedError) as refused:
        choose_split("anybody", given_splits, train_only=train_only)
    assert refused.value.reason is RejectionReason.SPLIT_CONFLICT


@given(st.integers(0, 2**64 - 1), st.sets(st.integers(0, 63), max_size=MAX_DISTANCE))
def test_hashes_that_differ_in_few_bits_share_a_band(value: int, flipped: set[int]) -> None:
    other = value
    for bit in flipped:
        other ^= 1 << bit
    assert any(one == two for one, two in zip(bands(f"{value:016x}"), bands(f"{other:016x}"), strict=True))


def test_a_smaller_or_recompressed_copy_looks_alike_and_another_scene_does_not(
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


async def test_a_subjects_photos_stand_on_one_side_for_ever(
    collect: CollectSample, runtime: Runtime, confirm: Callable[..., Any]
) -> None:
    for split in Split:
        events = [
            await collect(await confirm(runtime, f"{split}-{number}", subject=subject_in(split))) for number in range(3)
        ]
        assert [event.split for event in events if isinstance(event, SampleStored)] == [split] * 3


async def test_a_look_alike_follows_the_earlier_photo_to_its_side_and_takes_its_subject_along(
    collect: CollectSample,
    runtime: Runtime,
    confirm: Callable[..., Any],
    draw: Callable[..., Any],
    jpeg: Callable[..., bytes],
) -> None:
    first = await collect(await confirm(runtime, "scan-1", photo=jpeg(draw(1)), subject=subject_in(Split.TEST)))
    alike = await collect(
        await confirm(runtime, "scan-2", photo=jpeg(draw(1), quality=70), subject=subject_in(Split.TRAIN))
    )
    later = await collect(await confirm(runtime, "scan-3", subject=subject_in(Split.TRAIN)))
    assert [event.split for event in (first, alike, later) if isinstance(event, SampleStored)] == [Split.TEST] * 3


async def test_a_photo_that_links_two_sides_waits_apart(
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


async def test_a_database_built_anew_in_another_order_gives_the_same_owners_and_the_same_sides(
    collect: CollectSample,
    runtime: Runtime,
    build: Callable[..., CollectSample],
    confirm: Callable[..., Any],
    draw: Callable[..., Any],
    jpeg: Callable[..., bytes],
) -> None:
    photo, alike = jpeg(draw(1)), jpeg(draw(1), quality=70)
    scans = [
        await confirm(runtime, "scan-1", photo=photo, subject=subject_in(Split.TEST)),
        await confirm(runtime, "scan-2", photo=alike, subject=subject_in(Split.TRAIN)),
        await confirm(runtime, "scan-3", photo=photo, subject=subject_in(Split.VAL)),
    ]
    before = [_outcome(await collect(scan)) for scan in scans]
    async with memory_runtime("collector", migrations="savo_collector.migrations") as empty:
        anew = build(replace(empty, store=runtime.store))
        after = [_outcome(await anew(scan)) for scan in reversed(scans)]
    assert before == after[::-1] == ["test", "test", "duplicate"]


def _outcome(event: SampleStored | SampleRejected | None) -> str:
    assert event is not None
    return event.split.value if isinstance(event, SampleStored) else event.reason
