"""Settings of a service that calls a provider: the choice of the provider, keys, addresses, models, prices.

The fields of each provider are made from its row in the catalogue: `google_api_key` is GOOGLE_API_KEY, and so on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AliasChoices, Field, SecretStr, create_model
from pydantic.config import JsonDict

from savo_providers.catalogue import PRICES, PROVIDERS, Provider, Task, provider_named
from savo_providers.prices import Price
from savo_runtime.settings import RuntimeSettings

__all__ = ["Connection", "ModelSettings", "ProviderSettings", "provider_choice"]

PriceTable = dict[
    str, Annotated[tuple[float, float], Field(description="US dollars a million input and output tokens.")]
]

NO_KEY = "stand-in"
"""Key for a server at a configured address that needs none: the SDKs require a value."""

_HTTP: JsonDict = {"allowed": "http(s)://HOST[:PORT]"}


@dataclass(frozen=True)
class Connection:
    """Provider, model, price, key and address for an adapter."""

    provider: Provider
    model: str
    price: Price
    key: str = field(default=NO_KEY, repr=False)
    base_url: str | None = None


class _ChosenProvider(RuntimeSettings):
    """Base of `ProviderSettings`. A service's subclass defines `provider_name` and `provider_model`."""

    model_prices: PriceTable = Field(
        default_factory=dict,
        validation_alias="SAVO_MODEL_PRICES",
        description="Prices of further provider models: US dollars for a million input and output tokens.",
        json_schema_extra={"allowed": 'JSON like {"gemini-3.5-flash": [1.5, 9]}'},
    )

    google_sdk: Literal["genai", "generativeai"] = Field(
        "genai",
        validation_alias="SAVO_GOOGLE_SDK",
        description="Google's library for scans; generativeai is out of support and an extra (docs/deployment.md).",
    )

    @property
    def provider_name(self) -> str:
        raise NotImplementedError

    @property
    def provider_model(self) -> str:
        raise NotImplementedError

    @property
    def chosen(self) -> Provider:
        return provider_named(self.provider_name)

    @property
    def provider_key(self) -> SecretStr | None:
        key: SecretStr | None = getattr(self, f"{self.provider_name}_api_key")
        return key

    @property
    def provider_base_url(self) -> str | None:
        url: str | None = getattr(self, f"{self.provider_name}_base_url")
        return url

    @property
    def has_price(self) -> bool:
        return self.provider_model in self.model_prices or self.provider_model in PRICES

    @property
    def provider_price(self) -> Price:
        given = self.model_prices.get(self.provider_model)
        return Price(*given) if given else PRICES[self.provider_model]

    @property
    def can_connect(self) -> bool:
        """Whether there is a key, or the address of a server that may need none."""
        return bool(self.provider_key or self.provider_base_url)

    @property
    def connection(self) -> Connection:
        key = self.provider_key.get_secret_value() if self.provider_key else NO_KEY
        return Connection(self.chosen, self.provider_model, self.provider_price, key, self.provider_base_url)


def provider_choice(task: Task, default: Provider, variable: str, description: str) -> Any:
    """The settings field that chooses the provider of a task. The list of allowed names begins with the default."""
    others = [provider.name for provider in PROVIDERS if task in provider.models and provider is not default]
    names = [default.name, *others]
    allowed: JsonDict = {"allowed": f"one of {', '.join(names)}"}
    return Field(
        default.name,
        validation_alias=variable,
        pattern=f"^({'|'.join(names)})$",
        description=description,
        json_schema_extra=allowed,
    )


def _connection_fields(provider: Provider) -> dict[str, Any]:
    url = Field(
        None,
        validation_alias=AliasChoices(*provider.base_url_variables),
        description=f"Address of another server with {provider.protocol}'s protocol, such as the stand-in.",
        json_schema_extra=_HTTP,
        pattern=r"^https?://\S+$",
    )
    key = Field(None, validation_alias=provider.key_variable, description=f"Key for {provider.title}.")
    return {f"{provider.name}_api_key": (SecretStr | None, key), f"{provider.name}_base_url": (str | None, url)}


def _model_field(provider: Provider) -> dict[str, Any]:
    description = f"{provider.protocol} model that answers photos."
    model = Field(
        provider.models["vision"], min_length=1, validation_alias=provider.model_variable, description=description
    )
    return {f"{provider.name}_model": (str, model)}


def _with_fields(name: str, base: type[RuntimeSettings], *rows: dict[str, Any]) -> Any:
    fields = {field: definition for row in rows for field, definition in row.items()}
    return create_model(name, __base__=base, __module__=__name__, **fields)


if TYPE_CHECKING:
    ProviderSettings = _ChosenProvider
    ModelSettings = _ChosenProvider
else:
    ProviderSettings = _with_fields("ProviderSettings", _ChosenProvider, *map(_connection_fields, PROVIDERS))
    """Base class with key and address of every provider. A subclass defines `provider_name` and `provider_model`."""
    ModelSettings = _with_fields(
        "ModelSettings", ProviderSettings, *(_model_field(each) for each in PROVIDERS if "vision" in each.models)
    )
    """`ProviderSettings` with one model setting for each provider: `SAVO_GOOGLE_MODEL`, …"""
