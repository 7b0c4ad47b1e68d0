"""Stages of a run: the work of each state. Each is safe to repeat: it reuses or rewrites its earlier results."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import structlog

from savo_contracts.documents import model_key
from savo_contracts.samples import Split
from savo_detection.evaluation.evaluator import EvaluationSample
from savo_runtime.errors import DependencyDownError
from savo_runtime.storage.port import ObjectStore
from savo_trainer.models.evaluation import Measurement, compare_with_champion, golden_pictures, holdout_samples, measure
from savo_trainer.models.gate import ClassChange, Evidence, GatePolicy, Verdict, judge
from savo_trainer.models.registry import (
    champion_version,
    fetch_start_weights,
    optimization_sentence,
    remove_candidate,
    report_of,
    store_candidate,
    store_report,
)
from savo_trainer.ports import Runner, RunStore, SampleIndex, VersionNumbers
from savo_trainer.runs.events import events_of, training_finished
from savo_trainer.runs.run import Progress, Run, RunResults, State
from savo_trainer.training.dataset import LocalDataset, download_dataset
from savo_trainer.training.plan import Trained, TrainPlan, TrainPolicy, plan_for
from savo_trainer.versions.freeze import DatasetFreeze, FrozenDataset, Origin
from savo_trainer.versions.manifest import fetch_manifest

__all__ = ["Measure", "Stages"]

log = structlog.get_logger()

Measure = Callable[[Path, Iterable[EvaluationSample]], Measurement]


@dataclass(frozen=True)
class Stages:
    """The work of every state of a run, with the adapters that it needs."""

    run_store: RunStore
    samples: SampleIndex
    freeze: DatasetFreeze
    numbers: VersionNumbers
    store: ObjectStore
    runner: Runner
    training: TrainPolicy
    gate: GatePolicy
    folder: Path
    """Parent of the runs' local folders."""
    clock: Callable[[], datetime]
    on_finished: Callable[[Run], None] = lambda _: None
    """Called with every run that ends, for metrics."""
    measure: Measure = measure

    async def work(self, run: Run) -> Run:
        """Do the work of the current state and return the run in its next state."""
        stage = {
            State.QUEUED: self._start,
            State.PREPARING: self._prepare,
            State.TRAINING: self._train,
            State.EVALUATING: self._evaluate,
            State.CANCELLING: self._cancel,
        }
        return await stage[run.state](run)

    async def fail(self, run: Run, reason: str, next_steps: tuple[str, ...] = ()) -> Run:
        """End the run as failed; as cancelled where that was requested, even if some files could not be removed."""
        if run.state is State.CANCELLING:
            return await self._finish_cancelled(run, detail=reason)
        run = _with(run, reasons=(reason,), next_steps=next_steps, finished_at=self.clock())
        moved = await self.run_store.change_state(
            run, State.FAILED, detail=reason, events=[training_finished(run, State.FAILED)]
        )
        return await self._finish(moved)

    async def _start(self, run: Run) -> Run:
        return await self.run_store.change_state(run, State.PREPARING)

    async def _prepare(self, run: Run) -> Run:
        folder = self._photos(run)
        frozen = await self.freeze(run.dataset, Origin(run_id=run.id), folder)
        dataset = await download_dataset(frozen, self.store, folder, self.samples.erased)
        facts = run.facts.model_copy(
            update={
                "dataset_version": frozen.version,
                "classes": dataset.classes.names,
                "class_ids": dataset.classes.ids,
                "train_samples": dataset.counts[Split.TRAIN],
                "val_samples": dataset.counts[Split.VAL],
                "test_samples": dataset.counts[Split.TEST],
                "left_out": dataset.left_out,
            }
        )
        return await self.run_store.change_state(
            _with(run, facts=facts), State.TRAINING, detail=f"{frozen.version}, {facts.train_samples} training samples"
        )

    async def _train(self, run: Run) -> Run:
        folder = self._folder(run)
        await self.runner.stop_stale(folder)
        dataset = await self._local_dataset(run)
        plan = await self._plan(dataset, folder)
        trained = await self.runner.train(plan, dataset.data, folder, self._progress_of(run))
        facts = await self._store_candidate(run, plan, trained)
        return await self.run_store.change_state(
            _with(run, facts=facts), State.EVALUATING, detail=f"{facts.version} after {trained.seconds:.0f} s"
        )

    async def _evaluate(self, run: Run) -> Run:
        assert run.facts.version, "a run is evaluated after it was trained"
        dataset = await self._local_dataset(run)
        candidate = await self._measure_version(run, run.facts.version, dataset)
        champion = await champion_version(self.store)
        comparison, classes = None, dict[str, ClassChange]()
        if champion and champion != run.facts.version:
            measured = await self._measure_version(run, champion, dataset)
            comparison, classes = compare_with_champion(candidate, measured, champion, self.gate.class_drop)
        golden = golden_pictures(candidate, dataset.holdout)
        results = {"evaluation": candidate.evaluation, "comparison": comparison, "golden": golden}
        facts = run.facts.model_copy(update=results)
        evidence = Evidence(
            candidate.evaluation,
            comparison,
            classes,
            facts.weights_map50,
            facts.export_map50,
            dict(dataset.train_boxes),
            facts.train_samples,
        )
        return await self._record_verdict(_with(run, facts=facts), judge(evidence, self.gate))

    async def _record_verdict(self, run: Run, verdict: Verdict) -> Run:
        """The report first, then the verdict with its events: a consumer of the events finds a complete version."""
        run = _with(run, reasons=verdict.reasons, next_steps=verdict.next_steps, finished_at=self.clock())
        report = report_of(run, passed=verdict.passed)
        await store_report(report, run.facts, self.store)
        after = State.REGISTERED if verdict.passed else State.REJECTED
        return await self._finish(
            await self.run_store.change_state(
                run, after, detail="; ".join(verdict.reasons), events=events_of(run, after, report)
            )
        )

    async def _cancel(self, run: Run) -> Run:
        """Remove the files of a model without a verdict. Its version number is not used again."""
        await self.runner.stop_stale(self._folder(run))
        if version := await self.numbers.existing_model_version(run.id):
            await remove_candidate(version, self.store)
        return await self._finish_cancelled(run)

    async def _finish_cancelled(self, run: Run, detail: str = "") -> Run:
        run = _with(run, facts=run.facts.model_copy(update={"version": None}), finished_at=self.clock())
        return await self._finish(
            await self.run_store.change_state(
                run, State.CANCELLED, detail=detail, events=[training_finished(run, State.CANCELLED)]
            )
        )

    async def _finish(self, run: Run) -> Run:
        """Remove the local photos, so that an erasure only has to reach the object store."""
        self.on_finished(run)
        await asyncio.to_thread(shutil.rmtree, self._photos(run), ignore_errors=True)
        return run

    async def _plan(self, dataset: LocalDataset, folder: Path) -> TrainPlan:
        champion = await champion_version(self.store) if self.training.warm_start else None
        start = await fetch_start_weights(champion, self.store, folder) if champion else None
        return plan_for(self.training, dataset.classes.names, start)

    async def _store_candidate(self, run: Run, plan: TrainPlan, trained: Trained) -> RunResults:
        stored = await store_candidate(run, trained, self.store, self.numbers)
        return run.facts.model_copy(
            update={
                "version": stored.version,
                "onnx_sha256": stored.onnx_sha256,
                "onnx_bytes": stored.onnx_bytes,
                "plain_onnx_sha256": stored.plain_onnx_sha256,
                "optimization": optimization_sentence(trained.export.not_optimized),
                "weights_sha256": stored.weights_sha256,
                "started_from": plan.start.version if plan.start else None,
                "image_size": plan.image_size,
                "weights_map50": trained.weights_map50,
                "export_map50": trained.export_map50,
                "training_seconds": round(trained.seconds, 1),
            }
        )

    async def _local_dataset(self, run: Run) -> LocalDataset:
        """Download the frozen version again where an earlier stage ran on another machine."""
        assert run.facts.dataset_version, "a run is trained after it was prepared"
        version, folder = run.facts.dataset_version, self._photos(run)
        frozen = FrozenDataset(version, await fetch_manifest(version, self.store, folder))
        return await download_dataset(frozen, self.store, folder, self.samples.erased)

    async def _measure_version(self, run: Run, version: str, dataset: LocalDataset) -> Measurement:
        onnx = self._folder(run) / f"{version}.onnx"
        await self.store.download(model_key(version, "model.onnx"), onnx)
        photos = holdout_samples(dataset.holdout, dataset.classes.names, self._photos(run))
        return await asyncio.to_thread(self.measure, onnx, photos)

    def _progress_of(self, run: Run) -> Callable[[Progress], Awaitable[None]]:
        async def on_progress(progress: Progress) -> None:
            with contextlib.suppress(DependencyDownError):  # a training continues without a record of this epoch
                await self.run_store.record_progress(run.id, progress)
            log.info("run.epoch", run_id=run.id, **progress.model_dump(exclude_none=True))

        return on_progress

    def _folder(self, run: Run) -> Path:
        folder = self.folder.resolve() / run.id
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _photos(self, run: Run) -> Path:
        return self._folder(run) / "dataset"


def _with(run: Run, **changes: object) -> Run:
    return run.model_copy(update=changes)
