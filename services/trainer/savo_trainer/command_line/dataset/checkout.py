"""`savo dataset checkout`: the photos and label files of a version in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from savo_runtime.command_line.output import reported_errors
from savo_trainer.command_line.object_store import run_on_store
from savo_trainer.command_line.options import AsJson
from savo_trainer.command_line.terminal import err, print_json, print_line
from savo_trainer.versions.checkout import checkout as check_out

__all__ = ["Version", "checkout"]

Version = Annotated[str, typer.Argument(metavar="VERSION", help="Version, such as ds-000003; see `savo dataset list`.")]

_LISTED = 10


@reported_errors()
def checkout(
    version: Version,
    output: Annotated[Path, typer.Option("--output", metavar="DIR", help="New or empty folder.")],
    as_json: AsJson = False,
) -> None:
    """Write the photos and label files of a version to a folder, byte for byte as they were frozen.

    Photos that were erased since are listed in erased.txt. The same command continues an interrupted checkout.
    """
    with err.status(f"fetching {version}") as status:

        def on_fetched(count: int) -> None:
            status.update(f"fetching {version}: {count:,}")

        found = run_on_store(lambda store: check_out(version, store, output, on_fetched))
    if as_json:
        print_json({"version": version, "output": str(output), "samples": found.samples, "erased": found.erased})
        return
    print_line(f"{version}: {', '.join(f'{split} {count:,}' for split, count in found.samples.items())}")
    if found.erased:
        print_line(f"erased since: {len(found.erased):,} photos, listed in {output / 'erased.txt'}")
        for sha256 in found.erased[:_LISTED]:
            print_line(f"  {sha256}")
    print_line(f"next: savo train --data {output / 'dataset.yaml'}")
