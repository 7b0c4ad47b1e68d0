"""Model registry in the object store: the files, report and model card of each candidate, passed or refused.

models/ingredients/v<N>/classes.json   written first: a conditional PUT claims the version
models/ingredients/v<N>/model.onnx, weights.pt, and model.plain.onnx if the graph was optimised
models/ingredients/v<N>/report.json, card.md   written last: a version with a report is complete
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

from savo_contracts.documents import PLAIN_EXPORT, Alias, ClassList, IngredientClass, ModelReport, alias_key, model_key
from savo_runtime.storage.digests import file_sha256
from savo_runtime.storage.port import ObjectNotFoundError, ObjectStore
from savo_trainer.ports import VersionNumbers
from savo_trainer.runs.run import Run, RunResults
from savo_trainer.training.plan import StartWeights, Trained

__all__ = [
    "StoredCandidate",
    "champion_version",
    "claim_version",
    "fetch_start_weights",
    "model_card",
    "object_matches",
    "optimization_sentence",
    "remove_candidate",
    "report_of",
    "store_candidate",
    "store_report",
]


@dataclass(frozen=True)
class StoredCandidate:
    """A candidate's files in the object store."""

    version: str
    onnx_sha256: str
    onnx_bytes: int
    plain_onnx_sha256: str | None
    weights_sha256: str


async def store_candidate(run: Run, trained: Trained, store: ObjectStore, numbers: VersionNumbers) -> StoredCandidate:
    """Claim the run's version and upload the files under it. Safe to repeat after a crash."""
    version = await claim_version(run, store, numbers)
    onnx, plain = trained.export.onnx, trained.export.plain
    await store.upload(model_key(version, "model.onnx"), onnx)
    if plain is None:
        await store.delete(model_key(version, PLAIN_EXPORT))  # an earlier attempt may have left it
    else:
        await store.upload(model_key(version, PLAIN_EXPORT), plain)
    await store.upload(model_key(version, "weights.pt"), trained.weights)
    onnx_sha256 = await asyncio.to_thread(file_sha256, onnx)
    plain_sha256 = await asyncio.to_thread(file_sha256, plain) if plain else None
    weights_sha256 = await asyncio.to_thread(file_sha256, trained.weights)
    return StoredCandidate(version, onnx_sha256, onnx.stat().st_size, plain_sha256, weights_sha256)


def optimization_sentence(not_optimized: str | None) -> str:
    """Sentence for the card: whether the export's graph is optimised, and if not, why."""
    return f"It is the export as it was written: {not_optimized}." if not_optimized else "Its graph is optimised."


async def store_report(report: ModelReport, facts: RunResults, store: ObjectStore) -> None:
    await store.put(
        model_key(report.version, "card.md"), model_card(report, facts).encode(), media_type="text/markdown"
    )
    await store.put(
        model_key(report.version, "report.json"), _report_json(report, facts), media_type="application/json"
    )


async def object_matches(store: ObjectStore, key: str, sha256: str) -> bool:
    """Whether the object exists and has this sha256."""
    with tempfile.TemporaryDirectory(prefix="savo-registry-") as folder:
        target = Path(folder) / "object"
        try:
            await store.download(key, target)
        except ObjectNotFoundError:
            return False
        return await asyncio.to_thread(file_sha256, target) == sha256


async def remove_candidate(version: str, store: ObjectStore) -> None:
    """Remove the files of a run without a verdict, the report first: a version without a report does not exist."""
    for name in ("report.json", "card.md", "model.onnx", PLAIN_EXPORT, "weights.pt"):
        await store.delete(model_key(version, name))


async def champion_version(store: ObjectStore) -> str | None:
    """The version that the rollout service made champion; None before the first."""
    try:
        return Alias.model_validate_json(await store.get(alias_key("champion"))).version
    except ObjectNotFoundError:
        return None


async def fetch_start_weights(version: str, store: ObjectStore, folder: Path) -> StartWeights | None:
    """Download the version's weights; None where they are missing or differ from what was registered."""
    target = folder / f"{version}.pt"
    try:
        report = json.loads(await store.get(model_key(version, "report.json")))
        classes = ClassList.model_validate_json(await store.get(model_key(version, "classes.json")))
        await store.download(model_key(version, "weights.pt"), target)
    except ObjectNotFoundError:
        return None
    # A .pt is a pickle: open only a file whose hash is in our own report.
    is_intact = report.get("weights_sha256") == file_sha256(target)
    return StartWeights(version, classes.names(), target) if is_intact else None


