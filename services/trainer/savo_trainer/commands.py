"""The trainer's words in the `savo` command: prepare, train, evaluate, runs, models.

Everything heavy is imported inside the functions: `savo --help` loads no numpy, no ONNX Runtime, no torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
By = Annotated[str | None, typer.Option("--by", help="Who, for the audit log; default is the user of this shell.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Called by the CLI through the entry point group `savo.commands`."""
    app.command("prepare")(prepare)
    app.command("train")(train)
    app.command("evaluate")(evaluate)
    runs = _group(app, "runs", "Training runs of the trainer service.")
    runs.command("list")(runs_list)
    runs.command("show")(runs_show)
    runs.command("watch")(runs_watch)
    runs.command("cancel")(runs_cancel)
    models = _group(app, "models", "Models in the registry.")
    models.command("list")(models_list)
    models.command("show")(models_show)
    models.command("register")(models_register)
    models.command("export")(models_export)
    models.command("diff")(models_diff)


def _group(app: typer.Typer, name: str, about: str) -> typer.Typer:
    """The group of that name, which somebody else may have begun."""
    for known in app.registered_groups:
        if known.name == name and known.typer_instance is not None:
            return known.typer_instance
    group = typer.Typer(no_args_is_help=True, help=about)
    app.add_typer(group, name=name)
    return group


