"""Run worker: the replica that holds the lease works on one run at a time, through all its states."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog
from structlog.contextvars import bound_contextvars

from savo_detection.errors import ModelRefusedError
from savo_runtime.errors import DependencyDownError, RetryableError
from savo_runtime.storage.port import ObjectNotFoundError, StorageFullError
from savo_trainer.errors import LeaseLostError, RunCancelledError, RunImpossibleError
from savo_trainer.lease_renewal import lease_renewed
from savo_trainer.ports import Lease, RunStore
from savo_trainer.runs.run import Run
from savo_trainer.runs.stages import Stages

__all__ = ["RunWorker", "RunWorkerPolicy"]

log = structlog.get_logger()


@dataclass(frozen=True)
class RunWorkerPolicy:
    """Limits and intervals of the worker."""

    attempts: int = 3
    """Attempts at the work of one state before the run fails."""
    poll_seconds: float = 1.0
    """Seconds between two queries for a run, or for its cancellation."""
    retry_seconds: float = 5.0
    """Seconds before an unavailable store or database is tried again."""


@dataclass(frozen=True)
class RunWorker:
    """Background task of the trainer. Any replica can continue a run, after a crash too."""

    run_store: RunStore
    lease: Lease
    stages: Stages
    policy: RunWorkerPolicy
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def __call__(self) -> None:
        """Work until cancelled, then release the lease."""
        try:
            while True:
                if not await self._poll():
                    await self.pause(self.policy.poll_seconds)
        finally:
            with contextlib.suppress(DependencyDownError):
                await self.lease.release()

    async def work_once(self) -> bool:
        """Work on the oldest open run until it ends. False: there is none.

        Raises `DependencyDownError`, `LeaseLostError`.
        """
        run = await self.run_store.oldest_open()
        if run is not None:
            await self._work_on(run)
        return run is not None

    async def _poll(self) -> bool:
        run: Run | None = None
        try:
            if await self.lease.acquire() and (run := await self.run_store.oldest_open()):
                await self._work_on(run)
                return True
        except DependencyDownError as error:
            run_id = run.id if run else None
            log.warning("run.dependency_down", run_id=run_id, reason=error.reason, error=str(error))
            await self.pause(self.policy.retry_seconds)
        except LeaseLostError as error:
            log.warning("run.lease_lost", run_id=run.id if run else None, error=str(error))
        return False

    async def _work_on(self, run: Run) -> None:
        """Work on the run until it ends. Every log line of the work has the run's id."""
        with bound_contextvars(run_id=run.id):
            async with lease_renewed(self.lease):
                while run.is_open:
                    run = await self._step_unless_cancelled(run)

    async def _step_unless_cancelled(self, run: Run) -> Run:
        """One step, stopped within `poll_seconds` when cancellation is requested on any replica."""
        try:
            async with asyncio.TaskGroup() as tasks:
                step = tasks.create_task(self._step(run))
                watch = tasks.create_task(self._watch_for_cancellation(run))
                step.add_done_callback(lambda _: watch.cancel())
        except BaseExceptionGroup as group:
            error = group.exceptions[0]
            if not isinstance(error, RunCancelledError):
                raise error from None
            log.info("run.cancelling", run_id=run.id, state=run.state)
            return await self._current(run)
        return step.result()

    async def _watch_for_cancellation(self, run: Run) -> None:
        """Raises `RunCancelledError`. Returns at once for a run that is being cancelled already."""
        while not run.is_cancelled:
            await self.pause(self.policy.poll_seconds)
            with contextlib.suppress(DependencyDownError):
                if (await self._current(run)).is_cancelled:
                    raise RunCancelledError(run.id)

    async def _current(self, run: Run) -> Run:
        current = await self.run_store.get(run.id)
        assert current is not None, "a run is never deleted"
        return current

    async def _step(self, run: Run) -> Run:
        """One attempt at the current state's work. Only a `RunImpossibleError` or the last attempt fails the run."""
        if run.attempts >= self.policy.attempts:
            return await self.stages.fail(run, f"{run.state} was attempted {run.attempts} times and never finished")
        run = await self.run_store.begin_attempt(run.id)
        if not run.is_open:
            return run
        try:
            moved = await self.stages.work(run)
        except (asyncio.CancelledError, DependencyDownError):
            await self._uncount_attempt(run)
            raise
        except (LeaseLostError, RunCancelledError):
            raise
        except RunImpossibleError as error:
            return await self.stages.fail(run, str(error), error.next_steps)
        except (RetryableError, StorageFullError, ObjectNotFoundError, ModelRefusedError, OSError) as error:
            return await self._attempt_failed(run, error)
        log.info("run.state_changed", run_id=run.id, before=run.state, after=moved.state)
        return moved

    async def _attempt_failed(self, run: Run, error: Exception) -> Run:
        log.warning(
            "run.attempt_failed",
            run_id=run.id,
            state=run.state,
            attempt=run.attempts,
            max_attempts=self.policy.attempts,
            error=str(error),
        )
        if run.attempts >= self.policy.attempts:
            return await self.stages.fail(run, f"{run.state} failed {run.attempts} times; the last error: {error}")
        return run

    async def _uncount_attempt(self, run: Run) -> None:
        """Work that was stopped on purpose, or by an unavailable dependency, is no failed attempt."""
        with contextlib.suppress(DependencyDownError, LeaseLostError):
            await self.run_store.uncount_attempt(run.id)
