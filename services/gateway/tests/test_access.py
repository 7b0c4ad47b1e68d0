"""Authentication, scopes and rate limits."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest

from savo_gateway.access.api_keys import create_key
from savo_gateway.access.callers import Mode, default_mode
from savo_gateway.access.rate_limits import RateLimit
from savo_gateway.access.records import Scope
from savo_gateway.adapters.key_store import SqlKeys
from savo_gateway.errors import TooManyRequestsError
from services.gateway.tests.events import completed, tomato
from services.gateway.tests.harness import GatewayHarness
from services.gateway.tests.photos import photo

SECRET = "a secret of at least thirty-two bytes, for tests"
OPEN = ("/training/stats", "/health", "/docs", "/openapi.json", "/asyncapi", "/")


def token(sub: str | None = "anna", *, key: str = SECRET, algorithm: str = "HS256", **claims: Any) -> dict[str, str]:
    claims = {"sub": sub, "exp": datetime.now(UTC) + timedelta(hours=1)} | claims
    present = {name: value for name, value in claims.items() if value is not None}
    return {"Authorization": f"Bearer {jwt.encode(present, key, algorithm)}"}


def test_a_loopback_address_is_open_and_any_other_requires_a_key() -> None:
    assert [default_mode(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "10.0.0.7")] == [
        Mode.NONE
    ] * 3 + [Mode.API_KEY] * 2


class TestApiKeys:
    @pytest.fixture
    def gateway_settings(self) -> Any:
        return {"http_host": "0.0.0.0"}

    @pytest.fixture
    async def key(self, gateway: GatewayHarness) -> Any:
        _, plain = await create_key(SqlKeys(gateway.runtime.database), "app", [Scope.SCANS], gateway.clock)
        return plain

    async def test_only_statistics_and_documentation_are_open(self, gateway: GatewayHarness) -> None:
        for path in OPEN:
            assert (await gateway.http.get(path)).status_code == 200, path
        for path in ("/v1/scans?user_id=a", "/v1/scans/x", "/training/progress", "/admin/rollout"):
            answer = await gateway.http.get(path)
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
            assert answer.headers["www-authenticate"] == "Bearer"

    @pytest.mark.parametrize("header", ["Authorization", "X-API-Key"])
    async def test_a_key_allows_what_its_scopes_allow(self, gateway: GatewayHarness, key: str, header: Any) -> None:
        headers = {header: f"Bearer {key}" if header == "Authorization" else key}
        sent = await gateway.http.post(
            "/v1/scans", files={"image": ("p.jpg", photo())}, data={"user_id": "anna"}, headers=headers
        )
        assert sent.status_code == 202
        refused = await gateway.http.get("/admin/rollout", headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")

    async def test_only_a_hash_is_stored_and_a_revoked_or_guessed_key_is_refused(
        self, gateway: GatewayHarness, key: str
    ) -> None:
        keys = SqlKeys(gateway.runtime.database)
        (kept,) = await keys.list_keys()
        assert key.rpartition("_")[2] not in repr(kept)
        for wrong in (key + "x", f"savo_{kept.key_id}_", "savo__", "nonsense", f"other_{kept.key_id}_x"):
            assert (await gateway.http.get("/v1/scans?user_id=a", headers={"X-API-Key": wrong})).status_code == 401
        assert (await gateway.http.get("/v1/scans?user_id=a", headers={"X-API-Key": key})).status_code == 200
        assert await keys.revoke_key(kept.key_id, gateway.clock())
        assert not await keys.revoke_key(kept.key_id, gateway.clock())
        assert (await gateway.http.get("/v1/scans?user_id=a", headers={"X-API-Key": key})).status_code == 401


class TestTokens:
    @pytest.fixture
    def gateway_settings(self) -> Any:
        return {"auth": "jwt", "jwt_key": SECRET}

    async def test_a_user_reads_and_confirms_only_their_own_scans(self, gateway: GatewayHarness) -> None:
        sent = await gateway.http.post("/v1/scans", files={"image": ("p.jpg", photo())}, headers=token("anna"))
        path = sent.headers["location"]
        assert (await gateway.http.get(path, headers=token("anna"))).status_code == 200
        for method, where in (
            ("GET", path),
            ("GET", f"{path}/trace"),
            ("GET", f"{path}/events"),
            ("GET", f"{path}/photo"),
            ("POST", f"{path}/confirmation"),
        ):
            answer = await gateway.http.request(
                method, where, headers=token("ben"), json={"items": []} if method == "POST" else None
            )
            assert (answer.status_code, answer.json()["code"]) == (404, "scan-not-found")
        mine = (await gateway.http.get("/v1/scans", headers=token("anna"))).json()["scans"]
        assert [scan["links"]["self"] for scan in mine] == [path]
        assert (await gateway.http.get("/v1/scans", headers=token("ben"))).json()["scans"] == []

    async def test_a_user_cannot_send_a_scan_for_another_user(self, gateway: GatewayHarness) -> None:
        answer = await gateway.http.post(
            "/v1/scans", files={"image": ("p.jpg", photo())}, data={"user_id": "ben"}, headers=token("anna")
        )
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")

    @pytest.mark.parametrize(
        "headers",
        [
            {},
            token(key="another secret of at least thirty-two bytes"),
            token(key="", algorithm="none"),
            token(exp=datetime.now(UTC) - timedelta(minutes=1)),
            token(exp=None),
            token(sub=None),
            token(sub="x" * 201),
            {"Authorization": "Bearer nonsense"},
            {"Authorization": "Basic YTpi"},
        ],
        ids=["none", "forged", "alg none", "expired", "endless", "no subject", "long", "nonsense", "basic"],
    )
    async def test_an_invalid_token_is_refused(self, gateway: GatewayHarness, headers: dict[str, str]) -> None:
        answer = await gateway.http.get("/v1/scans", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")

    async def test_admin_paths_need_the_ops_scope(self, gateway: GatewayHarness) -> None:
        assert (await gateway.http.get("/admin/rollout", headers=token())).status_code == 403
        assert (await gateway.http.get("/admin/rollout", headers=token(scope="ops"))).status_code == 503
        assert (await gateway.http.get("/v1/scans", headers=token(scope="ops"))).status_code == 403


class TestRates:
    @pytest.fixture
    def gateway_settings(self) -> Any:
        return {"auth": "jwt", "jwt_key": SECRET, "rate_limit_per_minute": 30}

    async def test_too_many_requests_of_one_user_do_not_affect_others(self, gateway: GatewayHarness) -> None:
        answers = [await gateway.http.get("/v1/scans", headers=token("anna")) for _ in range(6)]
        assert [answer.status_code for answer in answers] == [200] * 5 + [429]
        assert answers[-1].json()["limit"] == {"requests_per_minute": 30}
        assert int(answers[-1].headers["retry-after"]) >= 1
        assert (await gateway.http.get("/v1/scans", headers=token("ben"))).status_code == 200

    def test_the_bucket_refills_with_time(self) -> None:
        now = 0.0
        limit = RateLimit(60, lambda: now)
        for _ in range(10):
            limit.take("anna")
        with pytest.raises(TooManyRequestsError):
            limit.take("anna")
        now = 1.0
        limit.take("anna")
        with pytest.raises(TooManyRequestsError):
            limit.take("anna")


async def test_without_auth_the_random_id_is_enough_to_read_a_scan(gateway: GatewayHarness, jpeg: bytes) -> None:
    requested = await gateway.scan(jpeg, user_id="anna")
    await gateway.deliver(completed(requested, tomato()))
    assert (await gateway.http.get(f"/v1/scans/{requested.scan_id}")).status_code == 200
