"""Behaviour on PostgreSQL that depends on locks, on conflicts, and on stored times and JSON."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from weakref import WeakValueDictionary

import pytest

from savo_contracts.scans import ScanConfirmed, ScanRequested
from savo_gateway.adapters.scan_store import SqlScans
from savo_gateway.confirmations.records import ConfirmationRequest
from savo_gateway.http.scan_routes import ScanUseCases
from savo_gateway.scans.records import ScanUpload
from savo_runtime.database import Database
from services.gateway.tests.events import completed, tomato
from services.gateway.tests.harness import GatewayHarness, running_gateway
from services.gateway.tests.photos import photo
from services.gateway.tests.test_access import TestApiKeys
from services.gateway.tests.test_completion import (
    test_a_scan_without_an_answer_fails_half_a_minute_after_it_expired,
    test_idempotency_keys_are_deleted_after_a_day,
)
from services.gateway.tests.test_confirmations import (
    test_a_repeated_confirmation_gives_the_same_answer_and_one_event,
    test_an_early_confirmation_is_published_with_the_result,
    test_an_early_confirmation_that_does_not_fit_the_answer_is_refused_with_its_errors,
)
from services.gateway.tests.test_consent import test_consent_is_off_until_it_is_given_and_again_after_a_withdrawal
from services.gateway.tests.test_corrections import (
    test_a_later_confirmation_replaces_the_corrections_of_the_one_before,
)
from services.gateway.tests.test_figures import (
    test_days_are_utc_weeks_begin_on_monday_and_megabytes_are_millions,
    test_progress_shows_runs_and_goals_with_their_figures,
    test_refusals_count_by_reason_once_per_scan_until_they_are_lifted,
    test_samples_that_are_not_erased_are_counted_by_day_over_four_weeks,
    test_the_correction_rate_is_edited_scans_of_confirmed_scans,
)
from services.gateway.tests.test_legacy_submissions import test_corrections_become_the_same_event_as_a_confirmation
from services.gateway.tests.test_owner_app import (
    TestOpenAccess,
    test_look_alike_frames_share_one_scan_and_are_no_evidence,
    test_the_apps_ids_are_unique_per_person_and_never_ours,
    test_the_apps_own_id_finds_the_newest_scan_of_the_photo,
)
from services.gateway.tests.test_owner_app_second import TestFeedback, TestHistory
from services.gateway.tests.test_review import (
    test_agreement_with_reviewed_labels_is_shown_by_subject,
    test_of_two_reviewers_at_once_the_first_decides,
)
from services.gateway.tests.test_scans_http import (
    test_a_photo_becomes_an_object_a_scan_and_an_event,
    test_a_users_scans_come_newest_first_page_by_page,
    test_an_unknown_scan_is_not_found,
    test_fifty_equal_concurrent_requests_create_one_scan,
    test_refused_uploads_are_counted_by_reason,
)

__all__ = [
    "TestApiKeys",
    "TestFeedback",
    "TestHistory",
    "TestOpenAccess",
    "test_a_later_confirmation_replaces_the_corrections_of_the_one_before",
    "test_a_photo_becomes_an_object_a_scan_and_an_event",
    "test_a_repeated_confirmation_gives_the_same_answer_and_one_event",
    "test_a_scan_without_an_answer_fails_half_a_minute_after_it_expired",
    "test_a_users_scans_come_newest_first_page_by_page",
    "test_agreement_with_reviewed_labels_is_shown_by_subject",
    "test_an_early_confirmation_is_published_with_the_result",
    "test_an_early_confirmation_that_does_not_fit_the_answer_is_refused_with_its_errors",
    "test_an_unknown_scan_is_not_found",
    "test_consent_is_off_until_it_is_given_and_again_after_a_withdrawal",
    "test_corrections_become_the_same_event_as_a_confirmation",
    "test_days_are_utc_weeks_begin_on_monday_and_megabytes_are_millions",
    "test_fifty_equal_concurrent_requests_create_one_scan",
    "test_idempotency_keys_are_deleted_after_a_day",
    "test_look_alike_frames_share_one_scan_and_are_no_evidence",
    "test_of_two_reviewers_at_once_the_first_decides",
    "test_progress_shows_runs_and_goals_with_their_figures",
    "test_refusals_count_by_reason_once_per_scan_until_they_are_lifted",
    "test_refused_uploads_are_counted_by_reason",
    "test_samples_that_are_not_erased_are_counted_by_day_over_four_weeks",
    "test_the_apps_ids_are_unique_per_person_and_never_ours",
    "test_the_apps_own_id_finds_the_newest_scan_of_the_photo",
    "test_the_correction_rate_is_edited_scans_of_confirmed_scans",
]

pytestmark = pytest.mark.postgres


@pytest.fixture
def gateway_settings() -> dict[str, Any]:
    return {"SAVO_COLLECT_TRAINING_DATA": True}


@pytest.fixture
async def gateway(gateway_settings: dict[str, Any], postgres_url: str) -> AsyncIterator[GatewayHarness]:
    database = Database(postgres_url, "gateway")
    async with running_gateway(gateway_settings, database) as gateway:
        yield gateway
    await database.close()


async def test_equal_requests_at_several_replicas_create_one_scan(gateway: GatewayHarness, postgres_url: str) -> None:
    databases = [Database(postgres_url, "gateway") for _ in range(3)]
    replicas = [SqlScans(database, gateway.runtime.outbox) for database in databases]
    sent: list[Any] = []

    async def send(replica: SqlScans) -> None:
        accept = replace(gateway.provided(ScanUseCases).accept, scans=replica, _locks=WeakValueDictionary())
        sent.append((await accept(ScanUpload(data=photo(), idempotency_key="k"))).scan_id)

    await asyncio.gather(*(send(replica) for replica in replicas for _ in range(4)))
    assert len(set(sent)) == 1
    assert len(await gateway.published(ScanRequested)) == 1
    for database in databases:
        await database.close()


async def test_a_confirmation_and_a_result_at_the_same_time_are_both_applied(gateway: GatewayHarness) -> None:
    scans = SqlScans(gateway.runtime.database, gateway.runtime.outbox)
    request = ConfirmationRequest.model_validate({"items": [{"label": "tomato", "action": "kept"}]})
    for number in range(20):
        requested = await gateway.scan(photo(seed=number))
        await asyncio.gather(
            scans.confirm(requested.scan_id, request, gateway.clock()),
            scans.complete(completed(requested, tomato()), gateway.clock()),
        )
    assert len(await gateway.published(ScanConfirmed)) == 20
