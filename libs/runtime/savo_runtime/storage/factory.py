"""Factory of the object store that the settings select."""

from __future__ import annotations

from savo_runtime.settings import RuntimeSettings
from savo_runtime.storage.folder import FolderStore
from savo_runtime.storage.port import ObjectStore
from savo_runtime.storage.sandbox import SandboxStore

__all__ = ["open_store"]


def open_store(settings: RuntimeSettings) -> ObjectStore:
    """An S3 store when R2 or an S3 server is configured, else a folder store.

    In a sandbox it is wrapped in a `SandboxStore`. It connects at the first call.
    """
    store = _open(settings)
    return SandboxStore(store, settings.sandbox) if settings.sandbox else store


def _open(settings: RuntimeSettings) -> ObjectStore:
    if settings.object_store == "folder":
        limit = settings.storage_limit_gb
        return FolderStore(settings.data_dir / "objects", limit_bytes=None if limit is None else int(limit * 1e9))
    from savo_runtime.storage.s3 import S3Store  # takes a second to import

    secret = settings.r2_secret_access_key
    return S3Store(
        endpoint_url=settings.s3_endpoint,
        bucket=settings.r2_bucket_name or "",  # the settings refuse an incomplete store
        access_key_id=settings.r2_access_key_id or "",
        secret_access_key=secret.get_secret_value() if secret else "",
        region=settings.s3_region,
    )
