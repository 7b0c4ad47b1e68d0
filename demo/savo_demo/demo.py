"""The guided demo: runs the whole flywheel on one machine and checks that every stage happened.

scans → stand-in for Google → confirmations → samples → threshold → training → gate → rollout → custom model → again
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
from savo_demo.errors import DemoError, StageError
from savo_demo.network import write_small_network
from savo_demo.plan import REFUSED_AS, Plan, PlanError, plan_from
from savo_demo.product import Product
from savo_demo.simulated_users import ScanOutcome, SimulatedUsers, Upload, new_client
from savo_demo.stages.display import Display
from savo_demo.stages.polling import wait_until
from savo_demo.stages.report import print_summary, summary_of
from savo_demo.stages.rollout import RolloutStage
from savo_demo.stages.totals import Totals
from savo_demo.stages.training import TrainingStage, comparison
from savo_demo.summary import Summary, count_mismatches
from savo_demo.upload_factory import GeneratedPhotos, RealPhotos, SourcePhoto, UploadFactory

SETTLE_SECONDS = 60.0

DONE, FAILED, WRONG_USE = 0, 1, 2


@dataclass
class Demo:
    """A run of the demo. Stages are in the order of the flywheel; each raises `StageError` if it did not happen."""

    plan: Plan
    console: Console
    totals: Totals = field(default_factory=Totals)
    expected_rejections: dict[str, int] = field(default_factory=dict)
    non_consenting_photos: list[SourcePhoto] = field(default_factory=list)
    second_round: list[Upload] = field(default_factory=list)
    summary: Summary | None = None

    def __post_init__(self) -> None:
        plan = self.plan
        source = GeneratedPhotos(plan.seed) if plan.photos is None else RealPhotos(plan.photos)
        self.upload_factory = UploadFactory(source, plan.truth, np.random.default_rng(plan.seed), plan.photos_per_user)
        self.display = Display(self.console, "Savo's vision flywheel", self.totals)
        self.product = Product(plan)
        self.training = TrainingStage(self.product, self.display, plan.threshold)
        self.rollout = RolloutStage(plan, self.product, self.display, self.upload_factory, self.totals)

    async def run(self) -> int:
        """Run every stage of the plan. Returns the exit code, 0 if all of them happened."""
        for shortcut in self.plan.shortcuts():
            self.display.note(f"in this demo {shortcut}")
        try:
            with self.display.shown():
                await self._stages()
        except DemoError as error:
            return self._explain(self.product.exit_error() or error)
        finally:
            if not self.plan.keep:
                await self.product.stop()
        return DONE

    async def _stages(self) -> None:
        uploads = await self._start()
        async with self._simulated_users() as simulated_users:
            await self._scan(simulated_users, uploads, "scans", "Scans, answered by Google")
            await self._collected()
            if self.plan.train:
                await self._train_and_roll_out(simulated_users)
        await self._finish()

    async def _train_and_roll_out(self, simulated_users: SimulatedUsers) -> None:
        """Training and rollout. If the gate rejects the first model, a demo on real photos ends with success."""
        preparing = asyncio.create_task(asyncio.to_thread(self._prepare_later_photos))
        first = await self.training.run("training_v1")
        await preparing
        if first["state"] == "rejected":
            self._end_after_rejection(first["next_steps"], first["reasons"])
        elif (
            await self.rollout.run(simulated_users, self.non_consenting_photos, first["facts"]["version"])
            and self.second_round
        ):
            await self._custom_scans(simulated_users)
            self.display.note(comparison(first, await self.training.run("training_v2")))

    async def _start(self) -> list[Upload]:
        """Start the product while the first photos are drawn."""
        with self.display.stage("start", "Starting all services") as stage:
            self._fresh_folder()
            self.upload_factory.open()
            stage.detail = "six services, a broker, a stand-in for Google; generating photos"
            drawing = asyncio.create_task(asyncio.to_thread(self._first_round))
            await self.product.start(self.plan.environment(os.environ))
            uploads = await drawing
            stage.detail = self.product.url
        return uploads

    def _fresh_folder(self) -> None:
        if self.plan.folder.exists():
            shutil.rmtree(self.plan.folder)
        self.plan.folder.mkdir(parents=True)
        if self.plan.train:
            write_small_network(self.plan.network)

    def _first_round(self) -> list[Upload]:
        defects = self.plan.defects
        self.expected_rejections = {REFUSED_AS[defect]: count for defect, count in defects.items()}
        return self.upload_factory.round_uploads("first", self.plan.scans_per_round, defects)

    def _prepare_later_photos(self) -> None:
        """Runs during the first training.

        Real photos are all in the first round, so non-consenting users upload them again.
        """
        if self.plan.photos is None:
            self.non_consenting_photos = self.upload_factory.photos_of_non_consenting_users(
                self.plan.non_consenting_photos
            )
            self.second_round = self.upload_factory.round_uploads("second", self.plan.scans_per_round, {})
        else:
            self.non_consenting_photos = list(RealPhotos(self.plan.photos).take(10_000))

    @asynccontextmanager
    async def _simulated_users(self) -> AsyncIterator[SimulatedUsers]:
        async with new_client(self.product.url) as client:
            yield SimulatedUsers(client, random.Random(self.plan.seed), self.plan.at_once)  # noqa: S311 simulated choices, no secret

    async def _scan(self, simulated_users: SimulatedUsers, uploads: list[Upload], name: str, title: str) -> None:
        with self.display.stage(name, title) as stage:
            before, done = self.totals.scans, 0

            def count(outcome: ScanOutcome) -> None:
                nonlocal done
                done += 1
                self.totals.add(outcome)
                stage.share, stage.detail = done / len(uploads), f"{done} of {len(uploads)} photos sent"

            await simulated_users.run(uploads, count)
            unanswered = sum(self.totals.failed.values())
            scans, users = self.totals.scans - before, len({upload.user for upload in uploads})
            stage.detail = f"{scans} scans of {users} users; {unanswered} without an answer so far"
        if self.totals.confirmed == 0:
            failed, refused = sum(self.totals.failed.values()), sum(self.totals.refused.values())
            counts = f"{failed} failed ({_counts(self.totals.failed) or 'none'}), {refused} refused"
            raise StageError(f"none of {len(uploads)} scans was confirmed: {counts}", "vision")

    async def _collected(self) -> None:
        """Wait until the product counts every sample, and every expected defect under its reason."""
        with self.display.stage("samples", "Confirmed photos to samples") as stage:

            async def settled() -> bool:
                refused, splits = await self._refused(), self.product.samples_by_split()
                stage.detail = f"{_counts(splits)}; refused: {_counts(refused) or 'none'}"
                return not count_mismatches(refused, self.expected_rejections) and sum(
                    splits.values()
                ) >= self._expected_samples(refused)

            if not await wait_until(settled, SETTLE_SECONDS):
                refused = await self._refused()
                samples, expected = sum(self.product.samples_by_split().values()), self._expected_samples(refused)
                problems = [
                    f"{samples} samples, {expected} expected",
                    *count_mismatches(refused, self.expected_rejections),
                ]
                raise StageError("; ".join(problems), "collector")

    def _expected_samples(self, refused: dict[str, int]) -> int:
        """Confirmed photos minus those that were refused after their confirmation."""
        at_upload = sum(count for reason, count in refused.items() if reason.startswith("upload-"))
        return self.totals.confirmed - (sum(refused.values()) - at_upload)

    async def _refused(self) -> dict[str, int]:
        return dict((await self.product.progress())["refused_by_reason"])

    def _end_after_rejection(self, next_steps: list[str], reasons: list[str]) -> None:
        for step in next_steps:
            self.display.note(f"next: {step}")
        if self.plan.photos is None:
            raise StageError("the gate rejected the first model: " + "; ".join(reasons), "trainer")
        self.display.note("the gate rejected the model: the provider continues to answer every scan")

    async def _custom_scans(self, simulated_users: SimulatedUsers) -> None:
        before = self.totals.served_by["custom"]
        await self._scan(simulated_users, self.second_round, "custom", "Scans, answered by v1")
        own = self.totals.served_by["custom"] - before
        total = len(self.second_round)
        self.display.note(f"{own} of {total} scans were answered by the custom model, the others by its fallback")
        if own <= total / 2:
            problem = f"only {own} of {total} scans were answered by the custom model after its rollout"
            raise StageError(problem, "vision")

    async def _finish(self) -> None:
        with self.display.stage("summary", "Final counts") as stage:
            refused = await self._refused()
            self.summary = summary_of(
                self.totals,
                self.product.samples_by_split(),
                refused,
                self.training.runs,
                self.rollout.shares,
                self.display.seconds(),
            )
            self.summary.write(self.plan.summary)
            stage.detail = str(self.plan.summary)
            if wrong := count_mismatches(refused, self.expected_rejections):
                raise StageError("the refused photos differ from the expected ones: " + "; ".join(wrong), "collector")

    def _explain(self, error: DemoError) -> int:
        self.console.print(
            f"the demo failed: {error}",
            style="bold red",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
        if lines := self.product.last_lines(error.service):
            self.console.print(
                f"last lines of {error.service}'s log (see {self.plan.data_dir / 'logs'}):",
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
    """Run the whole flywheel on this machine: scans, samples, training, gate and rollout.

    Variables: DEMO_PHOTOS=DIR uses real photos of a YOLO folder instead of generated scenes. DEMO_GATE=0.30 lowers the
    gate for the first model. DEMO_TRAIN=0 stops before training. DEMO_KEEP=1 keeps the product running afterwards.
    """
    try:
        plan = plan_from(os.environ)
    except PlanError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(WRONG_USE) from None
    raise typer.Exit(run_demo(plan, Console()))


def run_demo(plan: Plan, console: Console) -> int:
    """Run the demo and print its summary. Returns the exit code."""
    try:
        run = Demo(plan, console)
    except DatasetError as error:
        console.print(str(error), style="red", markup=False, highlight=False)
        return WRONG_USE
    code = FAILED
    with contextlib.suppress(KeyboardInterrupt):
        code = asyncio.run(run.run())
    if code == DONE and run.summary:
        print_summary(console, run.summary, plan, run.product)
    return code
