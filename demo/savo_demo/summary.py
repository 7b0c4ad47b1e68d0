"""`summary.json`: the results of a demo run, in a fixed form for programs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from savo_contracts.rollout import STEPS


class Samples(BaseModel):
    """Samples by split."""

    model_config = ConfigDict(extra="forbid")

    train: int = Field(ge=0)
    val: int = Field(ge=0)
    test: int = Field(ge=0)


class ModelSummary(BaseModel):
    """A trained model with the verdict of the gate."""

    model_config = ConfigDict(extra="forbid")

    version: str
    map50: float = Field(ge=0, le=1)
    map50_lower: float = Field(ge=0, le=1)
    verdict: Literal["registered", "rejected"]
    reasons: list[str]


class ServedBy(BaseModel):
    """Scans by the provider that answered them."""

    model_config = ConfigDict(extra="forbid")

    custom: int = Field(ge=0)
    google: int = Field(ge=0)


class Summary(BaseModel):
    """Scans are counted by the phones; samples, refusals and models by the product."""

    model_config = ConfigDict(extra="forbid")

    scans: int = Field(ge=0)
    confirmed: int = Field(ge=0)
    corrected: int = Field(ge=0)
    samples: Samples
    refused: dict[str, int]
    models: list[ModelSummary]
    shares: list[float]
    served_by: ServedBy
    p95_ms: dict[str, float] = Field(description="By assigned arm: baseline, candidate.")
    cost_usd: dict[str, float] = Field(description="Mean of a scan, by assigned arm.")
    seconds: dict[str, float] = Field(description="By stage.")

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if not self.corrected <= self.confirmed <= self.scans:
            raise ValueError(
                f"{self.corrected} corrected of {self.confirmed} confirmed of {self.scans} scans cannot be"
            )
        return self

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")


def model_summary(run: Mapping[str, Any]) -> ModelSummary | None:
    """The summary of a finished run of the trainer; None if it has no evaluated model."""
    facts = run["facts"]
    if not facts.get("version") or not facts.get("evaluation") or run["state"] not in {"registered", "rejected"}:
        return None
    measured = facts["evaluation"]
    return ModelSummary(
        version=facts["version"],
        map50=measured["map50"],
        map50_lower=measured["map50_lower"],
        verdict=run["state"],
        reasons=list(run["reasons"]),
    )


def rollout_shares(history: Iterable[Mapping[str, Any]], experiment: str) -> list[float]:
    """The shares of an experiment in time order, from the rollout's history in any order."""
    mine = sorted(
        (entry for entry in history if entry.get("experiment") == experiment and entry["state"] == "running"),
        key=lambda entry: entry["sequence"],
    )
    shares = [entry["share"] for entry in mine]
    return [share for place, share in enumerate(shares) if place == 0 or share != shares[place - 1]]


def reached_every_step(shares: list[float]) -> bool:
    """Whether the shares are all steps of the rollout."""
    return tuple(shares) == STEPS


def count_mismatches(refused: Mapping[str, int], expected_rejections: Mapping[str, int]) -> list[str]:
    """Messages for expected reasons with another count; other reasons are ignored."""
    return [
        f"{reason}: {refused.get(reason, 0)} counted, {count} expected"
        for reason, count in expected_rejections.items()
        if refused.get(reason, 0) != count
    ]
