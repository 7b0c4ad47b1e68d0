"""The worker: one run at a time carried from state to state, whoever began it, by the one replica that holds the lease."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog

from savo_detection.errors import ModelRefusedError
from savo_runtime.errors import DependencyDownError, RetryableError
from savo_runtime.storage.port import ObjectNotFoundError, StorageFullError
from savo_trainer.errors import LeaseLostError, RunCancelledError, RunImpossibleError
from savo_trainer.ports import Lease, RunLedger
from savo_trainer.runs.run import Run
from savo_trainer.runs.stages import Stages

__all__ = ["RunWorker", "RunWorkerPolicy"]

log = structlog.get_logger()


@dataclass(frozen=True)
class RunWorkerPolicy:
    attempts: int = 3
    """Times that the work of one state is begun before the run fails."""
    poll_seconds: float = 1.0
    """Seconds between looks for a run."""
    retry_seconds: float = 5.0
    """Seconds before a store or database that was away is tried again."""


@dataclass(frozen=True)
class RunWorker:
    ledger: RunLedger
    lease: Lease
    stages: Stages
    policy: RunWorkerPolicy
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def __call__(self) -> None:
        """Returns only when cancelled; then the lease is free at once."""
        try:
            while True:
                if not await self._look():
                    await self.pause(self.policy.poll_seconds)
        finally:
            with contextlib.suppress(DependencyDownError):
                await self.lease.release()

    async def work_once(self) -> bool:
        """Carry the oldest open run to its end; False when there is none. Raises `DependencyDownError`, `LeaseLostError`."""
        run = await self.ledger.oldest_open()
        if run is None:
            return False
        async with self._held():
            while run.is_open:
                run = await self._step_unless_cancelled(run)
        return True

    async def _look(self) -> bool:
        try:
            return await self.lease.acquire() and await self.work_once()
        except DependencyDownError as away:
            log.warning("run.dependency_down", reason=away.reason, error=str(away))
            await self.pause(self.policy.retry_seconds)
        except LeaseLostError as lost:
            log.warning("run.lease_lost", error=str(lost))
        return False

    async def _step_unless_cancelled(self, run: Run) -> Run:
        """The next step; given up within `poll_seconds` when somebody, on whatever replica, asks for the run's end."""
        try:
            async with asyncio.TaskGroup() as both:
                step = both.create_task(self._step(run))
                watch = both.create_task(self._watch(run))
                step.add_done_callback(lambda _: watch.cancel())
        except BaseExceptionGroup as several:
            flaw = several.exceptions[0]
            if not isinstance(flaw, RunCancelledError):
                raise flaw from None
            log.info("run.cancelling", run_id=run.id, state=run.state)
            return await self._current(run)
        return step.result()

    async def _watch(self, run: Run) -> None:
        """Raises `RunCancelledError`. The cancelling itself is watched by nobody."""
        while not run.is_cancelled:
            await self.pause(self.policy.poll_seconds)
            with contextlib.suppress(DependencyDownError):
                if (await self._current(run)).is_cancelled:
                    raise RunCancelledError(run.id)

    async def _current(self, run: Run) -> Run:
        standing = await self.ledger.get(run.id)
        assert standing is not None, "a run is never deleted"
        return standing

    async def _step(self, run: Run) -> Run:
        """One state's work. What may pass is tried again, bounded; the rest fails the run with its reason."""
        if run.attempts >= self.policy.attempts:
            return await self.stages.fail(run, f"{run.state} was begun {run.attempts} times and did not come to an end")
        run = await self.ledger.begin_attempt(run.id)
        if not run.is_open:
            return run
        try:
            moved = await self.stages.work(run)
        except (asyncio.CancelledError, DependencyDownError):
            await self._return_attempt(run)
            raise
        except (LeaseLostError, RunCancelledError):
            raise
        except RunImpossibleError as flaw:
            return await self.stages.fail(run, str(flaw), flaw.next_steps)
        except (RetryableError, StorageFullError, ObjectNotFoundError, ModelRefusedError, OSError) as flaw:
            return await self._attempt_failed(run, flaw)
        log.info("run.state_changed", run_id=run.id, before=run.state, after=moved.state)
        return moved

    async def _attempt_failed(self, run: Run, flaw: Exception) -> Run:
        log.warning("run.attempt_failed", run_id=run.id, state=run.state, attempt=run.attempts, error=str(flaw))
        if run.attempts >= self.policy.attempts:
            return await self.stages.fail(run, f"{run.state} failed {run.attempts} times, at last with: {flaw}")
        return run

    async def _return_attempt(self, run: Run) -> None:
        """Work that was stopped in good order, or that waits for a dependency, is no failure of the run's."""
        with contextlib.suppress(DependencyDownError, LeaseLostError):
            await self.ledger.return_attempt(run.id)

    @asynccontextmanager
    async def _held(self) -> AsyncIterator[None]:
        """Within it the lease is renewed; when it is lost, the work inside is cancelled and `LeaseLostError` raised."""
        worker = asyncio.current_task()
        assert worker is not None, "work is done in a task"
        beat = asyncio.create_task(self._renew_lease(worker), name="lease")
        try:
            yield
        except asyncio.CancelledError:
            if beat.done() and not beat.cancelled() and (lost := beat.exception()):
                worker.uncancel()
                raise lost from None
            raise
        finally:
            beat.cancel()
            with contextlib.suppress(asyncio.CancelledError, LeaseLostError):
                await beat

    async def _renew_lease(self, worker: asyncio.Task[object]) -> None:
        while True:
            await asyncio.sleep(self.lease.renew_every)
            try:
                await self.lease.renew()
            except DependencyDownError as away:
                # Nobody else can take the lease from a database that is away; hours of training are not thrown away for it.
                log.warning("lease.unavailable", error=str(away))
            except LeaseLostError:
                worker.cancel()
                raise
