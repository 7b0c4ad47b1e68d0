"""Values that only a later release of another service writes are stored unchanged (ADR 18)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from savo_collector.adapters.sample_database import SqlSampleDatabase
from savo_collector.collection import CollectSample
from savo_collector.ports import Rejection
from savo_contracts.documents import SampleMeta, sample_meta_key
from savo_contracts.samples import SampleRejected, SampleStored
from savo_contracts.scans import Action, BoxSource
from savo_runtime.service import Runtime

Factory = Callable[..., Any]


async def test_a_sample_keeps_a_provider_that_is_unknown_here(
    collect: CollectSample, runtime: Runtime, confirm: Factory, kept: Factory
) -> None:
    items = (kept("milk"), kept("egg", box_source="pixtral"), kept("tofu", action=Action.ADDED))
    confirmed = await confirm(runtime, served_by="mistral", fallback_reason="too-slow", items=items)
    assert isinstance(await collect(confirmed), SampleStored)
    meta = SampleMeta.model_validate_json(await runtime.store.get(sample_meta_key(confirmed.image.sha256)))
    assert meta.served_by == "mistral"
    assert [box.box_source for box in meta.boxes] == ["mistral", "pixtral", BoxSource.USER]


async def test_a_rejection_that_a_later_release_stored_is_published_with_its_reason(
    collect: CollectSample, runtime: Runtime, confirm: Factory
) -> None:
    confirmed = await confirm(runtime)
    later = Rejection(
        confirmed.model_copy(update={"revision": 2}), "shows-a-face", "one face", runtime.clock(), pending=False
    )
    async with SqlSampleDatabase(runtime.database, runtime.outbox).transaction() as transaction:
        await transaction.record_rejection(later)
    event = await collect(confirmed)
    assert isinstance(event, SampleRejected)
    assert (event.reason, event.detail) == ("shows-a-face", "one face")
