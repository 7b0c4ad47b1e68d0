"""Where the weekly mail goes."""

from __future__ import annotations

from pydantic import Field, SecretStr

from savo_runtime.settings import RuntimeSettings

__all__ = ["DigestSettings"]


class DigestSettings(RuntimeSettings):
    smtp_url: SecretStr | None = Field(
        None,
        validation_alias="SMTP_URL",
        description="Mail server of the weekly digest. smtps is TLS from the start; with smtp, TLS is taken where the server offers it.",
        json_schema_extra={"allowed": "smtp(s)://[USER:PASSWORD@]HOST[:PORT]"},
    )
    digest_to: str | None = Field(
        None, min_length=3, validation_alias="SAVO_DIGEST_TO", description="Who gets the weekly digest; several with commas between them."
    )
    digest_from: str | None = Field(
        None, min_length=3, validation_alias="SAVO_DIGEST_FROM", description="Sender of the weekly digest; unset is savo@ and the mail server's host."
    )

    @property
    def recipients(self) -> list[str]:
        return [address.strip() for address in (self.digest_to or "").split(",") if address.strip()]
