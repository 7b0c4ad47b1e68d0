"""`savo models register`: checks and measures a model that was trained elsewhere, and submits it to the trainer."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from savo_contracts.documents import PLAIN_EXPORT, model_key
from savo_datasets.errors import DatasetError
from savo_datasets.yolo_folder import read_data_yaml
from savo_detection.errors import ModelRefusedError, PhotoError
from savo_detection.evaluation.evaluator import EvaluationSample
from savo_runtime.command_line.output import reported_errors
from savo_runtime.errors import SavoError
from savo_runtime.settings import RuntimeSettings, load_settings
from savo_runtime.storage.class_list import read_class_list
from savo_runtime.storage.digests import file_sha256
from savo_runtime.storage.factory import open_store
from savo_runtime.storage.port import ObjectStore
from savo_runtime.telemetry.audit import this_user
from savo_trainer.adapters.trainer_client import TrainerClient
from savo_trainer.command_line.candidate import Candidate, prepare_candidate
from savo_trainer.command_line.options import AsJson, By, Split
from savo_trainer.command_line.runs.view import verdict_lines
from savo_trainer.command_line.terminal import err, print_json, print_line
from savo_trainer.command_line.training_note import read_note
from savo_trainer.errors import TrainerRefusedError
from savo_trainer.models.class_ids import check_classes
from savo_trainer.models.evaluation import Measurement, compare_with_champion, measure, split_samples
from savo_trainer.models.gate import GatePolicy
from savo_trainer.models.registration import SubmittedClassChange, SubmittedModel, run_id_of
from savo_trainer.models.registry import champion_version

__all__ = ["register_model"]

Run = dict[str, Any]
NO_REASON = "registered by hand"


@dataclass
class _Holdout:
    """The photos to measure on, and a name that identifies their content."""

    data: dict[str, Any]
    split: str
    digest: Any = field(default_factory=hashlib.sha256)

    def photos(self) -> Iterator[EvaluationSample]:
        return split_samples(self.data, self.split)

    def named_photos(self) -> Iterator[EvaluationSample]:
        for sample in self.photos():
            self.digest.update(
                hashlib.sha256(sample.photo_bytes).digest() + repr([tuple(box) for box in sample.truth]).encode()
            )
            yield sample

    @property
    def name(self) -> str:
        """Valid after `named_photos` was read to its end."""
        return f"holdout-{self.digest.hexdigest()[:12]}"


@reported_errors(ModelRefusedError, PhotoError)
def register_model(
    model: Annotated[
        Path,
        typer.Option(
            "--model",
            metavar="FILE",
            help="ONNX file. The training note of `savo train` and the .pt beside it are used if present.",
        ),
    ],
    data: Annotated[
        Path,
        typer.Option(
            "--data",
            metavar="FILE",
            help="dataset.yaml, as `savo prepare` writes it: labelled photos that were not used in training.",
        ),
    ],
    split: Split = "test",
    reason: Annotated[
        str | None,
        typer.Option(
            "--reason", metavar="TEXT", help="Reason for the model card and the audit log.", show_default=False
        ),
    ] = None,
    by: By = None,
    weights: Annotated[
        bool,
        typer.Option(
            help="Store the .pt too, so that later trainings can start from it. A pickle: only one you trust."
        ),
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Register a model trained elsewhere: checked, compared with the champion, judged by the gate.

    Exit 0 if it is registered, 1 if the gate refused it.
    """
    run, repeated = asyncio.run(_register(model, data, split, reason, by, weights=weights))
    if as_json:
        print_json(run)
    else:
        _print_verdict(run, repeated=repeated)
    raise typer.Exit(0 if run["state"] == "registered" else 1)


async def _register(
    model: Path, data: Path, split: str, reason: str | None, by: str | None, *, weights: bool
) -> tuple[Run, bool]:
    trainer, holdout = TrainerClient.from_settings(), _Holdout(read_data_yaml(data), split)
    with tempfile.TemporaryDirectory(prefix="savo-register-") as folder:
        candidate = prepare_candidate(model, Path(folder))
        if known := _existing_verdict(trainer, candidate):
            return known, True
        store = open_store(load_settings(RuntimeSettings))
        try:
            check_classes(candidate.detector.classes, (await read_class_list(store))[0])
            audit = {"by": by or this_user(), "reason": reason or NO_REASON}
            submitted = await _measured_candidate(candidate, holdout, store, weights=weights, **audit)
            return await _submit(submitted, candidate, trainer, store), False
        finally:
            await store.close()


