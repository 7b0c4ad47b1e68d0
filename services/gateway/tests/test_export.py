"""GET /training/export: content, filters, erasures and withdrawn consents, and a download that continues."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from savo_contracts.documents import (
    CLASSES_KEY,
    ClassList,
    ConfirmationTableRow,
    ExportedSample,
    ExportSummary,
    IngredientClass,
    LabelledBox,
    ManifestLine,
    SampleMeta,
    ScanTableRow,
    manifest_key,
    sample_image_key,
    sample_labels_key,
    sample_meta_key,
)
from savo_contracts.envelope import ImageRef
from savo_contracts.geometry import BoundingBox
from savo_contracts.samples import SampleErased, SampleStored, Split
from savo_datasets.exports.gzip_members import complete_part, last_member
from savo_datasets.exports.layouts import Format
from savo_datasets.exports.sample_export import SampleExport
from savo_datasets.exports.selection import MemberName, Selection
from savo_gateway.access.records import Person
from savo_gateway.http.export_routes import ExportUseCases
from savo_gateway.http.user_routes import UserUseCases
from savo_gateway.users.consent import ConsentChoice
from services.gateway.tests.events import completed
from services.gateway.tests.harness import GatewayHarness

CLASSES = ClassList(
    classes=(
        IngredientClass(id=0, label="tomato"),
        IngredientClass(id=1, label="egg"),
        IngredientClass(id=2, label="aubergine", redirects_to=3),
        IngredientClass(id=3, label="eggplant"),
    )
)
BOX = BoundingBox(x=0.1, y=0.2, width=0.3, height=0.4)


async def store_sample(
    gateway: GatewayHarness,
    number: int,
    *,
    class_id: int = 0,
    split: Split = Split.TRAIN,
    box_source: str = "google",
    scan_id: str | None = None,
    revision: int = 1,
) -> str:
    """Store a sample as the collector does, and return its hash."""
    image = f"photo {number} ".encode() * 100
    sha256 = hashlib.sha256(image).hexdigest()
    now = gateway.clock()
    labels = f"{class_id} 0.25000000 0.40000000 0.30000000 0.40000000\n" * revision
    label = CLASSES.names()[class_id]
    boxes = (LabelledBox(class_id=class_id, label=label, bbox=BOX, box_source=box_source),) * revision
    meta = SampleMeta(
        sha256=sha256,
        scan_id=scan_id or f"scan-{number}",
        subject=f"subject-{number % 3}",
        split=split,
        media_type="image/jpeg",
        width=400,
        height=300,
        boxes=boxes,
        served_by="google",
        model_version="gemini",
        perceptual_hash="0" * 16,
        revision=revision,
        stored_at=now,
    )
    gateway.objects[CLASSES_KEY] = CLASSES.model_dump_json().encode()
    gateway.objects[sample_image_key(sha256, "image/jpeg")] = image
    gateway.objects[sample_labels_key(sha256)] = labels.encode()
    gateway.objects[sample_meta_key(sha256)] = meta.model_dump_json().encode()
    ref = ImageRef(key=sample_image_key(sha256, "image/jpeg"), sha256=sha256, bytes=len(image), width=400, height=300)
    await gateway.deliver(
        SampleStored(
            sha256=sha256,
            scan_id=meta.scan_id,
            subject=meta.subject,
            image=ref,
            split=split,
            labels={label: revision},
            edited=False,
            revision=revision,
            stored_at=now,
        )
    )
    return sha256


async def erase_sample(gateway: GatewayHarness, sha256: str) -> None:
    """Delete a sample as the collector does."""
    for key in (sample_meta_key(sha256), sample_labels_key(sha256), sample_image_key(sha256, "image/jpeg")):
        del gateway.objects[key]
    await gateway.deliver(
        SampleErased(sha256=sha256, scan_id="scan", subject="subject", erased_at=gateway.clock.advance(60))
    )


async def download(gateway: GatewayHarness, **query: Any) -> bytes:
    answer = await gateway.http.get("/training/export", params=query)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/gzip"
    return answer.content


def unpacked(archive: bytes) -> dict[str, bytes]:
    """Content by name; of two files with one name the later, as when unpacking."""
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
        return {entry.name: tar.extractfile(entry).read() for entry in tar}  # type: ignore[union-attr]


def manifest(files: dict[str, bytes]) -> list[ExportedSample]:
    return [ExportedSample.model_validate_json(line) for line in files["manifest.jsonl"].splitlines()]


def small_export(gateway: GatewayHarness, **arguments: Any) -> SampleExport:
    """An export whose members hold two photos each."""
    use = gateway.provided(ExportUseCases)
    return SampleExport(use.store, use.samples, Selection(), use.clock, member_bytes=2000, **arguments)


async def pieces(export: SampleExport, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[bytes]:
    """The export, sent photo by photo."""
    monkeypatch.setattr("savo_datasets.exports.sample_export._SEND_BYTES", 1)
    async for piece in export.stream():
        yield piece


async def test_files_are_byte_for_byte_as_stored_in_order_of_their_hash(
    gateway: GatewayHarness, tmp_path: Path
) -> None:
    stored = sorted([await store_sample(gateway, number, split=Split(split)) for number, split in enumerate(Split)])
    archive = await download(gateway)
    files = unpacked(archive)
    assert [name for name in files if name.startswith("images/")] == [f"images/{sha256}.jpg" for sha256 in stored]
    for sha256 in stored:
        assert files[f"images/{sha256}.jpg"] == gateway.objects[f"samples/images/{sha256}.jpg"]
        assert files[f"labels/{sha256}.txt"] == gateway.objects[f"samples/labels/{sha256}.txt"]
    assert files["classes.txt"].decode().split() == ["tomato", "egg", "aubergine", "eggplant"]
    lines = manifest(files)
    assert [line.sha256 for line in lines] == stored
    for line in lines:
        assert hashlib.sha256(files[line.labels]).hexdigest() == line.labels_sha256
        assert f"{line.sha256},{line.group}" in files["subjects.csv"].decode().splitlines()
        assert f"./{line.image}" in files[f"{line.split.value}.txt"].decode().splitlines()
    assert list(files)[-1] == "export.json"
    summary = ExportSummary.model_validate_json(files["export.json"])
    assert (summary.samples, summary.boxes, summary.bytes) == (3, 3, 2400)
    (tmp_path / "archive").write_bytes(archive)
    name, content = last_member(tmp_path / "archive") or ("", b"")
    assert name.endswith("-end")
    assert files["export.json"] in content


FILTERS: list[tuple[dict[str, Any], set[int]]] = [
    ({"class": "egg"}, {2}),
    ({"class": ["Eggs", "tomatoes"]}, {1, 2}),
    ({"class": "eggplant"}, {3}),
    ({"split": ["val", "test"]}, {2, 3}),
    ({"box_source": "engineer"}, {3}),
    ({"class": "tomato", "box_source": "engineer"}, set()),
    ({"since": "2026-01-06T12:00:00Z"}, {2, 3}),
    ({"until": "2026-01-06T12:00:00Z"}, {1}),
    ({"version": "ds-000001"}, {1, 3}),
]


def freeze(gateway: GatewayHarness, stored: list[str]) -> None:
    """Write a data set version of samples, and of one that was erased since."""
    lines = [
        ManifestLine(sha256=each, split=Split.TRAIN, subject="s", image_key="i", labels_key="l", labels_sha256=each)
        for each in sorted([*stored, "5" * 64])
    ]
    gateway.objects[manifest_key("ds-000001")] = b"".join(line.model_dump_json().encode() + b"\n" for line in lines)


async def test_a_filter_selects_samples(gateway: GatewayHarness) -> None:
    stored = {await store_sample(gateway, 1): 1}
    gateway.clock.advance(days=1)
    stored[await store_sample(gateway, 2, class_id=1, split=Split.VAL)] = 2
    stored[await store_sample(gateway, 3, class_id=2, split=Split.TEST, box_source="engineer")] = 3
    freeze(gateway, [sha256 for sha256, number in stored.items() if number != 2])
    for query, numbers in FILTERS:
        files = unpacked(await download(gateway, **query))
        assert {stored[line.sha256] for line in manifest(files)} == numbers, query
        assert len([name for name in files if name.startswith("images/")]) == len(numbers)
        assert set(json.loads(files["export.json"])["filters"]) == set(query)
    answer = await gateway.http.get("/training/export", params={"class": "unicorn"})
    assert answer.status_code == 422
    assert "'unicorn' is no class; there are egg, eggplant, tomato" in answer.json()["detail"]
    answer = await gateway.http.get("/training/export", params={"version": "ds-000009"})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "version")


async def test_each_format_holds_the_same_samples(gateway: GatewayHarness, tmp_path: Path) -> None:
    for number, split in enumerate(Split):
        await store_sample(gateway, number, split=split, class_id=number)
    for form in Format:
        (tmp_path / form).mkdir()
        archive = tmp_path / f"{form.value}.tar.gz"
        archive.write_bytes(await download(gateway, format=form.value))
        files = unpacked(archive.read_bytes())
        lines = manifest(files)
        assert len(lines) == 3
        for line in lines:
            assert {line.image, line.labels} <= files.keys()
            assert hashlib.sha256(files[line.labels]).hexdigest() == line.labels_sha256
        assert json.loads(files["export.json"])["layout"] == form
        if form is Format.COCO:
            val = json.loads(files["annotations/instances_val.json"])
            assert [row["file_name"] for row in val["images"]] == [
                f"{line.sha256}.jpg" for line in lines if line.split == "val"
            ]
            assert [row["bbox"] for row in val["annotations"]] == [[40.0, 60.0, 120.0, 120.0]]
        if form is Format.NDJSON:
            rows = [json.loads(row) for row in files["data.ndjson"].splitlines()]
            assert {f"images/{row['split']}/{row['file']}" for row in rows[1:]} == {line.image for line in lines}
        if form is Format.VOC:
            assert {name for name in files if name.startswith("ImageSets")} == {
                f"ImageSets/Main/{split.value}.txt" for split in Split
            }


@pytest.mark.parametrize("settings_of_keys", [{"auth": "api_key"}])
class TestWithKeys:
    @pytest.fixture
    def gateway_settings(self, settings_of_keys: dict[str, Any]) -> dict[str, Any]:
        return settings_of_keys

    async def test_an_export_needs_a_key(self, gateway: GatewayHarness) -> None:
        assert (await gateway.http.get("/training/export")).status_code == 401


async def test_samples_without_consent_are_left_out_and_a_consent_is_named(
    gateway: GatewayHarness, jpeg: bytes
) -> None:
    use = gateway.provided(UserUseCases)
    scans = {}
    for user, given in (("ann", True), ("bob", False)):
        scans[user] = (await gateway.scan(jpeg, user_id=user)).scan_id
        await use.consents.set_consent(Person("user", user), ConsentChoice(given, "2026-11", 90), gateway.clock())
    agreed = await store_sample(gateway, 1, scan_id=scans["ann"])
    await store_sample(gateway, 2, scan_id=scans["bob"])
    imported = await store_sample(gateway, 3)
    lines = {line.sha256: line.consent_version for line in manifest(unpacked(await download(gateway)))}
    assert lines == {agreed: "2026-11", imported: None}


async def test_a_sample_that_is_erased_during_an_export_does_not_leave(
    gateway: GatewayHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when it was loaded already."""
    stored = sorted([await store_sample(gateway, number) for number in range(8)])
    stream = pieces(small_export(gateway, max_age=-1), monkeypatch)
    begun = await anext(stream)
    await erase_sample(gateway, stored[0])
    await erase_sample(gateway, stored[5])
    archive = begun + b"".join([piece async for piece in stream])
    files = unpacked(archive)
    left = [sha256 for sha256 in stored if sha256 not in (stored[0], stored[5])]
    assert f"images/{stored[5]}.jpg" not in files
    assert [line.sha256 for line in manifest(files)] == left
    assert ExportSummary.model_validate_json(files["export.json"]).erased_meanwhile == 1


