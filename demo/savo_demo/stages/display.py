"""Live display of a demo run: a line for each stage, and the totals. Without a terminal, a line when a stage ends."""

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

from savo_demo.stages.totals import Totals


@dataclass
class Stage:
    """Progress of a stage. `share`, 0…1, is drawn as a bar while it runs."""

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
class Display:
    """The stages and notes of a run, drawn on a terminal or printed."""

    console: Console
    heading: str
    totals: Totals
    stages: dict[str, Stage] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    _live: Live | None = None

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Draw the display while the block runs."""
        if not self.console.is_terminal:
            yield
            return
        with Live(
            get_renderable=self._rendered, console=self.console, refresh_per_second=5, transient=False
        ) as self._live:
            yield
        self._live = None

    @contextmanager
    def stage(self, name: str, title: str) -> Iterator[Stage]:
        """Time a stage; an exception marks it as failed."""
        stage = self.stages[name] = Stage(name, title, started=time.monotonic())
        try:
            yield stage
        except BaseException:
            stage.failed = True
            raise
        finally:
            stage.ended = time.monotonic()
            self._print_end(stage)

    def note(self, text: str) -> None:
        """Add a line below the stages."""
        self.notes.append(text)
        if self._live is None:
            self.console.print(f"  {text}", style="dim", markup=False, highlight=False, soft_wrap=True)

    def seconds(self) -> dict[str, float]:
        """Duration of each stage by name."""
        return {stage.name: round(stage.seconds, 1) for stage in self.stages.values()}

    def _print_end(self, stage: Stage) -> None:
        if self._live is None:
            mark = "✗" if stage.failed else "✓"
            self.console.print(
                f"{mark} {stage.title:<26} {stage.seconds:6.1f} s  {stage.detail}",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )

    def _rendered(self) -> RenderableType:
        table = Table.grid(padding=(0, 1))
        for column in ("mark", "title", "seconds", "detail"):
            table.add_column(column, no_wrap=column != "detail", justify="right" if column == "seconds" else "left")
        for stage in self.stages.values():
            table.add_row(_mark(stage), Text(stage.title, style="bold"), f"{stage.seconds:.0f} s", _detail(stage))
        rows: list[RenderableType] = [table, Text(), self._figures()]
        rows += [Text(note, style="dim") for note in self.notes[-4:]]
        return Panel(Group(*rows), title=self.heading, border_style="green")

    def _figures(self) -> Text:
        totals = self.totals
        served = "  ".join(f"{name} {count}" for name, count in sorted(totals.served_by.items()))
        latency = "  ".join(f"{arm} {value:.0f} ms" for arm, value in totals.p95_ms().items())
        cost = "  ".join(f"{arm} ${value:.2g}" for arm, value in totals.cost_usd().items())
        scans = f"scans {totals.scans}  confirmed {totals.confirmed}  corrected {totals.corrected}"
        return Text(f"{scans}  │ served by {served}\np95 {latency}  │ cost of a scan {cost}", style="cyan")


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