def _existing_verdict(trainer: TrainerClient, candidate: Candidate) -> Run | None:
    """The run of this model if it has a verdict already. Raises `TrainerUnreachableError` before any measurement."""
    for run in trainer.get("/runs")["runs"]:
        hashes = (run["facts"]["onnx_sha256"], run["facts"].get("plain_onnx_sha256"))
        if run["state"] in ("registered", "rejected") and not set(hashes).isdisjoint(candidate.hashes):
            return dict(run)
    for sha256 in candidate.hashes:
        with contextlib.suppress(TrainerRefusedError):
            return trainer.get(f"/runs/{run_id_of(sha256)}")
    return None


async def _measured_candidate(
    candidate: Candidate, holdout: _Holdout, store: ObjectStore, *, weights: bool, by: str, reason: str
) -> SubmittedModel:
    """Measure the candidate, and compare it with the champion, if there is one, on the same photos."""
    with err.status(f"measuring {candidate.given.name} on {holdout.split}"):
        measured = await _measured(candidate.onnx, holdout.named_photos())
    champion, comparison = await champion_version(store), {}
    if champion:
        with err.status(f"measuring the champion {champion} on the same photos"):
            comparison = await _comparison(measured, champion, holdout, store)
    note, facts = read_note(candidate.given, file_sha256(candidate.given)), candidate.detector.version_info
    return SubmittedModel(
        sha256=facts.sha256,
        bytes=facts.bytes,
        plain_sha256=facts.plain_sha256 if candidate.plain else None,
        optimization=candidate.optimization,
        image_size=candidate.detector.image_size[0],
        classes=candidate.detector.classes,
        weights_sha256=file_sha256(candidate.weights) if weights and candidate.weights.exists() else None,
        holdout=holdout.name,
        evaluation=measured.evaluation,
        weights_map50=note.weights_map50 if note else None,
        export_map50=note.export_map50 if note else None,
        train_samples=note.train_samples if note else 0,
        by=by,
        reason=reason,
        **comparison,
    )


async def _measured(onnx: Path, photos: Iterable[EvaluationSample]) -> Measurement:
    try:
        return await asyncio.to_thread(measure, onnx, photos)
    except ValueError as error:
        raise DatasetError(str(error)) from error


async def _comparison(candidate: Measurement, champion: str, holdout: _Holdout, store: ObjectStore) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="savo-champion-") as folder:
        onnx = Path(folder) / f"{champion}.onnx"
        await store.download(model_key(champion, "model.onnx"), onnx)
        measured = await _measured(onnx, holdout.photos())
    comparison, changes = compare_with_champion(candidate, measured, champion, GatePolicy().class_drop)
    class_changes = {
        label: SubmittedClassChange(gain=change.gain, boxes=change.boxes, p_dropped=change.p_dropped)
        for label, change in changes.items()
    }
    return {"comparison": comparison, "class_changes": class_changes}


async def _submit(submitted: SubmittedModel, candidate: Candidate, trainer: TrainerClient, store: ObjectStore) -> Run:
    """Submit the model, upload the files that the trainer lacks, and submit it again. Safe to repeat."""
    sources = {"model.onnx": candidate.onnx, "weights.pt": candidate.weights}
    if candidate.plain:
        sources[PLAIN_EXPORT] = candidate.plain
    answer = trainer.post("/models", submitted.model_dump(mode="json"))
    if "wanted" in answer:
        with err.status(f"storing {answer['version']}"):
            for name in answer["wanted"]:
                await store.upload(model_key(answer["version"], name), sources[name])
        answer = trainer.post("/models", submitted.model_dump(mode="json"))
    if "wanted" in answer:
        missing = f"{', '.join(answer['wanted'])} of {answer['version']}"
        raise SavoError(
            f"the trainer does not find {missing} after the upload: set the same object store here and for the trainer"
        )
    return answer


def _print_verdict(run: Run, *, repeated: bool) -> None:
    version, passed = run["facts"]["version"], run["state"] == "registered"
    verdict = "registered" if passed else "refused by the gate"
    before = ", and was before: nothing is done twice" if repeated else ""
    print_line(f"{version}: {verdict}{before}", style="green" if passed else "yellow")
    for line in verdict_lines(run):
        print_line(f"  {line}")
    promote = f"savo models promote {version}"
    if passed:
        print_line("next: savo rollout show   # its trial, if SAVO_USE_CUSTOM_VISION is true")
        print_line(f"or:   {promote} --reason …   # without a trial")
    else:
        print_line(f"next: savo models show {version}   # its model card")
        print_line(f"or:   {promote} --force --reason …   # in spite of the refusal")
