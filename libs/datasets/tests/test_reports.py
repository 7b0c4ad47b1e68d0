"""Reports of data sets: how boxes are drawn."""

from __future__ import annotations

from PIL import Image

from savo_contracts.geometry import BoundingBox
from savo_datasets.labels import TruthBox
from savo_datasets.reports.box_drawing import class_colours, draw_marked
from savo_datasets.reports.doubts import MarkedBox
from savo_datasets.reports.html import counted, counted_of

RED, WHITE, GREY, GROUND = (217, 50, 43), (255, 255, 255), (138, 143, 152), (0, 0, 0)


def square(x: float, y: float) -> BoundingBox:
    return BoundingBox(x=x, y=y, width=0.3, height=0.3)


def test_the_label_in_doubt_is_thick_the_suggestion_dashed_and_other_labels_thin_and_grey() -> None:
    picture = Image.new("RGB", (301, 301))
    doubted, suggested, other = square(0.1, 0.1), square(0.15, 0.15), square(0.6, 0.6)
    marked = [MarkedBox(doubted, "egg"), MarkedBox(suggested, "milk 0.90", is_suggestion=True)]
    draw_marked(picture, [TruthBox("egg", doubted), TruthBox("egg", other)], marked)

    def row(y: int, left: int, right: int) -> list[object]:
        return [picture.getpixel((x, y)) for x in range(left, right)]

    assert row(90, 29, 35) == [GROUND, RED, RED, RED, RED, GROUND]
    assert row(250, 179, 182) == [GROUND, GREY, GROUND]
    edge = [picture.getpixel((134, y)) for y in range(60, 130)]
    assert set(edge) == {RED, WHITE}
    assert 0.4 < edge.count(RED) / len(edge) < 0.7


def test_each_class_has_a_colour_of_its_own() -> None:
    assert len(set(class_colours([str(number) for number in range(80)]).values())) == 80
    assert class_colours([]) == {}


def test_a_count_agrees_with_its_noun() -> None:
    assert [counted(number, "photo") for number in (0, 1, 2000)] == ["0 photos", "1 photo", "2,000 photos"]
    assert counted_of(60, 231, "photo") == "60 of 231 photos are"
    assert counted_of(1, 2, "photo") == "1 of 2 photos is"
    assert [counted(number, "box") for number in (1, 2)] == ["1 box", "2 boxes"]
