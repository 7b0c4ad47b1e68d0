"""A person's consent to training."""

from __future__ import annotations

from typing import Any

import pytest

from savo_contracts.scans import ScanConfirmed
from savo_contracts.users import ConsentChanged
from savo_gateway.access.records import Person
from savo_gateway.adapters.scan_store import SqlScans
from savo_gateway.users.consent import effective_consent
from services.gateway.tests.events import completed, tomato
from services.gateway.tests.harness import GatewayHarness
from services.gateway.tests.photos import photo
from services.gateway.tests.test_access import SECRET, token

GIVEN = {"given": True, "text_version": "2026-11", "retention_days": 90}


async def confirmed(gateway: GatewayHarness, seed: int, **fields: str) -> ScanConfirmed:
    """The event of a scan that a person confirms."""
    requested = await gateway.scan(photo(seed=seed), **fields)
    await gateway.deliver(completed(requested, tomato()))
    await gateway.http.post(f"/v1/scans/{requested.scan_id}/confirmation", json={"all_correct": True})
    events: list[ScanConfirmed] = await gateway.published(ScanConfirmed)
    return next(event for event in events if event.scan_id == requested.scan_id)


async def test_consent_is_off_until_it_is_given_and_again_after_a_withdrawal(gateway: GatewayHarness) -> None:
    path = "/v1/users/anna/consent"
    never_asked = {"given": False, "withdrawn": False, "text_version": None, "retention_days": None, "changed_at": None}
    assert (await gateway.http.get(path)).json() == never_asked
    given = await gateway.http.put(path, json=GIVEN)
    assert given.json() == {**GIVEN, "withdrawn": False, "changed_at": given.json()["changed_at"]}
    assert (await gateway.http.put(path, json=GIVEN)).json() == given.json()
    assert (await gateway.http.get(path)).json() == given.json()
    gateway.clock.advance(60)
    withdrawn = (await gateway.http.put(path, json={"given": False})).json()
    assert (withdrawn["given"], withdrawn["withdrawn"]) == (False, True)
    events = await gateway.published(ConsentChanged)
    subject = await SqlScans(gateway.runtime.database, gateway.runtime.outbox).subject_of(Person("user", "anna"))
    assert [(event.subject, event.given) for event in events] == [(subject, True), (subject, False)]
    assert "anna" not in repr(events)


async def test_a_confirmation_carries_the_persons_consent(gateway: GatewayHarness) -> None:
    assert (await confirmed(gateway, 1, user_id="anna")).consent is None
    await gateway.http.put("/v1/users/anna/consent", json=GIVEN)
    assert (await confirmed(gateway, 2, user_id="anna")).consent is True
    assert (await confirmed(gateway, 3, user_id="anna", consent="false")).consent is False
    assert (await confirmed(gateway, 4, user_id="ben")).consent is None
    gateway.clock.advance(60)
    await gateway.http.put("/v1/users/anna/consent", json={"given": False})
    assert (await confirmed(gateway, 5, user_id="anna")).consent is False


@pytest.mark.parametrize(
    ("of_scan", "of_person", "effective"),
    [
        (None, None, None),
        (True, None, True),
        (None, True, True),
        (False, True, False),
        (True, False, False),
        (False, None, False),
    ],
)
def test_no_wins_over_yes(of_scan: bool | None, of_person: bool | None, effective: bool | None) -> None:
    assert effective_consent(of_scan, of_person) is effective


@pytest.mark.parametrize("body", [{}, {"given": True}, GIVEN | {"retention_days": 0}, GIVEN | {"more": 1}])
async def test_an_invalid_choice_is_refused(gateway: GatewayHarness, body: dict[str, Any]) -> None:
    answer = await gateway.http.put("/v1/users/anna/consent", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-request")


class TestPeople:
    @pytest.fixture
    def gateway_settings(self) -> dict[str, Any]:
        return {"auth": "jwt", "jwt_key": SECRET}

    async def test_a_person_reads_and_writes_only_their_own(self, gateway: GatewayHarness) -> None:
        path = "/v1/users/anna/consent"
        assert (await gateway.http.put(path, json=GIVEN, headers=token("anna"))).status_code == 200
        assert (await gateway.http.get(path, headers=token("ben"))).status_code == 403
        assert (await gateway.http.put(path, json={"given": False}, headers=token("ben"))).status_code == 403
        assert (await gateway.http.get(path, headers=token("anna"))).json()["given"]

    async def test_a_signed_in_person_has_the_same_subject_on_every_device(self, gateway: GatewayHarness) -> None:
        subjects = []
        for seed, device in enumerate(("phone", "tablet")):
            files, data = {"image": ("p.jpg", photo(seed=seed))}, {"device_id": device}
            sent = await gateway.http.post("/v1/scans", files=files, data=data, headers=token("anna"))
            scan = await SqlScans(gateway.runtime.database, gateway.runtime.outbox).find(sent.json()["scan_id"])
            assert scan is not None
            subjects.append(scan.subject)
        assert len(set(subjects)) == 1


async def test_a_device_keeps_a_subject_of_its_own_before_and_after_its_person_signs_in(
    gateway: GatewayHarness,
) -> None:
    first = await gateway.scan(photo(seed=1), device_id="phone")
    signed_in = await gateway.scan(photo(seed=2), device_id="phone", user_id="anna")
    signed_out = await gateway.scan(photo(seed=3), device_id="phone")
    assert first.subject == signed_out.subject != signed_in.subject
    await gateway.http.put("/v1/users/anna/consent", json=GIVEN)
    assert (await confirmed(gateway, 4, device_id="phone")).consent is None
