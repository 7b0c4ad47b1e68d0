"""Registration of a model that was trained elsewhere: numbered, judged and announced like a model trained here.

`savo models register` measures the model through the serving code and submits the figures. The trainer assigns the
version, names the files that the object store lacks, judges the model and publishes the events.

Every step is keyed by the model's sha256: a submission that is repeated after a crash gets the same version, and the
same verdict once there is one. An optimised model is identified by its plain export, which does not change when the
graph is optimised in another way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import NAMESPACE_URL, uuid5

from pydantic import Field

from savo_contracts.documents import PLAIN_EXPORT, model_key
from savo_contracts.envelope import Message, Sha256
from savo_contracts.training import Comparison, Evaluation
from savo_runtime.storage.port import ObjectStore
from savo_trainer.errors import ChampionMovedError
from savo_trainer.models.class_ids import class_ids
from savo_trainer.models.gate import ClassChange, Evidence, GatePolicy, Verdict, judge
from savo_trainer.models.registry import champion_version, claim_version, object_matches, report_of, store_report
from savo_trainer.ports import RunStore, VersionNumbers
from savo_trainer.runs.events import events_of
from savo_trainer.runs.run import Run, RunResults, State

__all__ = ["MissingFiles", "RegisterModel", "SubmittedClassChange", "SubmittedModel", "run_id_of"]

BY_HAND = "by-hand"


class SubmittedClassChange(Message):
    """Wire format of `gate.ClassChange`."""

    gain: float
    boxes: int = Field(ge=0)
    p_dropped: float = Field(ge=0, le=1)


class SubmittedModel(Message):
    """Body of POST /models: a finished model with its figures."""

    sha256: Sha256 = Field(description="Of model.onnx, the measured file.")
    bytes: int = Field(gt=0)
    plain_sha256: Sha256 | None = Field(default=None, description="Of model.plain.onnx; None: no such file.")
    optimization: str = Field(
        default="", max_length=500, description="Sentence about the export's graph, for the card."
    )
    image_size: int = Field(gt=0)
    classes: tuple[str, ...] = Field(min_length=1, description="Labels in the order of the network's outputs.")
    weights_sha256: Sha256 | None = Field(default=None, description="None: the ONNX file alone.")
    holdout: str = Field(
        min_length=1, max_length=64, description="Name of the photos that it was measured on, by their content."
    )
    evaluation: Evaluation
    comparison: Comparison | None = Field(
        default=None, description="On the same photos; None when there is no champion."
    )
    class_changes: dict[str, SubmittedClassChange] = Field(default_factory=dict)
    weights_map50: float | None = Field(
        default=None, description="ultralytics' figure for the .pt, from the training note."
    )
    export_map50: float | None = Field(default=None, description="The same figure for the ONNX file.")
    train_samples: int = Field(default=0, ge=0, description="From the training note; 0: unknown.")
    by: str = Field(min_length=1, max_length=120)
    reason: str = Field(min_length=1, max_length=500)

    @property
    def key_sha256(self) -> str:
        """Identifies the model: its plain export where it has one."""
        return self.plain_sha256 or self.sha256

    @property
    def run_id(self) -> str:
        return run_id_of(self.key_sha256)


@dataclass(frozen=True)
class MissingFiles:
    """Files that the object store must hold under the version before the model is judged."""

    version: str
    files: tuple[str, ...]


@dataclass(frozen=True)
class RegisterModel:
    """Registers a submitted model. Safe to repeat at any point."""

    run_store: RunStore
    numbers: VersionNumbers
    store: ObjectStore
    gate: GatePolicy
    clock: Callable[[], datetime]
    on_finished: Callable[[Run], None] = lambda _: None

    async def __call__(self, submitted: SubmittedModel) -> Run | MissingFiles:
        """The run with its verdict, or the files to upload before the same model is submitted again.

        Raises `ClassesUnknownError`, `ChampionMovedError`.
        """
        if known := await self.run_store.get(submitted.run_id):
            return known
        await self._check_champion(submitted)
        run = self._run(submitted, await class_ids(submitted.classes, self.store))
        version = await claim_version(run, self.store, self.numbers)
        if missing := await self._missing_files(version, submitted):
            return MissingFiles(version, missing)
        facts = run.facts.model_copy(update={"version": version})
        return await self._record_verdict(run.model_copy(update={"facts": facts}), submitted)

    async def _missing_files(self, version: str, submitted: SubmittedModel) -> tuple[str, ...]:
        matches = {
            name: await object_matches(self.store, model_key(version, name), sha256)
            for name, sha256 in _files(submitted)
        }
        return tuple(name for name, matched in matches.items() if not matched)

    async def _check_champion(self, submitted: SubmittedModel) -> None:
        """A comparison with another model than the current champion cannot be judged."""
        champion = await champion_version(self.store)
        compared = submitted.comparison.champion if submitted.comparison else None
        if champion != compared:
            raise ChampionMovedError(champion, compared)

    async def _record_verdict(self, run: Run, submitted: SubmittedModel) -> Run:
        """Ends like a trained run: the report first, then the verdict with its events in one transaction."""
        verdict = judge(_evidence(submitted), self.gate)
        after = State.REGISTERED if verdict.passed else State.REJECTED
        run = _with_verdict(run, verdict, after, self.clock())
        report = report_of(run, passed=verdict.passed)
        await store_report(report, run.facts, self.store)
        recorded, first = await self.run_store.record_judged(
            run, events_of(run, after, report), by=submitted.by, reason=submitted.reason
        )
        if first:
            self.on_finished(recorded)
        return recorded

    def _run(self, submitted: SubmittedModel, ids: tuple[int, ...]) -> Run:
        facts = RunResults(
            dataset_version=submitted.holdout,
            train_samples=submitted.train_samples,
            test_samples=submitted.evaluation.images,
            classes=submitted.classes,
            class_ids=ids,
            onnx_sha256=submitted.sha256,
            onnx_bytes=submitted.bytes,
            plain_onnx_sha256=submitted.plain_sha256,
            optimization=submitted.optimization,
            weights_sha256=submitted.weights_sha256,
            image_size=submitted.image_size,
            weights_map50=submitted.weights_map50,
            export_map50=submitted.export_map50,
            evaluation=submitted.evaluation,
            comparison=submitted.comparison,
            brought=f"{submitted.by}: {submitted.reason}",
        )
        now = self.clock()
        return Run(
            id=submitted.run_id,
            event_id=uuid5(NAMESPACE_URL, f"urn:savo:model:{submitted.key_sha256}"),
            dataset="ingredients",
            state=State.EVALUATING,
            trigger={"reason": BY_HAND},
            facts=facts,
            requested_at=now,
            started_at=now,
        )


def run_id_of(sha256: str) -> str:
    """Run id of a submitted model. One model has one run."""
    return f"hand-{sha256[:24]}"


def _files(submitted: SubmittedModel) -> list[tuple[str, str]]:
    kept = (
        ("model.onnx", submitted.sha256),
        (PLAIN_EXPORT, submitted.plain_sha256),
        ("weights.pt", submitted.weights_sha256),
    )
    return [(name, sha256) for name, sha256 in kept if sha256]


def _evidence(submitted: SubmittedModel) -> Evidence:
    """Without a training note the export is not compared with its weights: the measured file is the one to serve."""
    return Evidence(
        submitted.evaluation,
        submitted.comparison,
        {
            label: ClassChange(change.gain, change.boxes, change.p_dropped)
            for label, change in submitted.class_changes.items()
        },
        submitted.weights_map50,
        submitted.export_map50,
        train_samples=submitted.train_samples,
        trained_here=False,
    )


def _with_verdict(run: Run, verdict: Verdict, after: State, now: datetime) -> Run:
    return run.model_copy(
        update={"state": after, "reasons": verdict.reasons, "next_steps": verdict.next_steps, "finished_at": now}
    )
