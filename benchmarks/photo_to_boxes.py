"""Benchmark: photo bytes to boxes in one process with all its cores.

Peers of `savo_detection` are ultralytics, a plain loop with Pillow and ONNX Runtime, and the engine alone.

`savo_detection` runs as in vision, one photo per core: a photo is decoded while another is in the network. The peers
run as they are commonly used, one photo after the other with all cores. ultralytics also runs with one thread and one
model per core. Engines of reduced precision run where the processor supports them. Vision uses them only by name.

The network is yolov8n at 640 pixels with random weights, because time does not depend on weights. It is exported like
the trainer's models, with dynamic sides and an optimised graph; the peers read the plain export. `savo_detection` and
ultralytics give a photo of 4:3 an input of 640 × 480 pixels, the plain loop a square.
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

from benchmarks.measurement import Figure, paired_speedup, rounds, run_interleaved
from savo_demo.drawing.scenes import draw_scenes
from savo_detection.detector import Detector, plain_export_path
from savo_detection.engines.backends import BUILDERS, ONNX_RUNTIME, REDUCED_PRECISION, Engine
from savo_detection.engines.cpus import usable_cpus
from savo_detection.engines.selection import Engines
from savo_detection.errors import ModelRefusedError
from savo_detection.model_optimization import optimize_file
from savo_detection.photos.letterbox import Letterbox, letterbox

WORK = Path(".savo/bench")
SIDE = 640
BANANA = 46
ROUNDS = rounds(12)
PHOTOS = 6
"""Photos in a turn."""

Detect = Callable[[bytes], object]


def figures() -> Iterator[Figure]:
    model = exported_model()
    plain = plain_export_path(model)
    best = Detector.load(model, plain=plain.read_bytes(), engines=Engines("auto"))
    detectors = {ONNX_RUNTIME: Detector.load(model), best.choice.engine: best, **reduced_precision_detectors(model)}
    with ThreadPoolExecutor(usable_cpus()) as threads:
        for size, photo in photos().items():
            contenders: dict[str, Callable[[], object]] = {
                **{
                    engine: partial(_concurrently, threads, detector.detect, photo)
                    for engine, detector in detectors.items()
                },
                "ultralytics predict": partial(_sequentially, ultralytics_predict(plain), photo),
                "ultralytics predict, one thread per core": partial(
                    _concurrently, threads, _one_per_thread(ultralytics_predict, plain), photo
                ),
                "Pillow + ONNX Runtime": partial(_sequentially, plain_loop(plain), photo),
                **_engine_alone(threads, model, best, photo),
            }
            seconds = run_interleaved(contenders, rounds=ROUNDS)
            limit = [min(pair) for pair in zip(seconds.pop(SEQUENTIAL), seconds.pop(CONCURRENT), strict=True)]
            for engine in detectors:
                for peer in (name for name in seconds if name not in detectors):
                    yield _of_one_photo(f"bytes → boxes, {size}, {engine}", seconds[engine], peer, seconds[peer])
            yield _of_one_photo(
                f"bytes → boxes, {size}, {best.choice.engine}",
                seconds[best.choice.engine],
                "the engine alone, prepared tensors",
                limit,
            )


def reduced_precision_detectors(model: Path) -> dict[str, Detector]:
    """Detectors with engines of reduced precision that run on this machine."""
    found: dict[str, Detector] = {}
    for name in sorted(REDUCED_PRECISION):
        with suppress(ModelRefusedError):
            found[name] = Detector.load(model, plain=plain_export_path(model).read_bytes(), engines=Engines(name))
    return found


SEQUENTIAL, CONCURRENT = "sequential passes", "concurrent passes"


def _engine_alone(
    threads: ThreadPoolExecutor, model: Path, best: Detector, photo: bytes
) -> dict[str, Callable[[], object]]:
    """The engine alone on a prepared tensor, with the network of `savo_detection`."""
    pixels = best.decode(photo)
    place = Letterbox.fit(pixels.shape[1], pixels.shape[0], SIDE, SIDE).rectangular()
    tensor = np.empty((1, 3, place.input_height, place.input_width), np.float32)
    letterbox(pixels, place, tensor[0])
    data = (model if best.choice.engine == ONNX_RUNTIME else plain_export_path(model)).read_bytes()
    engine: Engine = BUILDERS[best.choice.engine](data, usable_cpus(), (1, 3, *best.image_size))

    def one_pass(_: bytes) -> None:
        engine.run(tensor, lambda _output: None)

    return {
        SEQUENTIAL: partial(_sequentially, one_pass, photo),
        CONCURRENT: partial(_concurrently, threads, one_pass, photo),
    }


def _sequentially(detect: Detect, photo: bytes) -> None:
    for _ in range(PHOTOS):
        detect(photo)


def _concurrently(threads: ThreadPoolExecutor, detect: Detect, photo: bytes) -> None:
    list(threads.map(detect, [photo] * PHOTOS))


def _one_per_thread(make: Callable[[Path], Detect], model: Path) -> Detect:
    """A detector per thread, for detectors that threads must not share."""
    own = threading.local()

    def detect(photo: bytes) -> object:
        if not hasattr(own, "detect"):
            own.detect = make(model)
        return own.detect(photo)

    return detect


def _of_one_photo(name: str, ours: list[float], peer_name: str, peer: list[float]) -> Figure:
    return paired_speedup(
        name,
        [turn / PHOTOS for turn in ours],
        peer_name,
        [turn / PHOTOS for turn in peer],
        note=f"{1 / (statistics.median(ours) / PHOTOS):.1f} photos per second",
    )


def photos() -> dict[str, bytes]:
    """One kitchen scene in two sizes: 512 pixels as from the app, and 12 megapixels with noise as from a camera."""
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
    """yolov8n, optimised, with its plain export beside it."""
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
    """Optimise a model file unless it is optimised already, because vision serves optimised files."""
    made = optimize_file(path)
    assert made.plain, made.model.reason
    return path


def confident_model() -> Path:
    """The same network with three confident bananas in every photo, so that vision does not ask the provider."""
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
        names.value = str({number: "banana" if number == BANANA else f"class {number}" for number in range(rows - 4)})
        model.graph.initializer.append(numpy_helper.from_array(sure, "sure"))
        model.graph.node.append(helper.make_node("Concat", ["unsure", "sure"], [output.name], axis=2))
        onnx.save(model, path)
    return optimized(path)


def plain_loop(model: Path) -> Any:
    """Plain detection loop: Pillow decodes at full size and resizes, ONNX Runtime runs, boxes above 0.25 are kept."""
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
