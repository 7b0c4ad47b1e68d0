"""Sandbox store: reads live objects and writes only its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from savo_runtime.database import Database
from savo_runtime.settings import RuntimeSettings
from savo_runtime.storage.factory import open_store
from savo_runtime.storage.folder import FolderStore
from savo_runtime.storage.port import ObjectConflictError, ObjectNotFoundError, ObjectStore
from savo_runtime.storage.sandbox import SandboxStore


@pytest.fixture
def live(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "objects")


@pytest.fixture
def sandbox(live: FolderStore) -> SandboxStore:
    return SandboxStore(live, "friday")


async def keys(store: ObjectStore, prefix: str = "a/") -> list[str]:
    return [info.key async for info in store.list(prefix)]


async def test_live_objects_are_visible_until_the_sandbox_writes_its_own(
    live: FolderStore, sandbox: SandboxStore
) -> None:
    await live.put("a/1", b"live")
    assert await sandbox.get("a/1") == b"live"
    assert not await sandbox.put_if_absent("a/1", b"sandbox")
    await sandbox.put("a/1", b"sandbox")
    await sandbox.put("a/2", b"new")
    assert (await sandbox.get("a/1"), await live.get("a/1")) == (b"sandbox", b"live")
    assert await keys(sandbox) == ["a/1", "a/2"]
    assert await keys(live) == ["a/1"]
    assert [(await sandbox.head(key)).key for key in ("a/1", "a/2")] == ["a/1", "a/2"]  # type: ignore[union-attr]


async def test_an_object_deleted_in_the_sandbox_stays_live(live: FolderStore, sandbox: SandboxStore) -> None:
    await live.put("a/1", b"live")
    await sandbox.delete("a/1")
    assert await sandbox.head("a/1") is None
    assert await keys(sandbox) == []
    with pytest.raises(ObjectNotFoundError, match="'a/1'"):
        await sandbox.get("a/1")
    assert await live.get("a/1") == b"live"
    assert await sandbox.put_if_absent("a/1", b"again")
    assert await sandbox.get("a/1") == b"again"


async def test_compare_and_swap_starts_from_the_live_object_and_does_not_change_it(
    live: FolderStore, sandbox: SandboxStore
) -> None:
    etag = (await live.put("a/classes", b"1")).etag
    with pytest.raises(ObjectConflictError):
        await sandbox.replace("a/classes", b"2", expected_etag="another")
    second = await sandbox.replace("a/classes", b"2", expected_etag=etag)
    with pytest.raises(ObjectConflictError):
        await sandbox.replace("a/classes", b"3", expected_etag=etag)
    await sandbox.replace("a/classes", b"3", expected_etag=second.etag)
    assert (await sandbox.get("a/classes"), await live.get("a/classes")) == (b"3", b"1")


async def test_a_sandbox_has_its_own_tables_and_objects(tmp_path: Path) -> None:
    settings = RuntimeSettings(data_dir=tmp_path, sandbox="friday", database_url=None)
    assert isinstance(open_store(settings), SandboxStore)
    database = Database.open(settings, "vision")
    assert database.url.database == str(tmp_path / "sandbox" / "friday" / "db" / "vision.sqlite3")
    await database.close()
    server = Database.open(settings.model_copy(update={"database_url": SecretStr("postgres://u:p@h/d")}), "vision")
    assert server.service == "sandbox_friday_vision"
    await server.close()
