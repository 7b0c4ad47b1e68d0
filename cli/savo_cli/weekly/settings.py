"""Settings of the weekly digest: mail server, addresses and link."""

from __future__ import annotations

from pydantic import Field, SecretStr

from savo_runtime.settings import RuntimeSettings

__all__ = ["DigestSettings"]


class DigestSettings(RuntimeSettings):
    """Settings that only `savo digest` reads."""

    smtp_url: SecretStr | None = Field(
        None,
        validation_alias="SMTP_URL",
        description="Mail server of the weekly digest. smtps uses TLS from the start, smtp if the server offers it.",
        json_schema_extra={"allowed": "smtp(s)://[USER:PASSWORD@]HOST[:PORT]"},
    )
    digest_to: str | None = Field(
        None,
        pattern=r"^[^@,]+@[^@,]+(,[^@,]+@[^@,]+)*,?\s*$",
        validation_alias="SAVO_DIGEST_TO",
        description="Recipients of the weekly digest, separated by commas.",
        json_schema_extra={"allowed": "a mail address, or several: NAME@HOST,NAME@HOST"},
    )
    digest_from: str | None = Field(
        None,
        pattern=r"^[^@]+@[^@]+$",
        validation_alias="SAVO_DIGEST_FROM",
        description="Sender of the weekly digest; unset is savo@ and the mail server's host.",
        json_schema_extra={"allowed": "a mail address: NAME@HOST"},
    )

    public_url: str | None = Field(
        None,
        pattern=r"^https?://",
        validation_alias="SAVO_PUBLIC_URL",
        description="Address of the gateway in the digest's link; unset is the address that the command uses.",
        json_schema_extra={"allowed": "http(s)://HOST[:PORT]"},
    )

    @property
    def recipients(self) -> list[str]:
        """The addresses of SAVO_DIGEST_TO."""
        return [address.strip() for address in (self.digest_to or "").split(",") if address.strip()]
