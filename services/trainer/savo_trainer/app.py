"""Composition root of the trainer service: reads the settings and connects the adapters."""

from __future__ import annotations

from dataclasses import replace

from savo_runtime.service import Runtime, Service, ServiceDefinition, Worker
from savo_runtime.telemetry.metrics import MODEL_MAP50, TRAINING_RUNS
from savo_trainer.adapters.frozen_labels import DatabaseFrozenLabels
from savo_trainer.adapters.http import runs_app
from savo_trainer.adapters.lease import DATASETS, DatabaseLease
from savo_trainer.adapters.local_runner import LocalRunner
from savo_trainer.adapters.projection import PROJECTION
from savo_trainer.adapters.run_database import DatabaseRuns
from savo_trainer.adapters.samples import DatabaseSamples
from savo_trainer.adapters.version_numbers import DatabaseVersionNumbers
from savo_trainer.handlers import subscriptions
from savo_trainer.models.gate import GatePolicy
from savo_trainer.models.registration import RegisterModel
from savo_trainer.runs.run import Run, State
from savo_trainer.runs.run_worker import RunWorker, RunWorkerPolicy
from savo_trainer.runs.stages import Stages
from savo_trainer.settings import TrainerSettings
from savo_trainer.training.plan import TrainPolicy
from savo_trainer.versions.freeze import DatasetFreeze

__all__ = ["DEFINITION", "build", "training_policy"]


def build(settings: TrainerSettings, runtime: Runtime) -> Service:
    lease = DatabaseLease(runtime.database, runtime.replica, settings.trainer_lease_seconds, runtime.clock)
    run_store = DatabaseRuns(runtime.database, runtime.outbox, lease)
    samples = DatabaseSamples(runtime.database)
    numbers = DatabaseVersionNumbers(runtime.database)
    gate = GatePolicy(map50=settings.gate_map50, map50_lower=settings.gate_map50_lower, min_gain=settings.gate_min_gain)
    labels = DatabaseFrozenLabels(runtime.database, runtime.store)
    freeze = DatasetFreeze(samples, labels, numbers, runtime.store, replace(lease, name=DATASETS), runtime.clock)
    stages = Stages(
        run_store=run_store,
        samples=samples,
        freeze=freeze,
        numbers=numbers,
        store=runtime.store,
        runner=LocalRunner(),
        training=training_policy(settings),
        gate=gate,
        folder=settings.runs_folder,
        clock=runtime.clock,
        on_finished=count_run,
    )
    _initialise_run_counters()
    worker = RunWorker(run_store, lease, stages, RunWorkerPolicy(attempts=settings.trainer_attempts))
    return Service(
        name="trainer",
        subscriptions=subscriptions(run_store, samples, labels),
        app=runs_app(
            run_store, count_run, RegisterModel(run_store, numbers, runtime.store, gate, runtime.clock, count_run)
        ),
        workers=[Worker("runs", worker)],
    )


def training_policy(settings: TrainerSettings) -> TrainPolicy:
    return TrainPolicy(
        model=settings.train_model,
        epochs=settings.train_epochs,
        batch=settings.train_batch,
        image_size=settings.train_imgsz,
        device=settings.train_device,
        width=settings.train_width,
        warm_start=settings.train_warm_start,
        warm_epochs=settings.train_warm_epochs,
        extra=settings.train_extra,
    )


def _initialise_run_counters() -> None:
    """Start every outcome at 0, so that the first run of each shows as an increase."""
    for state in (State.REGISTERED, State.REJECTED, State.FAILED, State.CANCELLED):
        TRAINING_RUNS.labels(outcome=state.value)


def count_run(run: Run) -> None:
    TRAINING_RUNS.labels(outcome=run.state.value).inc()
    if run.facts.version and run.facts.evaluation:
        MODEL_MAP50.labels(version=run.facts.version).set(run.facts.evaluation.map50)


DEFINITION = ServiceDefinition(
    "trainer", TrainerSettings, build, migrations="savo_trainer.migrations", projection=PROJECTION
)
