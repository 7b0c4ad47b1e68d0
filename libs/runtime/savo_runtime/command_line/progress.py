"""A progress bar for commands that read much: on stderr, and only where a person looks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

__all__ = ["OnProgress", "progress_bar"]

OnProgress = Callable[[int, int], None]
"""Called with how many are done and how many there are."""

_SECONDS_BETWEEN = 0.1
"""Of two updates: a bar that is drawn for each record would cost more than the record."""


@contextmanager
def progress_bar(title: str, *, shown: bool = True) -> Iterator[OnProgress]:
    """What to call as the work goes on; it does nothing where no bar is shown: not wanted, or no terminal."""
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
    """No bar."""
