"""Class ids: redirects, unknown ids and the mapping to a network's outputs."""

from __future__ import annotations

import pytest

from savo_contracts.documents import ClassList, IngredientClass
from savo_datasets.class_map import class_map, map_labels, resolve
from savo_datasets.errors import DatasetError


def classes(*redirects: int | None) -> ClassList:
    entries = [
        IngredientClass(id=number, label=chr(97 + number), redirects_to=to) for number, to in enumerate(redirects)
    ]
    return ClassList(classes=tuple(entries))


def test_redirects_are_followed_to_their_end() -> None:
    chain = classes(1, 2, None)
    assert resolve(0, chain) == 2
    assert class_map([0, 1, 2], chain).names == ("c",)


def test_a_cycle_of_redirects_and_an_unknown_id_are_refused_with_a_next_step() -> None:
    with pytest.raises(DatasetError, match="form a cycle at class id 0") as caught:
        resolve(0, classes(1, 0))
    assert caught.value.next_steps
    with pytest.raises(DatasetError, match="class id 9, which") as caught:
        resolve(9, classes(None, None))
    assert caught.value.next_steps


def test_labels_keep_their_digits_and_get_the_networks_outputs() -> None:
    mapping = class_map([4, 2, 3], classes(None, None, None, 2, None))
    assert (mapping.names, mapping.ids) == (("c", "e"), (2, 4))
    assert map_labels("4 0.5 0.25 0.10 0.1\n\n3 0.5 0.5 1 1\n", mapping) == "1 0.5 0.25 0.10 0.1\n0 0.5 0.5 1 1\n"
