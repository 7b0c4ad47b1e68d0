"""The demo's view of its product through a restart of one of its services."""

from __future__ import annotations

from pathlib import Path

import httpx2
import pytest

from savo_demo import product as product_module
from savo_demo.errors import ProductError
from savo_demo.plan import Plan
from savo_demo.product import Product

LAST_KNOWN = {"experiment": "v1", "share": 0.05, "evidence": None, "source": "the newest rollout.changed event"}
REPORT = {"experiment": "v1", "share": 0.05, "arms": {"candidate": {"subjects": 3}, "baseline": {"subjects": 40}}}


def _product(tmp_path: Path, *answers: dict[str, object]) -> Product:
    """A product whose gateway gives these answers, and the last of them from then on."""
    remaining = list(answers)

    def answer(_request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, json=remaining.pop(0) if len(remaining) > 1 else remaining[0])

    client = httpx2.AsyncClient(base_url="http://gateway", transport=httpx2.MockTransport(answer))
    return Product(Plan(folder=tmp_path), client=client)


async def test_a_last_known_state_is_asked_again_until_the_rollout_service_answers(tmp_path: Path) -> None:
    assert await _product(tmp_path, LAST_KNOWN, REPORT).rollout() == REPORT


async def test_a_rollout_service_that_stays_away_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(product_module, "REPORT_SECONDS", 0.2)
    with pytest.raises(ProductError, match="the rollout service did not answer"):
        await _product(tmp_path, LAST_KNOWN).rollout()
