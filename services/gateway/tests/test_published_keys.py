"""Tokens checked with the keys of a JWKS address: rotation, forgeries and faults of the address."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from savo_gateway.access.api_keys import create_key
from savo_gateway.access.records import Scope
from savo_gateway.adapters import jwks_client
from savo_gateway.adapters.jwks_client import FRESH_SECONDS, KEPT_SECONDS, RETRY_SECONDS, JwksClient
from savo_gateway.adapters.key_store import SqlKeys
from savo_gateway.settings import GatewaySettings
from savo_runtime.errors import DependencyDownError
from services.gateway.tests.harness import GatewayHarness

SECRET = "a Supabase secret of at least thirty-two bytes"
KEYS: dict[str, Any] = {
    "rsa": rsa.generate_private_key(65537, 2048),
    "ec": ec.generate_private_key(ec.SECP256R1()),
    "next": ec.generate_private_key(ec.SECP256R1()),
}
ALGORITHMS = {"rsa": "RS256", "ec": "ES256", "next": "ES256"}


def public_jwk(kid: str) -> dict[str, Any]:
    algorithm: Any = jwt.algorithms.get_default_algorithms()[ALGORITHMS[kid]]
    public = algorithm.to_jwk(KEYS[kid].public_key(), as_dict=True)
    return {**public, "kid": kid, "use": "sig", "alg": ALGORITHMS[kid]}


def token(kid: str = "ec", *, key: Any = None, algorithm: str | None = None, **claims: Any) -> dict[str, str]:
    now = datetime.now(UTC)
    claims = {"sub": "anna", "aud": "authenticated", "role": "authenticated", "exp": now + timedelta(hours=1)} | claims
    present = {name: value for name, value in claims.items() if value is not None}
    signed = jwt.encode(present, key or KEYS[kid], algorithm or ALGORITHMS[kid], headers={"kid": kid})
    return {"Authorization": f"Bearer {signed}"}


@dataclass
class Issuer:
    """A JWKS address under the control of a test."""

    url: str = ""
    kids: list[str] = field(default_factory=lambda: ["rsa", "ec"])
    answer: tuple[int, bytes] | None = None
    """Instead of the keys."""
    delay: float = 0.0
    requests: int = 0
    stopped: threading.Event = field(default_factory=threading.Event)

    def respond(self) -> tuple[int, bytes]:
        self.requests += 1
        self.stopped.wait(self.delay)
        return self.answer or (200, json.dumps({"keys": [public_jwk(kid) for kid in self.kids]}).encode())


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    issuer = Issuer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = issuer.respond()
            # A client that gave up closed the connection.
            with suppress(ConnectionError):
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    issuer.url = f"http://127.0.0.1:{server.server_port}/auth/v1/.well-known/jwks.json"
    yield issuer
    issuer.stopped.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def gateway_settings(issuer: Issuer) -> dict[str, Any]:
    return {"auth": "jwt", "jwks_url": issuer.url, "supabase_jwt_secret": SECRET}


async def status(gateway: GatewayHarness, headers: dict[str, str]) -> int:
    return (await gateway.http.get("/v1/scans", headers=headers)).status_code


async def test_published_keys_and_the_shared_secret_are_accepted_side_by_side(
    gateway: GatewayHarness, issuer: Issuer
) -> None:
    assert [await status(gateway, token(kid)) for kid in ("rsa", "ec", "ec", "rsa")] == [200] * 4
    assert await status(gateway, token("old", key=SECRET, algorithm="HS256")) == 200
    assert issuer.requests == 1


async def test_a_user_has_no_operators_scope_and_an_api_key_may_have_it(gateway: GatewayHarness) -> None:
    _, plain = await create_key(SqlKeys(gateway.runtime.database), "operator", [Scope.OPS], gateway.clock)
    # The rollout service is not running here: 503 shows that the caller was admitted.
    assert (await gateway.http.get("/admin/rollout", headers=token())).status_code == 403
    assert (await gateway.http.get("/admin/rollout", headers={"Authorization": f"Bearer {plain}"})).status_code == 503
    assert (await gateway.http.get("/admin/rollout", headers={"X-API-Key": plain + "x"})).status_code == 401


MINUTE = timedelta(minutes=1)
CLAIMS: list[tuple[dict[str, Any], bool]] = [
    ({"exp": -MINUTE / 2}, True),
    ({"exp": -2 * MINUTE}, False),
    ({"nbf": MINUTE / 2}, True),
    ({"nbf": 2 * MINUTE}, False),
    ({"iat": 2 * MINUTE}, False),
    ({"aud": "anon"}, False),
    ({"aud": None}, False),
    ({"aud": ["authenticated", "other"]}, True),
    ({"exp": None}, False),
    ({"sub": None}, False),
]


async def test_claims_are_checked_with_a_minute_of_leeway(gateway: GatewayHarness) -> None:
    now = datetime.now(UTC)
    for claims, accepted in CLAIMS:
        given: dict[str, Any] = {
            name: now + value if isinstance(value, timedelta) else value for name, value in claims.items()
        }
        assert await status(gateway, token(**given)) == (200 if accepted else 401), claims


async def test_forged_tokens_are_refused(gateway: GatewayHarness) -> None:
    public = KEYS["rsa"].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    unsigned = jwt.encode({"sub": "anna", "aud": "authenticated", "exp": 2**33}, "", "none", headers={"kid": "ec"})
    hs256 = jwt.encode({"sub": "anna", "aud": "authenticated", "exp": 2**33}, "x" * 32, "HS256", headers={"kid": "rsa"})
    head = hs256.rpartition(".")[0].encode()
    # PyJWT refuses to sign with a PEM key; an attacker does not.
    mac = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(head, public)
    with_public_key = head + b"." + jwt.utils.base64url_encode(mac)
    for forged in (unsigned, hs256, with_public_key.decode()):
        assert await status(gateway, {"Authorization": f"Bearer {forged}"}) == 401
    assert await status(gateway, token("rsa", key=KEYS["next"], algorithm="ES256")) == 401
    assert await status(gateway, token("ec", key=KEYS["next"])) == 401
    assert await status(gateway, token("ec", key=ec.generate_private_key(ec.SECP384R1()), algorithm="ES384")) == 401


class TestFaultsOfTheAddress:
    @pytest.fixture
    async def keys(self, issuer: Issuer) -> Any:
        self.now = 1000.0
        client = JwksClient(issuer.url, lambda: self.now)
        yield client
        await client.close()

    async def test_a_rotated_key_is_fetched_and_invented_key_ids_are_not_asked_for_again(
        self, keys: JwksClient, issuer: Issuer
    ) -> None:
        assert await keys.find("ec")
        issuer.kids = ["next"]
        assert await keys.find("next") is None
        self.now += RETRY_SECONDS
        assert await keys.find("next")
        for number in range(50):
            assert await keys.find(f"invented {number}") is None
        assert issuer.requests == 2
        assert await keys.find("ec") is None

    async def test_known_keys_serve_while_the_address_is_down_and_others_are_a_503(
        self, keys: JwksClient, issuer: Issuer
    ) -> None:
        assert await keys.find("ec")
        for issuer.answer in ((500, b""), (200, b"not JSON"), (200, b"[]"), (200, b'{"keys": []}')):
            self.now += FRESH_SECONDS
            assert await keys.find("ec")
            with pytest.raises(DependencyDownError, match="jwks"):
                await keys.find("next")
        self.now += KEPT_SECONDS
        with pytest.raises(DependencyDownError):
            await keys.find("ec")
        issuer.answer = None
        self.now += RETRY_SECONDS
        assert await keys.find("ec")

    async def test_a_slow_address_delays_one_request_for_a_bounded_time(
        self, keys: JwksClient, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(jwks_client, "FETCH_SECONDS", 0.05)
        issuer.delay = 5
        with pytest.raises(DependencyDownError, match="TimeoutError"):
            await keys.find("ec")
        with pytest.raises(DependencyDownError):
            await keys.find("ec")
        assert issuer.requests == 1

    async def test_a_shared_secret_among_the_published_keys_is_ignored(self, keys: JwksClient, issuer: Issuer) -> None:
        secret = {"kty": "oct", "kid": "secret", "alg": "HS256", "k": "c2VjcmV0" * 8}
        issuer.answer = (200, json.dumps({"keys": [secret, public_jwk("ec")]}).encode())
        assert await keys.find("ec")
        assert await keys.find("secret") is None


class TestAddressDown:
    @pytest.fixture
    def gateway_settings(self) -> dict[str, Any]:
        return {"auth": "jwt", "jwks_url": "http://127.0.0.1:9/jwks"}

    async def test_a_token_that_cannot_be_checked_is_a_503(self, gateway: GatewayHarness) -> None:
        answer = await gateway.http.get("/v1/scans", headers=token())
        assert (answer.status_code, answer.json()["code"]) == (503, "dependency-down")
        assert answer.headers["retry-after"] == "10"


def test_the_audience_is_authenticated_for_supabase_and_the_operators_choice_otherwise() -> None:
    def audience(**settings: Any) -> str | None:
        return GatewaySettings(auth="jwt", **settings).token_audience

    assert audience(supabase_jwt_secret=SECRET) == audience(jwks_url="http://x/jwks") == "authenticated"
    assert audience(jwt_key=SECRET) is None
    assert audience(jwt_key=SECRET, jwt_audience="app") == "app"


@pytest.mark.parametrize(
    ("settings", "message"),
    [({}, "SAVO_JWKS_URL"), ({"jwks_url": "http://x/", "jwt_key": "-", "jwt_algorithm": "RS256"}, "not both")],
)
def test_settings_without_a_key_or_with_two_public_ones_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GatewaySettings(auth="jwt", **settings)
