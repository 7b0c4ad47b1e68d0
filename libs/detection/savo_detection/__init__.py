"""Photo bytes → boxes with a YOLO ONNX model. No Kafka, no torch; what is measured here is what is served.

Names are loaded when first used: who only probes photos does not pay for an inference engine.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from savo_detection.errors import ModelRefusedError, PhotoError, PhotoTooLargeError, UnreadablePhotoError, UnsupportedPhotoError
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

_ROOMS = {
    "savo_detection.photos.decoding": {"MAX_PIXELS", "PhotoFacts", "decode", "probe"},
    "savo_detection.model": {"DetectedBox", "Detector", "ModelFacts"},
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"savo_detection has no {name!r}")
    room = next((room for room, names in _ROOMS.items() if name in names), "savo_detection.errors")
    return getattr(import_module(room), name)
