"""Scan pipeline: from a requested scan to its completed or failed event, the one use case of this service.

An erased scan is not processed, a finished scan is not paid for twice, and an expired scan is not paid for at all. The
result is stored before it is returned for publishing.

A replayed scan costs nothing. Where the pipeline would ask the provider it uses the recorded answer, and it skips scans
that have no recorded result.
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
from savo_vision.answer_parser import parse_answer
from savo_vision.budget import Budget
from savo_vision.comparisons import Comparisons
from savo_vision.costs import CostPolicy
from savo_vision.detection_threads import DetectionThreads
from savo_vision.detections import Answer, RawAnswer, box_confidences, from_boxes
from savo_vision.errors import BudgetExhaustedError, UnusableAnswerError
from savo_vision.fallback import FallbackPolicy
from savo_vision.loaded_models import Engine, LoadedModel, LoadedModels
from savo_vision.ports import Finished, PhotoStore, ProviderDetector, Results, ScanStatus
from savo_vision.routing import Choice, Router
from savo_vision.scan_metrics import record_metrics

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ScanPipeline", "ScanPolicy"]

log = structlog.get_logger()

_EXPIRED = "The photo waited too long for an answer. Please scan it again."
_PHOTO_MISSING = "The photo is no longer there. Please scan it again."


@dataclass(frozen=True)
class ScanPolicy:
    """When the provider is asked instead of the custom model, and what a scan costs."""

    fallback: FallbackPolicy
    costs: CostPolicy


@dataclass
class _Work:
    """A scan in progress, with the time and the money that it used."""

    requested: ScanRequested
    photo: bytes
    choice: Choice
    taken_up_at: datetime
    recorded: Finished | None = None
    replayed: bool = False
    stages: dict[str, float] = field(default_factory=dict)
    """Seconds by stage."""
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
class _Detected:
    """A detector's items, and the reason if it is not the detector that the arm requested."""

    items: tuple[Detection, ...]
    served_by: str
    model_version: str
    fallback_reason: FallbackReason | None = None


