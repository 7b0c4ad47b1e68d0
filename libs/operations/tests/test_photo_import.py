"""Speed of an import: requests to the store run at the same time, and confirmations are sent together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from savo_contracts.envelope import Envelope
from savo_contracts.scans import ScanConfirmed
from savo_datasets.archives import Unpacked
from savo_operations.imports import photo_import
from savo_operations.imports.data_set import DataSet, ImportOptions, read_data_set
from savo_operations.imports.photo_import import PhotoImport
from savo_runtime.messaging.publishing.publisher import OutgoingRecord
from savo_runtime.testing import MemoryStore
from tests.exports.products import label_line, write_photo

PHOTOS = 6


class MeetingStore(MemoryStore):
    """Answers for samples only when so many requests are waiting for an answer."""

    def __init__(self, requests: int) -> None:
        super().__init__()
        self.barrier = asyncio.Barrier(requests)

    async def get(self, key: str) -> bytes:
        if key.startswith("samples/meta/"):
            async with asyncio.timeout(5):
                await self.barrier.wait()
        return await super().get(key)


class Batches:
    """Implements the import's `Channel`."""

    def __init__(self) -> None:
        self.sent: list[list[ScanConfirmed]] = []

    async def send(self, records: Sequence[OutgoingRecord]) -> None:
        envelopes = [Envelope.decode(ScanConfirmed, record.value or b"", record.headers) for record in records]
        self.sent.append([envelope.event for envelope in envelopes])


def data_set(folder: Path, **groups: str) -> DataSet:
    """Photos, each of the named group or of its own."""
    names = [f"{letter}-photo" for letter in "abcdef"]
    folder.mkdir()
    (folder / "classes.txt").write_text("egg\n")
    for number, name in enumerate(names):
        write_photo(folder, name, label_line(0, number), number)
    with (folder / "images/d-photo.jpg").open("ab") as large:
        large.write(bytes(1 << 18))
    named = {name: groups.get(name[0], name) for name in names}
    return read_data_set(Unpacked(folder), ImportOptions(groups=named), lambda _count: None)


async def test_photos_of_many_groups_are_imported_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photo_import, "MAX_BYTES", 1 << 18)
    data = data_set(tmp_path / "data", b="same", e="same")
    store, channel, progress = MeetingStore(PHOTOS - 1), Batches(), list[int]()
    run = PhotoImport(
        store, channel, ImportOptions(), lambda: datetime(2026, 3, 2, tzinfo=UTC), lambda done, _: progress.append(done)
    )
    report = await run.run(data)
    assert (report.photos, report.groups) == ({"new": PHOTOS - 1}, PHOTOS - 1)
    (left_out,) = report.left_out[photo_import.REFUSED]
    assert left_out.startswith("d-photo.jpg: ")
    (batch,) = channel.sent
    assert len(batch) == PHOTOS - 1
    assert len({event.subject for event in batch}) == PHOTOS - 2, "two photos are of one group"
    assert (progress[-1], progress) == (data.photos, sorted(progress))
