"""An adapter is imported when its provider is chosen: an SDK takes a second and 50 MB."""

from __future__ import annotations

import importlib
from types import ModuleType

from savo_providers.catalogue import Provider
from savo_runtime.errors import FatalError

__all__ = ["load_adapter"]


def load_adapter(package: str, module: str, provider: Provider) -> ModuleType:
    """Raises `FatalError` when the provider's SDK is not installed."""
    try:
        return importlib.import_module(f"{package}.{module}")
    except ModuleNotFoundError as missing:
        if (missing.name or "").startswith(package.partition(".")[0]):
            raise
        raise FatalError(
            f"{provider.title} needs the package {missing.name}, which is not installed: install savo-providers[{provider.name}]"
        ) from missing
