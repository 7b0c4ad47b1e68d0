"""The guided demo: turns the whole wheel on one machine, live, and checks that every stage happened.

scans → Google stand-in → confirmations → samples → threshold → training → gate → rollout → our own model answers → again
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
import numpy as np
from rich.console import Console

from savo_contracts.rollout import STEPS
from savo_demo.album import Album, DrawnScenes, RealPhotos, Shot
from savo_demo.board import Board, Stage
from savo_demo.closing import summary_of, tell
from savo_demo.folder import FolderError
from savo_demo.phones import Errand, PhoneError, Phones, new_client
from savo_demo.plan import REFUSED_AS, Plan
from savo_demo.product import Product, ProductError
from savo_demo.summary import Summary, miscounted, shares_climbed, whole_ladder
from savo_demo.tally import Tally

POLL_SECONDS = 0.4
SETTLE_SECONDS = 45.0
RUN_BEGINS_SECONDS = 45.0
RUN_SECONDS = 900.0

DONE, FAILED, WRONG_USE = 0, 1, 2


class StageError(Exception):
    """A stage did not happen. `service` is the one whose log is shown."""

    def __init__(self, message: str, service: str) -> None:
        super().__init__(message)
        self.service = service


@dataclass
class Demo:
    """One run. The acts are in the order of the wheel; each raises `StageError` when it did not happen."""

    plan: Plan
    console: Console
    tally: Tally = field(default_factory=Tally)
    runs: list[dict[str, Any]] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)
    planted: dict[str, int] = field(default_factory=dict)
    guest_shots: list[Shot] = field(default_factory=list)
    second_turn: list[Errand] = field(default_factory=list)
    summary: Summary | None = None

    def __post_init__(self) -> None:
        plan = self.plan
        source = DrawnScenes(plan.seed) if plan.photos is None else RealPhotos(plan.photos)
        self.album = Album(source, plan.truth, np.random.default_rng(plan.seed), plan.photos_a_user)
        self.board = Board(self.console, "Savo's vision flywheel, one turn after the other", self.tally)
        self.product = Product(plan)

    async def run(self) -> int:
        """0 when everything happened that this plan asks for."""
        for shortcut in self.plan.shortcuts():
            self.board.note(f"in this demo {shortcut}")
        try:
            with self.board.shown():
                await self._acts()
        except (StageError, ProductError, PhoneError, TimeoutError) as fault:
            return self._explain(fault)
        finally:
            if not self.plan.keep:
                await self.product.stop()
        return DONE

    async def _acts(self) -> None:
        errands = await self._start()
        async with self._phones() as phones:
            await self._scan(phones, errands, "scans", "Scans, answered by Google")
            await self._collected()
            if self.plan.train:
                await self._wheel(phones)
        await self._finish()

    async def _wheel(self, phones: Phones) -> None:
        """From the threshold on. A first model that the gate refuses ends a demo on real photos well, and one on drawn scenes not."""
        preparing = asyncio.create_task(asyncio.to_thread(self._prepare_later_photos))
        first = await self._trained("v1")
        await preparing
        if first["state"] == "rejected":
            self._require_drawn_photos_pass(first)
            return
        if not await self._rolled_out(phones, first["facts"]["version"]):
            return
        if self.second_turn:
            await self._second_turn(phones)

    async def _start(self) -> list[Errand]:
        """Start the product while the first photos are drawn."""
        with self.board.stage("start", "Starting everything") as stage:
            self._fresh_folder()
            self.album.open()
            stage.detail = "six services, a broker, a stand-in for Google; drawing photos"
            drawing = asyncio.create_task(asyncio.to_thread(self._first_turn))
            await self.product.start(self.plan.environment(os.environ))
            errands = await drawing
            stage.detail = self.product.url
        return errands

    def _fresh_folder(self) -> None:
        if self.plan.folder.exists():
            shutil.rmtree(self.plan.folder)
        self.plan.folder.mkdir(parents=True)

    def _first_turn(self) -> list[Errand]:
        flaws = self.plan.flaws
        self.planted = {REFUSED_AS[flaw]: count for flaw, count in flaws.items()}
        return self.album.turn("first", self.plan.turn_scans, flaws)

    def _prepare_later_photos(self) -> None:
        """Drawn while the first training runs. Real photos are all in the first turn: guests show them again."""
        if self.plan.photos is None:
            self.guest_shots = self.album.guests(self.plan.guest_photos)
            self.second_turn = self.album.turn("second", self.plan.turn_scans, {})
        else:
            self.guest_shots = list(RealPhotos(self.plan.photos).take(10_000))

    @asynccontextmanager
    async def _phones(self) -> AsyncIterator[Phones]:
        async with new_client(self.product.url) as client:
            yield Phones(client, random.Random(self.plan.seed), self.plan.at_once)  # noqa: S311 it decides who taps which button

    async def _scan(self, phones: Phones, errands: list[Errand], name: str, title: str) -> None:
        with self.board.stage(name, title) as stage:
            before, done = self.tally.scans, 0

            def seen(visit: Any) -> None:
                nonlocal done
                done += 1
                self.tally.add(visit)
                stage.share, stage.detail = done / len(errands), f"{done} of {len(errands)} photos sent"

            await _through(phones.run(errands, seen), self.product)
            failed = sum(self.tally.failed.values())
            stage.detail = f"{self.tally.scans - before} scans of {len({errand.user for errand in errands})} people; {failed} without an answer so far"
        if self.tally.confirmed == 0:
            raise StageError("no scan was confirmed", "vision")

    async def _collected(self) -> None:
        """Samples by split and refusals by reason, as the product counts them; the planted flaws must all be there."""
        with self.board.stage("samples", "Confirmed photos to samples") as stage:

            async def settled() -> bool:
                progress = await self.product.progress()
                refused, splits = progress["refused_by_reason"], self.product.samples_by_split()
                stage.detail = f"{_words(splits)}; refused: {_words(refused) or 'none'}"
                return not miscounted(refused, self.planted) and sum(splits.values()) >= self._fewest_samples(refused)

            if not await self._until(settled, SETTLE_SECONDS):
                refused = (await self.product.progress())["refused_by_reason"]
                wrong = miscounted(refused, self.planted) or [
                    f"{sum(self.product.samples_by_split().values())} samples, {self._fewest_samples(refused)} expected"
                ]
                raise StageError("the refused photos are not those that were planted: " + "; ".join(wrong), "collector")

    def _fewest_samples(self, refused: dict[str, int]) -> int:
        """Every confirmed photo is a sample or was refused after its confirmation."""
        at_the_door = sum(count for reason, count in refused.items() if reason.startswith("upload-"))
        return self.tally.confirmed - (sum(refused.values()) - at_the_door)

    async def _trained(self, turn: str) -> dict[str, Any]:
        """The newest run to its verdict."""
        number = len(self.runs) + 1
        with self.board.stage(f"training-{turn}", f"Training, turn {number}") as stage:
            stage.detail = "the threshold is reached; a run is called for"

            async def begun() -> bool:
                return len(await self.product.runs()) >= number

            if not await self._until(begun, RUN_BEGINS_SECONDS):
                samples = (await self.product.stats())["total_samples"]
                raise StageError(f"no training run began: {samples} samples, the threshold is {self.plan.turn_scans}", "collector")

            async def ended() -> bool:
                run = (await self.product.runs())[number - 1]
                _show_run(stage, run)
                return run["state"] in {"registered", "rejected", "failed"}

            if not await self._until(ended, RUN_SECONDS):
                raise StageError(f"the training run did not end within {RUN_SECONDS:.0f} s", "trainer")
            run = (await self.product.runs())[number - 1]
            self.runs.append(run)
            if run["state"] == "failed":
                raise StageError("the training run failed: " + "; ".join(run["reasons"]), "trainer")
            stage.detail = _verdict(run)
        return run

    def _require_drawn_photos_pass(self, run: dict[str, Any]) -> None:
        for step in run["next_steps"]:
            self.board.note(f"next: {step}")
        if self.plan.photos is None:
            raise StageError("the gate refused the first model: " + "; ".join(run["reasons"]), "trainer")
        self.board.note("the gate refused the model: the provider goes on answering, and nothing else changes")

    async def _rolled_out(self, phones: Phones, version: str) -> bool:
        """Guests scan while the rollout decides. False: it ended otherwise than at the top, which real photos may do."""
        with self.board.stage("rollout", f"Rollout of {version}") as stage:
            state: dict[str, Any] = {}
            over = asyncio.Event()

            async def watch() -> None:
                while not over.is_set():
                    state.update(await self.product.rollout())
                    _show_rollout(stage, state, version)
                    if _at_its_end(state, version):
                        over.set()
                    await asyncio.sleep(POLL_SECONDS)

            await self._until(self._rollout_begun(version), SETTLE_SECONDS)
            watching = asyncio.create_task(watch())
            try:
                async with asyncio.timeout(self.plan.rollout_seconds):
                    errands = self.album.guest_errands(self.guest_shots, self.plan.most_guests)
                    await _through(phones.run(errands, self.tally.add, until=over.is_set), self.product)
            except TimeoutError:
                over.set()
            finally:
                over.set()
                await watching
            return await self._rollout_verdict(stage, state, version)

    def _rollout_begun(self, version: str) -> Callable[[], Any]:
        async def begun() -> bool:
            return bool((await self.product.rollout()).get("experiment") == version)

        return begun

    async def _rollout_verdict(self, stage: Stage, state: dict[str, Any], version: str) -> bool:
        self.shares = shares_climbed(state.get("history", ()), version)
        steps = " → ".join(f"{share:.0%}" for share in self.shares)
        if whole_ladder(self.shares) and (state.get("champion") or {}).get("version") == version:
            stage.detail = f"{steps}; {version} is champion"
            return True
        waiting = "; ".join(state.get("waiting_for", ()))
        stage.detail = f"{steps}; {state.get('state')}: {state.get('reason')}"
        if self.plan.photos is None:
            top = " → ".join(f"{share:.0%}" for share in STEPS)
            way = f"it went {steps or 'nowhere'} and is {state.get('state')} ({state.get('reason')})"
            raise StageError(f"the rollout did not climb {top}: {way}; it waits for {waiting or 'nothing'}", "rollout")
        self.board.note(f"the rollout's word on these photos: {state.get('state')}, {state.get('reason')}")
        return False

    async def _second_turn(self, phones: Phones) -> None:
        before = self.tally.served_by["custom"]
        await self._scan(phones, self.second_turn, "custom", "Scans, answered by v1")
        own = self.tally.served_by["custom"] - before
        self.board.stages["custom"].detail += f"; {own} of {len(self.second_turn)} answered by our own model"
        if own <= len(self.second_turn) / 2:
            raise StageError(f"only {own} of {len(self.second_turn)} scans were answered by the custom model after its rollout", "vision")
        second = await self._trained("v2")
        comparison = second["facts"].get("comparison")
        if comparison is None or second["facts"]["train_samples"] < 1.5 * self.runs[0]["facts"]["train_samples"]:
            raise StageError("the second model was not laid beside the first on one holdout, with half as many samples again", "trainer")
        gain, low, high = (f"{100 * comparison[name]:+.1f}" for name in ("gain", "gain_lower", "gain_upper"))
        measured = second["facts"]["evaluation"]["map50"]
        self.board.note(
            f"on one holdout: v1 {comparison['champion_map50']:.3f}, v2 {measured:.3f}; gain {gain} points, 95 % interval {low} to {high}: {second['state']}"
        )

    async def _finish(self) -> None:
        with self.board.stage("summary", "Counting once more") as stage:
            refused = (await self.product.progress())["refused_by_reason"]
            summary = summary_of(self.tally, self.product.samples_by_split(), refused, self.runs, self.shares, self.board.seconds())
            summary.write(self.plan.summary)
            stage.detail = str(self.plan.summary)
            if wrong := miscounted(refused, self.planted):
                raise StageError("the refused photos are not those that were planted: " + "; ".join(wrong), "collector")
        self.summary = summary

    async def _until(self, question: Callable[[], Any], seconds: float) -> bool:
        """Ask until the answer is yes; False when it was not in time."""
        deadline = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < deadline:
            if await question():
                return True
            await asyncio.sleep(POLL_SECONDS)
        return False

    def _explain(self, fault: Exception) -> int:
        service = getattr(fault, "service", "gateway")
        self.console.print(f"the demo failed: {str(fault) or type(fault).__name__}", style="bold red", markup=False, highlight=False, soft_wrap=True)
        lines = self.product.last_lines(service)
        if lines:
            self.console.print(f"the end of {service}'s log ({self.plan.data_dir / 'logs'}):", style="red", markup=False, highlight=False)
        for line in lines:
            self.console.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)
        return FAILED


async def _through(work: Any, product: Product) -> None:
    """The work to its end; what went wrong in one of many phones comes out as itself."""
    try:
        await work
    except* (PhoneError, httpx2.HTTPError) as group:
        product.require_alive()
        raise PhoneError(str(group.exceptions[0])) from group


def _show_run(stage: Stage, run: dict[str, Any]) -> None:
    progress, facts = run.get("progress"), run["facts"]
    stage.detail = f"{run['state']}, {facts['train_samples']} training photos"
    if run["state"] == "training" and progress:
        stage.share = progress["epoch"] / progress["epochs"]
        losses = "  ".join(f"{name.removesuffix('_loss')} {value:.2f}" for name, value in progress["losses"].items())
        stage.detail = f"epoch {progress['epoch']} of {progress['epochs']}  loss {losses}"


def _verdict(run: dict[str, Any]) -> str:
    measured = run["facts"]["evaluation"]
    word = "passed" if run["state"] == "registered" else "refused"
    figures = (
        f"mAP@0.5 {measured['map50']:.3f} (95 % interval {measured['map50_lower']:.3f} to {measured['map50_upper']:.3f}, {measured['images']} holdout photos)"
    )
    return f"{run['facts']['version']}: {figures}; the gate {word} it: {'; '.join(run['reasons'][:2])}"


def _show_rollout(stage: Stage, state: dict[str, Any], version: str) -> None:
    arms = state.get("arms") or {}
    candidate = arms.get("candidate", {})
    waiting = ", ".join(state.get("waiting_for", ())[:2])
    if state.get("experiment") == version:
        stage.share = state["share"]
        stage.detail = f"share {state['share']:.0%}; {candidate.get('subjects', 0)} people with {version}; waiting for {waiting or 'the decision'}"


def _at_its_end(state: dict[str, Any], version: str) -> bool:
    if (state.get("champion") or {}).get("version") == version:
        return True
    return state.get("state") in {"rolled-back", "paused"}


def _words(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def run_demo(plan: Plan, console: Console) -> int:
    """The demo to its end, with the summary told; the exit code."""
    try:
        demo = Demo(plan, console)
    except FolderError as flaw:
        console.print(str(flaw), style="red", markup=False, highlight=False)
        return WRONG_USE
    code = FAILED
    with contextlib.suppress(KeyboardInterrupt):
        code = asyncio.run(demo.run())
    if code == DONE and demo.summary:
        tell(console, demo.summary, demo.plan, demo.product)
    return code