def report_of(run: Run, *, passed: bool) -> ModelReport:
    """The report of a trained and measured run."""
    facts = run.facts
    assert facts.version and facts.dataset_version and facts.onnx_sha256, "a report needs a trained model"  # noqa: PT018
    assert facts.evaluation and run.finished_at, "a report needs a measured model"  # noqa: PT018
    return ModelReport(
        version=facts.version,
        run_id=run.id,
        dataset_version=facts.dataset_version,
        onnx_sha256=facts.onnx_sha256,
        onnx_bytes=facts.onnx_bytes,
        plain_onnx_sha256=facts.plain_onnx_sha256,
        optimization=facts.optimization,
        image_size=facts.image_size,
        classes=facts.classes,
        train_samples=facts.train_samples,
        evaluation=facts.evaluation,
        comparison=facts.comparison,
        golden=facts.golden,
        verdict="passed" if passed else "refused",
        reasons=run.reasons,
        next_steps=run.next_steps,
        created_at=run.finished_at,
    )


def model_card(report: ModelReport, facts: RunResults) -> str:
    """Model card in Markdown, with every figure behind the verdict."""
    measured = report.evaluation
    interval = f"{measured.map50_lower:.3f} to {measured.map50_upper:.3f}"
    weakest = sorted(measured.per_class.items(), key=lambda entry: entry[1])
    return "\n".join(
        [
            f"# ingredients {report.version}: {report.verdict}",
            "",
            f"Finds {len(report.classes)} ingredients in a photo and draws a box around each. "
            f"{_origin(report, facts)}, for inputs of up to {report.image_size} × {report.image_size} pixels."
            f"{f' Registered by {facts.brought}.' if facts.brought else ''}",
            "",
            f"On {measured.images} holdout photos with {measured.boxes} boxes, {_holdout(report, facts)}, it reaches "
            f"mAP@0.5 {measured.map50:.3f} (95 % interval {interval}, resampled by person), "
            "measured on the ONNX file through the serving code.",
            *_against_champion(report),
            "",
            "## Verdict",
            *(f"- {reason}" for reason in report.reasons),
            *(["", "## Next steps", *(f"- {step}" for step in report.next_steps)] if report.next_steps else []),
            "",
            "## By class, weakest first",
            "| class | AP@0.5 |",
            "|---|---|",
            *(f"| {label} | {ap:.3f} |" for label, ap in weakest),
            "",
            f"Run {report.run_id}, {report.created_at:%Y-%m-%d %H:%M} UTC. {_files(report)} "
            + (
                "weights.pt is made with ultralytics (AGPL-3.0): see docs/decisions on its licence."
                if facts.weights_sha256
                else "It came without weights."
            ),
            "",
        ]
    )


async def claim_version(run: Run, store: ObjectStore, numbers: VersionNumbers) -> str:
    """The run's version, claimed by writing the model's class list under it. Safe to repeat."""
    claim = _classes_json(run)
    version = await numbers.model_version(run.id)
    while not await _is_claimed(model_key(version, "classes.json"), claim, store):
        version = await numbers.model_version(run.id, above=int(version.removeprefix("v")))
    return version


async def _is_claimed(key: str, claim: bytes, store: ObjectStore) -> bool:
    """Whether this run holds the version: claimed now, or by the same run before a crash."""
    return await store.put_if_absent(key, claim, media_type="application/json") or await store.get(key) == claim


def _classes_json(run: Run) -> bytes:
    """A `ClassList` in the order of the network's outputs, with the id of its run."""
    facts = run.facts
    entries = tuple(
        IngredientClass(id=class_id, label=label)
        for class_id, label in zip(facts.class_ids, facts.classes, strict=True)
    )
    return json.dumps({"run_id": run.id, **ClassList(classes=entries).model_dump(mode="json")}).encode()


def _report_json(report: ModelReport, facts: RunResults) -> bytes:
    extra = {
        "weights_sha256": facts.weights_sha256,
        "weights_map50": facts.weights_map50,
        "export_map50": facts.export_map50,
        "started_from": facts.started_from,
    }
    return json.dumps(report.model_dump(mode="json") | extra, indent=2).encode()


def _origin(report: ModelReport, facts: RunResults) -> str:
    if facts.brought:
        return f"Trained elsewhere{f' on {report.train_samples} photos' if report.train_samples else ''}"
    start = f"fine-tuned from {facts.started_from}" if facts.started_from else "from scratch"
    return f"Trained on {report.train_samples} confirmed photos ({report.dataset_version}), {start}"


def _holdout(report: ModelReport, facts: RunResults) -> str:
    if facts.brought:
        return f"chosen by the person who registered it ({report.dataset_version})"
    return "of people without photos in its training data"


def _files(report: ModelReport) -> str:
    onnx = f"model.onnx {report.onnx_bytes:,} bytes, sha256 `{report.onnx_sha256}`."
    plain = f"It was made from model.plain.onnx, sha256 `{report.plain_onnx_sha256}`."
    return " ".join(filter(None, (onnx, report.optimization, report.plain_onnx_sha256 and plain)))


def _against_champion(report: ModelReport) -> list[str]:
    if report.comparison is None:
        return []
    pair = report.comparison
    return [
        "",
        f"The champion {pair.champion} reaches {pair.champion_map50:.3f} on the same photos: "
        f"a gain of {pair.gain * 100:+.1f} points "
        f"(95 % interval {pair.gain_lower * 100:+.1f} to {pair.gain_upper * 100:+.1f}).",
    ]
