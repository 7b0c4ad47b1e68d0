"""Photo bytes → boxes with a YOLO ONNX model. No Kafka, no torch; what is measured here is what is served.

A name is imported when it is first used: code that only probes photos never loads an inference engine.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from savo_detection.errors import (
        ModelRefusedError,
        PhotoError,
        PhotoTooLargeError,
        UnreadablePhotoError,
        UnsupportedPhotoError,
    )
    from savo_detection.model import DetectedBox, Detector, ModelFacts
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
    "DetectedBox": "savo_detection.model",
    "Detector": "savo_detection.model",
    "ModelFacts": "savo_detection.model",
    "ModelRefusedError": "savo_detection.errors",
    "PhotoError": "savo_detection.errors",
    "PhotoFacts": "savo_detection.photos.decoding",
    "PhotoTooLargeError": "savo_detection.errors",
    "UnreadablePhotoError": "savo_detection.errors",
    "UnsupportedPhotoError": "savo_detection.errors",
    "decode": "savo_detection.photos.decoding",
    "probe": "savo_detection.photos.decoding",
}
"""Where each public name is defined; the imports above tell type checkers the same."""


if not TYPE_CHECKING:  # Type checkers would take any name for one that is there.

    def __getattr__(name: str) -> Any:
        if name not in _MODULES:
            raise AttributeError(f"module 'savo_detection' has no attribute {name!r}")
        value = getattr(import_module(_MODULES[name]), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
