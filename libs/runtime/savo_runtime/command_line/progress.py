"""Progress bar of long commands, on stderr and only in a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

__all__ = ["OnProgress", "progress_bar"]

OnProgress = Callable[[int, int], None]
"""Called with the number of finished items and the total."""

_SECONDS_BETWEEN = 0.1
"""Interval of updates: drawing the bar for each record would take longer than processing it."""


@contextmanager
def progress_bar(title: str, *, shown: bool = True) -> Iterator[OnProgress]:
    """Yields the function that updates the bar. It does nothing when `shown` is False or stderr is no terminal."""
    console = Console(stderr=True)
    if not (shown and console.is_terminal):
        yield _ignore
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task, updated = progress.add_task(title, total=None), 0.0

        def on_progress(done: int, total: int) -> None:
            nonlocal updated
            if done == total or time.monotonic() - updated > _SECONDS_BETWEEN:
                updated = time.monotonic()
                progress.update(task, completed=done, total=total)

        yield on_progress


def _ignore(_done: int, _total: int) -> None:
    """Used where no bar is shown."""
