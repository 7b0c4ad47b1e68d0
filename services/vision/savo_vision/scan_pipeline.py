"""A requested scan to its answer: the one domain call of this service.

What is erased is not worked on; what is finished is not paid twice; what is late is not paid at all. The result is stored
before it is given back for publishing.

A replayed scan pays nothing: where the provider would be asked, its recorded answer stands in; where nothing is recorded, it is not worked on.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

import structlog
from opentelemetry.trace import SpanKind

from savo_contracts.confidence import scan_confidence
from savo_contracts.figures import latency_ms
from savo_contracts.scans import (
    Detection,
    FailureCode,
    FallbackReason,
    ScanCompleted,
    ScanFailed,
    ScanRequested,
    ServedBy,
)
from savo_detection.errors import PhotoError
from savo_providers.errors import ProviderError, ProviderRefusedError
from savo_runtime.errors import DependencyDownError
from savo_runtime.telemetry.spans import step
from savo_vision.answer_parser import read
from savo_vision.budget import Budget
from savo_vision.costs import CostPolicy
from savo_vision.detection_threads import Detecting
from savo_vision.detections import RawAnswer, box_confidences, from_boxes
from savo_vision.errors import BudgetExhaustedError, UnusableAnswerError
from savo_vision.fallback import FallbackPolicy
from savo_vision.model_slot import Engine, LoadedModel, ModelSlot
from savo_vision.ports import Finished, PhotoStore, Provider, Results, Standing
from savo_vision.routing import Choice, Router
from savo_vision.scan_metrics import meter
from savo_vision.shadow import SecondLooks

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Scan", "ScanPolicy"]

log = structlog.get_logger()


@dataclass(frozen=True)
class ScanPolicy:
    fallback: FallbackPolicy
    costs: CostPolicy


@dataclass
class _Work:
    """One scan while it is worked on: where its time and money went."""

    requested: ScanRequested
    photo: bytes
    choice: Choice
    taken_up_at: datetime
    recorded: Finished | None = None
    replayed: bool = False
    stages: dict[str, float] = field(default_factory=dict)
    engine_seconds: float = 0.0
    provider_usd: float = 0.0
    raw: RawAnswer | None = None

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.stages[name] = self.stages.get(name, 0.0) + time.perf_counter() - began


@dataclass(frozen=True)
class _Seen:
    """What a detector saw in the photo, and why it was not the custom model that the arm asked for."""

    items: tuple[Detection, ...]
    served_by: str
    model_version: str
    fallback_reason: FallbackReason | None = None


@dataclass(frozen=True)
class Scan:
    photos: PhotoStore
    results: Results
    router: Router
    slot: ModelSlot
    provider: Provider
    budget: Budget
    policy: ScanPolicy
    clock: Callable[[], datetime]
    detecting: Detecting
    recorded: Results | None = None
    """In a sandbox: what the live service answered."""
    second_looks: SecondLooks | None = None

    def asks(self, requested: ScanRequested) -> ServedBy:
        """Who is asked first."""
        return self.provider.served_by if self.router.choose(requested.subject).custom is None else ServedBy.CUSTOM

    async def __call__(self, requested: ScanRequested, *, replayed: bool = False) -> Finished | None:
        """None for an erased scan, and for a replayed one that is not known here.

        Raises `DependencyDownError` when the photo store, the database or the provider is away.
        """
        taken_up_at = self.clock()
        standing = await self.results.standing(requested)
        if standing.erased or standing.finished:
            return standing.finished
        recorded = await self.recorded.standing(requested) if replayed and self.recorded else Standing()
        if recorded.erased or (replayed and self.recorded is None):
            log.info(
                "scan.not_replayed",
                scan_id=requested.scan_id,
                reason="erased" if recorded.erased else "no result of it is stored, and nobody waits for one",
            )
            return None
        if not replayed and self.clock() >= requested.expires_at:
            return await self._fail(
                requested, FailureCode.EXPIRED, "The photo waited too long for an answer. Please scan it again."
            )
        photo = await self.photos.read(requested.image)
        if photo is None:
            return await self._fail(
                requested, FailureCode.PHOTO_MISSING, "The photo is no longer there. Please scan it again."
            )
        return await self._answer(
            _Work(requested, photo, self.router.choose(requested.subject), taken_up_at, recorded.finished, replayed)
        )

    async def _answer(self, work: _Work) -> Finished | None:
        try:
            seen = await self._see(work)
        except PhotoError as flaw:
            return await self._fail(work.requested, FailureCode.PHOTO_UNREADABLE, f"{flaw}.", work)
        except ProviderRefusedError as refusal:
            return await self._fail(
                work.requested, FailureCode.PROVIDER_REFUSED, f"The photo was not looked at: {refusal}.", work
            )
        except ProviderError as fault:
            return await self._fail(
                work.requested,
                FailureCode.PROVIDER_FAILED,
                f"No answer could be had: {fault}. Please try again later.",
                work,
            )
        except BudgetExhaustedError as spent:
            return await self._fail(work.requested, FailureCode.BUDGET_EXHAUSTED, str(spent), work)
        return await self._finish(self._completed(work, seen), work)

    async def _see(self, work: _Work) -> _Seen:
        if work.choice.custom is None:
            return await self._ask_provider(work, None)
        model, reason = await self._model_for(work.choice)
        if model is None:
            return await self._ask_provider(work, reason)
        seen = await self._look(work, model, reason)
        if seen is None and (champion := self.slot.champion) and champion.version != model.version:
            seen = await self._look(work, champion, FallbackReason.DETECTOR_ERROR)
        if seen is None:
            return await self._ask_provider(work, FallbackReason.DETECTOR_ERROR)
        against = self.policy.fallback.reason_against(seen.items)
        return seen if against is None else await self._improve(work, seen, seen.fallback_reason or against)

    async def _model_for(self, choice: Choice) -> tuple[LoadedModel | None, FallbackReason | None]:
        """The model that the arm asked for, or else the champion that is here, with the reason."""
        assert choice.custom is not None
        model = await self.slot.find(choice.custom)
        return (model, None) if model else (self.slot.champion, FallbackReason.MODEL_UNAVAILABLE)

    async def _look(self, work: _Work, model: LoadedModel, reason: FallbackReason | None) -> _Seen | None:
        """None when the detector broke: whatever it raised, the user gets an answer and we get the trace."""
        try:
            return _Seen(await self._detect(work, model.engine), ServedBy.CUSTOM, model.version, reason)
        except PhotoError:
            raise
        except Exception:
            log.exception("detector.failed", scan_id=work.requested.scan_id, version=model.version)
            return None

    async def _improve(self, work: _Work, seen: _Seen, reason: FallbackReason) -> _Seen:
        """The provider's answer in place of a weak one of ours; with the provider away a weak answer is better than none."""
        try:
            return await self._ask_provider(work, reason)
        except (ProviderError, DependencyDownError, BudgetExhaustedError) as fault:
            if not seen.items:
                raise
            log.warning("fallback.failed", scan_id=work.requested.scan_id, reason=reason.value, fault=str(fault))
            return seen

    async def _detect(self, work: _Work, engine: Engine) -> tuple[Detection, ...]:
        with step("detect") as span:
            boxes, decode_seconds, detect_seconds = await self.detecting(engine, work.photo)
            span.set_attributes(
                {"savo.decode_seconds": decode_seconds, "savo.detect_seconds": detect_seconds, "savo.boxes": len(boxes)}
            )
        work.stages |= {"decode": decode_seconds, "detect": detect_seconds}
        work.engine_seconds += decode_seconds + detect_seconds
        return from_boxes(boxes)

    async def _ask_provider(self, work: _Work, reason: FallbackReason | None) -> _Seen:
        if work.replayed:
            return await self._recall(work, reason)
        await self.budget.check()
        with self.budget.calling() as book:
            try:
                with (
                    work.stage("provider"),
                    step(
                        "provider call",
                        kind=SpanKind.CLIENT,
                        attributes={"savo.provider": self.provider.served_by.value},
                    ),
                ):
                    answer = await self.provider.look(work.photo)
            except ProviderError as fault:
                work.provider_usd += self.policy.costs.of_tokens(fault.usage)
                work.raw = fault.raw if isinstance(fault, UnusableAnswerError) else None
                raise
            else:
                work.provider_usd += self.policy.costs.of_tokens(answer.usage)
                work.raw = answer.raw
            finally:
                book(work.provider_usd)
        if answer.flaws:
            log.warning(
                "provider.invalid_answer",
                scan_id=work.requested.scan_id,
                provider=self.provider.served_by.value,
                **answer.flaws,
            )
        return _Seen(answer.items, self.provider.served_by, (answer.model or self.provider.model)[:120], reason)

    async def _recall(self, work: _Work, reason: FallbackReason | None) -> _Seen:
        """What the provider said when the scan was live, read by today's rules where its own words are kept."""
        if self.recorded and (words := await self.recorded.raw_answer(work.requested.scan_id)):
            work.raw = words
            return _Seen(read(words).items, self.provider.served_by, words.model or self.provider.model, reason)
        told = work.recorded
        if isinstance(told, ScanCompleted) and told.served_by != ServedBy.CUSTOM:
            return _Seen(told.items, told.served_by, told.model_version, reason)
        name = self.provider.served_by.value
        raise ProviderError(
            name, f"was not asked: a replay spends nothing, and no answer of {name} is recorded for this scan"
        )

    def _completed(self, work: _Work, seen: _Seen) -> ScanCompleted:
        requested, choice, now = work.requested, work.choice, self.clock()
        return ScanCompleted(
            scan_id=requested.scan_id,
            subject=requested.subject,
            anonymous=requested.anonymous,
            image=requested.image,
            experiment=choice.experiment,
            assigned_arm=choice.arm,
            bucket=choice.bucket,
            share=choice.share,
            served_by=seen.served_by,
            model_version=seen.model_version,
            fallback_reason=seen.fallback_reason,
            items=seen.items,
            scan_confidence=scan_confidence(box_confidences(seen.items)),
            duration_ms=latency_ms(requested.requested_at, now),
            cost_usd=self._cost(work),
            threshold=self.policy.fallback.threshold if choice.custom is not None else None,
            stages_ms={stage: round(1000 * seconds, 3) for stage, seconds in work.stages.items()},
            requested_at=requested.requested_at,
            taken_up_at=work.taken_up_at,
            completed_at=now,
        )

    async def _fail(
        self, requested: ScanRequested, code: FailureCode, message: str, work: _Work | None = None
    ) -> Finished | None:
        failed = ScanFailed(
            scan_id=requested.scan_id,
            subject=requested.subject,
            experiment=work.choice.experiment if work else None,
            assigned_arm=work.choice.arm if work else None,
            code=code,
            message=message[:1000],
            cost_usd=self._cost(work) if work else 0.0,
            requested_at=requested.requested_at,
            taken_up_at=work.taken_up_at if work else None,
            failed_at=self.clock(),
        )
        return await self._finish(failed, work)

    async def _finish(self, finished: Finished, work: _Work | None) -> Finished | None:
        spent = _spending(work, self.provider, self.policy.costs)
        kept = await self.results.keep(finished, spent, work.raw if work else None)
        if kept is finished:
            meter(finished, work.stages if work else {}, spent)
            _say(finished)
            if self.second_looks and work and not work.replayed and isinstance(finished, ScanCompleted):
                self.second_looks.offer(work.photo, finished)
        return kept

    def _cost(self, work: _Work) -> float:
        return work.provider_usd + self.policy.costs.of_engine(work.engine_seconds)


def _say(finished: Finished) -> None:
    if isinstance(finished, ScanFailed):
        log.warning(
            "scan.failed",
            scan_id=finished.scan_id,
            code=finished.code,
            reason=finished.message,
            cost_usd=round(finished.cost_usd, 6),
        )
        return
    figures = {
        "items": len(finished.items),
        "duration_ms": round(finished.duration_ms),
        "cost_usd": round(finished.cost_usd, 6),
    }
    arm, fallback = finished.assigned_arm.value, finished.fallback_reason
    log.info(
        "scan.completed", scan_id=finished.scan_id, arm=arm, served_by=finished.served_by, fallback=fallback, **figures
    )


def _spending(work: _Work | None, provider: Provider, costs: CostPolicy) -> list[tuple[str, float]]:
    if work is None:
        return []
    parts = [
        (provider.served_by.value, work.provider_usd),
        (ServedBy.CUSTOM.value, costs.of_engine(work.engine_seconds)),
    ]
    return [(name, usd) for name, usd in parts if usd > 0]
