"""The candidate's way up the ladder, under live traffic of guests."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from savo_contracts.measures import MEASURES, Measure, Unit
from savo_contracts.rollout import STEPS
from savo_demo.album import Album, Shot
from savo_demo.errors import StageError, first_of
from savo_demo.phones import Phones
from savo_demo.plan import Plan
from savo_demo.product import Product
from savo_demo.stages.display import Board, Stage
from savo_demo.stages.polling import POLL_SECONDS, until
from savo_demo.stages.totals import Tally
from savo_demo.summary import shares_climbed, whole_ladder

BEGINS_SECONDS = 45.0
ENDED_BADLY = frozenset({"rolled-back", "paused"})


@dataclass
class RolloutAct:
    plan: Plan
    product: Product
    board: Board
    album: Album
    tally: Tally
    shares: list[float] = field(default_factory=list)
    """The steps that were climbed."""

    async def play(self, phones: Phones, shots: list[Shot], version: str) -> bool:
        """True when the version is champion. False when real photos sent it back; with drawn ones that is a `StageError`."""
        with self.board.stage("rollout", f"Rollout of {version}") as stage:
            await self._begun(version)
            state = await self._climb(phones, shots, stage, version)
            self.shares = shares_climbed(state["history"], version)
            steps = " → ".join(f"{share:.0%}" for share in self.shares)
            if whole_ladder(self.shares) and _champion(state) == version:
                stage.detail = f"{steps}; {version} is champion"
                return True
            stage.detail = f"{steps}; {state['state']}: {state['reason']}"
            self._accept_or_raise(state, steps)
        return False

    async def _begun(self, version: str) -> None:
        async def begun() -> bool:
            return bool((await self.product.rollout()).get("experiment") == version)

        if not await until(begun, BEGINS_SECONDS):
            raise StageError(f"no rollout of {version} began", "rollout")

    async def _climb(self, phones: Phones, shots: list[Shot], stage: Stage, version: str) -> dict[str, Any]:
        """Guests scan until the ladder's end, the last guest, or the end of our patience; what the rollout shows then."""
        over = asyncio.Event()

        async def watch() -> None:
            while not over.is_set():
                state = await self.product.rollout()
                _show(stage, state, version)
                if _champion(state) == version or state["state"] in ENDED_BADLY:
                    over.set()
                await asyncio.sleep(POLL_SECONDS)

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(watch())
                await self._traffic(phones, shots, over)
        except BaseExceptionGroup as many:
            raise first_of(many) from many
        return await self.product.rollout()

    async def _traffic(self, phones: Phones, shots: list[Shot], over: asyncio.Event) -> None:
        try:
            async with asyncio.timeout(self.plan.rollout_seconds):
                await phones.run(
                    self.album.guest_errands(shots, self.plan.most_guests), self.tally.add, until=over.is_set
                )
        except TimeoutError:
            self.board.note(f"the rollout was given {self.plan.rollout_seconds:.0f} s")
        finally:
            over.set()

    def _accept_or_raise(self, state: dict[str, Any], steps: str) -> None:
        word = f"{state['state']}, {state['reason']}; it waits for {'; '.join(state['waiting_for']) or 'nothing'}"
        if self.plan.photos is None:
            top = " → ".join(f"{share:.0%}" for share in STEPS)
            raise StageError(f"the rollout did not climb {top}: it went {steps or 'nowhere'} and is {word}", "rollout")
        self.board.note(f"the rollout's word on these photos: {word}")
        for line in evidence_lines(state["arms"]):
            self.board.note(line)


_NUMBERS = {Unit.SHARE: ".1%", Unit.MILLISECONDS: ".0f", Unit.USD: ".5f"}


def evidence_lines(arms: dict[str, Any]) -> list[str]:
    """Each gate's figure of both arms, the candidate's with the bounds that decide."""
    candidate, baseline = arms["candidate"], arms["baseline"]
    shown = (measure for measure in MEASURES if measure.name in candidate)
    return [_line(measure, candidate[measure.name], baseline[measure.name]) for measure in shown]


def _line(measure: Measure, candidate: dict[str, Any], baseline: dict[str, Any]) -> str:
    ours = f"candidate {_estimate(measure, candidate)}{_bounds(measure, candidate)}"
    theirs = f"baseline {_estimate(measure, baseline)}"
    side = "above" if measure.higher_is_better else "below"
    target = f"to be {side} {_number(measure.unit, candidate['target'])}"
    return f"  {measure.value_label}: {ours}, {theirs}; {target}: {candidate['verdict']}"


def _estimate(measure: Measure, figure: dict[str, Any]) -> str:
    return "unknown" if figure["estimate"] is None else _number(measure.unit, figure["estimate"])


def _bounds(measure: Measure, figure: dict[str, Any]) -> str:
    lower, upper = figure["lower"], figure["upper"]
    unit = measure.bounds_unit
    return "" if lower is None else f" ({_number(unit, lower)} to {_number(unit, upper)})"


def _number(unit: Unit, value: float) -> str:
    """Without its unit, which stands in what is counted."""
    return format(value, _NUMBERS[unit])


def _champion(state: dict[str, Any]) -> str | None:
    champion = state.get("champion")
    return str(champion["version"]) if champion else None


def _show(stage: Stage, state: dict[str, Any], version: str) -> None:
    if state.get("experiment") == version:
        people = state["arms"]["candidate"]["subjects"]
        waiting = ", ".join(state["waiting_for"][:2]) or "the decision"
        stage.share, stage.detail = (
            state["share"],
            f"share {state['share']:.0%}; {people} people with {version}; waiting for {waiting}",
        )
