"""Whatever is done in whatever order: the newest `rollout.changed`, the aliases and the audit log tell one story."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from savo_contracts.audit import AuditRecorded
from savo_contracts.documents import Alias, alias_key
from savo_contracts.rollout import RolloutChanged
from savo_contracts.scans import Arm
from savo_rollout.control import Command, Switches
from savo_rollout.errors import RolloutError
from savo_rollout.state import LIVE
from savo_rollout.steps import StepPolicy
from savo_runtime.testing import FakeClock, memory_runtime, published_by_outbox
from services.rollout.tests.events import completed, confirmed, refused, registered
from services.rollout.tests.harness import House, furnished
from services.rollout.tests.test_champion_changes import shelve

VERSIONS = ("v1", "v2", "v3")
SCANS = 40
"""In each arm: enough for a sure breach, and over several turns for a step."""
versions = st.sampled_from(VERSIONS)

happenings = st.one_of(
    st.tuples(st.just("registered"), versions),
    st.tuples(st.just("refused"), versions),
    st.tuples(st.just("promote"), versions),
    st.tuples(st.just("revert"), st.one_of(st.none(), versions)),
    st.tuples(st.just("set"), st.sampled_from([0.0, 0.3, 1.0])),
    st.tuples(st.sampled_from(["pause", "resume", "rollback", "restart", "switched off"]), st.none()),
    st.tuples(st.just("scans"), st.booleans()),
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(happenings, max_size=10))
def test_after_any_commands_and_evidence_event_aliases_and_audit_log_agree(story: list[tuple[str, Any]]) -> None:
    asyncio.run(tell(story))


async def tell(story: list[tuple[str, Any]]) -> None:
    clock = FakeClock()
    async with memory_runtime("rollout", migrations="savo_rollout.migrations", clock=clock) as runtime:
        house = furnished(runtime, clock, Switches(use_custom_vision=True), StepPolicy(min_confirmed=5, min_days=0))
        await house.rollout.start()
        await shelve(house, *VERSIONS)
        for number, (what, with_what) in enumerate(story):
            clock.advance(seconds=1)
            house = await happen(house, number, what, with_what)
            await house.worker.decide()
            await agree(house)


async def happen(house: House, number: int, what: str, with_what: Any) -> House:
    match what:
        case "registered":
            await house.hears(registered(with_what))
        case "refused":
            await house.hears(refused(with_what))
        case "scans":
            await scanned(house, number, good=with_what)
        case "restart" | "switched off":
            house = house.restarted(Switches(use_custom_vision=what == "restart"))
            await house.rollout.start()
        case _:
            chosen = (
                {"share": with_what}
                if what == "set"
                else {"version": with_what, "force": what == "promote"}
                if with_what
                else {}
            )
            with contextlib.suppress(
                RolloutError
            ):  # what is not possible now must change nothing, and that is what is looked at
                await house.rollout.apply(Command(action=what, reason="a test", by="mia", **chosen))
    return house


async def scanned(house: House, number: int, *, good: bool) -> None:
    trial = await house.trial()
    kept, removed = (6, 0) if good else (1, 5)
    names = [(arm, f"{number}-{arm}-{place}") for arm in Arm for place in range(SCANS)]
    experiment = trial.experiment or "v1"
    await asyncio.gather(
        *[house.hears(completed(f"s{name}", f"u{name}", arm, experiment=experiment)) for arm, name in names]
    )
    await asyncio.gather(
        *[
            house.hears(confirmed(f"s{name}", f"u{name}", arm, kept=kept, removed=removed, experiment=experiment))
            for arm, name in names
        ]
    )


async def agree(house: House) -> None:
    said = await published_by_outbox(house.runtime)
    changes = [event for event in said if isinstance(event, RolloutChanged)]
    last, sequences = changes[-1], [event.sequence for event in changes]
    assert sequences == sorted(sequences)
    champion = last.champion.version if last.champion else None
    challenger = last.experiment if last.state in LIVE else None
    assert (await alias(house, "champion"), await alias(house, "challenger")) == (champion, challenger)
    moves = {
        event.about: event.after["version"]
        for event in said
        if isinstance(event, AuditRecorded) and event.action == "alias.moved"
    }
    assert (moves.get("models:/ingredients@champion"), moves.get("models:/ingredients@challenger")) == (
        champion,
        challenger,
    )
    assert last.share == 0.0 or challenger, "nobody but a challenger has a share"
    assert champion is None or champion != challenger


async def alias(house: House, name: str) -> str | None:
    if await house.store.head(alias_key(name)) is None:
        return None
    return Alias.model_validate_json(await house.store.get(alias_key(name))).version
