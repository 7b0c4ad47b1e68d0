"""Rollout stage of the demo: the candidate's share grows while non-consenting users scan."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from savo_contracts.measures import MEASURES, Measure, Unit
from savo_contracts.rollout import STEPS
from savo_demo.errors import StageError, first_error
from savo_demo.plan import Plan
from savo_demo.product import Product
from savo_demo.simulated_users import SimulatedUsers
from savo_demo.stages.display import Display, Stage
from savo_demo.stages.polling import POLL_SECONDS, wait_until
from savo_demo.stages.totals import Totals
from savo_demo.summary import reached_every_step, rollout_shares
from savo_demo.upload_factory import SourcePhoto, UploadFactory

BEGIN_SECONDS = 45.0
FAILED_STATES = frozenset({"rolled-back", "paused"})


@dataclass
class RolloutStage:
    """Runs a rollout and watches it through the gateway."""

    plan: Plan
    product: Product
    display: Display
    upload_factory: UploadFactory
    totals: Totals
    shares: list[float] = field(default_factory=list)
    """The shares that the candidate reached."""

    async def run(self, simulated_users: SimulatedUsers, photos: list[SourcePhoto], version: str) -> bool:
        """Returns whether the version became champion.

        On generated scenes a rollout that does not succeed is a `StageError`.
        """
        with self.display.stage("rollout", f"Rollout of {version}") as stage:
            await self._begun(version)
            state = await self._climb(simulated_users, photos, stage, version)
            self.shares = rollout_shares(state["history"], version)
            steps = " → ".join(f"{share:.0%}" for share in self.shares)
            if reached_every_step(self.shares) and _champion(state) == version:
                stage.detail = f"{steps}; {version} is champion"
                return True
            stage.detail = f"{steps}; {state['state']}: {state['reason']}"
            self._accept_or_raise(state, steps)
        return False

    async def _begun(self, version: str) -> None:
        async def begun() -> bool:
            return bool((await self.product.rollout()).get("experiment") == version)

        if not await wait_until(begun, BEGIN_SECONDS):
            problem = f"no rollout of {version} began within {BEGIN_SECONDS:.0f} s"
            raise StageError(f"{problem}; see rollout.log", "rollout")

    async def _climb(
        self, simulated_users: SimulatedUsers, photos: list[SourcePhoto], stage: Stage, version: str
    ) -> dict[str, Any]:
        """Let non-consenting users scan until the rollout ends, all have scanned, or time is up.

        Returns the rollout's report.
        """
        over = asyncio.Event()

        async def watch() -> None:
            while not over.is_set():
                state = await self.product.rollout()
                _show(stage, state, version)
                if _champion(state) == version or state["state"] in FAILED_STATES:
                    over.set()
                await asyncio.sleep(POLL_SECONDS)

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(watch())
                await self._traffic(simulated_users, photos, over)
        except BaseExceptionGroup as many:
            raise first_error(many) from many
        return await self.product.rollout()

    async def _traffic(self, simulated_users: SimulatedUsers, photos: list[SourcePhoto], over: asyncio.Event) -> None:
        try:
            async with asyncio.timeout(self.plan.rollout_seconds):
                await simulated_users.run(
                    self.upload_factory.non_consenting_uploads(photos, self.plan.max_non_consenting_users),
                    self.totals.add,
                    until=over.is_set,
                )
        except TimeoutError:
            seconds = f"{self.plan.rollout_seconds:.0f} s"
            self.display.note(f"the rollout is still in progress after {seconds}; see rollout.log")
        finally:
            over.set()

    def _accept_or_raise(self, state: dict[str, Any], steps: str) -> None:
        waiting_for = "; ".join(state["waiting_for"]) or "nothing"
        status = f"{state['state']}, {state['reason']}; it waits for {waiting_for}"
        if self.plan.photos is None:
            top = " → ".join(f"{share:.0%}" for share in STEPS)
            raise StageError(
                f"the rollout did not reach {top}: its steps are {steps or 'none'}, it is {status}", "rollout"
            )
        self.display.note(f"the rollout on these photos: {status}")
        for line in evidence_lines(state["arms"]):
            self.display.note(line)


_NUMBERS = {Unit.SHARE: ".1%", Unit.MILLISECONDS: ".0f", Unit.USD: ".5f"}


def evidence_lines(arms: dict[str, Any]) -> list[str]:
    """A line for each measure: both arms' figures, the candidate's bounds, the target and the verdict."""
    candidate, baseline = arms["candidate"], arms["baseline"]
    shown = (measure for measure in MEASURES if measure.name in candidate)
    return [_line(measure, candidate[measure.name], baseline[measure.name]) for measure in shown]


def _line(measure: Measure, candidate: dict[str, Any], baseline: dict[str, Any]) -> str:
    ours = f"candidate {_estimate(measure, candidate)}{_bounds(measure, candidate)}"
    theirs = f"baseline {_estimate(measure, baseline)}"
    side = "above" if measure.higher_is_better else "below"
    target = f"target {side} {_number(measure.unit, candidate['target'])}"
    return f"  {measure.value_label}: {ours}, {theirs}; {target}: {candidate['verdict']}"


def _estimate(measure: Measure, figure: dict[str, Any]) -> str:
    return "unknown" if figure["estimate"] is None else _number(measure.unit, figure["estimate"])


def _bounds(measure: Measure, figure: dict[str, Any]) -> str:
    lower, upper = figure["lower"], figure["upper"]
    unit = measure.bounds_unit
    return "" if lower is None else f" ({_number(unit, lower)} to {_number(unit, upper)})"


def _number(unit: Unit, value: float) -> str:
    """Without the unit, which `Measure.counted` contains."""
    return format(value, _NUMBERS[unit])


def _champion(state: dict[str, Any]) -> str | None:
    champion = state.get("champion")
    return str(champion["version"]) if champion else None


def _show(stage: Stage, state: dict[str, Any], version: str) -> None:
    if state.get("experiment") == version:
        users = state["arms"]["candidate"]["subjects"]
        waiting = ", ".join(state["waiting_for"][:2]) or "the decision"
        stage.share, stage.detail = (
            state["share"],
            f"share {state['share']:.0%}; {users} users with {version}; waiting for {waiting}",
        )
