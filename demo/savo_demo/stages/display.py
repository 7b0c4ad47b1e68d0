"""The live picture of a run: one line a stage, and the figures under it. On a pipe: one printed line whenever a stage ends."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from savo_demo.stages.totals import Tally


@dataclass
class Stage:
    """One step of the wheel. `share` 0…1 draws a bar while it runs."""

    name: str
    title: str
    detail: str = ""
    share: float | None = None
    started: float | None = None
    ended: float | None = None
    failed: bool = False

    @property
    def seconds(self) -> float:
        return 0.0 if self.started is None else (self.ended or time.monotonic()) - self.started


@dataclass
class Board:
    console: Console
    heading: str
    tally: Tally
    stages: dict[str, Stage] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    _live: Live | None = None

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Draw it while the block runs."""
        if not self.console.is_terminal:
            yield
            return
        with Live(
            get_renderable=self._picture, console=self.console, refresh_per_second=5, transient=False
        ) as self._live:
            yield
        self._live = None

    @contextmanager
    def stage(self, name: str, title: str) -> Iterator[Stage]:
        """Time a stage; one that raises is marked as failed."""
        stage = self.stages[name] = Stage(name, title, started=time.monotonic())
        try:
            yield stage
        except BaseException:
            stage.failed = True
            raise
        finally:
            stage.ended = time.monotonic()
            self._tell(stage)

    def note(self, text: str) -> None:
        self.notes.append(text)
        if self._live is None:
            self.console.print(f"  {text}", style="dim", markup=False, highlight=False, soft_wrap=True)

    def seconds(self) -> dict[str, float]:
        return {stage.name: round(stage.seconds, 1) for stage in self.stages.values()}

    def _tell(self, stage: Stage) -> None:
        if self._live is None:
            mark = "✗" if stage.failed else "✓"
            self.console.print(
                f"{mark} {stage.title:<26} {stage.seconds:6.1f} s  {stage.detail}",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )

    def _picture(self) -> RenderableType:
        table = Table.grid(padding=(0, 1))
        for column in ("mark", "title", "seconds", "detail"):
            table.add_column(column, no_wrap=column != "detail", justify="right" if column == "seconds" else "left")
        for stage in self.stages.values():
            table.add_row(_mark(stage), Text(stage.title, style="bold"), f"{stage.seconds:.0f} s", _detail(stage))
        rows: list[RenderableType] = [table, Text(), self._figures()]
        rows += [Text(note, style="dim") for note in self.notes[-4:]]
        return Panel(Group(*rows), title=self.heading, border_style="green")

    def _figures(self) -> Text:
        tally = self.tally
        served = "  ".join(f"{name} {count}" for name, count in sorted(tally.served_by.items()))
        latency = "  ".join(f"{arm} {value:.0f} ms" for arm, value in tally.p95_ms().items())
        cost = "  ".join(f"{arm} ${value:.2g}" for arm, value in tally.cost_usd().items())
        return Text(
            f"scans {tally.scans}  confirmed {tally.confirmed}  corrected {tally.corrected}  │ served by {served}\np95 {latency}  │ a scan costs {cost}",
            style="cyan",
        )


def _mark(stage: Stage) -> RenderableType:
    if stage.ended is None:
        return Spinner("dots", style="yellow")
    return Text("✗", style="red") if stage.failed else Text("✓", style="green")


def _detail(stage: Stage) -> RenderableType:
    if stage.ended is not None or stage.share is None:
        return Text(stage.detail)
    row = Table.grid(padding=(0, 1))
    row.add_row(ProgressBar(total=1.0, completed=stage.share, width=24), Text(stage.detail))
    return row
