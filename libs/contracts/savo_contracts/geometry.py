"""Bounding boxes in one normalised form, with explicit conversions to pixels, YOLO's and Gemini's form.

A box is normalised to the upright photo: 0…1, origin top left, `x` and `y` its top left corner.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

# Tolerance for float rounding only: 1e-6 of a 12-megapixel photo's width is 0.004 pixels.
ROUNDING = 1e-6

GEMINI_SCALE = 1000

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


class BoundingBox(BaseModel):
    """A rectangle inside the photo, in fractions of its width and height."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    x: Fraction = Field(description="Left edge, fraction of the photo's width, 0…1.")
    y: Fraction = Field(description="Top edge, fraction of the photo's height, 0…1.")
    width: float = Field(gt=0.0, le=1.0, description="Fraction of the photo's width, above 0, up to 1.")
    height: float = Field(gt=0.0, le=1.0, description="Fraction of the photo's height, above 0, up to 1.")

    @model_validator(mode="after")
    def _stays_inside_the_photo(self) -> Self:
        if self.x + self.width > 1.0 + ROUNDING:
            raise ValueError(f"x + width is {self.x + self.width:.4f}, past the photo's right edge (1)")
        if self.y + self.height > 1.0 + ROUNDING:
            raise ValueError(f"y + height is {self.y + self.height:.4f}, past the photo's bottom edge (1)")
        return self

    @property
    def right(self) -> float:
        return min(1.0, self.x + self.width)

    @property
    def bottom(self) -> float:
        return min(1.0, self.y + self.height)

    @property
    def area(self) -> float:
        """Fraction of the photo that the box covers, 0…1."""
        return self.width * self.height

    @classmethod
    def from_corners(cls, left: float, top: float, right: float, bottom: float) -> Self:
        """From two normalised corners. Raises `ValidationError` when they are swapped or outside 0…1."""
        return cls(x=left, y=top, width=right - left, height=bottom - top)

    @classmethod
    def clipped(cls, left: float, top: float, right: float, bottom: float) -> Self | None:
        """From two normalised corners that may lie outside the photo, as detectors' do.

        None when no area is left inside.
        """
        left, top, right, bottom = max(0.0, left), max(0.0, top), min(1.0, right), min(1.0, bottom)
        return cls.from_corners(left, top, right, bottom) if right > left and bottom > top else None

    @classmethod
    def from_pixels(cls, corners: Sequence[float], photo_width: int, photo_height: int) -> Self:
        """From pixel corners `x1, y1, x2, y2` of a photo of the given size."""
        x1, y1, x2, y2 = corners
        return cls.from_corners(x1 / photo_width, y1 / photo_height, x2 / photo_width, y2 / photo_height)

    def to_pixels(self, photo_width: int, photo_height: int) -> tuple[float, float, float, float]:
        """Pixel corners `x1, y1, x2, y2` in a photo of the given size, not rounded."""
        return self.x * photo_width, self.y * photo_height, self.right * photo_width, self.bottom * photo_height

    @classmethod
    def from_yolo(cls, centre_form: Sequence[float]) -> Self | None:
        """From a YOLO label's `x_centre, y_centre, width, height`, each 0…1.

        An edge that rounding puts outside the photo is clipped. None when no area is left inside.
        """
        x_centre, y_centre, width, height = centre_form
        half_width, half_height = width / 2, height / 2
        return cls.clipped(x_centre - half_width, y_centre - half_height, x_centre + half_width, y_centre + half_height)

    def to_yolo(self) -> tuple[float, float, float, float]:
        """`x_centre, y_centre, width, height`, each 0…1, as a YOLO label file holds them."""
        return self.x + self.width / 2, self.y + self.height / 2, self.width, self.height

    @classmethod
    def from_gemini(cls, corners: Sequence[float]) -> Self:
        """From Gemini's `y_min, x_min, y_max, x_max`, each 0…1000.

        Raises `ValidationError` when corners are swapped or outside: they are never repaired.
        """
        y_min, x_min, y_max, x_max = (value / GEMINI_SCALE for value in corners)
        return cls.from_corners(x_min, y_min, x_max, y_max)

    def to_gemini(self) -> tuple[int, int, int, int]:
        """Gemini's `y_min, x_min, y_max, x_max`, rounded to its 0…1000 grid."""
        return (
            round(self.y * GEMINI_SCALE),
            round(self.x * GEMINI_SCALE),
            round(self.bottom * GEMINI_SCALE),
            round(self.right * GEMINI_SCALE),
        )

    def iou(self, other: BoundingBox) -> float:
        """Intersection over union with another box, 0…1."""
        width = min(self.right, other.right) - max(self.x, other.x)
        height = min(self.bottom, other.bottom) - max(self.y, other.y)
        if width <= 0 or height <= 0:
            return 0.0
        shared = width * height
        return shared / (self.area + other.area - shared)
