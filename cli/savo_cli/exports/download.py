"""Download of an export, which continues after an interruption at the first gzip member that is not complete."""

from __future__ import annotations

import io
import os
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import httpx2

from savo_cli.gateway import Gateway, RefusedError
from savo_contracts.documents import SUMMARY_FILE, ExportSummary
from savo_datasets.exports.gzip_members import complete_part, last_member
from savo_datasets.exports.selection import END
from savo_runtime.command_line.output import CommandError
from savo_runtime.command_line.progress import OnProgress

__all__ = ["Download", "part_of"]

PATH = "/training/export"
SIZE_HEADER = "Savo-Export-Image-Bytes"
_ATTEMPTS = 5
_MEGABYTE = 1_000_000
_UNPROCESSABLE = 422


def part_of(output: Path) -> Path:
    """The file of an incomplete download."""
    return output.with_name(f"{output.name}.part")


@dataclass(frozen=True)
class Download:
    """One archive. An interrupted download stays in `part_of(output)`, and the next one continues it."""

    gateway: Gateway
    query: Mapping[str, Sequence[str]]
    output: Path
    sleep: Callable[[float], None] = time.sleep

    def run(self, on_progress: OnProgress) -> ExportSummary:
        """Raises `CommandError`: for an output that exists, a refused request, and a connection that stays lost."""
        if self.output.exists():
            raise CommandError(f"{self.output} exists: give another --output, or remove it first")
        part = part_of(self.output)
        lost: Exception = EOFError("the archive has no end")
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                self._receive(part, on_progress)
            except httpx2.ConnectError as error:
                if attempt == 1:
                    raise self.gateway.no_answer(error) from error
                lost = error
            except httpx2.TransportError as error:
                lost = error  # the next attempt continues
            if summary := _summary_of(part):
                part.replace(self.output)
                return summary
            self.sleep(2.0 ** (attempt - 1))
        raise CommandError(
            f"the connection was lost {_ATTEMPTS} times; {part} has what arrived. Run the same command to continue"
            f" ({type(lost).__name__}: {lost})"
        )

    def _receive(self, part: Path, on_progress: OnProgress) -> None:
        kept = complete_part(part) if part.exists() else None
        query = dict(self.query) | ({"from": [kept.next_name]} if kept and kept.next_name else {})
        try:
            with self.gateway.stream(PATH, query) as answer:
                total = int(answer.headers.get(SIZE_HEADER, 0))
                _append(part, kept.bytes if kept else 0, answer.iter_raw(), total, on_progress)
        except RefusedError as error:
            if error.status == _UNPROCESSABLE and "from" in query:
                raise CommandError(f"{part} cannot be continued ({error.detail}); remove it to begin anew") from error
            raise


def _append(part: Path, size: int, chunks: Iterator[bytes], total: int, on_progress: OnProgress) -> None:
    """Replace what follows the first `size` bytes. Until something arrives, the file keeps the next member's name."""
    first = next(chunks, b"")
    part.parent.mkdir(parents=True, exist_ok=True)
    part.touch()
    os.truncate(part, size)
    with part.open("ab") as file:
        for chunk in chain([first], chunks):
            file.write(chunk)
            size += len(chunk)
            on_progress(size // _MEGABYTE, max(total, size) // _MEGABYTE)


def _summary_of(part: Path) -> ExportSummary | None:
    """export.json, the last file of a complete archive; None for an incomplete one."""
    if not part.exists() or (found := last_member(part)) is None or not found[0].endswith(f"-{END}"):
        return None
    with tarfile.open(fileobj=io.BytesIO(found[1])) as tar:
        content = tar.extractfile(SUMMARY_FILE)
        assert content is not None, "the last member holds the summary"
        return ExportSummary.model_validate_json(content.read())
