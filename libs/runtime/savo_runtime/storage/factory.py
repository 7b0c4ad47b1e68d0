"""Which object store the settings ask for."""

from __future__ import annotations

from savo_runtime.settings import RuntimeSettings
from savo_runtime.storage.folder import FolderStore
from savo_runtime.storage.port import ObjectStore
from savo_runtime.storage.sandbox import SandboxStore

__all__ = ["open_store"]


def open_store(settings: RuntimeSettings) -> ObjectStore:
    """S3 when R2 or an S3 server is set, else a folder. Nothing is touched before the first call. A sandbox reads it and writes beside it."""
    store = _open(settings)
    return SandboxStore(store, settings.sandbox) if settings.sandbox else store


def _open(settings: RuntimeSettings) -> ObjectStore:
    if settings.object_store == "folder":
        limit = settings.storage_limit_gb
        return FolderStore(settings.data_dir / "objects", limit_bytes=None if limit is None else int(limit * 1e9))
    from savo_runtime.storage.s3 import S3Store  # a second of imports, that a folder does not need

    secret = settings.r2_secret_access_key
    return S3Store(
        endpoint_url=settings.s3_endpoint,
        bucket=settings.r2_bucket_name or "",  # the settings refuse a half-set store
        access_key_id=settings.r2_access_key_id or "",
        secret_access_key=secret.get_secret_value() if secret else "",
        region=settings.s3_region,
    )
