"""A model that was trained elsewhere enters the registry: numbered, judged by the same gate, announced the same way.

Whoever brings it has measured it through the serving code and sends the figures; the trainer gives the number, says which files it wants under
it, judges, and tells the world. Everything is keyed by the model's sha256: sent again after a crash at any line, the same model gets the same
version, and once it has a verdict, that verdict. A model whose graph was optimised is known by its plain export, which
stays the same when it is optimised again in another way.
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
from savo_trainer.models.class_list import class_ids
from savo_trainer.models.gate import ClassChange, Evidence, GatePolicy, Verdict, judge
from savo_trainer.models.registry import champion_version, claim_version, object_matches, report_of, store_report
from savo_trainer.ports import RunLedger, VersionNumbers
from savo_trainer.runs.events import events_of
from savo_trainer.runs.run import Facts, Run, State

__all__ = ["MissingFiles", "RegisterModel", "SubmittedClassChange", "SubmittedModel", "run_id_of"]

BY_HAND = "by-hand"


class SubmittedClassChange(Message):
    """Candidate minus champion in one class, as `gate.ClassChange` has it."""

    gain: float
    boxes: int = Field(ge=0)
    p_dropped: float = Field(ge=0, le=1)


class SubmittedModel(Message):
    """Body of POST /models: a finished model and what was measured on it."""

    sha256: Sha256 = Field(description="Of model.onnx, which was measured.")
    bytes: int = Field(gt=0)
    plain_sha256: Sha256 | None = Field(default=None, description="Of model.plain.onnx; None: there is none.")
    optimization: str = Field(
        default="", max_length=500, description="What became of the export's graph, for the card."
    )
    image_size: int = Field(gt=0)
    classes: tuple[str, ...] = Field(min_length=1, description="Labels in the order of the network's outputs.")
    weights_sha256: Sha256 | None = Field(default=None, description="None: the ONNX file alone.")
    holdout: str = Field(
        min_length=1, max_length=64, description="Names the photos that it was measured on, by their content."
    )
    evaluation: Evaluation
    comparison: Comparison | None = Field(
        default=None, description="On the same photos; None when there is no champion."
    )
    class_changes: dict[str, SubmittedClassChange] = Field(default_factory=dict)
    weights_map50: float | None = Field(
        default=None, description="ultralytics' figure for the .pt, as its training noted it."
    )
    export_map50: float | None = Field(default=None, description="The same measure for the ONNX.")
    train_samples: int = Field(default=0, ge=0, description="As its training noted it; 0 is unknown.")
    by: str = Field(min_length=1, max_length=120)
    reason: str = Field(min_length=1, max_length=500)

    @property
    def key_sha256(self) -> str:
        """By which the model is known."""
        return self.plain_sha256 or self.sha256

    @property
    def run_id(self) -> str:
        return run_id_of(self.key_sha256)


@dataclass(frozen=True)
class MissingFiles:
    """Files that are to lie under the version's keys before it is judged."""

    version: str
    files: tuple[str, ...]


@dataclass(frozen=True)
class RegisterModel:
    ledger: RunLedger
    numbers: VersionNumbers
    store: ObjectStore
    gate: GatePolicy
    clock: Callable[[], datetime]
    on_finished: Callable[[Run], None] = lambda _: None

    async def __call__(self, submitted: SubmittedModel) -> Run | MissingFiles:
        """Raises `ClassesUnknownError`, `ChampionMovedError`."""
        if known := await self.ledger.get(submitted.run_id):
            return known
        await self._check_champion(submitted)
        run = self._run(submitted, await class_ids(submitted.classes, self.store))
        version = await claim_version(run, self.store, self.numbers)
        if missing := [
            name
            for name, sha256 in _files(submitted)
            if not await object_matches(self.store, model_key(version, name), sha256)
        ]:
            return MissingFiles(version, tuple(missing))
        return await self._record_verdict(
            run.model_copy(update={"facts": run.facts.model_copy(update={"version": version})}), submitted
        )

    async def _check_champion(self, submitted: SubmittedModel) -> None:
        """Figures against another than the present champion say nothing."""
        champion = await champion_version(self.store)
        compared = submitted.comparison.champion if submitted.comparison else None
        if champion != compared:
            raise ChampionMovedError(champion, compared)

    async def _record_verdict(self, run: Run, submitted: SubmittedModel) -> Run:
        """As a trained run ends: the report first, then the verdict with its events in one transaction."""
        verdict = judge(_evidence(submitted), self.gate)
        after = State.REGISTERED if verdict.passed else State.REJECTED
        run = _with_verdict(run, verdict, after, self.clock())
        report = report_of(run, passed=verdict.passed)
        await store_report(report, run.facts, self.store)
        recorded, first = await self.ledger.record_judged(
            run, events_of(run, after, report), by=submitted.by, reason=submitted.reason
        )
        if first:
            self.on_finished(recorded)
        return recorded

    def _run(self, submitted: SubmittedModel, ids: tuple[int, ...]) -> Run:
        facts = Facts(
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
    """One model, one run."""
    return f"hand-{sha256[:24]}"


def _files(submitted: SubmittedModel) -> list[tuple[str, str]]:
    kept = (
        ("model.onnx", submitted.sha256),
        (PLAIN_EXPORT, submitted.plain_sha256),
        ("weights.pt", submitted.weights_sha256),
    )
    return [(name, sha256) for name, sha256 in kept if sha256]


def _evidence(submitted: SubmittedModel) -> Evidence:
    """Without a note of its training there is nothing to hold the export against: what was measured is the file that would serve."""
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
