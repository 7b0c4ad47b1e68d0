"""Consistency: after any sequence of actions, event, aliases and audit log agree."""

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
from savo_rollout.errors import RolloutError
from savo_rollout.operator_commands import Command, StartSettings
from savo_rollout.state import LIVE
from savo_rollout.steps import StepPolicy
from savo_runtime.testing import FakeClock, memory_runtime, published_by_outbox
from services.rollout.tests.events import completed, confirmed, refused, registered
from services.rollout.tests.harness import Harness, build_harness
from services.rollout.tests.test_champion_changes import write_versions

VERSIONS = ("v1", "v2", "v3")
SCANS = 40
"""Scans in each arm: enough for a breach, and in several rounds for a step."""
versions = st.sampled_from(VERSIONS)

actions = st.one_of(
    st.tuples(st.just("registered"), versions),
    st.tuples(st.just("refused"), versions),
    st.tuples(st.just("promote"), versions),
    st.tuples(st.just("revert"), st.one_of(st.none(), versions)),
    st.tuples(st.just("set"), st.sampled_from([0.0, 0.3, 1.0])),
    st.tuples(st.sampled_from(["pause", "resume", "rollback", "restart", "switched off"]), st.none()),
    st.tuples(st.just("scans"), st.booleans()),
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(actions, max_size=10))
def test_after_any_actions_event_aliases_and_audit_log_agree(sequence: list[tuple[str, Any]]) -> None:
    asyncio.run(run(sequence))


async def run(sequence: list[tuple[str, Any]]) -> None:
    clock = FakeClock()
    async with memory_runtime("rollout", migrations="savo_rollout.migrations", clock=clock) as runtime:
        harness = build_harness(
            runtime, clock, StartSettings(use_custom_vision=True), StepPolicy(min_confirmed=5, min_days=0)
        )
        await harness.rollout.start()
        await write_versions(harness, *VERSIONS)
        for number, (action, argument) in enumerate(sequence):
            clock.advance(seconds=1)
            harness = await perform(harness, number, action, argument)
            await harness.worker.decide()
            await assert_consistent(harness)


async def perform(harness: Harness, number: int, action: str, argument: Any) -> Harness:
    match action:
        case "registered":
            await harness.deliver(registered(argument))
        case "refused":
            await harness.deliver(refused(argument))
        case "scans":
            await deliver_scans(harness, number, good=argument)
        case "restart" | "switched off":
            harness = harness.restarted(StartSettings(use_custom_vision=action == "restart"))
            await harness.rollout.start()
        case _:
            # A command that is not possible now must change nothing, so errors are ignored.
            with contextlib.suppress(RolloutError):
                await harness.rollout.apply(command(action, argument))
    return harness


def command(action: str, argument: Any) -> Command:
    options: dict[str, Any] = {}
    if action == "set":
        options = {"share": argument}
    elif argument:
        options = {"version": argument, "force": action == "promote"}
    return Command.model_validate({"action": action, "reason": "a test", "by": "mia", **options})


async def deliver_scans(harness: Harness, number: int, *, good: bool) -> None:
    trial = await harness.trial()
    kept, removed = (6, 0) if good else (1, 5)
    names = [(arm, f"{number}-{arm}-{place}") for arm in Arm for place in range(SCANS)]
    experiment = trial.experiment or "v1"
    await asyncio.gather(
        *[harness.deliver(completed(f"s{name}", f"u{name}", arm, experiment=experiment)) for arm, name in names]
    )
    await asyncio.gather(
        *[
            harness.deliver(confirmed(f"s{name}", f"u{name}", arm, kept=kept, removed=removed, experiment=experiment))
            for arm, name in names
        ]
    )


async def assert_consistent(harness: Harness) -> None:
    published = await published_by_outbox(harness.runtime)
    changes = [event for event in published if isinstance(event, RolloutChanged)]
    last, sequences = changes[-1], [event.sequence for event in changes]
    assert sequences == sorted(sequences)
    champion = last.champion.version if last.champion else None
    challenger = last.experiment if last.state in LIVE else None
    assert (await alias(harness, "champion"), await alias(harness, "challenger")) == (champion, challenger)
    moves = {
        event.about: event.after["version"]
        for event in published
        if isinstance(event, AuditRecorded) and event.action == "alias.moved"
    }
    assert (moves.get("models:/ingredients@champion"), moves.get("models:/ingredients@challenger")) == (
        champion,
        challenger,
    )
    assert last.share == 0.0 or challenger, "only a challenger has a share"
    assert champion is None or champion != challenger


async def alias(harness: Harness, name: str) -> str | None:
    if await harness.store.head(alias_key(name)) is None:
        return None
    return Alias.model_validate_json(await harness.store.get(alias_key(name))).version