async def test_an_interrupted_download_continues_at_a_member(gateway: GatewayHarness, tmp_path: Path) -> None:
    """Also where samples were corrected, added and erased meanwhile."""
    stored = sorted([await store_sample(gateway, number) for number in range(9)])
    whole = b"".join([piece async for piece in small_export(gateway).stream()])
    gateway.clock.advance(60)
    await store_sample(gateway, 1, revision=2)
    await erase_sample(gateway, stored[0])
    new = await store_sample(gateway, 20)
    part = tmp_path / "archive.part"
    for received in (5, 3000, 9000, 11_000, len(whole) - 800, len(whole) - 10):
        part.write_bytes(whole[:received])
        kept = complete_part(part)
        assert received - kept.bytes < 4500, "a member at most is received twice"
        query = {"from": kept.next_name} if kept.next_name else {}
        files = unpacked(part.read_bytes()[: kept.bytes] + await download(gateway, **query))
        lines = manifest(files)
        assert [line.sha256 for line in lines] == sorted({*stored[1:], new}), received
        for line in lines:
            assert files[line.image] == gateway.objects[f"samples/{line.image}"]
            assert files[line.labels] == gateway.objects[f"samples/{line.labels}"]
            assert hashlib.sha256(files[line.labels]).hexdigest() == line.labels_sha256


