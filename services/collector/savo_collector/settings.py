"""The collector's settings, from the environment. Only `app.py` reads them."""

from __future__ import annotations

from pydantic import Field

from savo_detection.photos.quality import QualityPolicy
from savo_runtime.settings import RuntimeSettings

LIMITS = QualityPolicy()


class CollectorSettings(RuntimeSettings):
    """What the collector reads beside what every service reads."""

    collect_training_data: bool = Field(
        False, validation_alias="SAVO_COLLECT_TRAINING_DATA", description="Keep confirmed photos as training samples."
    )
    require_consent: bool = Field(
        False,
        validation_alias="SAVO_REQUIRE_CONSENT",
        description="Collect only with consent, of the scan or of the person; consent=false always wins.",
    )
    training_threshold: int = Field(
        10_000,
        gt=0,
        validation_alias="SAVO_TRAINING_THRESHOLD",
        description="New samples after which a training run is due.",
    )
    retrain_every_days: float = Field(
        30.0,
        gt=0,
        validation_alias="SAVO_RETRAIN_EVERY_DAYS",
        description="Days after which a run is due with one new sample.",
    )
    class_users: int = Field(
        5,
        gt=0,
        validation_alias="SAVO_CLASS_MIN_USERS",
        description="People who must confirm an unknown label before it becomes a class.",
    )
    class_samples: int = Field(
        30,
        gt=0,
        validation_alias="SAVO_CLASS_MIN_SAMPLES",
        description="Photos that must show an unknown label before it becomes a class.",
    )
    min_sharpness: float = Field(
        LIMITS.min_sharpness,
        ge=0,
        validation_alias="SAVO_MIN_SHARPNESS",
        description="Least variance of the Laplacian at 512 px; a photo below it is blurred.",
    )
    min_detail: float = Field(
        LIMITS.min_detail,
        ge=0,
        validation_alias="SAVO_MIN_DETAIL",
        description="Least fine detail of the labelled boxes, in percent of their contours; a photo below it is "
        "blurred.",
    )
    min_mean_luma: float = Field(
        LIMITS.min_mean_luma,
        ge=0,
        le=255,
        validation_alias="SAVO_MIN_MEAN_LUMA",
        description="Least mean brightness; a photo below it is dark unless a part is bright.",
    )
    min_bright_luma: float = Field(
        LIMITS.min_bright_luma,
        ge=0,
        le=255,
        validation_alias="SAVO_MIN_BRIGHT_LUMA",
        description="95th percentile of brightness from which a part is bright.",
    )
    max_clipped: float = Field(
        LIMITS.max_clipped,
        ge=0,
        le=1,
        validation_alias="SAVO_MAX_CLIPPED",
        description="Largest share of clipped pixels; a photo above it, as a whole and in its boxes, is over-exposed.",
    )
    max_noise: float = Field(
        LIMITS.max_noise,
        ge=0,
        le=255,
        validation_alias="SAVO_MAX_NOISE",
        description="Largest mean difference from a median of 3×3 pixels; a photo above it is noisy.",
    )
    min_contrast: float = Field(
        LIMITS.min_contrast,
        ge=0,
        le=255,
        validation_alias="SAVO_MIN_CONTRAST",
        description="Least difference of the 99th and the 1st percentile of brightness; a photo below it has low "
        "contrast.",
    )
    min_side: int = Field(
        LIMITS.min_side,
        gt=0,
        validation_alias="SAVO_MIN_PHOTO_SIDE",
        description="Least pixels of the shorter side; a photo below it is too small.",
    )
