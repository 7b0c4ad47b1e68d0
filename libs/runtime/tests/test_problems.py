"""Problem responses of HTTP APIs."""

from __future__ import annotations

import json
from http import HTTPStatus

import pytest
from pydantic import BaseModel, Field, ValidationError

from savo_runtime.http.problems import problem, validation_message


class Body(BaseModel):
    share: float = Field(ge=0, le=1)
    by: str


def test_a_problem_has_a_stable_type_and_code_and_the_phrase_of_its_status() -> None:
    answer = problem(HTTPStatus.CONFLICT, "not-possible", "the trial is paused already")
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, json.loads(bytes(answer.body))) == (
        409,
        {
            "type": "urn:savo:problem:not-possible",
            "title": "Conflict",
            "status": 409,
            "detail": "the trial is paused already",
            "code": "not-possible",
        },
    )


def test_the_caller_sets_title_headers_and_additional_members() -> None:
    answer = problem(503, "try-again", "ask again", title="Not now", headers={"Retry-After": "1"}, limit=3)
    body = json.loads(bytes(answer.body))
    assert (body["title"], body["limit"], answer.headers["retry-after"]) == ("Not now", 3, "1")


def test_each_wrong_field_is_named_with_its_reason() -> None:
    with pytest.raises(ValidationError) as refused:
        Body.model_validate({"share": 1.5})
    message = validation_message(refused.value)
    assert message == "share: Input should be less than or equal to 1; by: Field required"


def test_an_invalid_json_body_has_no_field() -> None:
    with pytest.raises(ValidationError) as refused:
        Body.model_validate_json("{")
    assert validation_message(refused.value).startswith("body: Invalid JSON")
