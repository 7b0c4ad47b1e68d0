"""Settings of the services: read from the environment, validated before anything starts, with secrets masked.

Each service derives its own class, which only its `app.py` reads. A field's `validation_alias` is the name of the
variable.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NoReturn, Self, TypeVar, Union, get_args, get_origin

from pydantic import AliasChoices, Field, SecretStr, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

__all__ = [
    "GUIDE_VARIABLES",
    "NAMES_FILE",
    "RuntimeSettings",
    "UnknownVariable",
    "guide_values",
    "installed_settings",
    "known_variables",
    "load_settings",
    "service_variables",
    "settings_table",
    "unknown_variables",
]

SERVICE_GROUP = "savo.services"

NAMES_FILE = Path(__file__).with_name("settings.txt")
"""The variables of all services, written by `make generate`.

An image contains one service, but the environment is often shared: a variable of another service is not a typo.
"""

GUIDE_VARIABLES = (
    "SAVO_COLLECT_TRAINING_DATA",
    "SAVO_VISION_PROVIDER",
    "SAVO_REASONING_PROVIDER",
    "SAVO_USE_CUSTOM_VISION",
    "SAVO_CUSTOM_VISION_MODEL_PATH",
    "SAVO_CUSTOM_VISION_ROLLOUT",
    "SAVO_VISION_CONFIDENCE_THRESHOLD",
    "R2_ACCOUNT_ID",
    "R2_BUCKET_NAME",
)
"""The variables of the owner's guide, without its secrets."""

KafkaProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
SaslMechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]


