"""Consent: what the collector stores before it is given, and after it is withdrawn."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from savo_collector.collection import CollectSample
from savo_collector.handlers import on_consent_changed, on_subject_erased
from savo_contracts.samples import SampleStored
from savo_contracts.users import ConsentChanged, SubjectErased
from savo_runtime.service import Runtime
from services.collector.tests.conftest import NOON

Factory = Callable[..., Any]
SUBJECT = "subject-of-train-0"


def changed(given: bool, *, hours: float = 0) -> ConsentChanged:
    return ConsentChanged(subject=SUBJECT, given=given, changed_at=NOON + timedelta(hours=hours))


async def has_withdrawn(collect: CollectSample) -> bool:
    async with collect.writer.database.read_transaction() as transaction:
        return await transaction.has_withdrawn_consent(SUBJECT)


@pytest.mark.parametrize(("consent", "collected"), [(None, False), (False, False), (True, True)])
async def test_where_consent_is_required_nothing_is_collected_before_it(
    runtime: Runtime, build: Factory, confirm: Factory, consent: bool | None, collected: bool
) -> None:
    collect = build(runtime, require_consent=True)
    event = await collect(await confirm(runtime, consent=consent))
    assert isinstance(event, SampleStored) is collected
    assert bool([key for key in runtime.store.objects if key.startswith("samples/")]) is collected  # type: ignore[attr-defined]


async def test_a_withdrawal_stops_collecting_until_consent_is_given_again(
    runtime: Runtime, collect: CollectSample, confirm: Factory
) -> None:
    database = collect.writer.database
    assert isinstance(await collect(await confirm(runtime, "scan-1", consent=True)), SampleStored)
    for _ in range(2):
        await on_consent_changed(changed(False, hours=1), database)
    # Confirmed while the consent was valid, and read after the withdrawal.
    assert await collect(await confirm(runtime, "scan-2", consent=True)) is None
    async with database.read_transaction() as transaction:
        kept = await transaction.samples_of_subject(SUBJECT)
    assert [sample.scan_id for sample in kept] == ["scan-1"], "samples that exist are removed by an erasure"
    await on_consent_changed(changed(True, hours=2), database)
    assert isinstance(await collect(await confirm(runtime, "scan-3", consent=True)), SampleStored)


async def test_an_older_change_and_one_of_an_erased_subject_have_no_effect(collect: CollectSample) -> None:
    database = collect.writer.database
    await on_consent_changed(changed(False, hours=2), database)
    await on_consent_changed(changed(True, hours=1), database)
    assert await has_withdrawn(collect)
    await on_subject_erased(SubjectErased(subject=SUBJECT, erased_at=NOON + timedelta(hours=3)), collect.erasure)
    assert not await has_withdrawn(collect)
    await on_consent_changed(changed(False, hours=4), database)
    assert not await has_withdrawn(collect)
