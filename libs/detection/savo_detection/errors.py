"""Errors about photos and models. Each has a message for people; a photo's error also has a stable code.

PhotoError
├── UnsupportedPhotoError    not a JPEG, PNG, WebP or HEIC by its first bytes
├── PhotoTooLargeError       more pixels than allowed; raised before memory is allocated for them
└── UnreadablePhotoError     a supported type, but empty, truncated or damaged
    ├── TruncatedPhotoError  the bytes end before the picture does
    ├── MalformedPhotoError  the container violates its format
    └── AnimatedPhotoError   an animation instead of a still picture
ModelRefusedError            a file that is not a usable detection model
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


# Prefixes of libraries' messages: error codes and positions in their source code.
_NOISE = re.compile(r"^(\[ONNXRuntimeError\] : \d+ : \w+ : |Exception from \S+$|/\S+:\d+ .*\) (?=\S* ?[A-Z]))")
_MAX_LENGTH = 200


def error_summary(error: Exception) -> str:
    """First informative line of a library's error message, without error codes and source positions.

    At most 200 characters; the error's class name when its message is empty.
    """
    lines = [_without_noise(line) for line in str(error).splitlines()]
    return next(filter(None, lines), type(error).__name__)[:_MAX_LENGTH]


def _without_noise(line: str) -> str:
    while (shorter := _NOISE.sub("", line.strip())) != line:
        line = shorter
    return line


class PhotoError(ValueError):
    """Base of the errors about photos. `code` is a stable value for programs."""

    code = "photo-unreadable"


class UnsupportedPhotoError(PhotoError):
    """The first bytes are not those of a JPEG, PNG, WebP or HEIC."""

    code = "photo-type"

    def __init__(self) -> None:
        super().__init__("this is no JPEG, PNG, WebP or HEIC photo")


class PhotoTooLargeError(PhotoError):
    """The photo has more pixels than allowed. Raised before memory is allocated for them."""

    code = "photo-too-large"

    def __init__(self, width: int, height: int, limit: int) -> None:
        super().__init__(
            f"the photo has {width} × {height} = {width * height / 1e6:.1f} megapixels; the limit is {limit / 1e6:g}"
        )
        self.width, self.height, self.limit = width, height, limit


class UnreadablePhotoError(PhotoError):
    """The photo is of a supported type but empty, truncated or damaged. `reason`: a clause such as "it is empty"."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the photo cannot be read: {reason}")


class TruncatedPhotoError(UnreadablePhotoError):
    """The bytes end before the picture does. `detail`: the missing part, when it is known."""

    def __init__(self, detail: str = "") -> None:
        super().__init__(f"it is cut short ({detail})" if detail else "it is cut short")


class MalformedPhotoError(UnreadablePhotoError):
    """The container violates its format. Decoders may accept the photo, but its metadata cannot be stripped."""


class AnimatedPhotoError(UnreadablePhotoError):
    """The photo is an animation. It does not tell which of its pictures is meant."""

    def __init__(self) -> None:
        super().__init__("it is animated; send a still picture")


class ModelRefusedError(ValueError):
    """The model is not usable. `reason`: what is wrong and, when there is a next step, what to do."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