class RuntimeSettings(BaseSettings):
    """The settings that every service reads."""

    # Code may pass values by field name. The prefix "=", which no variable can contain, limits the environment to
    # aliases.
    model_config = SettingsConfigDict(
        env_prefix="=", env_ignore_empty=True, case_sensitive=True, populate_by_name=True, extra="ignore", frozen=True
    )

    env: Literal["dev", "production"] = Field(
        "dev", validation_alias="SAVO_ENV", description="production refuses the embedded broker."
    )
    data_dir: Path = Field(
        Path(".savo"), validation_alias="SAVO_DATA_DIR", description="Folder of databases, objects and run files."
    )

    kafka_bootstrap_servers: str = Field(
        "embedded",
        validation_alias="SAVO_KAFKA_BOOTSTRAP_SERVERS",
        description="Kafka's addresses; `embedded` is the broker in memory inside `savo up`.",
        json_schema_extra={"allowed": "`embedded` or host:port[,host:port…]"},
        pattern=r"^(embedded|[^\s,:]+:\d{1,5}(,[^\s,:]+:\d{1,5})*)$",
    )
    embedded_broker: bool = Field(
        False,
        validation_alias="SAVO_EMBEDDED_BROKER",
        description="Set by `savo up`: the address is that of an embedded broker.",
    )
    sandbox: str | None = Field(
        None,
        validation_alias="SAVO_SANDBOX",
        description="Run in this sandbox, filled by `savo replay`: its own topics, groups, tables and objects.",
        json_schema_extra={"allowed": "a name of a-z, 0-9 and -, at most 20 long"},
        pattern=r"^[a-z0-9][a-z0-9-]{0,19}$",
    )
    optional_services: str | None = Field(
        None,
        validation_alias="SAVO_OPTIONAL_SERVICES",
        description="Services that may be absent: their lag is exported only after their first commit."
        " Set by `savo up --one-process`.",
        json_schema_extra={"allowed": "names of services, separated by commas"},
        pattern=r"^[a-z]+(,[a-z]+)*$",
    )
    kafka_security_protocol: KafkaProtocol = Field(
        "PLAINTEXT",
        validation_alias="SAVO_KAFKA_SECURITY_PROTOCOL",
        description="Security protocol of the Kafka connection.",
    )
    kafka_sasl_mechanism: SaslMechanism = Field(
        "SCRAM-SHA-512",
        validation_alias="SAVO_KAFKA_SASL_MECHANISM",
        description="SASL mechanism, with a SASL protocol.",
    )
    kafka_sasl_username: str | None = Field(
        None, validation_alias="SAVO_KAFKA_SASL_USERNAME", description="Kafka user, with SASL."
    )
    kafka_sasl_password: SecretStr | None = Field(
        None, validation_alias="SAVO_KAFKA_SASL_PASSWORD", description="Kafka password, with SASL."
    )
    kafka_ssl_ca_file: Path | None = Field(
        None, validation_alias="SAVO_KAFKA_SSL_CA_FILE", description="CA bundle for Kafka; unset is the system's."
    )
    kafka_ssl_cert_file: Path | None = Field(
        None, validation_alias="SAVO_KAFKA_SSL_CERT_FILE", description="Client certificate for Kafka."
    )
    kafka_ssl_key_file: Path | None = Field(
        None, validation_alias="SAVO_KAFKA_SSL_KEY_FILE", description="Key of the client certificate."
    )
    kafka_replication_factor: int = Field(
        1,
        ge=1,
        le=7,
        validation_alias="SAVO_KAFKA_REPLICATION_FACTOR",
        description="Copies of each topic that is created; 3 in production.",
    )

    database_url: SecretStr | None = Field(
        None,
        validation_alias="SAVO_DATABASE_URL",
        description="PostgreSQL, a schema for each service; unset is one SQLite file for each under SAVO_DATA_DIR/db.",
        json_schema_extra={"allowed": "postgres://USER:PASSWORD@HOST:PORT/DATABASE"},
    )

    r2_account_id: str | None = Field(
        None,
        validation_alias="R2_ACCOUNT_ID",
        description="Cloudflare account of the bucket.",
        pattern=r"^[0-9A-Za-z-]+$",
    )
    r2_access_key_id: str | None = Field(
        None, validation_alias="R2_ACCESS_KEY_ID", description="Access key of the bucket, R2's or the S3 server's."
    )
    r2_secret_access_key: SecretStr | None = Field(
        None, validation_alias="R2_SECRET_ACCESS_KEY", description="Secret of the access key."
    )
    r2_bucket_name: str | None = Field(
        None, validation_alias="R2_BUCKET_NAME", description="Bucket; unset with the rest: a folder."
    )
    s3_endpoint_url: str | None = Field(
        None,
        validation_alias="SAVO_S3_ENDPOINT_URL",
        description="URL of another S3 server than R2; used instead of R2_ACCOUNT_ID.",
        json_schema_extra={"allowed": "http(s)://HOST[:PORT]"},
        pattern=r"^https?://[^\s/]+/?$",
    )
    s3_region: str = Field(
        "auto", validation_alias="SAVO_S3_REGION", description="Region of the bucket; R2 wants auto."
    )
    storage_limit_gb: float | None = Field(
        None, gt=0, validation_alias="SAVO_STORAGE_LIMIT_GB", description="Limit of the folder store, 10⁹ bytes."
    )

    http_host: str = Field(
        "127.0.0.1",
        validation_alias="SAVO_HTTP_HOST",
        description="Address that the service listens on; `savo up` uses 0.0.0.0 where the host sets PORT or RENDER.",
    )
    http_port: int = Field(
        0,
        ge=0,
        le=65535,
        validation_alias="SAVO_HTTP_PORT",
        description="Port that the service listens on; 0 is any free one.",
    )

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", validation_alias="SAVO_LOG_LEVEL", description="Lowest level that is logged."
    )
    log_format: Literal["console", "json"] = Field(
        "console", validation_alias="SAVO_LOG_FORMAT", description="`console` for people, `json` for log collectors."
    )
    otlp_endpoint: str | None = Field(
        None,
        validation_alias="OTEL_EXPORTER_OTLP_ENDPOINT",
        description="Collector that traces are sent to (OTLP over HTTP); unset sends none.",
        json_schema_extra={"allowed": "http(s)://HOST:PORT"},
        pattern=r"^https?://\S+$",
    )

    @property
    def own_dir(self) -> Path:
        """Folder of SQLite files and run files: the data folder, or the sandbox's subfolder of it."""
        return self.data_dir / "sandbox" / self.sandbox if self.sandbox else self.data_dir

    @property
    def object_store(self) -> Literal["folder", "s3"]:
        return "s3" if any(_r2_variables(self).values()) or self.s3_endpoint_url else "folder"

    @property
    def s3_endpoint(self) -> str:
        """The S3 server's URL: SAVO_S3_ENDPOINT_URL, or that of the R2 account."""
        return self.s3_endpoint_url or f"https://{self.r2_account_id}.r2.cloudflarestorage.com"

    @model_validator(mode="after")
    def _production_has_a_real_broker(self) -> Self:
        if self.env == "production" and (self.kafka_bootstrap_servers == "embedded" or self.embedded_broker):
            raise ValueError(
                "SAVO_KAFKA_BOOTSTRAP_SERVERS='embedded' makes no sense with SAVO_ENV=production:"
                " host:port of a real Kafka is allowed"
            )
        return self

    @model_validator(mode="after")
    def _sasl_is_complete(self) -> Self:
        if self.kafka_security_protocol.startswith("SASL"):
            given = {
                "SAVO_KAFKA_SASL_USERNAME": self.kafka_sasl_username,
                "SAVO_KAFKA_SASL_PASSWORD": self.kafka_sasl_password,
            }
            if missing := [name for name, value in given.items() if not value]:
                raise ValueError(
                    f"{' and '.join(missing)} missing:"
                    f" SAVO_KAFKA_SECURITY_PROTOCOL={self.kafka_security_protocol} needs a user and a password"
                )
        return self

    @model_validator(mode="after")
    def _object_store_is_complete(self) -> Self:
        if self.object_store == "s3":
            needed = _r2_variables(self)
            if self.s3_endpoint_url:
                del needed["R2_ACCOUNT_ID"]
            if missing := [name for name, value in needed.items() if not value]:
                either = " (or SAVO_S3_ENDPOINT_URL)" if "R2_ACCOUNT_ID" in missing else ""
                raise ValueError(
                    f"{' and '.join(missing)}{either} missing:"
                    f" set all of {', '.join(needed)}, or none to keep objects in a folder"
                )
        return self

    @model_validator(mode="after")
    def _database_is_postgresql(self) -> Self:
        url = self.database_url.get_secret_value() if self.database_url else "postgres://"
        if not url.startswith(("postgres://", "postgresql://", "postgresql+asyncpg://")):
            raise ValueError(
                "SAVO_DATABASE_URL=*** makes no sense:"
                " allowed is postgres://USER:PASSWORD@HOST:PORT/DATABASE, or unset for SQLite"
            )
        return self


