"""Stored documents: each version's golden file is read, and the newest version is written exactly like its file."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from savo_contracts.documents import META_VERSION, SampleMeta
from savo_contracts.specs.json_schema import STORED_DOCUMENTS, document_schema

GOLDEN = Path(__file__).parent / "golden_documents"
VERSIONS = range(1, META_VERSION + 1)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_sample_s_meta_of_every_version_is_read_and_valid_by_today_s_schema(version: int) -> None:
    document = json.loads((GOLDEN / f"sample-meta.v{version}.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(document_schema(f"sample-meta.v{META_VERSION}")).validate(document)
    read = SampleMeta.model_validate(document)
    assert read.schema_version == version
    assert document.items() <= json.loads(read.model_dump_json()).items()


def test_the_newest_version_is_written_like_its_golden_file() -> None:
    document = json.loads((GOLDEN / f"sample-meta.v{META_VERSION}.json").read_text(encoding="utf-8"))
    assert json.loads(SampleMeta.model_validate(document).model_dump_json()) == document


@pytest.mark.parametrize("name", [name for name in STORED_DOCUMENTS if name.startswith("export-")])
def test_a_document_of_an_export_is_read_and_written_like_its_golden_file(name: str) -> None:
    document = json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(document_schema(name)).validate(document)
    assert json.loads(STORED_DOCUMENTS[name].model_validate(document).model_dump_json()) == document
