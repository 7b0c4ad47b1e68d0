"""What can be wrong with a photo or a model, each with a stable code and a sentence that a person reads.

PhotoError
├── UnsupportedPhotoError    no JPEG, PNG, WebP or HEIC by its first bytes
├── PhotoTooLargeError       more pixels than allowed; found before memory is taken
└── UnreadablePhotoError     right type, but empty, cut short or damaged
    ├── TruncatedPhotoError  the bytes end before the picture does
    ├── MalformedPhotoError  the container breaks a rule of its format
    └── AnimatedPhotoError   several pictures where one is needed
ModelRefusedError            a file that is no usable detection model
"""

from __future__ import annotations

import re

__all__ = [
    "AnimatedPhotoError",
    "MalformedPhotoError",
    "ModelRefusedError",
    "PhotoError",
    "PhotoTooLargeError",
    "TruncatedPhotoError",
    "UnreadablePhotoError",
    "UnsupportedPhotoError",
    "error_summary",
]


# What libraries put before their words: codes, and the places in their own source.
_NOISE = re.compile(r"^(\[ONNXRuntimeError\] : \d+ : \w+ : |Exception from \S+$|/\S+:\d+ .*\) (?=\S* ?[A-Z]))")
_LINE = 200


def error_summary(flaw: Exception) -> str:
    """The first words of a library's complaint that tell a person something."""
    lines = [_said(line) for line in str(flaw).splitlines()]
    return next(filter(None, lines), type(flaw).__name__)[:_LINE]


def _said(line: str) -> str:
    while (shorter := _NOISE.sub("", line.strip())) != line:
        line = shorter
    return line


class PhotoError(ValueError):
    """The family. `code` is stable and for programs; the message is for people."""

    code = "photo-unreadable"


class UnsupportedPhotoError(PhotoError):
    code = "photo-type"

    def __init__(self) -> None:
        super().__init__("this is no JPEG, PNG, WebP or HEIC photo")


class PhotoTooLargeError(PhotoError):
    code = "photo-too-large"

    def __init__(self, width: int, height: int, limit: int) -> None:
        super().__init__(
            f"the photo has {width} × {height} = {width * height / 1e6:.1f} megapixels; the limit is {limit / 1e6:g}"
        )
        self.width, self.height, self.limit = width, height, limit


class UnreadablePhotoError(PhotoError):
    def __init__(self, reason: str) -> None:
        super().__init__(f"the photo cannot be read: {reason}")


class TruncatedPhotoError(UnreadablePhotoError):
    """`detail` says what is missing, where that is more than the rest of the file."""

    def __init__(self, detail: str = "") -> None:
        super().__init__(f"it is cut short ({detail})" if detail else "it is cut short")


class MalformedPhotoError(UnreadablePhotoError):
    """The reason names the place. Decoders may read such a photo all the same, its metadata cannot be stripped."""


class AnimatedPhotoError(UnreadablePhotoError):
    """No one could say which of the pictures was scanned."""

    def __init__(self) -> None:
        super().__init__("it is animated; send a still picture")


class ModelRefusedError(ValueError):
    """Not served. `reason` says what is wrong and, where there is a way, what to do."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
