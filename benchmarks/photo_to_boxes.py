"""Photo bytes → boxes in one process with all its cores: `savo_detection` beside ultralytics, a plain Pillow + ONNX Runtime loop, and the engine alone.

Ours works as vision does, a photo a core at a time: while one is in the network, the next is decoded. The peers work as they are commonly used,
photo after photo with every core at each; ultralytics also with a thread and a model a core. OpenVINO in bfloat16 is shown where the processor
computes in it, though vision takes it by name alone.

The network is yolov8n at 640 pixels with fresh weights: time does not depend on what it learned. It is exported as our
trainer does, with free sides and its graph optimised; the peers read the plain export. Ours and ultralytics give a photo
of 4:3 an input of 640 × 480 pixels, Pillow + ONNX Runtime a square, as one writes it first.
"""

from __future__ import annotations

import io
import os
import statistics
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout, suppress
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
from PIL import Image

from benchmarks.measuring import Figure, faster, in_turn, rounds
from savo_demo.drawing.scenes import draw_scenes
from savo_detection.engines.backends import BUILDERS, ONNX_RUNTIME, REDUCED_PRECISION, Engine
from savo_detection.engines.cpus import usable_cpus
from savo_detection.engines.selection import Engines
from savo_detection.errors import ModelRefusedError
from savo_detection.model import Detector, plain_export_path
from savo_detection.model_optimization import optimize_file
from savo_detection.photos.letterbox import Letterbox, letterbox

WORK = Path(".savo/bench")
SIDE = 640
BANANA = 46
ROUNDS = rounds(12)
PHOTOS = 6
"""In a turn."""

Look = Callable[[bytes], object]


def figures() -> Iterator[Figure]:
    model = exported_model()
    plain = plain_export_path(model)
    best = Detector.load(model, plain=plain.read_bytes(), engines=Engines("auto"))
    detectors = {ONNX_RUNTIME: Detector.load(model), best.choice.engine: best, **by_name_alone(model)}
    with ThreadPoolExecutor(usable_cpus()) as threads:
        for size, photo in photos().items():
            turns: dict[str, Callable[[], object]] = {
                **{engine: partial(_side_by_side, threads, each.detect, photo) for engine, each in detectors.items()},
                "ultralytics predict": partial(_one_by_one, ultralytics_predict(plain), photo),
                "ultralytics predict, a thread a core": partial(
                    _side_by_side, threads, _own_in_each_thread(ultralytics_predict, plain), photo
                ),
                "Pillow + ONNX Runtime": partial(_one_by_one, plain_loop(plain), photo),
                **_alone(threads, model, best, photo),
            }
            seconds = in_turn(turns, rounds=ROUNDS)
            limit = [min(pair) for pair in zip(seconds.pop(ONE_PASS), seconds.pop(MANY_PASSES), strict=True)]
            for engine in detectors:
                for peer in (name for name in seconds if name not in detectors):
                    yield _of_one_photo(f"bytes → boxes, {size}, {engine}", seconds[engine], peer, seconds[peer])
            yield _of_one_photo(
                f"bytes → boxes, {size}, {best.choice.engine}",
                seconds[best.choice.engine],
                "the engine alone, ready tensors",
                limit,
            )


def by_name_alone(model: Path) -> dict[str, Detector]:
    """Engines that round, where they run: what naming them gains."""
    found: dict[str, Detector] = {}
    for name in sorted(REDUCED_PRECISION):
        with suppress(ModelRefusedError):
            found[name] = Detector.load(model, plain=plain_export_path(model).read_bytes(), engines=Engines(name))
    return found


ONE_PASS, MANY_PASSES = "passes one by one", "passes side by side"


def _alone(threads: ThreadPoolExecutor, model: Path, best: Detector, photo: bytes) -> dict[str, Callable[[], object]]:
    """The engine's own limit: passes of a tensor that is ready through the network that ours runs, in the way that is faster."""
    pixels = best.decode(photo)
    place = Letterbox.fit(pixels.shape[1], pixels.shape[0], SIDE, SIDE).rectangular()
    tensor = np.empty((1, 3, place.input_height, place.input_width), np.float32)
    letterbox(pixels, place, tensor[0])
    data = (model if best.choice.engine == ONNX_RUNTIME else plain_export_path(model)).read_bytes()
    engine: Engine = BUILDERS[best.choice.engine](data, usable_cpus(), (1, 3, *best.image_size))

    def one_pass(_: bytes) -> None:
        engine.run(tensor, lambda _output: None)

    return {
        ONE_PASS: partial(_one_by_one, one_pass, photo),
        MANY_PASSES: partial(_side_by_side, threads, one_pass, photo),
    }


def _one_by_one(look: Look, photo: bytes) -> None:
    for _ in range(PHOTOS):
        look(photo)


def _side_by_side(threads: ThreadPoolExecutor, look: Look, photo: bytes) -> None:
    list(threads.map(look, [photo] * PHOTOS))


def _own_in_each_thread(make: Callable[[Path], Look], model: Path) -> Look:
    """Not all that looks at photos may be shared between threads."""
    own = threading.local()

    def look(photo: bytes) -> object:
        if not hasattr(own, "look"):
            own.look = make(model)
        return own.look(photo)

    return look


