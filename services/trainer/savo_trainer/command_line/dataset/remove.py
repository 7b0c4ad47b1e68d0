"""`savo dataset rm`: removes a version that no model refers to."""

from __future__ import annotations

import tempfile
from pathlib import Path

from savo_runtime.command_line.output import reported_errors
from savo_trainer.command_line.dataset.checkout import Version
from savo_trainer.command_line.dataset.version_writers import run_removal
from savo_trainer.command_line.options import AsJson
from savo_trainer.command_line.terminal import err, print_json, print_line

__all__ = ["remove"]


@reported_errors()
def remove(version: Version, as_json: AsJson = False) -> None:
    """Remove a version, and the label files that no other version needs. Refused while a model refers to it.

    Photos and labels of the collected samples stay, and the number is not used again.
    """
    with err.status(f"removing {version}"), tempfile.TemporaryDirectory(prefix="savo-remove-") as folder:
        released = run_removal(lambda removal: removal(version, Path(folder)))
    if as_json:
        print_json({"version": version, "released_labels": released})
        return
    print_line(f"{version} is removed; {released:,} label files were of this version alone")
