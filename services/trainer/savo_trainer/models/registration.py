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
from savo_trainer.models.registry import champion_version, claim_version, holds, report_of, store_report
from savo_trainer.ports import Numbers, RunLedger
from savo_trainer.runs.events import events_of
from savo_trainer.runs.run import Facts, Run, State

__all__ = ["Brought", "Change", "Register", "Wanted", "run_id_of"]

BY_HAND = "by-hand"


class Change(Message):
    """Candidate minus champion in one class, as `gate.ClassChange` has it."""

    gain: float
    boxes: int = Field(ge=0)
    p_dropped: float = Field(ge=0, le=1)


class Brought(Message):
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
    class_changes: dict[str, Change] = Field(default_factory=dict)
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
class Wanted:
    """Files that are to lie under the version's keys before it is judged."""

    version: str
    files: tuple[str, ...]


@dataclass(frozen=True)
class Register:
    ledger: RunLedger
    numbers: Numbers
    store: ObjectStore
    gate: GatePolicy
    clock: Callable[[], datetime]
    finished: Callable[[Run], None] = lambda _: None

    async def __call__(self, brought: Brought) -> Run | Wanted:
        """Raises `ClassesUnknownError`, `ChampionMovedError`."""
        if known := await self.ledger.get(brought.run_id):
            return known
        await self._check_champion(brought)
        run = self._run(brought, await class_ids(brought.classes, self.store))
        version = await claim_version(run, self.store, self.numbers)
        if missing := [
            name for name, sha256 in _files(brought) if not await holds(self.store, model_key(version, name), sha256)
        ]:
            return Wanted(version, tuple(missing))
        return await self._conclude(
            run.model_copy(update={"facts": run.facts.model_copy(update={"version": version})}), brought
        )

    async def _check_champion(self, brought: Brought) -> None:
        """Figures against another than the present champion say nothing."""
        champion = await champion_version(self.store)
        compared = brought.comparison.champion if brought.comparison else None
        if champion != compared:
            raise ChampionMovedError(champion, compared)

    async def _conclude(self, run: Run, brought: Brought) -> Run:
        """As a trained run ends: the report first, then the verdict with its events in one transaction."""
        verdict = judge(_evidence(brought), self.gate)
        after = State.REGISTERED if verdict.passed else State.REJECTED
        run = _judged(run, verdict, after, self.clock())
        report = report_of(run, passed=verdict.passed)
        await store_report(report, run.facts, self.store)
        recorded, first = await self.ledger.record(
            run, events_of(run, after, report), by=brought.by, reason=brought.reason
        )
        if first:
            self.finished(recorded)
        return recorded

    def _run(self, brought: Brought, ids: tuple[int, ...]) -> Run:
        facts = Facts(
            dataset_version=brought.holdout,
            train_samples=brought.train_samples,
            test_samples=brought.evaluation.images,
            classes=brought.classes,
            class_ids=ids,
            onnx_sha256=brought.sha256,
            onnx_bytes=brought.bytes,
            plain_onnx_sha256=brought.plain_sha256,
            optimization=brought.optimization,
            weights_sha256=brought.weights_sha256,
            image_size=brought.image_size,
            weights_map50=brought.weights_map50,
            export_map50=brought.export_map50,
            evaluation=brought.evaluation,
            comparison=brought.comparison,
            brought=f"{brought.by}: {brought.reason}",
        )
        now = self.clock()
        return Run(
            id=brought.run_id,
            event_id=uuid5(NAMESPACE_URL, f"urn:savo:model:{brought.key_sha256}"),
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


def _files(brought: Brought) -> list[tuple[str, str]]:
    kept = (
        ("model.onnx", brought.sha256),
        (PLAIN_EXPORT, brought.plain_sha256),
        ("weights.pt", brought.weights_sha256),
    )
    return [(name, sha256) for name, sha256 in kept if sha256]


def _evidence(brought: Brought) -> Evidence:
    """Without a note of its training there is nothing to hold the export against: what was measured is the file that would serve."""
    return Evidence(
        brought.evaluation,
        brought.comparison,
        {
            label: ClassChange(change.gain, change.boxes, change.p_dropped)
            for label, change in brought.class_changes.items()
        },
        brought.weights_map50,
        brought.export_map50,
        train_samples=brought.train_samples,
        trained_here=False,
    )


def _judged(run: Run, verdict: Verdict, after: State, now: datetime) -> Run:
    return run.model_copy(
        update={"state": after, "reasons": verdict.reasons, "next_steps": verdict.next_steps, "finished_at": now}
    )
