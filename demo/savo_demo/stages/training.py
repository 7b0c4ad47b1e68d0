"""From the threshold to the gate's verdict, watched from outside."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from savo_demo.errors import StageError
from savo_demo.product import Product
from savo_demo.stages.display import Board, Stage
from savo_demo.stages.polling import until

BEGINS_SECONDS = 45.0
ENDS_SECONDS = 900.0
ENDED = frozenset({"registered", "rejected", "failed", "cancelled"})


@dataclass
class TrainingAct:
    """`runs` are the finished ones, as the trainer shows them, oldest first."""

    product: Product
    board: Board
    threshold: int
    runs: list[dict[str, Any]] = field(default_factory=list)

    async def play(self, name: str) -> dict[str, Any]:
        """The next run to its verdict. Raises `StageError` when none begins, or it fails or does not end."""
        number = len(self.runs) + 1
        with self.board.stage(name, f"Training, turn {number}") as stage:
            stage.detail = "the threshold is reached; a run is called for"
            await self._begun(number)
            run = await self._ended(number, stage)
            self.runs.append(run)
            if run["state"] in {"failed", "cancelled"}:
                raise StageError(f"the training run is {run['state']}: " + "; ".join(run["reasons"]), "trainer")
            stage.detail = verdict(run)
        return run

    async def _begun(self, number: int) -> None:
        async def begun() -> bool:
            return len(await self.product.runs()) >= number

        if not await until(begun, BEGINS_SECONDS):
            samples = (await self.product.stats())["total_samples"]
            raise StageError(
                f"no training run began: {samples} samples, the threshold is {self.threshold}", "collector"
            )

    async def _ended(self, number: int, stage: Stage) -> dict[str, Any]:
        run: dict[str, Any] = {}

        async def ended() -> bool:
            run.update((await self.product.runs())[number - 1])
            _show(stage, run)
            return run["state"] in ENDED

        if not await until(ended, ENDS_SECONDS):
            raise StageError(f"the training run did not end within {ENDS_SECONDS:.0f} s", "trainer")
        return run


def _show(stage: Stage, run: dict[str, Any]) -> None:
    progress, facts = run.get("progress"), run["facts"]
    stage.detail = f"{run['state']}, {facts['train_samples']} training photos"
    if run["state"] == "training" and progress:
        stage.share = progress["epoch"] / progress["epochs"]
        losses = "  ".join(f"{name.removesuffix('_loss')} {value:.2f}" for name, value in progress["losses"].items())
        stage.detail = f"epoch {progress['epoch']} of {progress['epochs']}  loss {losses}"


def verdict(run: dict[str, Any]) -> str:
    """The figures and what the gate decided, in one line."""
    measured = run["facts"]["evaluation"]
    verb = "passed" if run["state"] == "registered" else "refused"
    interval = f"95 % interval {measured['map50_lower']:.3f} to {measured['map50_upper']:.3f}, {measured['images']} holdout photos"
    return f"{run['facts']['version']}: mAP@0.5 {measured['map50']:.3f} ({interval}); the gate {verb} it: {'; '.join(run['reasons'][:2])}"


def comparison(first: dict[str, Any], second: dict[str, Any]) -> str:
    """Both models on one holdout, in words. Raises `StageError` when they were not laid side by side, with half as many samples again."""
    facts = second["facts"]
    beside = facts.get("comparison")
    if beside is None or facts["train_samples"] < 1.5 * first["facts"]["train_samples"]:
        raise StageError(
            "the second model was not laid beside the first on one holdout, with half as many samples again", "trainer"
        )
    gain, low, high = (f"{100 * beside[name]:+.1f}" for name in ("gain", "gain_lower", "gain_upper"))
    models = (
        f"{beside['champion']} {beside['champion_map50']:.3f}, {facts['version']} {facts['evaluation']['map50']:.3f}"
    )
    return f"on one holdout: {models}; gain {gain} points, 95 % interval {low} to {high}: {second['state']}"
