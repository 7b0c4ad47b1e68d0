"""Events at the end of a run: `models.registered` and `training.finished`."""

from __future__ import annotations

from savo_contracts.documents import ModelReport, model_key
from savo_contracts.envelope import Event
from savo_contracts.models import ModelRegistered
from savo_contracts.training import RunOutcome, TrainingFinished
from savo_trainer.runs.run import Run, State

__all__ = ["events_of", "training_finished"]


def events_of(run: Run, after: State, report: ModelReport) -> list[Event]:
    """`training.finished` for every run; before it, `models.registered` for a registered model."""
    finished = training_finished(run, after)
    return [_model_registered(run, report), finished] if after is State.REGISTERED else [finished]


def training_finished(run: Run, after: State) -> TrainingFinished:
    facts, finished_at = run.facts, run.finished_at
    assert finished_at is not None, "a run that ended has an end time"
    return TrainingFinished(
        run_id=run.id,
        dataset=run.dataset,
        dataset_version=facts.dataset_version,
        # Consumers of this event version do not know a CANCELLED outcome: a cancelled run is reported as failed.
        outcome=RunOutcome.FAILED if after is State.CANCELLED else RunOutcome(after.value),
        trigger=run.trigger.get("reason"),
        cancelled_by=facts.cancelled_by,
        version=facts.version,
        evaluation=facts.evaluation,
        comparison=facts.comparison,
        reasons=run.reasons,
        next_steps=run.next_steps,
        train_samples=facts.train_samples,
        seconds=max(0.0, (finished_at - (run.started_at or run.requested_at)).total_seconds()),
        finished_at=finished_at,
    )


def _model_registered(run: Run, report: ModelReport) -> ModelRegistered:
    return ModelRegistered(
        version=report.version,
        key=model_key(report.version, "model.onnx"),
        sha256=report.onnx_sha256,
        classes=report.classes,
        run_id=run.id,
        dataset_version=report.dataset_version,
        bytes=report.onnx_bytes,
        image_size=report.image_size,
        evaluation=report.evaluation,
        comparison=report.comparison,
        registered_at=report.created_at,
    )
