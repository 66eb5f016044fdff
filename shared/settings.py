"""Every setting of every process, from the environment alone. Secrets are never printed: they are `SecretStr`."""

from datetime import timedelta
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Annotated

from pydantic import AliasChoices, Field, SecretStr, StringConstraints, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


class Mode(StrEnum):
    """`development` allows the local token issuer; `production` refuses it."""

    DEVELOPMENT = "development"
    PRODUCTION = "production"


class AofPolicy(StrEnum):
    """Redis' `appendfsync`: what a 2xx is worth when the power fails (docs/decisions/0002)."""

    ALWAYS = "always"
    EVERYSEC = "everysec"


class Settings(BaseSettings):
    """The settings, each read from `TILLROLL_<NAME>` (the two server URLs also from their bare names)."""

    model_config = SettingsConfigDict(env_prefix="TILLROLL_", extra="ignore", frozen=True)

    mode: Mode = Mode.DEVELOPMENT
    redis_url: SecretStr = Field(
        SecretStr("redis://127.0.0.1:6379/0"), validation_alias=AliasChoices("REDIS_URL", "TILLROLL_REDIS_URL")
    )
    database_url: SecretStr = Field(
        SecretStr("postgresql://127.0.0.1:5432/tillroll"),
        validation_alias=AliasChoices("DATABASE_URL", "TILLROLL_DATABASE_URL"),
    )
    data_dir: Path = Path(".tillroll")
    aof_policy: AofPolicy = AofPolicy.ALWAYS
    log_each: bool = False  # one log line for each request and for each recorded event

    max_in_flight: Annotated[int, Field(ge=1)] = 256
    """Requests that one HTTP process works on at once. At 130 a second, a slow machine's rate, the last one admitted
    is answered in 2 s, within the patience of Redis' connection pool and of every client."""

    max_streams: Annotated[int, Field(ge=1)] = 1000
    """Streams of live order status that one process keeps open. Each holds a socket and some 100 KiB at worst."""

    origins: Annotated[list[str], NoDecode] = ["*"]
    catalog: Path | None = None

    jwks: str | None = None  # URL or file of the token issuer's public keys; None = the local issuer's file in data_dir
    token_issuer: str | None = None  # required `iss`, when set
    authorized_parties: Annotated[list[str], NoDecode] = []  # allowed `azp`, when set

    identity_days: Annotated[int, Field(ge=1, le=365)] = 7
    keyless_window: Annotated[float, Field(ge=0, le=3600)] = 30.0  # seconds; longer than the old client's worst retry
    demo_payment: bool = True  # PATCH marks an order paid without a payment; off in production shops

    consumer: str = "consumer-1"  # a stable slot name: its pending entries are found again after a crash
    batch_size: Annotated[int, Field(ge=1, le=5000)] = 1000
    claim_after: Annotated[float, Field(gt=0)] = 60.0  # seconds an entry of another consumer may stay pending
    max_lag_age: Annotated[float, Field(gt=0)] = 300.0  # seconds an entry may wait before the consumer is not ready
    dead_letter_limit: Annotated[int, Field(ge=1)] = 100  # burials in a row that pause intake
    stream_retention: Annotated[float, Field(ge=0)] = 3600.0  # seconds an archived entry stays in the stream

    archive_url: str | None = None  # where payloads are moved to, file:// or s3://; None = a folder in data_dir

    stripe_secret_key: SecretStr | None = None  # opens payment sessions; None = payments are not configured
    stripe_webhook_secret: SecretStr | None = None  # of the webhook's signatures
    stripe_api_url: str = "https://api.stripe.com"
    stripe_currency: Annotated[str, StringConstraints(pattern=r"^[a-z]{3}$")] = "usd"  # one that has cents
    stripe_success_url: str = "http://localhost:8000/checkout/success?session_id={CHECKOUT_SESSION_ID}"
    stripe_cancel_url: str = "http://localhost:8000/checkout/pay"
    pay_by_card: bool | None = None  # whether the storefront's pages lead to Stripe; None = where the secret key is set

    form_secret: SecretStr | None = None  # signs form tokens; None = one kept in data_dir, for a single machine
    sign_in_url: str | None = None  # the issuer's own page (Clerk's); None = the local issuer's, in development alone
    sign_up_url: str | None = None
    api_url: str = "http://127.0.0.1:8000"  # the gateway that a storefront of its own process asks

    @field_validator("origins", "authorized_parties", mode="before")
    @classmethod
    def split_commas(cls, value: object) -> object:
        """Lists are comma separated in the environment."""
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("stripe_secret_key", "stripe_webhook_secret", "pay_by_card", mode="before")
    @classmethod
    def empty_is_none(cls, value: object) -> object:
        """An empty variable is one that is not set."""
        return None if value == "" else value

    @property
    def leads_to_stripe(self) -> bool:
        """Whether the storefront's shoppers pay at Stripe."""
        return self.stripe_secret_key is not None if self.pay_by_card is None else self.pay_by_card

    @property
    def signs_in_here(self) -> bool:
        """Whether the storefront's sign-in may issue tokens: the local issuer is the trusted one."""
        return self.mode is Mode.DEVELOPMENT and self.jwks is None and self.sign_in_url is None

    @property
    def archive_place(self) -> str:
        """The URL under which new segments of moved payloads are written."""
        return self.archive_url or (self.data_dir.expanduser().absolute() / "archive").as_uri()

    @property
    def identity_horizon(self) -> timedelta:
        """How long Redis remembers the names of a checkout."""
        return timedelta(days=self.identity_days)

    @property
    def window(self) -> timedelta:
        """How long equal keyless submissions of one user are one checkout; zero turns the rule off."""
        return timedelta(seconds=self.keyless_window)


@lru_cache(maxsize=1)
def load_settings() -> Settings:
    """The process-wide settings, read once; raises pydantic's ValidationError that names the variable at fault."""
    return Settings()
