"""`savo runs watch`, `cancel`, `list` and `show`, with a scripted trainer."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
import typer
from rich.console import Console

from savo_contracts.training import Comparison, Evaluation
from savo_runtime.telemetry.audit import this_user
from savo_trainer.adapters.trainer_client import TrainerClient
from savo_trainer.command_line import terminal
from savo_trainer.command_line.runs import command as runs_command
from savo_trainer.errors import TrainerRefusedError, TrainerUnreachableError
from savo_trainer.runs.run import Progress, Run, RunResults, State
from services.trainer.tests.trainer_fakes import NOON, make_run

RUN = make_run()
UNREACHABLE = TrainerUnreachableError("no trainer answers here")


def shown(state: State = State.TRAINING, epoch: int = 0, **changes: Any) -> dict[str, Any]:
    progress = (
        Progress(epoch=epoch, epochs=9, losses={"box_loss": 1.5 / epoch}, map50=0.1 * epoch, seconds=20.0 * epoch)
        if epoch
        else None
    )
    facts = RunResults(dataset_version="ds-000001", train_samples=120, **changes.pop("facts", {}))
    run = RUN.model_copy(update={"state": state, "progress": progress, "facts": facts, "started_at": NOON, **changes})
    return run.model_dump(mode="json") | {
        "history": [{"before": None, "after": "queued", "at": NOON.isoformat(), "detail": ""}]
    }


MEASURED = Evaluation(map50=0.81, map50_lower=0.77, map50_upper=0.85, images=40, boxes=160)
COMPARISON = Comparison(champion="v1", champion_map50=0.74, gain=0.07, gain_lower=0.02, gain_upper=0.12)
VERDICT = {
    "facts": {"version": "v2", "evaluation": MEASURED, "comparison": COMPARISON},
    "finished_at": NOON + timedelta(minutes=9),
}
REGISTERED = shown(State.REGISTERED, 9, reasons=("+7.0 points against v1",), **VERDICT)
REJECTED = shown(State.REJECTED, 9, reasons=("only +0.1 points",), next_steps=("Collect more.",), **VERDICT)


@dataclass
class ScriptedTrainer:
    """Each request gets the next answer; the last answer repeats. An error is raised, a list is the body of /runs."""

    answers: list[Any]
    posted: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def get(self, path: str) -> dict[str, Any]:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        if path == "/runs":
            return {"runs": answer if isinstance(answer, list) else [answer]}
        assert path == f"/runs/{RUN.id}"
        return dict(answer)

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        self.posted.append((path, body))
        return self.get(f"/runs/{RUN.id}")


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    console = Console(file=StringIO(), width=160)
    monkeypatch.setattr(terminal, "out", console)
    return lambda: console.file.getvalue()  # type: ignore[attr-defined]


def watch(*answers: Any, run_id: str | None = RUN.id, as_json: bool = False) -> int:
    with pytest.raises(typer.Exit) as ended:
        runs_command.watch_runs(run_id, as_json=as_json, client=ScriptedTrainer(list(answers)), pause=lambda _: None)  # type: ignore[arg-type]
    return ended.value.exit_code


def test_watch_follows_a_run_to_its_verdict_and_exits_with_0_when_it_passed(page: Callable[[], str]) -> None:
    assert (
        watch(
            shown(State.PREPARING),
            shown(epoch=1),
            shown(epoch=1),
            shown(epoch=2),
            shown(State.EVALUATING, 9),
            REGISTERED,
        )
        == 0
    )
    lines = page().splitlines()
    assert "preparing" in lines[0]
    assert "then the network is trained" in lines[0]
    assert "epoch 1 of 9, loss box 1.500, mAP@0.5 0.100" in lines[1]
    assert "about 2 min 40 s of training left" in lines[1]
    assert "epoch 2 of 9" in lines[2], "a request without a change prints nothing"
    assert "then the gate judges" in lines[3]
    assert "registered; " in lines[4]
    assert "v2: mAP@0.5 0.810 (95 % interval 0.770 to 0.850) on 40 holdout photos with 160 boxes" in lines[5]
    assert "champion v1: 0.740 on the same photos; +7.0 points, 95 % interval +2.0 to +12.0" in lines[6]
    assert "why: +7.0 points against v1" in lines[7]


@pytest.mark.parametrize(
    "ended",
    [
        REJECTED,
        shown(State.FAILED, reasons=("out of memory",)),
        shown(State.CANCELLED, reasons=("cancelled by mia: x",)),
    ],
)
def test_watch_exits_with_1_for_a_run_that_did_not_pass_and_prints_reasons(
    ended: dict[str, Any], page: Callable[[], str]
) -> None:
    assert watch(ended) == 1
    assert all(line in page() for line in (*ended["reasons"], *ended["next_steps"]))


def test_watch_without_an_id_waits_for_the_next_run_and_says_so_once(page: Callable[[], str]) -> None:
    ended_before = shown(State.FAILED) | {"id": "run-earlier"}
    assert (
        watch(
            [ended_before],
            [ended_before],
            [ended_before],
            [shown(epoch=1), ended_before],
            shown(epoch=1),
            REGISTERED,
            run_id=None,
        )
        == 0
    )
    assert page().count("no run is in progress; waiting for the next") == 1
    assert "epoch 1 of 9" in page()


def test_watch_prefers_the_run_in_progress_to_a_queued_one(page: Callable[[], str]) -> None:
    waiting = shown(State.QUEUED) | {"id": "run-later"}
    runs = [waiting, shown(epoch=1)]
    assert watch(runs, runs, shown(epoch=1), REGISTERED, run_id=None) == 0


def test_watch_shows_a_run_that_started_and_ended_between_two_requests(page: Callable[[], str]) -> None:
    failed = shown(State.FAILED, reasons=("there is no sample to measure on",))
    assert watch([], [], [failed], failed, run_id=None) == 1
    assert "there is no sample to measure on" in page()


def test_watch_waits_for_a_trainer_that_restarts(page: Callable[[], str]) -> None:
    assert watch(shown(epoch=1), UNREACHABLE, UNREACHABLE, shown(epoch=2), REGISTERED) == 0
    assert page().count("the trainer does not answer; waiting for it") == 1


def test_watch_fails_without_a_trainer_and_with_one_that_never_restarts() -> None:
    for answers in ([shown(epoch=1), UNREACHABLE], [UNREACHABLE]):
        with pytest.raises(TrainerUnreachableError):
            runs_command.watch_runs(RUN.id, as_json=False, client=ScriptedTrainer(answers), pause=lambda _: None)  # type: ignore[arg-type]


def test_watch_with_json_prints_one_line_for_each_change(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        watch([], [], shown(epoch=1), shown(epoch=1), shown(epoch=1), UNREACHABLE, REJECTED, run_id=None, as_json=True)
        == 1
    )
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["state"] for line in lines] == ["waiting", "training", "away", "rejected"]
    assert lines[1]["progress"]["epoch"] == 1
    assert (lines[3]["evaluation"]["map50"], lines[3]["next_steps"], lines[3]["elapsed_seconds"]) == (
        0.81,
        ["Collect more."],
        540.0,
    )


def test_on_a_terminal_the_page_has_states_progress_and_the_next_step(monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(file=StringIO(), width=120, force_terminal=True)
    monkeypatch.setattr(terminal, "out", console)
    assert watch(shown(epoch=3), REGISTERED) == 0
    drawn = console.file.getvalue()  # type: ignore[attr-defined]
    assert all(
        text in drawn
        for text in (
            "training",
            "3 of 9",
            "ds-000001, 120 training photos",
            "then the weights are exported",
            "registered",
        )
    )


def test_cancel_sends_user_and_reason_and_waits_for_the_end(page: Callable[[], str]) -> None:
    trainer = ScriptedTrainer(
        [
            shown(State.CANCELLING, 2),
            shown(State.CANCELLING, 2),
            shown(State.CANCELLED, 2, reasons=("cancelled by mia: wrong labels",)),
        ]
    )
    runs_command.cancel_run(RUN.id, "wrong labels", None, as_json=False, client=trainer, pause=lambda _: None)  # type: ignore[arg-type]
    ((path, body),) = trainer.posted
    assert (path, body) == (f"/runs/{RUN.id}/cancel", {"reason": "wrong labels", "by": this_user()})
    assert page().splitlines() == [f"{RUN.id}: cancelled", "  cancelled by mia: wrong labels"]


def test_cancel_of_an_ended_run_prints_the_trainer_s_message() -> None:
    refusal = TrainerRefusedError("run-ended", f"{RUN.id} cannot be cancelled: it has ended as registered")
    trainer: Any = ScriptedTrainer([refusal])
    with pytest.raises(TrainerRefusedError, match="it has ended as registered"):
        runs_command.cancel_run(RUN.id, "x", "mia", as_json=False, client=trainer, pause=lambda _: None)


def test_the_list_and_one_run_show_figures(page: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TrainerClient, "from_settings", lambda: ScriptedTrainer([REGISTERED]))
    runs_command.show_runs(as_json=False)
    runs_command.show_run(RUN.id, as_json=False)
    assert page().count("0.810") == 2


def test_a_shown_run_is_a_valid_run_with_its_progress() -> None:
    run = Run.model_validate({key: value for key, value in shown(epoch=2).items() if key != "history"})
    assert run.progress is not None
    assert run.progress.losses == {"box_loss": 0.75}