@pytest.mark.parametrize(
    "selection", [Selection(), Selection(labels=frozenset({"milk"})), Selection(version="ds-000001")]
)
async def test_an_export_is_never_silent(
    gateway: GatewayHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, selection: Selection
) -> None:
    """Also while no sample matches, and while the manifest is written."""
    for number in range(5):
        await store_sample(gateway, number)
    freeze(gateway, [])
    monkeypatch.setattr("savo_datasets.exports.sample_export._SILENCE", -1.0)
    monkeypatch.setattr("savo_datasets.exports.sample_export._MANIFEST_BATCH", 1)
    use = gateway.provided(ExportUseCases)
    sent = [piece async for piece in SampleExport(use.store, use.samples, selection, use.clock).stream()]
    found = len(manifest(unpacked(b"".join(sent))))
    assert found == (0 if selection.filters() else 5)
    after_each_sample, after_each_batch = 5, found
    assert sum(piece.endswith(b"\x00\x00\x00\xff\xff") for piece in sent) == after_each_sample + after_each_batch
    part = tmp_path / "part"
    for count in range(1, len(sent)):
        part.write_bytes(b"".join(sent[:count]))
        resumed = MemberName.parse(complete_part(part).next_name or "")
        rest = SampleExport(use.store, use.samples, selection, use.clock, resumed)
        kept = part.read_bytes()[: complete_part(part).bytes]
        whole = kept + b"".join([piece async for piece in rest.stream()])
        assert len(manifest(unpacked(whole))) == found, count


