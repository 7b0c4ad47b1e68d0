"""The candidate's way up the ladder, under live traffic of guests."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from savo_contracts.rollout import STEPS
from savo_demo.acts.board import Board, Stage
from savo_demo.acts.tally import Tally
from savo_demo.acts.waiting import POLL_SECONDS, until
from savo_demo.album import Album, Shot
from savo_demo.errors import StageError, first_of
from savo_demo.phones import Phones
from savo_demo.plan import Plan
from savo_demo.product import Product
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
                await phones.run(self.album.guest_errands(shots, self.plan.most_guests), self.tally.add, until=over.is_set)
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


def evidence_lines(arms: dict[str, Any]) -> list[str]:
    """Each gate's figure of both arms, the candidate's with the bounds that decide."""
    return [gate.line(arms["candidate"][gate.name], arms["baseline"][gate.name]) for gate in _GATES]


@dataclass(frozen=True)
class _Gate:
    name: str
    words: str
    unit: str
    bounds_unit: str
    wanted: str = "below"

    def line(self, candidate: dict[str, Any], baseline: dict[str, Any]) -> str:
        bounds = "" if candidate["lower"] is None else f" ({candidate['lower']:{self.bounds_unit}} to {candidate['upper']:{self.bounds_unit}})"
        figures = f"candidate {self._value(candidate)}{bounds}, baseline {self._value(baseline)}"
        return f"  {self.words}: {figures}; to be {self.wanted} {candidate['target']:{self.unit}}: {candidate['verdict']}"

    def _value(self, figure: dict[str, Any]) -> str:
        return "unknown" if figure["estimate"] is None else f"{figure['estimate']:{self.unit}}"


_GATES = (
    _Gate("accuracy", "accuracy", ".1%", ".1%", "above"),
    _Gate("correction_rate", "scans with a correction", ".1%", ".1%"),
    _Gate("latency_p95_ms", "p95 in ms, with the share of slow scans", ".0f", ".1%"),
    _Gate("cost_usd", "US dollars a scan", ".5f", ".5f"),
    _Gate("failures", "failed scans", ".1%", ".1%"),
)


def _champion(state: dict[str, Any]) -> str | None:
    champion = state.get("champion")
    return str(champion["version"]) if champion else None


def _show(stage: Stage, state: dict[str, Any], version: str) -> None:
    if state.get("experiment") == version:
        people = state["arms"]["candidate"]["subjects"]
        waiting = ", ".join(state["waiting_for"][:2]) or "the decision"
        stage.share, stage.detail = state["share"], f"share {state['share']:.0%}; {people} people with {version}; waiting for {waiting}"
