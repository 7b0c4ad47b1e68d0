"""Composition root, settings and model files of the vision service."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from savo_contracts.documents import Alias, GoldenBox, GoldenPicture, ModelReport, alias_key, model_key
from savo_contracts.topics import (
    BOXES_PROPOSED,
    ROLLOUT_CHANGED,
    SAMPLES_REJECTED,
    SCANS_COMPLETED,
    SCANS_ERASED,
    SCANS_FAILED,
    SCANS_REQUESTED,
    SUBJECTS_ERASED,
)
from savo_contracts.training import Evaluation
from savo_detection.errors import ModelRefusedError
from savo_providers.catalogue import PROVIDERS, provider_named
from savo_runtime.settings import load_settings
from savo_runtime.testing import MemoryStore, assert_migrations_match, memory_runtime
from savo_vision.adapters.models import ModelFiles
from savo_vision.adapters.tables import Base
from savo_vision.app import CUSTOM_SLOTS, PROVIDER_SLOTS, build
from savo_vision.errors import ModelMissingError
from savo_vision.ports import GoldenPictureFile
from savo_vision.settings import VisionSettings
from services.vision.tests.conftest import BOX, NOW, model_ref


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in list(os.environ):
        if name.startswith(("SAVO_", "GOOGLE_", "OPENAI_", "R2_")):
            monkeypatch.delenv(name)


def refused(capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as stopped:
        load_settings(VisionSettings)
    assert stopped.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    return lines[0]


def test_without_key_and_stand_in_the_start_stops_and_names_both_solutions(
    capsys: pytest.CaptureFixture[str],
) -> None:
    line = refused(capsys)
    assert "set GOOGLE_API_KEY" in line
    assert "savo up --standin DIR" in line


def test_openai_without_its_key_names_its_own_variable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SAVO_VISION_PROVIDER", "openai")
    monkeypatch.setenv("GOOGLE_API_KEY", "k")
    assert "set OPENAI_API_KEY" in refused(capsys)


@pytest.mark.parametrize("variable", ["SAVO_GOOGLE_BASE_URL", "GOOGLE_GEMINI_BASE_URL"])
def test_the_address_of_a_stand_in_replaces_the_key(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "http://127.0.0.1:9")
    assert load_settings(VisionSettings).provider_base_url == "http://127.0.0.1:9"


@pytest.mark.parametrize(
    ("variable", "value", "allowed"),
    [
        ("SAVO_VISION_PROVIDER", "azure", "google, openai"),
        ("SAVO_VISION_CONFIDENCE_THRESHOLD", "1.5", "from 0"),
        ("SAVO_CUSTOM_VISION_ROLLOUT", "50", "from 0"),
        ("SAVO_GOOGLE_SDK", "vertex", "genai, generativeai"),
        ("SAVO_GOOGLE_MODEL", "gemini-99", "SAVO_MODEL_PRICES"),
        ("SAVO_MODEL_PRICES", "cheap", "SAVO_MODEL_PRICES is not valid JSON"),
        ("SAVO_GOOGLE_BASE_URL", "localhost:80", "http"),
    ],
)
def test_an_invalid_setting_stops_the_start_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variable: str, value: str, allowed: str
) -> None:
    monkeypatch.setenv("GOOGLE_API_KEY", "k")
    monkeypatch.setenv(variable, value)
    line = refused(capsys)
    assert allowed in line


def test_the_owner_s_variables_are_read_by_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    owner = {
        "GOOGLE_API_KEY": "k",
        "SAVO_USE_CUSTOM_VISION": "true",
        "SAVO_CUSTOM_VISION_MODEL_PATH": "models:/ingredients@champion",
        "SAVO_VISION_CONFIDENCE_THRESHOLD": "0.7",
        "SAVO_CUSTOM_VISION_ROLLOUT": "0.05",
        "SAVO_MODEL_PRICES": json.dumps({"gemini-3.5-flash-lite": [9, 90]}),
    }
    for name, value in owner.items():
        monkeypatch.setenv(name, value)
    settings = load_settings(VisionSettings)
    assert settings.use_custom_vision
    assert settings.custom_vision_rollout == 0.05
    assert settings.confidence_threshold == 0.7
    assert (settings.provider_price.input, settings.provider_price.output) == (9, 90)
    assert "k" not in repr(settings.provider_key)


@pytest.mark.parametrize("provider", [provider.name for provider in PROVIDERS if "vision" in provider.models])
async def test_the_service_reads_and_publishes_the_topics_of_the_registry(
    monkeypatch: pytest.MonkeyPatch, provider: str
) -> None:
    monkeypatch.setenv("SAVO_VISION_PROVIDER", provider)
    monkeypatch.setenv(provider_named(provider).key_variable, "k")
    async with memory_runtime("vision", migrations="savo_vision.migrations") as runtime:
        service = build(load_settings(VisionSettings), runtime)
        scans, *erasures, rejections = service.subscriptions
        assert (scans.topic, scans.publishes) == (SCANS_REQUESTED, (SCANS_COMPLETED, SCANS_FAILED))
        assert scans.kinds
        assert scans.kinds.slots == {provider: PROVIDER_SLOTS, "custom": CUSTOM_SLOTS}
        assert [subscription.topic for subscription in erasures] == [SCANS_ERASED, SUBJECTS_ERASED]
        assert (rejections.topic, rejections.publishes) == (SAMPLES_REJECTED, (BOXES_PROPOSED,))
        assert [snapshot.topic for snapshot in service.snapshots] == [ROLLOUT_CHANGED]
        for stop in service.on_stop:
            await stop()


async def test_migrations_create_the_tables_of_the_code() -> None:
    await assert_migrations_match("savo_vision.migrations", Base.metadata)


def test_vision_starts_without_the_package_onnx() -> None:
    """Graphs are optimised at export and registration, never in a replica."""
    imports = "import sys; sys.modules['onnx'] = None; import savo_vision.app, savo_detection.detector"
    code = f"{imports}; print('onnx' in sys.modules and sys.modules['onnx'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "None\n"), done.stderr


def report(version: str, **changes: Any) -> bytes:
    evaluation = Evaluation(map50=0.8, map50_lower=0.75, map50_upper=0.85, images=10, boxes=50)
    values: dict[str, Any] = {
        "version": version,
        "run_id": "r",
        "dataset_version": "d",
        "onnx_sha256": "c" * 64,
        "onnx_bytes": 5,
        "image_size": 320,
    }
    values |= {
        "classes": ("egg",),
        "train_samples": 9,
        "evaluation": evaluation,
        "verdict": "passed",
        "created_at": NOW,
    } | changes
    return ModelReport(**values).model_dump_json().encode()


async def test_a_model_is_found_by_reference_alias_version_bucket_and_path(tmp_path: Path) -> None:
    store = MemoryStore()
    await store.put(model_key("v3", "model.onnx"), b"three")
    await store.put(model_key("v3", "report.json"), report("v3"))
    await store.put(
        alias_key("champion"), Alias(alias="champion", version="v3", moved_at=NOW).model_dump_json().encode()
    )
    (tmp_path / "best.onnx").write_bytes(b"mine")
    files = ModelFiles(store, "savo")
    assert (await files.registered(model_ref("v3"))).data == b"three"
    for name in ("models:/ingredients@champion", "models:/ingredients/v3"):
        found = await files.at_path(name)
        assert (found.version, found.data, found.sha256, found.classes) == ("v3", b"three", "c" * 64, ("egg",))
    assert (await files.at_path(f"s3://savo/{model_key('v3', 'model.onnx')}")).data == b"three"
    own = await files.at_path(str(tmp_path / "best.pt"))
    assert own.data == b"mine"
    assert own.version.startswith("best-")


@pytest.mark.parametrize(("wanted", "plain"), [(True, b"plain"), (False, None)])
async def test_the_plain_export_is_read_with_a_model_for_an_engine_that_takes_it(
    tmp_path: Path, wanted: bool, plain: bytes | None
) -> None:
    store = MemoryStore()
    await store.put(model_key("v3", "model.onnx"), b"three")
    await store.put(model_key("v3", "model.plain.onnx"), b"plain")
    await store.put(model_key("v3", "report.json"), report("v3", plain_onnx_sha256="d" * 64))
    (tmp_path / "best.onnx").write_bytes(b"mine")
    (tmp_path / "best.plain.onnx").write_bytes(b"plain")
    files = ModelFiles(store, "savo", plain_exports=wanted)
    assert (await files.registered(model_ref("v3"))).plain == plain
    for name in (
        "models:/ingredients/v3",
        f"s3://savo/{model_key('v3', 'model.onnx')}",
        str(tmp_path / "best.onnx"),
        str(tmp_path / "best.pt"),
    ):
        assert (await files.at_path(name)).plain == plain, name


async def test_a_version_registered_without_a_plain_export_is_served_unchanged(tmp_path: Path) -> None:
    store = MemoryStore()
    await store.put(model_key("v3", "model.onnx"), b"three")
    before = json.loads(report("v3"))
    del before["plain_onnx_sha256"], before["optimization"]
    await store.put(model_key("v3", "report.json"), json.dumps(before).encode())
    (tmp_path / "best.onnx").write_bytes(b"mine")
    files = ModelFiles(store, "savo", plain_exports=True)
    found = await files.registered(model_ref("v3"))
    assert (found.data, found.plain) == (b"three", None)
    for name in ("models:/ingredients/v3", f"s3://savo/{model_key('v3', 'model.onnx')}", str(tmp_path / "best.onnx")):
        assert (await files.at_path(name)).plain is None


async def test_a_missing_plain_export_does_not_matter(tmp_path: Path) -> None:
    store = MemoryStore()
    await store.put(model_key("v3", "model.onnx"), b"three")
    await store.put(model_key("v3", "report.json"), report("v3", plain_onnx_sha256="d" * 64))
    assert (await ModelFiles(store, plain_exports=True).registered(model_ref("v3"))).plain is None


async def test_golden_photos_are_read_with_a_model_except_erased_and_changed_ones() -> None:
    store = MemoryStore()
    box = GoldenBox(label="egg", confidence=0.9, bbox=BOX)
    photos = {"here": b"a photo", "erased": b"gone", "changed": b"as it was"}
    golden = tuple(
        GoldenPicture(sha256=hashlib.sha256(photo).hexdigest(), image_key=f"samples/images/{name}.jpg", boxes=(box,))
        for name, photo in photos.items()
    )
    model_report = ModelReport.model_validate_json(report("v3")).model_copy(update={"golden": golden})
    await store.put(model_key("v3", "report.json"), model_report.model_dump_json().encode())
    await store.put(model_key("v3", "model.onnx"), b"three")
    await store.put("samples/images/here.jpg", b"a photo")
    await store.put("samples/images/changed.jpg", b"as it is")
    for found in (
        await ModelFiles(store, None).registered(model_ref("v3")),
        await ModelFiles(store, None).at_path("models:/ingredients/v3"),
    ):
        assert found.golden == (GoldenPictureFile(golden[0].sha256, b"a photo", (box,)),)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("models:/ingredients@champion", "alias champion is not in the object store"),
        ("models:/ingredients@challenger", "points to no model"),
        ("models:/fruit@champion", "is no model address"),
        ("models:/ingredients/v9", "report of v9"),
        ("s3://other/model.onnx", "reads only the bucket 'savo'"),
        ("s3://savo/absent.onnx", "no object 'absent.onnx' in bucket savo"),
        ("/nowhere/best.onnx", "/nowhere/best.onnx cannot be read"),
    ],
)
async def test_the_error_names_a_model_that_does_not_exist(path: str, reason: str) -> None:
    store = MemoryStore()
    await store.put(
        alias_key("challenger"), Alias(alias="challenger", version=None, moved_at=NOW).model_dump_json().encode()
    )
    with pytest.raises(ModelMissingError, match=reason):
        await ModelFiles(store, "savo").at_path(path)


async def test_a_checkpoint_without_its_export_is_refused_with_the_command_to_run(tmp_path: Path) -> None:
    with pytest.raises(ModelRefusedError, match="savo models export"):
        await ModelFiles(MemoryStore()).at_path(str(tmp_path / "best.pt"))
