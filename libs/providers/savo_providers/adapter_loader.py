"""Import of the chosen provider's adapter. An SDK costs a second and 50 MB, so no other is imported."""

from __future__ import annotations

import importlib
from types import ModuleType

from savo_providers.catalogue import Provider
from savo_runtime.errors import FatalError

__all__ = ["load_adapter"]


def load_adapter(package: str, module: str, provider: Provider) -> ModuleType:
    """The module `package.module`. Raises `FatalError` when the provider's SDK is not installed."""
    try:
        return importlib.import_module(f"{package}.{module}")
    except ModuleNotFoundError as missing:
        if (missing.name or "").startswith(package.partition(".")[0]):
            raise
        needed = f"{provider.title} needs the package {missing.name}, which is not installed"
        raise FatalError(f"{needed}: install savo-providers[{provider.name}]") from missing
