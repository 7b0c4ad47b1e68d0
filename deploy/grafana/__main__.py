"""`python -m deploy.grafana [--check]`: generate the dashboards' JSON, or fail if it is out of date."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from deploy.grafana.arms import arms
from deploy.grafana.flywheel import flywheel
from deploy.grafana.overview import overview
from deploy.grafana.pipeline import pipeline

__all__ = ["FOLDER", "dashboards", "main"]

FOLDER = Path(__file__).parent / "dashboards"


def dashboards() -> dict[str, str]:
    """JSON of each dashboard by file name."""
    return {
        f"{build.__name__}.json": json.dumps(build(), cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False)
        + "\n"
        for build in (overview, arms, flywheel, pipeline)
    }


def main(arguments: list[str]) -> int:
    """Write or check the files. Returns the exit code."""
    wanted = dashboards()
    if "--check" in arguments:
        stale = [
            name
            for name, text in wanted.items()
            if not (FOLDER / name).exists() or (FOLDER / name).read_text(encoding="utf-8") != text
        ]
        problem = f"out of date: {', '.join(stale)}; run `make generate`"
        print(problem if stale else "the dashboards are up to date")
        return int(bool(stale))
    FOLDER.mkdir(exist_ok=True)
    for name, text in wanted.items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    print(f"wrote {', '.join(wanted)} to {FOLDER}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
