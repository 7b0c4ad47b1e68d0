"""Photos of a folder by the names that annotation files use for them."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qs, unquote, urlsplit

from savo_datasets.formats.folder_files import photo_files, split_of

__all__ = ["PhotoIndex"]

_UPLOAD = re.compile(r"^[0-9a-f]{8}-")
"""What Label Studio puts before the name of an uploaded file."""


class PhotoIndex:
    """Finds photos of a folder. A name never leads out of the folder."""

    def __init__(self, folder: Path) -> None:
        self._by_name: dict[str, list[Path]] = {}
        for path in photo_files(folder):
            self._by_name.setdefault(path.name, []).append(path)

    def find(self, reference: str, near: Path, split: str | None = None) -> Path | None:
        """The photo of a path, URL or file name. None when there is none, or when several are meant equally well.

        Of several photos with the name, the one that shares most of the path's last folders is meant, then the one of
        the `split`, then the one under `near`, the annotation file's folder.
        """
        parts = _parts(reference)
        if not parts:
            return None
        found = self._by_name.get(parts[-1]) or self._by_name.get(_UPLOAD.sub("", parts[-1])) or []
        ranked = sorted(
            ((_shared(path, parts), split_of(path) == split, path.is_relative_to(near)), path) for path in found
        )
        if len(ranked) > 1 and ranked[-1][0] == ranked[-2][0]:
            return None
        return ranked[-1][1] if ranked else None

    def others(self, used: set[Path]) -> list[Path]:
        """Photos that are not among `used`, in order of path."""
        return sorted(path for paths in self._by_name.values() for path in paths if path not in used)


def _parts(reference: str) -> tuple[str, ...]:
    """The folders and the file name of a path or URL, without `.` and `..`."""
    address = urlsplit(reference) if "://" in reference or reference.startswith("/data/") else None
    if address is not None:
        local = parse_qs(address.query).get("d")
        reference = local[0] if local else unquote(address.path)
    parts = PurePosixPath(reference.replace("\\", "/")).parts
    return tuple(part for part in parts if part not in {".", "..", "/"})


def _shared(path: Path, parts: tuple[str, ...]) -> int:
    """Number of last parts that the path has in common with `parts`."""
    count = 0
    for one, other in zip(reversed(path.parts), reversed(parts), strict=False):
        if one != other:
            break
        count += 1
    return count
