"""Detection with YOLO models in ONNX format for serving and evaluation; photo parsing and metadata removal.

Names are imported when they are first used, so code that only probes photos never loads an inference engine.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from savo_detection.detector import DetectedBox, Detector, ModelFacts
    from savo_detection.errors import (
        ModelRefusedError,
        PhotoError,
        PhotoTooLargeError,
        UnreadablePhotoError,
        UnsupportedPhotoError,
    )
    from savo_detection.photos.decoding import MAX_PIXELS, PhotoFacts, decode, probe

__all__ = [
    "MAX_PIXELS",
    "DetectedBox",
    "Detector",
    "ModelFacts",
    "ModelRefusedError",
    "PhotoError",
    "PhotoFacts",
    "PhotoTooLargeError",
    "UnreadablePhotoError",
    "UnsupportedPhotoError",
    "decode",
    "probe",
]

_MODULES = {
    "MAX_PIXELS": "savo_detection.photos.decoding",
    "DetectedBox": "savo_detection.detector",
    "Detector": "savo_detection.detector",
    "ModelFacts": "savo_detection.detector",
    "ModelRefusedError": "savo_detection.errors",
    "PhotoError": "savo_detection.errors",
    "PhotoFacts": "savo_detection.photos.decoding",
    "PhotoTooLargeError": "savo_detection.errors",
    "UnreadablePhotoError": "savo_detection.errors",
    "UnsupportedPhotoError": "savo_detection.errors",
    "decode": "savo_detection.photos.decoding",
    "probe": "savo_detection.photos.decoding",
}
"""Module of each public name. The imports above declare the same to type checkers."""


if not TYPE_CHECKING:  # With `__getattr__` type checkers would accept any name.

    def __getattr__(name: str) -> Any:
        if name not in _MODULES:
            raise AttributeError(f"module 'savo_detection' has no attribute {name!r}")
        value = getattr(import_module(_MODULES[name]), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
