"""The running trainer by its HTTP: where SAVO_SERVICES says that it is, else as it wrote its address into the data folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from savo_runtime.http.addresses import SERVICES_VARIABLE, named_services
from savo_runtime.settings import RuntimeSettings, load_settings
from savo_trainer.errors import TrainerRefusedError, TrainerUnreachableError

__all__ = ["TrainerClient"]

ANSWER_SECONDS = 30.0


@dataclass(frozen=True)
class TrainerClient:
    """Raises `TrainerUnreachableError`, `TrainerRefusedError`. The address is read anew each time: a trainer that was started again has another port."""

    place: Path
    named: str | None = None
    """Its URL, where that is told."""

    @classmethod
    def from_settings(cls) -> TrainerClient:
        """Raises `WrongServicesError`."""
        return cls(load_settings(RuntimeSettings).data_dir / "run" / "trainer.json", named_services().get("trainer"))

    def get(self, path: str) -> dict[str, Any]:
        return self._ask("GET", path)

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return self._ask("POST", path, json=body)

    def _ask(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        try:
            url = self.named or json.loads(self.place.read_text(encoding="utf-8"))["url"].rstrip("/")
            answer = httpx2.request(method, f"{url}{path}", timeout=ANSWER_SECONDS, trust_env=False, **request)
            found: dict[str, Any] = answer.json()
            if answer.is_success:
                return found
            refused = TrainerRefusedError(str(found["code"]), str(found["detail"]))
        except (OSError, ValueError, KeyError, TypeError, httpx2.HTTPError) as flaw:
            why = "no such file" if isinstance(flaw, FileNotFoundError) else str(flaw) or type(flaw).__name__
            if self.named:
                raise TrainerUnreachableError(
                    f"no trainer answers at {self.named}, which {SERVICES_VARIABLE} names: {why}"
                ) from flaw
            raise TrainerUnreachableError(
                f"no trainer answers here ({self.place}: {why}). Start it with `savo up`, or set SAVO_DATA_DIR"
            ) from flaw
        raise refused