async def test_a_member_of_other_filters_is_refused(gateway: GatewayHarness, tmp_path: Path) -> None:
    await store_sample(gateway, 1)
    (tmp_path / "part").write_bytes((await download(gateway))[:200])
    name = complete_part(tmp_path / "part").next_name
    answer = await gateway.http.get("/training/export", params={"from": name, "split": "val"})
    assert answer.status_code == 422
    assert "other filters" in answer.json()["detail"]
    assert (await gateway.http.get("/training/export", params={"from": "member 7"})).status_code == 422


async def test_scans_and_confirmations_are_rows_without_people_who_withdrew(
    gateway: GatewayHarness, jpeg: bytes
) -> None:
    use = gateway.provided(UserUseCases)
    await use.consents.set_consent(Person("user", "bob"), ConsentChoice(False, None, 90), gateway.clock())
    await gateway.scan(jpeg, user_id="bob")
    requested = await gateway.scan(jpeg, user_id="ann", storage_location="fridge")
    await gateway.deliver(completed(requested))
    items = [{"label": "eggs", "action": "added", "bbox": BOX.model_dump()}, {"label": "milk", "action": "added"}]
    sent = await gateway.http.post(f"/v1/scans/{requested.scan_id}/confirmation", json={"items": items})
    assert sent.status_code == 202, sent.text

    answer = await gateway.http.get("/training/export/scans")
    (scan,) = [ScanTableRow.model_validate_json(line) for line in answer.text.splitlines()]
    assert (scan.scan_id, scan.storage_location, scan.status) == (requested.scan_id, "fridge", "completed")
    assert scan.items is not None
    assert "ann" not in answer.text
    answer = await gateway.http.get("/training/export/confirmations")
    rows = [ConfirmationTableRow.model_validate_json(line) for line in answer.text.splitlines()]
    assert [(row.revision, row.item, row.label, row.action) for row in rows] == [
        (1, 0, "egg", "added"),
        (1, 1, "milk", "added"),
    ]
    assert (rows[0].x, rows[0].height, rows[1].x) == (0.1, 0.4, None)
