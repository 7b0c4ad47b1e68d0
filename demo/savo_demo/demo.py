"""The guided demo: turns the whole wheel on one machine, live, and checks that every stage happened.

scans → Google stand-in → confirmations → samples → threshold → training → gate → rollout → our own model answers → again
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import numpy as np
import typer
from rich.console import Console

from savo_datasets.errors import DatasetError
from savo_demo.album import Album, DrawnScenes, RealPhotos, Shot
from savo_demo.errors import DemoError, StageError
from savo_demo.network import write_small_network
from savo_demo.phones import Errand, Phones, Visit, new_client
from savo_demo.plan import REFUSED_AS, Plan, PlanError, plan_from
from savo_demo.product import Product
from savo_demo.stages.display import Board
from savo_demo.stages.polling import until
from savo_demo.stages.report import summary_of, tell
from savo_demo.stages.rollout import RolloutAct
from savo_demo.stages.totals import Tally
from savo_demo.stages.training import TrainingAct, comparison
from savo_demo.summary import Summary, miscounted

SETTLE_SECONDS = 60.0

DONE, FAILED, WRONG_USE = 0, 1, 2


@dataclass
class Demo:
    """One run. The acts are in the order of the wheel; each raises `StageError` when it did not happen."""

    plan: Plan
    console: Console
    tally: Tally = field(default_factory=Tally)
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
        self.training = TrainingAct(self.product, self.board, plan.threshold)
        self.rollout = RolloutAct(plan, self.product, self.board, self.album, self.tally)

    async def run(self) -> int:
        """0 when everything happened that this plan asks for."""
        for shortcut in self.plan.shortcuts():
            self.board.note(f"in this demo {shortcut}")
        try:
            with self.board.shown():
                await self._acts()
        except (DemoError, TimeoutError) as fault:
            return self._explain(self.product.death() or fault)
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
        first = await self.training.play("training_v1")
        await preparing
        if first["state"] == "rejected":
            self._end_at_the_gate(first["next_steps"], first["reasons"])
        elif await self.rollout.play(phones, self.guest_shots, first["facts"]["version"]) and self.second_turn:
            await self._answered_by_ours(phones)
            self.board.note(comparison(first, await self.training.play("training_v2")))

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
        if self.plan.train:
            write_small_network(self.plan.network)

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

            def seen(visit: Visit) -> None:
                nonlocal done
                done += 1
                self.tally.add(visit)
                stage.share, stage.detail = done / len(errands), f"{done} of {len(errands)} photos sent"

            await phones.run(errands, seen)
            unanswered = sum(self.tally.failed.values())
            stage.detail = f"{self.tally.scans - before} scans of {len({errand.user for errand in errands})} people; {unanswered} without an answer so far"
        if self.tally.confirmed == 0:
            raise StageError("no scan was confirmed", "vision")

    async def _collected(self) -> None:
        """Samples by split and refusals by reason, as the product counts them; the planted flaws must all be there."""
        with self.board.stage("samples", "Confirmed photos to samples") as stage:

            async def settled() -> bool:
                refused, splits = await self._refused(), self.product.samples_by_split()
                stage.detail = f"{_counts(splits)}; refused: {_counts(refused) or 'none'}"
                return not miscounted(refused, self.planted) and sum(splits.values()) >= self._expected_samples(refused)

            if not await until(settled, SETTLE_SECONDS):
                refused = await self._refused()
                samples = f"{sum(self.product.samples_by_split().values())} samples, {self._expected_samples(refused)} expected"
                raise StageError("; ".join([samples, *miscounted(refused, self.planted)]), "collector")

    def _expected_samples(self, refused: dict[str, int]) -> int:
        """Every confirmed photo is a sample or was refused after its confirmation."""
        at_the_door = sum(count for reason, count in refused.items() if reason.startswith("upload-"))
        return self.tally.confirmed - (sum(refused.values()) - at_the_door)

    async def _refused(self) -> dict[str, int]:
        return dict((await self.product.progress())["refused_by_reason"])

    def _end_at_the_gate(self, next_steps: list[str], reasons: list[str]) -> None:
        for step in next_steps:
            self.board.note(f"next: {step}")
        if self.plan.photos is None:
            raise StageError("the gate refused the first model: " + "; ".join(reasons), "trainer")
        self.board.note("the gate refused the model: the provider goes on answering, and nothing else changes")

    async def _answered_by_ours(self, phones: Phones) -> None:
        before = self.tally.served_by["custom"]
        await self._scan(phones, self.second_turn, "custom", "Scans, answered by v1")
        own = self.tally.served_by["custom"] - before
        self.board.note(
            f"{own} of {len(self.second_turn)} scans were answered by our own model, the others by its fallback"
        )
        if own <= len(self.second_turn) / 2:
            raise StageError(
                f"only {own} of {len(self.second_turn)} scans were answered by the custom model after its rollout",
                "vision",
            )

    async def _finish(self) -> None:
        with self.board.stage("summary", "Counting once more") as stage:
            refused = await self._refused()
            self.summary = summary_of(
                self.tally,
                self.product.samples_by_split(),
                refused,
                self.training.runs,
                self.rollout.shares,
                self.board.seconds(),
            )
            self.summary.write(self.plan.summary)
            stage.detail = str(self.plan.summary)
            if wrong := miscounted(refused, self.planted):
                raise StageError("the refused photos are not those that were planted: " + "; ".join(wrong), "collector")

    def _explain(self, fault: Exception) -> int:
        service = fault.service if isinstance(fault, DemoError) else "savo-up"
        self.console.print(
            f"the demo failed: {str(fault) or 'a stage took too long'}",
            style="bold red",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
        if lines := self.product.last_lines(service):
            self.console.print(
                f"the end of {service}'s log (all of it is in {self.plan.data_dir / 'logs'}):",
                style="red",
                markup=False,
                highlight=False,
            )
        for line in lines:
            self.console.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)
        return FAILED


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def demo() -> None:
    """Turn the whole wheel on this machine and show it (DEMO_PHOTOS, DEMO_GATE, DEMO_TRAIN, DEMO_KEEP)."""
    try:
        plan = plan_from(os.environ)
    except PlanError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(WRONG_USE) from None
    raise typer.Exit(run_demo(plan, Console()))


def run_demo(plan: Plan, console: Console) -> int:
    """The demo to its end, with the summary told; the exit code."""
    try:
        run = Demo(plan, console)
    except DatasetError as error:
        console.print(str(error), style="red", markup=False, highlight=False)
        return WRONG_USE
    code = FAILED
    with contextlib.suppress(KeyboardInterrupt):
        code = asyncio.run(run.run())
    if code == DONE and run.summary:
        tell(console, run.summary, plan, run.product)
    return code