def prepare(
    source: Annotated[
        str, typer.Option("--input", metavar="DIR|TAR|s3://BUCKET/PREFIX", help="images/, labels/ and classes.txt or data.yaml; or an object store's samples.")
    ],
    output: Annotated[Path, typer.Option("--output", help="Empty folder for images/, labels/ and dataset.yaml.")],
    split: Annotated[
        tuple[float, float, float] | None,
        typer.Option("--split", help="Shares of train, val and test; 0.7 0.2 0.1 for a folder. Of an object store: deals anew by subject, else as collected."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The same seed deals the same way.")] = 0,
    groups: Annotated[Path | None, typer.Option("--groups", help="CSV with name,group: photos of one group stay in one split.")] = None,
    session_gap: Annotated[int, typer.Option("--session-gap", min=0, help="Camera numbers no further apart are one session; 0 ignores names.")] = 20,
    near_duplicates: Annotated[bool, typer.Option(help="Keep photos that look alike in one split.")] = True,
    as_json: AsJson = False,
) -> None:
    """Cut labelled photos into train, val and test by session, so that no near-copy of a training photo is tested on.

    Samples of an object store (s3://, with the R2_* settings or SAVO_S3_ENDPOINT_URL, or the folder .savo/objects) keep the split that
    they were given when they were collected, unless --split is given. An interrupted download goes on where it was.
    """
    from savo_trainer.workbench.console import speaking

    with speaking():
        from savo_trainer.workbench.prepare import prepare_from

        prepare_from(source, output, split, seed, groups, session_gap, near_duplicates=near_duplicates, as_json=as_json)


def train(
    data: Annotated[Path, typer.Option("--data", help="dataset.yaml, as `savo prepare` writes it.")],
    model: Annotated[str, typer.Option("--model", help="Architecture (.yaml) or local weights (.pt).")] = "yolov8n.yaml",
    epochs: Annotated[int, typer.Option("--epochs", min=1)] = 100,
    batch: Annotated[int, typer.Option("--batch", min=1)] = 16,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, mps, or CUDA indices such as 0.")] = "auto",
    imgsz: Annotated[int, typer.Option("--imgsz", min=32, help="Side of the square input, pixels; a multiple of 32.")] = 640,
    name: Annotated[str, typer.Option("--name", help="Results go to runs/train/NAME.")] = "savo",
    width: Annotated[float | None, typer.Option("--width", help="Width multiple in place of the architecture's own.")] = None,
    extra: Annotated[str, typer.Option("--extra", help='More of ultralytics\' training arguments, as JSON: {"mosaic": 0.5}.')] = "{}",
    seed: Annotated[int, typer.Option("--seed", min=0)] = 0,
    as_json: AsJson = False,
) -> None:
    """Train, export to ONNX and compare the two: runs/train/NAME/weights/{best.pt,best.onnx}."""
    from savo_trainer.training.plan import TrainPlan
    from savo_trainer.workbench.console import speaking, train_here

    with speaking():
        own = Path(model)  # the training runs in a folder of its own
        plan = TrainPlan(str(own.resolve()) if own.is_file() else model, epochs, batch, imgsz, device, width, seed, _json_object(extra))
        train_here(plan, data, name, as_json=as_json)


def evaluate(
    model: Annotated[Path, typer.Option("--model", help="ONNX file.")],
    data: Annotated[Path, typer.Option("--data", help="dataset.yaml, as `savo prepare` writes it.")],
    split: Annotated[str, typer.Option("--split", help="train, val or test.")] = "test",
    as_json: AsJson = False,
) -> None:
    """Measure a model through the code that serves it: mAP@0.5 with its interval, and AP by class."""
    from savo_trainer.workbench.console import evaluate_file, speaking

    with speaking():
        evaluate_file(model, data, split, as_json=as_json)


def runs_list(as_json: AsJson = False) -> None:
    """The newest runs, as the running trainer tells them."""
    from savo_trainer.workbench.console import speaking
    from savo_trainer.workbench.runs import show_runs

    with speaking():
        show_runs(as_json=as_json)


def runs_show(run_id: Annotated[str, typer.Argument(help="Such as run-6a1d2f3e0000.")], as_json: AsJson = False) -> None:
    """One run with its history, figures and verdict."""
    from savo_trainer.workbench.console import speaking
    from savo_trainer.workbench.runs import show_run

    with speaking():
        show_run(run_id, as_json=as_json)


def runs_watch(
    run_id: Annotated[str | None, typer.Argument(help="Default is the run that is going on, else the next one.", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line, for each change.")] = False,
) -> None:
    """Follow a run to its verdict: epochs, losses, what comes next. Ends with 0 when it passed its gate, 1 when it did not."""
    from savo_trainer.workbench.console import speaking
    from savo_trainer.workbench.runs import watch_runs

    with speaking():
        watch_runs(run_id, as_json=as_json)


def runs_cancel(
    run_id: Annotated[str, typer.Argument(help="Such as run-6a1d2f3e0000.")],
    reason: Annotated[str, typer.Option("--reason", help="Why, for the audit log.", show_default=False)],
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """End a run that waits or is going on; nothing of it is registered. A verdict that is there stays."""
    from savo_trainer.workbench.console import speaking
    from savo_trainer.workbench.runs import cancel_run

    with speaking():
        cancel_run(run_id, reason, by, as_json=as_json)


def models_list(as_json: AsJson = False) -> None:
    """Every version in the object store with its verdict, and which is champion or challenger."""
    from savo_trainer.workbench.console import show_models, speaking

    with speaking():
        show_models(as_json=as_json)


def models_show(version: Annotated[str, typer.Argument(help="Such as v3.")], as_json: AsJson = False) -> None:
    """A version's card, or its whole report with --json."""
    from savo_trainer.workbench.console import show_model, speaking

    with speaking():
        show_model(version, as_json=as_json)


def models_register(
    model: Annotated[Path, typer.Option("--model", help="ONNX file; what `savo train` noted beside it is used, and its .pt is kept with it.")],
    data: Annotated[Path, typer.Option("--data", help="dataset.yaml, as `savo prepare` writes it: labelled photos that the model has not seen.")],
    split: Annotated[str, typer.Option("--split", help="train, val or test.")] = "test",
    reason: Annotated[str | None, typer.Option("--reason", help="Why, for its card and the audit log.", show_default=False)] = None,
    by: By = None,
    weights: Annotated[bool, typer.Option(help="Keep the .pt beside it too: later trainings may go on from it. A pickle: only one that you trust.")] = True,
    as_json: AsJson = False,
) -> None:
    """Bring a model that was trained elsewhere: checked, measured beside the champion, judged by the trainer's gate."""
    from savo_trainer.workbench.console import speaking
    from savo_trainer.workbench.register import register_model

    with speaking():
        register_model(model, data, split, reason, by, weights=weights, as_json=as_json)


def models_export(
    weights: Annotated[Path, typer.Argument(help="A .pt file that you trust: it is a pickle.")],
    imgsz: Annotated[int, typer.Option("--imgsz", min=32, help="Side of the square input, pixels; a multiple of 32.")] = 640,
    as_json: AsJson = False,
) -> None:
    """Write the ONNX file beside a .pt, as the product serves it."""
    from savo_trainer.workbench.console import export_here, speaking

    with speaking():
        export_here(weights, imgsz, as_json=as_json)


def models_diff(
    before: Annotated[str, typer.Argument(help="v1, champion, challenger, or the path of an ONNX file.")],
    after: Annotated[str, typer.Argument(help="The same words.")],
    data: Annotated[Path | None, typer.Option("--data", help="dataset.yaml, or a folder of photos; default: the newest data set's holdout.")] = None,
    split: Annotated[str, typer.Option("--split", help="Of a dataset.yaml: train, val or test.")] = "test",
    output: Annotated[Path | None, typer.Option("--output", metavar="DIR", help="Folder of the page and the pictures.")] = None,
    pictures: Annotated[int, typer.Option("--pictures", metavar="N", min=0, help="At most N pictures: where the two differ most.")] = 24,
    as_json: AsJson = False,
) -> None:
    """Two models on the same photos: mAP@0.5 and the paired gain, AP by class, boxes gained, lost, moved and renamed, latency, size."""
    from savo_trainer.workbench.console import diff_models, speaking

    with speaking():
        diff_models(before, after, data, split, output, pictures, as_json=as_json)


def _json_object(text: str) -> dict[str, object]:
    import json

    try:
        value = json.loads(text)
    except ValueError as flaw:
        raise typer.BadParameter(f"--extra is no JSON: {flaw}") from None
    if not isinstance(value, dict):
        raise typer.BadParameter('--extra is a JSON object, such as {"mosaic": 0.5}')
    return value