S = TypeVar("S", bound=RuntimeSettings)


def load_settings(cls: type[S], **given: Any) -> S:
    """Read the settings from the environment. Values in `given`, by field name, take precedence.

    An invalid value ends the process with one line on stderr and exit code 2.
    """
    try:
        return cls(**given)
    except ValidationError as error:
        _refuse(_error_message(cls, error.errors(include_url=False)))
    except SettingsError as error:
        _refuse(_json_error_message(cls, error))


def _json_error_message(cls: type[RuntimeSettings], error: SettingsError) -> str:
    """For a variable with invalid JSON, which pydantic-settings parses before validation.

    The message leaves out the value, which may be long or a secret.
    """
    field = re.search(r'field "(\w+)"', str(error))
    names = _variables(cls.model_fields[field[1]]) if field and field[1] in cls.model_fields else ()
    return f"{next(iter(names), 'a setting')} is not valid JSON ({error.__cause__}); docs/settings.md shows its form"


def known_variables(classes: Iterable[type[RuntimeSettings]], *, aliases: bool = True) -> set[str]:
    """The variables that the classes read. Without `aliases`, only the first name of each setting."""
    return {name for cls in classes for _, info in _fields(cls) for name in _variables(info)[: None if aliases else 1]}


def guide_values(settings: RuntimeSettings) -> dict[str, str]:
    """The owner's variables that the class reads, by name, with their values as read. Secrets are left out.

    Unset ones are left out as well. Values are written as a person sets them: true, 0.6, google.
    """
    values = {_variables(info)[0]: getattr(settings, name) for name, info in _fields(type(settings))}
    return {name: _as_set(values[name]) for name in GUIDE_VARIABLES if values.get(name) is not None}


