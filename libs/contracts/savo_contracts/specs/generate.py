"""Generator of the files derived from the topic registry: JSON Schemas, documents and first golden messages.

`python -m savo_contracts.specs.generate` (`make generate`) writes the JSON Schemas of events and stored documents,
docs/flow.md, docs/asyncapi.json and the first golden message of each topic that has none. A test fails while a
committed file differs.
"""

from __future__ import annotations

import json
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

from savo_contracts.specs.asyncapi import asyncapi_document
from savo_contracts.specs.compatibility import breaking_changes
from savo_contracts.specs.flow import flow_markdown
from savo_contracts.specs.golden_messages import NoExampleError, first_golden_message
from savo_contracts.specs.json_schema import STORED_DOCUMENTS, document_schema, event_schema, schema_name
from savo_contracts.topics import TOPICS, Topic

__all__ = ["documents", "main"]

_PACKAGE = Path(str(files("savo_contracts")))
_REPOSITORY = _PACKAGE.parents[2]


def documents() -> dict[Path, str]:
    """Text of each generated file of the repository, by path."""
    written = {_PACKAGE / "schemas" / schema_name(topic): _json(event_schema(topic)) for topic in TOPICS}
    written |= {
        _PACKAGE / "schemas" / "documents" / f"{name}.json": _json(document_schema(name)) for name in STORED_DOCUMENTS
    }
    written[_REPOSITORY / "docs" / "flow.md"] = flow_markdown()
    written[_REPOSITORY / "docs" / "asyncapi.json"] = _json(asyncapi_document())
    return written


def _json(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def main() -> int:
    """Write the files that differ. Returns 1 and writes nothing when a change would break older messages or readers."""
    broken = [f"{topic.event.type} {change}" for topic in TOPICS for change in _changes_against_committed(topic)]
    if broken:
        sys.stderr.write(
            "nothing written: these changes break older messages or readers. Undo them, or add a new version of the "
            "event (…v2) beside the old version:\n" + "\n".join(broken) + "\n"
        )
        return 1
    try:
        golden_messages = _missing_golden_messages()
    except NoExampleError as error:
        sys.stderr.write(f"nothing written: {error}\n")
        return 1
    for path, text in (documents() | golden_messages).items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            sys.stdout.write(f"wrote {path.relative_to(_REPOSITORY)}\n")
    return 0


def _missing_golden_messages() -> dict[Path, str]:
    folders = {topic.name: _PACKAGE / "examples" / topic.name for topic in TOPICS}
    new = [topic for topic in TOPICS if not list(folders[topic.name].glob("*.json"))]
    return {folders[topic.name] / "first.json": _json(first_golden_message(topic)) for topic in new}


def _changes_against_committed(topic: Topic[Any]) -> list[str]:
    path = _PACKAGE / "schemas" / schema_name(topic)
    return breaking_changes(json.loads(path.read_text(encoding="utf-8")), event_schema(topic)) if path.exists() else []


if __name__ == "__main__":
    sys.exit(main())
