"""The prompt for providers. Every change of the text changes answers, so the prompt has a version."""

from __future__ import annotations

from pydantic import BaseModel, Field

__all__ = ["MAX_OUTPUT_TOKENS", "MAX_SIDE", "PROMPT", "PROMPT_VERSION", "SeenItem"]

PROMPT_VERSION = "1"

MAX_SIDE = 1024
"""Longer side of a photo that is sent, in pixels. More pixels cost tokens and show no further ingredient."""

MAX_OUTPUT_TOKENS = 8192

PROMPT = (
    "List every food ingredient that can be seen in this photo of a kitchen, fridge or shelf. "
    "One entry for each separate piece or package. "
    "label: the ingredient's common English name, singular, without brand. "
    "box_2d: the tight box around it as [ymin, xmin, ymax, xmax], "
    "whole numbers from 0 to 1000 of the photo's height and width. "
    "confidence: from 0 to 1, how sure you are of the label. quantity: how many pieces are in the box. "
    "Name only what is food or drink and can be seen; give an empty list when there is none."
)


class SeenItem(BaseModel):
    # Providers get the class name and this text with the schema. A change of either needs a new prompt version.
    __doc__ = (
        "The schema that the answer must have. "
        "It is loose on purpose: one impossible box must not void the other items."
    )

    label: str
    box_2d: list[int] = Field(description="[ymin, xmin, ymax, xmax], 0…1000")
    confidence: float | None = Field(description="0…1")
    quantity: float | None = Field(description="Pieces in the box")