def _as_set(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def service_variables() -> frozenset[str]:
    """The variables of every service, whether it is installed or not."""
    return frozenset(NAMES_FILE.read_text(encoding="utf-8").split())


class UnknownVariable(NamedTuple):
    """A SAVO_* variable that no service reads."""

    name: str
    suggestion: str | None
    """The most similar known name, if one is similar."""

    def __str__(self) -> str:
        hint = f"; did you mean {self.suggestion}?" if self.suggestion else ""
        return f"{self.name} is not a setting of Savo{hint}"


def unknown_variables(environ: Mapping[str, str], known: Iterable[str]) -> list[UnknownVariable]:
    """The SAVO_* variables that no service reads, sorted by name."""
    names = sorted({*known, *service_variables()})
    return [
        UnknownVariable(variable, next(iter(get_close_matches(variable, names, n=1, cutoff=0.6)), None))
        for variable in sorted(environ)
        if variable.startswith("SAVO_") and variable not in names
    ]


def installed_settings() -> dict[str, type[RuntimeSettings]]:
    """The settings class of each installed service, from its `settings.py`, without importing the service itself."""
    found = {}
    for entry in sorted(entry_points(group=SERVICE_GROUP), key=lambda entry: entry.name):
        module = f"{entry.module.rpartition('.')[0]}.settings"
        if find_spec(module):
            # A part of the settings may be a class of its own: the most derived class has all of them.
            own = [value for value in vars(importlib.import_module(module)).values() if _is_derived(value, module)]
            found[entry.name] = max(own, key=lambda cls: len(cls.__mro__))
    return found


def settings_table(classes: Mapping[str, type[RuntimeSettings]], variables: Sequence[str] | None = None) -> str:
    """Markdown table with the columns variable, default, allowed, meaning, read by.

    `classes` are by service name. `variables` selects and orders the rows; by default all variables, sorted.
    """
    rows: dict[str, tuple[FieldInfo, list[str]]] = {}
    for service, cls in classes.items():
        for _, info in _fields(cls):
            rows.setdefault(_variables(info)[0], (info, []))[1].append(service)
    lines = ["| variable | default | allowed | meaning | read by |", "|---|---|---|---|---|"]
    for variable in sorted(rows) if variables is None else variables:
        info, services = rows[variable]
        readers = "all" if len(services) == len(classes) else ", ".join(services)
        cells = [f"`{variable}`", _default(info), allowed(info), info.description or "", readers]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def allowed(info: FieldInfo) -> str:
    """Description of the allowed values of a variable, such as "a whole number from 1 to 7"."""
    extra = info.json_schema_extra
    if isinstance(extra, dict) and "allowed" in extra:
        return str(extra["allowed"])
    kind = _plain(info.annotation)
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(map(str, get_args(kind)))
    types = {bool: "true or false", int: "a whole number", float: "a number", Path: "a path", SecretStr: "a secret"}
    bounds = "".join(_bound(limit) for limit in info.metadata)
    return types.get(kind, "text" if kind is str else getattr(kind, "__name__", str(kind))) + bounds


def _bound(limit: Any) -> str:
    for name, label in (("ge", "from"), ("gt", "above"), ("le", "to"), ("lt", "below"), ("pattern", "like")):
        if getattr(limit, name, None) is not None:
            return f" {label} {getattr(limit, name)}"
    return ""


def _error_message(cls: type[RuntimeSettings], errors: list[ErrorDetails]) -> str:
    first = errors[0]
    message = first["msg"].removeprefix("Value error, ")
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    if not first["loc"]:  # a validator of several settings writes its whole message
        return message + more
    variable, info = _named(cls, str(first["loc"][0]))
    if first["type"] == "missing":
        return f"{variable} is missing: {info.description or allowed(info)}{more}"
    value = "***" if _is_secret(info) else repr(first["input"])
    reason = message if first["type"] == "value_error" else f"allowed is {allowed(info)}"
    return f"{variable}={value} makes no sense: {reason}{more}"


def _refuse(message: str) -> NoReturn:
    print("savo: " + " ".join(message.split()), file=sys.stderr)
    raise SystemExit(2)


def _named(cls: type[RuntimeSettings], location: str) -> tuple[str, FieldInfo]:
    for name, info in _fields(cls):
        if location == name or location in _variables(info):
            return _variables(info)[0], info
    raise KeyError(location)


def _fields(cls: type[RuntimeSettings]) -> Iterator[tuple[str, FieldInfo]]:
    return ((name, info) for name, info in cls.model_fields.items() if _variables(info))


def _variables(info: FieldInfo) -> list[str]:
    alias = info.validation_alias
    if isinstance(alias, AliasChoices):
        return [choice for choice in alias.choices if isinstance(choice, str)]
    return [alias] if isinstance(alias, str) else []


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    value = info.get_default(call_default_factory=True, validated_data={})
    if value is None:
        return "secret, unset" if _is_secret(info) else "unset"
    if _is_secret(info):
        return "secret"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _plain(annotation: Any) -> Any:
    """The type without `| None` and without `Annotated`."""
    if get_origin(annotation) is Annotated:
        return _plain(get_args(annotation)[0])
    members = [member for member in get_args(annotation) if member is not type(None)]
    is_union = get_origin(annotation) is Union or type(annotation).__name__ == "UnionType"
    return _plain(members[0]) if is_union and len(members) == 1 else annotation


def _is_secret(info: FieldInfo) -> bool:
    return _plain(info.annotation) is SecretStr


def _is_derived(value: Any, module: str) -> bool:
    return isinstance(value, type) and issubclass(value, RuntimeSettings) and value.__module__ == module


def _r2_variables(settings: RuntimeSettings) -> dict[str, Any]:
    return {
        "R2_ACCOUNT_ID": settings.r2_account_id,
        "R2_ACCESS_KEY_ID": settings.r2_access_key_id,
        "R2_SECRET_ACCESS_KEY": settings.r2_secret_access_key,
        "R2_BUCKET_NAME": settings.r2_bucket_name,
    }
