"""/v1/users routes: a person's consent to training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Self

from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel, ConfigDict, Field, model_validator

from savo_gateway.access.records import Person
from savo_gateway.errors import InvalidRequestError
from savo_gateway.http.dependencies import ScansCaller, person_for, provided
from savo_gateway.http.problems import PROBLEM_RESPONSES
from savo_gateway.http.schemas import PLAIN_TEXT
from savo_gateway.ports import ConsentStore
from savo_gateway.users.consent import DEFAULT_RETENTION_DAYS, Consent, ConsentChoice

__all__ = ["UserUseCases", "router"]

router = APIRouter(prefix="/v1/users", tags=["users"], responses=PROBLEM_RESPONSES)


@dataclass(frozen=True, kw_only=True)
class UserUseCases:
    """The use cases of these routes."""

    consents: ConsentStore
    clock: Callable[[], datetime]


Users = Annotated[UserUseCases, provided(UserUseCases)]


class ConsentRequest(BaseModel):
    """A person's choice."""

    model_config = ConfigDict(extra="forbid")

    given: bool = Field(description="Photos may become training samples. false withdraws.")
    text_version: str | None = Field(
        default=None,
        min_length=1,
        max_length=40,
        pattern=PLAIN_TEXT,
        description="Version of the text that the person agreed to; required when given.",
    )
    retention_days: int = Field(default=DEFAULT_RETENTION_DAYS, ge=1, le=3650, description="Of samples, in days.")

    @model_validator(mode="after")
    def _given_needs_its_text(self) -> Self:
        if self.given and self.text_version is None:
            raise ValueError("text_version is missing: a consent names the text that the person agreed to")
        return self


class ConsentView(BaseModel):
    """A person's consent; not given and not withdrawn where they were never asked."""

    given: bool
    withdrawn: bool
    text_version: str | None
    retention_days: int | None
    changed_at: datetime | None

    @classmethod
    def of(cls, consent: Consent | None) -> Self:
        if consent is None:
            return cls(given=False, withdrawn=False, text_version=None, retention_days=None, changed_at=None)
        choice = consent.choice
        return cls(
            given=choice.given,
            withdrawn=not choice.given,
            text_version=choice.text_version,
            retention_days=choice.retention_days,
            changed_at=consent.changed_at,
        )


async def _user(
    caller: ScansCaller, user_id: Annotated[str, Path(min_length=1, max_length=200, pattern=PLAIN_TEXT)]
) -> Person:
    person = person_for(caller, user_id)
    if person is None:
        raise InvalidRequestError("user_id", "name the user")
    return person


User = Annotated[Person, Depends(_user)]


@router.get("/{user_id}/consent", summary="A user's consent to training")
async def show_consent(user: User, use: Users) -> ConsentView:
    return ConsentView.of(await use.consents.consent_of(user))


@router.put("/{user_id}/consent", summary="Give or withdraw the consent to training")
async def set_consent(user: User, request: ConsentRequest, use: Users) -> ConsentView:
    """A withdrawal ends the collection of samples. Those that exist are removed by an erasure."""
    choice = ConsentChoice(request.given, request.text_version, request.retention_days)
    return ConsentView.of(await use.consents.set_consent(user, choice, use.clock()))