@dataclass(frozen=True)
class ScanPipeline:
    """Answers a scan with the detector of its arm, falls back where necessary, and stores the result.

    Safe to call concurrently, and again with the same scan: a repeat returns the stored result.
    """

    photos: PhotoStore
    results: Results
    router: Router
    loaded_models: LoadedModels
    provider: ProviderDetector
    budget: Budget
    policy: ScanPolicy
    clock: Callable[[], datetime]
    detection_threads: DetectionThreads
    recorded: Results | None = None
    """In a sandbox: the results of the live service."""
    comparisons: Comparisons | None = None

    def first_detector(self, requested: ScanRequested) -> ServedBy:
        """The detector that the scan's arm asks first."""
        choice = self.router.choose(requested.subject)
        return self.provider.served_by if choice.model_version is None else ServedBy.CUSTOM

    async def __call__(self, requested: ScanRequested, *, replayed: bool = False) -> Finished | None:
        """The scan's result. None for an erased scan, and for a replayed scan that has no recorded result here.

        Raises `DependencyDownError` when the photo store, the database or the provider is down.
        """
        taken_up_at = self.clock()
        status = await self.results.status(requested)
        if status.erased or status.finished:
            return status.finished
        recorded = await self.recorded.status(requested) if replayed and self.recorded else ScanStatus()
        if recorded.erased or (replayed and self.recorded is None):
            reason = "erased" if recorded.erased else "no_stored_result"  # and no client waits for one
            log.info("scan.not_replayed", scan_id=requested.scan_id, reason=reason)
            return None
        if not replayed and self.clock() >= requested.expires_at:
            return await self._fail(requested, FailureCode.EXPIRED, _EXPIRED)
        photo = await self.photos.read(requested.image)
        if photo is None:
            return await self._fail(requested, FailureCode.PHOTO_MISSING, _PHOTO_MISSING)
        choice = self.router.choose(requested.subject)
        return await self._answer(_Work(requested, photo, choice, taken_up_at, recorded.finished, replayed))

    async def _answer(self, work: _Work) -> Finished | None:
        try:
            detected = await self._detect(work)
        except PhotoError as error:
            return await self._fail(work.requested, FailureCode.PHOTO_UNREADABLE, f"{error}.", work)
        except ProviderRefusedError as refusal:
            message = f"The photo was not analysed: {refusal}."
            return await self._fail(work.requested, FailureCode.PROVIDER_REFUSED, message, work)
        except ProviderError as error:
            message = f"The photo could not be analysed: {error}. Please try again later."
            return await self._fail(work.requested, FailureCode.PROVIDER_FAILED, message, work)
        except BudgetExhaustedError as exhausted:
            return await self._fail(work.requested, FailureCode.BUDGET_EXHAUSTED, str(exhausted), work)
        return await self._finish(self._completed(work, detected), work)

    async def _detect(self, work: _Work) -> _Detected:
        if work.choice.model_version is None:
            return await self._ask_provider(work, None)
        model, reason = await self._model_for(work.choice, work.requested.scan_id)
        if model is None:
            return await self._fall_back(work, None, FallbackReason.MODEL_UNAVAILABLE)
        detected = await self._run_model(work, model, reason)
        if detected is None and (champion := self.loaded_models.champion) and champion.version != model.version:
            detected = await self._run_model(work, champion, FallbackReason.DETECTOR_ERROR)
        if detected is None:
            return await self._fall_back(work, None, FallbackReason.DETECTOR_ERROR)
        weakness = self.policy.fallback.reason_to_fall_back(detected.items)
        if weakness is None:
            return detected
        return await self._fall_back(work, detected, detected.fallback_reason or weakness)

    async def _model_for(self, choice: Choice, scan_id: str) -> tuple[LoadedModel | None, FallbackReason | None]:
        """The model that the arm requests, otherwise the loaded champion with the reason."""
        assert choice.model_version is not None
        model = await self.loaded_models.wait_for(choice.model_version, scan_id)
        return (model, None) if model else (self.loaded_models.champion, FallbackReason.MODEL_UNAVAILABLE)

    async def _run_model(self, work: _Work, model: LoadedModel, reason: FallbackReason | None) -> _Detected | None:
        """None when the engine failed: the log has the error, and another detector answers the scan."""
        try:
            return _Detected(await self._run_engine(work, model.engine), ServedBy.CUSTOM, model.version, reason)
        except PhotoError:
            raise
        except Exception:
            log.exception("detector.failed", scan_id=work.requested.scan_id, version=model.version)
            return None

    async def _fall_back(self, work: _Work, weak: _Detected | None, reason: FallbackReason) -> _Detected:
        """The provider's answer instead of a weak one or none.

        The weak answer, if it has items, when the provider has none.
        """
        log.info(
            "scan.fallback",
            scan_id=work.requested.scan_id,
            reason=reason.value,
            confidence=scan_confidence(box_confidences(weak.items)) if weak else None,
            threshold=self.policy.fallback.threshold,
            provider=self.provider.served_by.value,
        )
        try:
            return await self._ask_provider(work, reason)
        except (ProviderError, DependencyDownError, BudgetExhaustedError) as error:
            if weak is None or not weak.items:
                raise
            log.warning(
                "fallback.failed", scan_id=work.requested.scan_id, fallback_reason=reason.value, error=str(error)
            )
            return weak

    async def _run_engine(self, work: _Work, engine: Engine) -> tuple[Detection, ...]:
        with step("detect") as span:
            boxes, decode_seconds, detect_seconds = await self.detection_threads(engine, work.photo)
            span.set_attributes(
                {"savo.decode_seconds": decode_seconds, "savo.detect_seconds": detect_seconds, "savo.boxes": len(boxes)}
            )
        work.stages |= {"decode": decode_seconds, "detect": detect_seconds}
        work.engine_seconds += decode_seconds + detect_seconds
        return from_boxes(boxes)

    async def _ask_provider(self, work: _Work, reason: FallbackReason | None) -> _Detected:
        if work.replayed:
            return await self._recorded_answer(work, reason)
        await self.budget.check()
        name = self.provider.served_by.value
        with self.budget.track_call() as record_usd:
            try:
                attributes = {"savo.provider": name}
                with work.stage("provider"), step("provider call", kind=SpanKind.CLIENT, attributes=attributes):
                    answer = await self.provider.detect(work.photo)
            except ProviderError as error:
                work.provider_usd += self.policy.costs.of_tokens(error.usage)
                work.raw = error.raw if isinstance(error, UnusableAnswerError) else None
                raise
            else:
                work.provider_usd += self.policy.costs.of_tokens(answer.usage)
                work.raw = answer.raw
            finally:
                record_usd(work.provider_usd)
        if answer.problems:
            log.warning("provider.items_invalid", scan_id=work.requested.scan_id, provider=name, **answer.problems)
        return self._provider_detected(answer, reason)

    def _provider_detected(self, answer: Answer, reason: FallbackReason | None) -> _Detected:
        return _Detected(answer.items, self.provider.served_by, (answer.model or self.provider.model)[:120], reason)

    async def _recorded_answer(self, work: _Work, reason: FallbackReason | None) -> _Detected:
        """The provider's answer to the live scan: its raw text parsed by today's rules, otherwise the stored items."""
        if self.recorded and (raw := await self.recorded.raw_answer(work.requested.scan_id)):
            work.raw = raw
            model_version = raw.model or self.provider.model
            return _Detected(parse_answer(raw).items, self.provider.served_by, model_version, reason)
        recorded = work.recorded
        if isinstance(recorded, ScanCompleted) and recorded.served_by != ServedBy.CUSTOM:
            return _Detected(recorded.items, recorded.served_by, recorded.model_version, reason)
        name = self.provider.served_by.value
        raise ProviderError(
            name, f"was not asked: a replay spends nothing, and no answer of {name} is recorded for this scan"
        )

    def _completed(self, work: _Work, detected: _Detected) -> ScanCompleted:
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
            served_by=detected.served_by,
            model_version=detected.model_version,
            fallback_reason=detected.fallback_reason,
            items=detected.items,
            scan_confidence=scan_confidence(box_confidences(detected.items)),
            duration_ms=latency_ms(requested.requested_at, now),
            cost_usd=self._cost(work),
            threshold=self.policy.fallback.threshold if choice.model_version is not None else None,
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
        stored = await self.results.save(finished, spent, work.raw if work else None)
        if stored is finished:
            record_metrics(finished, work.stages if work else {}, spent)
            _log(finished)
            if self.comparisons and work and not work.replayed and isinstance(finished, ScanCompleted):
                self.comparisons.offer(work.photo, finished)
        return stored

    def _cost(self, work: _Work) -> float:
        return work.provider_usd + self.policy.costs.of_engine(work.engine_seconds)


def _log(finished: Finished) -> None:
    cost_usd = round(finished.cost_usd, 6)
    if isinstance(finished, ScanFailed):
        log.warning(
            "scan.failed", scan_id=finished.scan_id, code=finished.code, error=finished.message, cost_usd=cost_usd
        )
        return
    figures = {"items": len(finished.items), "duration_ms": round(finished.duration_ms), "cost_usd": cost_usd}
    log.info(
        "scan.completed",
        scan_id=finished.scan_id,
        arm=finished.assigned_arm.value,
        served_by=finished.served_by,
        fallback=finished.fallback_reason,
        **figures,
    )


def _spending(work: _Work | None, provider: ProviderDetector, costs: CostPolicy) -> list[tuple[str, float]]:
    """Provider and US dollars of each detector that cost money."""
    if work is None:
        return []
    spending = [
        (provider.served_by.value, work.provider_usd),
        (ServedBy.CUSTOM.value, costs.of_engine(work.engine_seconds)),
    ]
    return [(name, usd) for name, usd in spending if usd > 0]
