"""Training stage of the demo: waits for a run and the verdict of its gate."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from savo_demo.errors import StageError
from savo_demo.product import Product
from savo_demo.stages.display import Display, Stage
from savo_demo.stages.polling import wait_until

BEGIN_SECONDS = 45.0
END_SECONDS = 900.0
ENDED = frozenset({"registered", "rejected", "failed", "cancelled"})


@dataclass
class TrainingStage:
    """Watches training runs through the trainer's HTTP API. `runs` are the finished ones, oldest first."""

    product: Product
    display: Display
    threshold: int
    runs: list[dict[str, Any]] = field(default_factory=list)

    async def run(self, name: str) -> dict[str, Any]:
        """Wait for the next run and its verdict. Raises `StageError` if none begins, or it fails or does not end."""
        number = len(self.runs) + 1
        with self.display.stage(name, f"Training, round {number}") as stage:
            stage.detail = "the threshold is reached; waiting for a run"
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

        if not await wait_until(begun, BEGIN_SECONDS):
            samples = (await self.product.stats())["total_samples"]
            problem = f"no training run began within {BEGIN_SECONDS:.0f} s"
            raise StageError(f"{problem}: {samples} samples, the threshold is {self.threshold}", "collector")

    async def _ended(self, number: int, stage: Stage) -> dict[str, Any]:
        run: dict[str, Any] = {}

        async def ended() -> bool:
            run.update((await self.product.runs())[number - 1])
            _show(stage, run)
            return run["state"] in ENDED

        if not await wait_until(ended, END_SECONDS):
            problem = f"training run {run['id']} is still {run['state']} after {END_SECONDS:.0f} s"
            raise StageError(f"{problem}; see trainer.log", "trainer")
        return run


def _show(stage: Stage, run: dict[str, Any]) -> None:
    progress, facts = run.get("progress"), run["facts"]
    stage.detail = f"{run['state']}, {facts['train_samples']} training photos"
    if run["state"] == "training" and progress:
        stage.share = progress["epoch"] / progress["epochs"]
        losses = "  ".join(f"{name.removesuffix('_loss')} {value:.2f}" for name, value in progress["losses"].items())
        stage.detail = f"epoch {progress['epoch']} of {progress['epochs']}  loss {losses}"


def verdict(run: dict[str, Any]) -> str:
    """The figures of a run and the verdict of the gate in one line."""
    measured = run["facts"]["evaluation"]
    verb = "passed" if run["state"] == "registered" else "rejected"
    interval = f"95 % interval {measured['map50_lower']:.3f} to {measured['map50_upper']:.3f}"
    figures = f"mAP@0.5 {measured['map50']:.3f} ({interval}, {measured['images']} holdout photos)"
    return f"{run['facts']['version']}: {figures}; the gate {verb} it: {'; '.join(run['reasons'][:2])}"


def comparison(first: dict[str, Any], second: dict[str, Any]) -> str:
    """Both models on the same holdout in one line.

    Raises `StageError` if they were not compared, or the second has under 1.5 times the samples of the first.
    """
    facts = second["facts"]
    compared = facts.get("comparison")
    if compared is None or facts["train_samples"] < 1.5 * first["facts"]["train_samples"]:
        raise StageError(
            "the second model was not compared with the first on one holdout with 1.5 times the samples",
            "trainer",
        )
    gain, low, high = (f"{100 * compared[name]:+.1f}" for name in ("gain", "gain_lower", "gain_upper"))
    champion = f"{compared['champion']} {compared['champion_map50']:.3f}"
    candidate = f"{facts['version']} {facts['evaluation']['map50']:.3f}"
    difference = f"gain {gain} points, 95 % interval {low} to {high}"
    return f"on the same holdout: {champion}, {candidate}; {difference}: {second['state']}"
