"""The stand-in as a process, over HTTP and through the providers' SDKs."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import httpx2
import numpy as np
import pytest
from google import genai
from google.genai import types
from openai import OpenAI
from pydantic import BaseModel

from savo_datasets.yolo_writer import create_folder
from savo_demo.drawing.scene_folder import write_scene, write_scenes
from savo_demo.drawing.scenes import CLASSES, Scene, add_defect, draw_scene, draw_scenes

URL_KEY = {"x-goog-api-key": "any"}
GENERATE_PATH = "/v1/models/gemini-3.5-flash:generateContent"


class Item(BaseModel):
    label: str
    box_2d: list[int]
    confidence: float | None
    quantity: float | None


class Items(BaseModel):
    items: list[Item]


class Recipe(BaseModel):
    title: str
    ingredients: list[str]
    uses: list[str]
    steps: list[str]
    minutes: int


class Recipes(BaseModel):
    recipes: list[Recipe]


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [scene for scene in draw_scenes(14, seed=31) if scene.truth]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, scenes: list[Scene]) -> Path:
    place = tmp_path_factory.mktemp("truth")
    write_scenes(place, scenes)
    return place


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    """A stand-in without errors, to test the wire formats."""
    yield from running(
        folder, "--miss", "0", "--wrong", "0", "--jitter", "0", "--errors", "0", "--latency-scale", "0.001"
    )


def running(folder: Path, *options: str) -> Iterator[str]:
    with subprocess.Popen(
        [sys.executable, "-m", "savo_demo.standin", "--truth", str(folder), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["url"]
        process.terminate()


def request_body(photo: bytes, *, snake: bool = False, url_safe: bool = True) -> dict[str, Any]:
    data = (base64.urlsafe_b64encode if url_safe else base64.b64encode)(photo).decode()
    blob = (
        {"inline_data": {"mime_type": "image/jpeg", "data": data}}
        if snake
        else {"inlineData": {"mimeType": "image/jpeg", "data": data}}
    )
    return {"contents": [{"role": "user", "parts": [blob, {"text": "What is in it?"}]}]}


def ask(url: str, photo: bytes, **kind: bool) -> list[dict[str, Any]]:
    answer = httpx2.post(url + GENERATE_PATH, json=request_body(photo, **kind), headers=URL_KEY)
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = json.loads(answer.json()["candidates"][0]["content"]["parts"][0]["text"])
    return items


def truth_of(scene: Scene) -> list[tuple[str, Any]]:
    """Label files hold six decimals, so a corner may fall on the other side of a whole number."""
    return [(item.label, pytest.approx(item.bbox.to_gemini(), abs=1)) for item in scene.truth]


def labels_and_boxes(items: list[dict[str, Any]]) -> list[tuple[str, Any]]:
    return [(item["label"], item["box_2d"]) for item in items]


def smaller(photo: bytes, side: int) -> bytes:
    """A smaller copy, encoded again, as the product sends it."""
    image = cv2.imdecode(np.frombuffer(photo, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    scale = side / max(image.shape)
    _, buffer = cv2.imencode(
        ".jpg",
        cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA),
        [cv2.IMWRITE_JPEG_QUALITY, 75],
    )
    return buffer.tobytes()


@pytest.mark.parametrize(
    "form", [{"snake": False}, {"snake": True}, {"url_safe": False}], ids=["camel", "snake", "plain base64"]
)
def test_a_known_photo_gets_its_truth(url: str, scenes: list[Scene], form: dict[str, bool]) -> None:
    assert labels_and_boxes(ask(url, scenes[0].jpeg, **form)) == truth_of(scenes[0])


@pytest.mark.parametrize("side", [600, 384, 200])
def test_a_smaller_copy_of_a_photo_is_recognised(url: str, scenes: list[Scene], side: int) -> None:
    for scene in scenes:
        assert labels_and_boxes(ask(url, smaller(scene.jpeg, side))) == truth_of(scene)


def test_an_unknown_photo_gets_an_empty_list(url: str) -> None:
    assert ask(url, draw_scene(99, 1).jpeg) == []


def test_photos_that_are_added_later_are_recognised(url: str, folder: Path) -> None:
    create_folder(folder, CLASSES)
    scene = next(scene for scene in draw_scenes(9, seed=77) if scene.truth)
    write_scene(folder, scene)
    assert labels_and_boxes(ask(url, smaller(scene.jpeg, 500))) == truth_of(scene)


def test_a_dark_or_blurred_photo_of_the_folder_is_recognised(url: str, folder: Path) -> None:
    scene, rng = next(scene for scene in draw_scenes(9, seed=78) if scene.truth), np.random.default_rng(1)
    for defect in ("dark", "blurred"):
        defective = Scene(f"{scene.name}-{defect}", add_defect(scene.jpeg, defect, rng), scene.truth)
        write_scene(folder, defective)
        assert labels_and_boxes(ask(url, smaller(defective.jpeg, 512))) == truth_of(scene)


def test_a_request_without_a_key_is_refused(url: str, scenes: list[Scene]) -> None:
    answer = httpx2.post(url + GENERATE_PATH, json=request_body(scenes[0].jpeg))
    assert (answer.status_code, answer.json()["error"]["status"]) == (403, "PERMISSION_DENIED")


@pytest.mark.parametrize(
    "body", [{}, {"contents": "?"}, {"contents": [{"parts": [{"inlineData": {"data": "no base64!"}}]}]}]
)
def test_an_invalid_request_is_refused_as_by_the_provider(url: str, body: dict[str, Any]) -> None:
    answer = httpx2.post(url + GENERATE_PATH, json=body, headers=URL_KEY)
    assert (answer.status_code, answer.json()["error"]["status"]) == (400, "INVALID_ARGUMENT")


def test_its_answers_are_marked_as_a_stand_in_s(url: str, scenes: list[Scene]) -> None:
    answer = httpx2.post(
        url + GENERATE_PATH.replace("v1", "v1beta"), json=request_body(scenes[0].jpeg), headers=URL_KEY
    ).json()
    assert answer["modelVersion"] == "standin-gemini-3.5-flash"
    assert answer["usageMetadata"]["promptTokenCount"] > 1120
    assert "stand-in" in httpx2.get(url + "/livez").json()["errors"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_google_sdk_reads_its_answers(url: str, scenes: list[Scene]) -> None:
    client = genai.Client(api_key="any", http_options=types.HttpOptions(base_url=url))
    photo = types.Part.from_bytes(data=scenes[1].jpeg, mime_type="image/jpeg")
    for schema in (list[Item], Items):
        config = types.GenerateContentConfig(response_mime_type="application/json", response_schema=schema)
        contents: Any = [photo, "What is in it?"]
        response = client.models.generate_content(model="gemini-3.5-flash", contents=contents, config=config)
        parsed = response.parsed.items if isinstance(response.parsed, Items) else response.parsed
        assert isinstance(parsed, list)
        assert [(item.label, item.box_2d) for item in parsed] == truth_of(scenes[1])


def test_the_openai_sdk_reads_its_answers(url: str, scenes: list[Scene]) -> None:
    client = OpenAI(api_key="any", base_url=f"{url}/v1")
    image = f"data:image/jpeg;base64,{base64.b64encode(scenes[2].jpeg).decode()}"
    content: Any = [
        {"type": "input_text", "text": "What is in it?"},
        {"type": "input_image", "image_url": image, "detail": "low"},
    ]
    response = client.responses.parse(
        model="gpt-5.4-mini", input=[{"role": "user", "content": content}], text_format=Items
    )
    assert response.output_parsed is not None
    assert [(item.label, item.box_2d) for item in response.output_parsed.items] == truth_of(scenes[2])
    assert response.model.startswith("standin-")


def test_recipes_use_the_named_ingredients(url: str) -> None:
    client = OpenAI(api_key="any", base_url=f"{url}/v1")
    response = client.responses.parse(
        model="gpt-5.4-mini", input="Recipes with: cherry_tomato, egg, broccoli", text_format=Recipes
    )
    assert response.output_parsed is not None
    assert all(recipe.uses == ["cherry_tomato", "egg", "broccoli"] for recipe in response.output_parsed.recipes)


def test_over_http_failures_have_their_rate(folder: Path, scenes: list[Scene]) -> None:
    """With a wide bound: the tests of the error model check exact rates."""
    for url in running(folder, "--errors", "0.25", "--latency-scale", "0.001"):
        with httpx2.Client(base_url=url, headers=URL_KEY) as client:
            statuses = [
                client.post(GENERATE_PATH, json=request_body(scenes[number % len(scenes)].jpeg)).status_code
                for number in range(300)
            ]
    assert set(statuses) == {200, 503}
    assert 0.15 < statuses.count(503) / 300 < 0.35


def test_a_folder_without_class_names_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "savo_demo.standin", "--truth", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "data.yaml" in done.stderr


def test_every_class_has_a_name_in_the_folder(folder: Path) -> None:
    assert all(name in (folder / "data.yaml").read_text() for name in CLASSES)
