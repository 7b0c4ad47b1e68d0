"""The gateway's settings, from the environment. Only `app.py` reads them."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import AliasChoices, AwareDatetime, Field, SecretStr, field_validator, model_validator

from savo_runtime.settings import RuntimeSettings

__all__ = ["GatewaySettings"]

SUPABASE_AUDIENCE = "authenticated"
"""`aud` of the tokens of users that are signed in at Supabase."""


class GatewaySettings(RuntimeSettings):
    """What the gateway reads beside what every service reads."""

    http_port: int = Field(
        8000,
        ge=0,
        le=65535,
        validation_alias=AliasChoices("PORT", "SAVO_HTTP_PORT"),
        description="Port of the public HTTP; PORT, which some hosts set, takes precedence.",
    )
    auth: Literal["none", "api_key", "jwt"] | None = Field(
        None,
        validation_alias="SAVO_AUTH",
        description="Who may call; unset is none on a loopback address and api_key elsewhere.",
    )
    jwt_key: SecretStr | None = Field(
        None,
        validation_alias="SAVO_JWT_KEY",
        description="With SAVO_AUTH=jwt: the shared secret (HS256), or a PEM public key.",
    )
    supabase_jwt_secret: SecretStr | None = Field(
        None,
        validation_alias="SUPABASE_JWT_SECRET",
        description="With SAVO_AUTH=jwt: the JWT secret of a Supabase project (HS256). SAVO_JWT_KEY takes precedence.",
    )
    jwks_url: str | None = Field(
        None,
        validation_alias="SAVO_JWKS_URL",
        description="With SAVO_AUTH=jwt: address of the issuer's public keys, for tokens with RS256 and ES256.",
        json_schema_extra={"allowed": "https://HOST/PATH"},
        pattern=r"^https?://\S+$",
    )
    jwt_algorithm: Literal["HS256", "RS256", "ES256", "EdDSA"] = Field(
        "HS256", validation_alias="SAVO_JWT_ALGORITHM", description="Signature algorithm of SAVO_JWT_KEY."
    )
    jwt_audience: str | None = Field(
        None,
        validation_alias="SAVO_JWT_AUDIENCE",
        description="The `aud` that tokens must have; unset is authenticated with SUPABASE_JWT_SECRET or "
        "SAVO_JWKS_URL, and any with SAVO_JWT_KEY alone.",
    )
    jwt_issuer: str | None = Field(
        None, validation_alias="SAVO_JWT_ISSUER", description="The `iss` that tokens must have; unset accepts any."
    )
    rate_limit_per_minute: int = Field(
        6000,
        ge=0,
        validation_alias="SAVO_RATE_LIMIT_PER_MINUTE",
        description="Requests per minute from one key or user, counted by each replica; 0 is no limit.",
    )
    max_upload_mb: float = Field(
        20.0, gt=0, le=100, validation_alias="SAVO_MAX_UPLOAD_MB", description="Largest accepted photo, 10⁶ bytes."
    )
    max_upload_megapixels: float = Field(
        50.0,
        gt=0,
        le=50,
        validation_alias="SAVO_MAX_UPLOAD_MEGAPIXELS",
        description="Most pixels of an accepted photo, in millions.",
    )
    scan_expires_seconds: float = Field(
        120.0,
        gt=0,
        validation_alias="SAVO_SCAN_EXPIRES_SECONDS",
        description="Seconds after which a scan without an answer fails as expired.",
    )
    ask_rule: Literal["random", "close_to_threshold"] = Field(
        "random",
        validation_alias="SAVO_ASK_RULE",
        description="Which answers have ask_confirmation: any, or rather those near the threshold and of rare classes.",
    )
    ask_share: float = Field(
        0.25,
        ge=0,
        le=1,
        validation_alias="SAVO_ASK_SHARE",
        description="Share of the answers that have ask_confirmation.",
    )
    ask_per_minute: int = Field(
        60,
        ge=0,
        validation_alias="SAVO_ASK_PER_MINUTE",
        description="Most answers in a minute that have ask_confirmation.",
    )
    ask_per_day: int = Field(
        5000,
        ge=0,
        validation_alias="SAVO_ASK_PER_DAY",
        description="Most answers in a UTC day that have ask_confirmation.",
    )
    goals_started_at: AwareDatetime | None = Field(
        None,
        validation_alias="SAVO_GOALS_STARTED_AT",
        description="First day of the goals of /training/progress; unset is that of the first sample.",
        json_schema_extra={"allowed": "a time with its zone, such as 2026-11-24T00:00:00Z"},
    )
    collect_training_data: bool = Field(
        False, validation_alias="SAVO_COLLECT_TRAINING_DATA", description="Keep confirmed photos as training samples."
    )
    app_anonymous: bool = Field(
        False,
        validation_alias="SAVO_APP_ANONYMOUS",
        description="Let generation 1 of the app in without a key: its three POSTs, within limits by address.",
    )
    app_daily_budget_usd: float = Field(
        5.0,
        ge=0,
        validation_alias="SAVO_APP_DAILY_BUDGET_USD",
        description="What scans without a key may cost in a UTC day.",
    )
    trusted_proxies: str = Field(
        "127.0.0.1",
        validation_alias="SAVO_TRUSTED_PROXIES",
        description="Proxies whose X-Forwarded-For is believed, for limits by address.",
        json_schema_extra={"allowed": "addresses and networks, separated by commas, such as 10.0.0.0/8"},
    )
    require_consent: bool = Field(
        False,
        validation_alias="SAVO_REQUIRE_CONSENT",
        description="Collect only with consent, of the scan or of the person; consent=false always wins.",
    )
    rollout_url: str | None = Field(
        None,
        validation_alias="SAVO_ROLLOUT_URL",
        description="Address of the rollout service, for /admin/rollout; unset shows its newest event.",
        json_schema_extra={"allowed": "http(s)://HOST:PORT, or HOST:PORT"},
        pattern=r"^https?://\S+$",
    )

    @field_validator("rollout_url", mode="before")
    @classmethod
    def _with_scheme(cls, value: object) -> object:
        # Render's reference to a private service is HOST:PORT.
        return f"http://{value}" if isinstance(value, str) and "://" not in value and ":" in value else value

    @model_validator(mode="after")
    def _jwt_has_a_key(self) -> Self:
        if self.auth == "jwt" and not (self.jwt_key or self.supabase_jwt_secret or self.jwks_url):
            raise ValueError(
                "SAVO_JWT_KEY is missing: SAVO_AUTH=jwt needs the key that tokens are checked with; "
                "set it, SUPABASE_JWT_SECRET or SAVO_JWKS_URL"
            )
        if self.jwks_url and self.jwt_key and self.jwt_algorithm != "HS256":
            raise ValueError(
                f"SAVO_JWT_ALGORITHM is {self.jwt_algorithm}, and SAVO_JWKS_URL is set: set a public key or the "
                "address of the public keys, not both"
            )
        return self

    @property
    def token_audience(self) -> str | None:
        """The `aud` that tokens must have; None accepts any."""
        if self.jwt_audience or not (self.jwks_url or (self.supabase_jwt_secret and not self.jwt_key)):
            return self.jwt_audience
        return SUPABASE_AUDIENCE
