"""`savo export`: an archive, also over a connection that breaks, and errors with their next step."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
from pyarrow import parquet

from cli.tests.conftest import Savo
from savo_cli.exports.download import Download, part_of
from savo_cli.exports.tables import write_tables
from savo_cli.gateway import Gateway, RefusedError
from savo_contracts.documents import ConfirmationTableRow, ExportSummary, ScanTableRow
from savo_contracts.envelope import Message
from savo_datasets.exports.gzip_members import StoredMember
from savo_datasets.exports.selection import END, MemberName
from savo_datasets.exports.tar_entries import TAR_END, tar_header, tar_padding
from savo_runtime.command_line.output import CommandError

BEGAN = datetime(2026, 3, 2, tzinfo=UTC)
POSITIONS = [f"{number:064d}" for number in range(4)]


def entry(name: str, content: bytes) -> bytes:
    return tar_header(name, len(content), BEGAN) + content + tar_padding(len(content))


def member(position: str, *content: bytes) -> bytes:
    written = StoredMember(str(MemberName(BEGAN, "0" * 8, position)))
    return written.begin() + written.add(*content) + written.end()


SUMMARY = ExportSummary(samples=4, boxes=9, bytes=4000, classes=("egg",), began_at=BEGAN, finished_at=BEGAN)
MEMBERS = {position: member(position, entry(f"images/{position}.jpg", b"photo" * 200)) for position in POSITIONS}
MEMBERS[END] = member(END, entry("export.json", SUMMARY.model_dump_json().encode()), TAR_END)


class BrokenGateway(Gateway):
    """A gateway whose answers end after so many bytes."""

    def __init__(self, *lengths: int) -> None:
        super().__init__("http://127.0.0.1:9")
        self.lengths = list(lengths)
        self.asked: list[str | None] = []

    @contextmanager
    def stream(self, path: str, query: Any) -> Iterator[Any]:
        begin = query["from"][0].rpartition("-")[2] if "from" in query else POSITIONS[0]
        self.asked.append(begin if "from" in query else None)
        if begin not in MEMBERS:
            raise RefusedError(422, "no such member", "")
        data = b"".join(MEMBERS[each] for each in MEMBERS if each >= begin)
        yield BrokenAnswer(data, self.lengths.pop(0) if self.lengths else None)


class BrokenAnswer:
    def __init__(self, data: bytes, length: int | None) -> None:
        self.headers = {"Savo-Export-Image-Bytes": "4000"}
        self.data, self.length = data, length

    def iter_raw(self) -> Iterator[bytes]:
        if self.length != 0:
            yield self.data[: self.length]
        if self.length is not None:
            raise httpx2.ReadError("the connection was lost")


def ignore(*_: object) -> None:
    """Progress and pauses."""


def test_a_download_continues_where_the_connection_broke(tmp_path: Path) -> None:
    output, size = tmp_path / "data.tar.gz", len(MEMBERS[POSITIONS[0]])
    gateway = BrokenGateway(20, 2 * size + 50, 2 * size + 120, 0)
    assert Download(gateway, {}, output, sleep=ignore).run(ignore) == SUMMARY
    assert gateway.asked == [None, None, POSITIONS[1], POSITIONS[3], POSITIONS[3]]
    assert output.read_bytes() == b"".join(MEMBERS.values())
    assert not part_of(output).exists()
    with tarfile.open(output) as tar:
        assert tar.getnames() == [*(f"images/{position}.jpg" for position in POSITIONS), "export.json"]


def test_a_download_that_stays_broken_is_continued_by_the_next_command(tmp_path: Path) -> None:
    output, size = tmp_path / "data.tar.gz", len(MEMBERS[POSITIONS[0]])
    with pytest.raises(CommandError, match=r"lost 5 times; .*data\.tar\.gz\.part has what arrived\. Run the same"):
        Download(BrokenGateway(2 * size + 200, 0, 0, 0, 0), {}, output, sleep=ignore).run(ignore)
    gateway = BrokenGateway()
    Download(gateway, {}, output, sleep=ignore).run(ignore)
    assert gateway.asked == [POSITIONS[2]]
    with tarfile.open(fileobj=io.BytesIO(output.read_bytes())) as tar:
        assert len(tar.getnames()) == 5


def test_a_part_that_the_gateway_refuses_is_named(tmp_path: Path) -> None:
    output = tmp_path / "data.tar.gz"
    part_of(output).write_bytes(member("f" * 64, b"another export"))
    with pytest.raises(CommandError, match=r"cannot be continued .*remove it to begin anew"):
        Download(BrokenGateway(), {}, output, sleep=ignore).run(ignore)


def test_an_existing_file_is_not_replaced(savo: Savo, tmp_path: Path) -> None:
    (tmp_path / "data.tar.gz").write_bytes(b"mine")
    done = savo("export", "--output", "data.tar.gz", "--url", "http://127.0.0.1:9")
    assert done.exit_code == 1
    assert "data.tar.gz exists: give another --output" in done.stderr
    assert (tmp_path / "data.tar.gz").read_bytes() == b"mine"


def test_a_gateway_that_does_not_run_is_named(savo: Savo, tmp_path: Path) -> None:
    done = savo("export", "--output", "data.tar.gz", "--url", "http://127.0.0.1:9")
    assert done.exit_code == 1
    assert "start it with `savo up`" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_filters_are_sent_and_the_summary_is_printed(
    savo: Savo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: dict[str, object] = {}

    def run(download: Download, _: object) -> ExportSummary:
        sent.update(download.query)
        download.output.write_bytes(b"archive")
        return SUMMARY

    monkeypatch.setattr(Download, "run", run)
    filters = ["--class", "egg", "--class", "milk", "--split", "val", "--box-source", "user", "--since", "2026-03-01"]
    filters += ["--version", "ds-000001"]
    done = savo("export", "--output", "data.tar.gz", "--json", *filters)
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout) | {"samples": 4, "boxes": 9, "archive_bytes": 7} == json.loads(done.stdout)
    assert sent == {
        "format": ["yolo"],
        "version": ["ds-000001"],
        "class": ["egg", "milk"],
        "split": ["val"],
        "box_source": ["user"],
        "since": ["2026-03-01T00:00:00Z"],
    }


class TablesGateway(Gateway):
    """A gateway with one scan and one item of a confirmation."""

    @contextmanager
    def stream(self, path: str, query: Any) -> Iterator[Any]:
        yield TableAnswer(ROWS[path.rpartition("/")[2]])


@dataclass(frozen=True)
class TableAnswer:
    row: Message

    def iter_lines(self) -> Iterator[str]:
        yield self.row.model_dump_json()


ROWS: dict[str, Message] = {
    "scans": ScanTableRow(
        scan_id="scan-1",
        subject="s",
        anonymous=False,
        status="completed",
        image_sha256="0" * 64,
        image_bytes=1,
        width=2,
        height=3,
        cost_usd=0.5,
        requested_at=BEGAN,
    ),
    "confirmations": ConfirmationTableRow(
        scan_id="scan-1", revision=1, published=True, confirmed_at=BEGAN, all_correct=False, item=0, label="egg"
    ),
}


def test_tables_are_written_as_parquet(tmp_path: Path) -> None:
    assert write_tables(TablesGateway("http://127.0.0.1:9"), tmp_path) == {"scans": 1, "confirmations": 1}
    for name, row in ROWS.items():
        table = parquet.read_table(tmp_path / f"{name}.parquet")
        assert table.to_pylist() == [row.model_dump()]
    assert len(list(tmp_path.iterdir())) == 2


def test_an_export_of_nothing_is_wrong_use(savo: Savo) -> None:
    done = savo("export")
    assert (done.exit_code, "give --output FILE" in done.stderr) == (2, True)
