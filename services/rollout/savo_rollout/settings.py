"""Settings of the rollout service, read from environment variables."""

from __future__ import annotations

from pydantic import Field

from savo_contracts.measures import ACCURACY, CORRECTION_RATE, COST, FAILURES, LATENCY
from savo_runtime.settings import RuntimeSettings

__all__ = ["RolloutSettings"]


class RolloutSettings(RuntimeSettings):
    """All settings of the rollout service."""

    use_custom_vision: bool = Field(
        False,
        validation_alias="SAVO_USE_CUSTOM_VISION",
        description="Let trained models answer scans; false is a share of 0.",
    )
    pinned_share: float | None = Field(
        None,
        ge=0,
        le=1,
        validation_alias="SAVO_CUSTOM_VISION_ROLLOUT",
        description="Candidate's share of traffic, pinned; unset lets the evidence decide.",
    )
    custom_vision_model_path: str | None = Field(
        None,
        min_length=1,
        validation_alias="SAVO_CUSTOM_VISION_MODEL_PATH",
        description="The operator's model, the candidate while SAVO_CUSTOM_VISION_ROLLOUT pins a share.",
        json_schema_extra={"allowed": "a path, s3://BUCKET/KEY or models:/ingredients@champion"},
    )
    min_confirmed: int = Field(
        200,
        ge=1,
        validation_alias="SAVO_ROLLOUT_MIN_CONFIRMED",
        description="Confirmed scans in each arm before a step.",
    )
    min_days_per_step: float = Field(
        7.0,
        ge=0,
        validation_alias="SAVO_ROLLOUT_MIN_DAYS_PER_STEP",
        description="Days in a step before the next one; fractions are allowed.",
    )
    target_accuracy: float = Field(
        ACCURACY.target,
        gt=0,
        lt=1,
        validation_alias="SAVO_ROLLOUT_MIN_ACCURACY",
        description="The candidate's accuracy must be above this.",
    )
    target_correction_rate: float = Field(
        CORRECTION_RATE.target,
        gt=0,
        lt=1,
        validation_alias="SAVO_ROLLOUT_MAX_CORRECTION_RATE",
        description="The candidate's correction rate must be below this.",
    )
    target_latency_ms: float = Field(
        LATENCY.target,
        gt=0,
        validation_alias="SAVO_ROLLOUT_MAX_P95_MS",
        description="95 % of the candidate's scans must be faster, milliseconds.",
    )
    target_cost_usd: float = Field(
        COST.target,
        gt=0,
        lt=1.5,
        validation_alias="SAVO_ROLLOUT_MAX_COST_USD",
        description="The candidate's mean cost of a scan must be below this.",
    )
    failure_limit: float = Field(
        FAILURES.target,
        gt=0,
        lt=1,
        validation_alias="SAVO_ROLLOUT_MAX_FAILURE_RATE",
        description="A higher rate of failed scans is a breach, unless the baseline fails as often.",
    )
    alpha: float = Field(
        0.05,
        gt=0,
        le=0.5,
        validation_alias="SAVO_ROLLOUT_ALPHA",
        description="Highest probability that a bad candidate passes the whole ladder.",
    )

    @property
    def targets(self) -> dict[str, float]:
        """Targets by the measure's name. A measure without a setting has the target of its row."""
        return {
            ACCURACY.name: self.target_accuracy,
            CORRECTION_RATE.name: self.target_correction_rate,
            LATENCY.name: self.target_latency_ms,
            COST.name: self.target_cost_usd,
            FAILURES.name: self.failure_limit,
        }