def _of_one_photo(name: str, ours: list[float], peer_name: str, peer: list[float]) -> Figure:
    return faster(
        name,
        [turn / PHOTOS for turn in ours],
        peer_name,
        [turn / PHOTOS for turn in peer],
        note=f"{1 / (statistics.median(ours) / PHOTOS):.1f} photos a second",
    )


def photos() -> dict[str, bytes]:
    """One kitchen scene as the app sends it small (512 px), and as a phone takes it (12 megapixels), with sensor grain."""
    scene = next(iter(draw_scenes(1, seed=3)))
    pixels = cv2.imdecode(np.frombuffer(scene.jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    grain = np.random.default_rng(3)
    large = cv2.resize(pixels, (4032, 3024), interpolation=cv2.INTER_CUBIC).astype(np.int16) + grain.integers(
        -9, 10, (3024, 4032, 1)
    )
    return {
        "512 px": _jpeg(cv2.resize(pixels, (512, 384), interpolation=cv2.INTER_AREA)),
        "12 MP": _jpeg(large.clip(0, 255).astype(np.uint8)),
    }


def exported_model() -> Path:
    """Optimised, its plain export beside it."""
    path = WORK / "yolov8n-free.onnx"
    if not path.exists():
        WORK.mkdir(parents=True, exist_ok=True)
        yolo = _ultralytics()
        with redirect_stdout(io.StringIO()):
            exported = Path(
                yolo("yolov8n.yaml", verbose=False).export(format="onnx", imgsz=SIDE, dynamic=True, verbose=False)
            )
        exported.replace(path)
    return optimized(path)


def optimized(path: Path) -> Path:
    """The file, optimised now unless it was before. What is measured must be what is served."""
    made = optimize_file(path)
    assert made.plain, made.model.reason
    return path


def sure_model() -> Path:
    """The same network, sure of three bananas in every photo: an answer that the router serves without asking the provider."""
    import onnx
    from onnx import helper, numpy_helper

    path = WORK / "yolov8n-free-sure.onnx"
    if not path.exists():
        model = onnx.load(plain_export_path(exported_model()))
        (output,) = model.graph.output
        rows = output.type.tensor_type.shape.dim[1].dim_value
        sure = np.zeros((1, rows, 3), np.float32)
        sure[0, :4] = np.asarray([[100, 200, 60, 60], [300, 250, 60, 60], [500, 300, 60, 60]]).T
        sure[0, 4 + BANANA] = 0.9
        for node in model.graph.node:
            node.output[:] = ["unsure" if name == output.name else name for name in node.output]
        (names,) = (entry for entry in model.metadata_props if entry.key == "names")
        names.value = str({number: "banana" if number == BANANA else f"thing {number}" for number in range(rows - 4)})
        model.graph.initializer.append(numpy_helper.from_array(sure, "sure"))
        model.graph.node.append(helper.make_node("Concat", ["unsure", "sure"], [output.name], axis=2))
        onnx.save(model, path)
    return optimized(path)


def plain_loop(model: Path) -> Any:
    """What one writes first: Pillow decodes at full size, resizes, ONNX Runtime runs, boxes over 0.25 are taken."""
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def detect(photo: bytes) -> list[tuple[float, ...]]:
        image = Image.open(io.BytesIO(photo)).convert("RGB")
        scale = SIDE / max(image.size)
        resized = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR)
        canvas = Image.new("RGB", (SIDE, SIDE), (114, 114, 114))
        canvas.paste(resized, ((SIDE - resized.width) // 2, (SIDE - resized.height) // 2))
        tensor = np.asarray(canvas, np.float32).transpose(2, 0, 1)[None] / 255
        (output,) = session.run(None, {name: tensor})
        rows = output[0].T
        kept = rows[rows[:, 4:].max(1) > 0.25]
        boxes = [[x - w / 2, y - h / 2, w, h] for x, y, w, h in kept[:, :4].tolist()]
        chosen = cv2.dnn.NMSBoxes(boxes, kept[:, 4:].max(1).tolist(), 0.25, 0.7) if boxes else []
        return [tuple(boxes[index]) for index in chosen]

    return detect


def ultralytics_predict(model: Path) -> Any:
    yolo = _ultralytics()(str(model), task="detect")

    def detect(photo: bytes) -> Any:
        pixels = cv2.imdecode(np.frombuffer(photo, np.uint8), cv2.IMREAD_COLOR)
        return yolo.predict(pixels, imgsz=SIDE, conf=0.25, verbose=False)

    return detect


def _ultralytics() -> Any:
    WORK.mkdir(parents=True, exist_ok=True)
    os.environ |= {"YOLO_AUTOINSTALL": "False", "YOLO_CONFIG_DIR": str(WORK.resolve()), "YOLO_VERBOSE": "False"}
    from ultralytics import YOLO

    return YOLO


def _jpeg(pixels: Any) -> bytes:
    encoded, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 90])
    assert encoded
    return bytes(data.tobytes())
