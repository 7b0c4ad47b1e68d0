"""Tables of docs/guide.md: commands of the owner's guide, and the lines that replace them."""

from __future__ import annotations

from pathlib import Path

__all__ = ["GUIDE", "SECTIONS", "guide_rows"]

GUIDE = (Path(__file__).parents[2] / "docs/guide.md").read_text(encoding="utf-8")
SECTIONS = ("With the product running", "From collected data to a served model")


def guide_rows(section: str) -> list[tuple[str, str]]:
    """The rows of a section's table: the guide's command, and the line that replaces it."""
    text = GUIDE.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:3]] for line in text.splitlines() if line.startswith("| ")]
    return [(guide, line.strip("`")) for guide, line in rows[1:]]
