"""HTTP client of the running trainer. The address is in SAVO_SERVICES, or in a file that the trainer writes."""

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

TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True)
class TrainerClient:
    """Every request raises `TrainerUnreachableError` and `TrainerRefusedError`.

    The address file is read for each request: a restarted trainer has another port.
    """

    address_file: Path
    """run/trainer.json in the data folder."""
    url: str | None = None
    """From SAVO_SERVICES; None: use the address file."""

    @classmethod
    def from_settings(cls) -> TrainerClient:
        """Raises `WrongServicesError`."""
        address_file = load_settings(RuntimeSettings).data_dir / "run" / "trainer.json"
        return cls(address_file, named_services().get("trainer"))

    def get(self, path: str) -> dict[str, Any]:
        return self._request("GET", path)

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return self._request("POST", path, json=body)

    def _request(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        try:
            url = self.url or json.loads(self.address_file.read_text(encoding="utf-8"))["url"].rstrip("/")
            answer = httpx2.request(method, f"{url}{path}", timeout=TIMEOUT_SECONDS, trust_env=False, **request)
            body: dict[str, Any] = answer.json()
            if answer.is_success:
                return body
            refused = TrainerRefusedError(str(body["code"]), str(body["detail"]))
        except (OSError, ValueError, KeyError, TypeError, httpx2.HTTPError) as error:
            reason = "no such file" if isinstance(error, FileNotFoundError) else str(error) or type(error).__name__
            raise TrainerUnreachableError(self._unreachable(reason)) from error
        raise refused

    def _unreachable(self, reason: str) -> str:
        if self.url:
            return f"no trainer answers at {self.url}, which {SERVICES_VARIABLE} names: {reason}"
        return f"no trainer answers here ({self.address_file}: {reason}). Start it with `savo up`, or set SAVO_DATA_DIR"
