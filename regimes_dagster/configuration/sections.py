"""The sections of ``regimes.toml`` that are not feature parameters, one model each.

What belongs here: keys, types, defaults, ranges and the meaning of every key (``docs/configure.md`` is made from
them). What does not: the features' numbers (``parameters.py``), rules that join several sections and the reading
of files (``settings.py``, ``reading.py``), and what a webhook entry means (``webhooks.py``).
"""

import re
from copy import deepcopy
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, IPvAnyNetwork, Secret, SecretStr
from pydantic_core import PydanticCustomError

from regimes_dagster.configuration.problems import did_you_mean, listed, nearest, shown
from regimes_dagster.vocabulary import (
    EVENT_ALIASES,
    EVENT_TYPES,
    OPERATIONAL_EVENT_TYPES,
    SOURCE_NAMES,
    VENUES,
    EventType,
    Severity,
    WebhookFormat,
)

SYMBOL = re.compile(r"[A-Z0-9]{1,20}/[A-Z0-9]{1,10}")
_QUOTES = ("USDT", "USDC", "USD", "EUR", "BTC", "ETH")
_SCRYPT = re.compile(r"scrypt:\d+:\d+:\d+\$[^$]+\$[0-9a-f]{64,}")


def refusal(message: str, *, hint: str | None = None) -> PydanticCustomError:
    """An error whose message is shown as it stands, with an optional suggestion."""
    return PydanticCustomError("refused", "{message}", {"message": message, "hint": hint or ""})


def symbol_name(value: str) -> str:
    """A symbol as the platform writes it, e.g. ``BTC/USDT``; anything else is refused with the likely spelling."""
    if SYMBOL.fullmatch(value):
        return value
    guess = value.strip().upper().split(":")[0].replace("-", "/").replace("_", "/")
    if "/" not in guess:
        quote = next((quote for quote in _QUOTES if guess.endswith(quote) and len(guess) > len(quote)), None)
        guess = f"{guess[: -len(quote)]}/{quote}" if quote else f"{guess}/USDT"
    hint = f'Did you mean "{guess}"?' if SYMBOL.fullmatch(guess) else None
    raise refusal(
        f'is "{value}", which is not a symbol: write base and quote in capitals, such as "BTC/USDT".', hint=hint
    )


def source_name(value: str) -> str:
    """A venue or offline source that the platform knows."""
    if value in SOURCE_NAMES:
        return value
    raise refusal(
        f'is "{value}", which is not a known source. Known: {listed(SOURCE_NAMES)}.',
        hint=did_you_mean(value, SOURCE_NAMES),
    )


def event_name(value: object) -> object:
    """An event of the guide; its short alias ``CASCADE`` becomes the full name."""
    if not isinstance(value, str):
        return value
    name = EVENT_ALIASES.get(value, value)
    known = (*EVENT_TYPES, *OPERATIONAL_EVENT_TYPES)
    if name in known:
        return name
    close = nearest(value, (*known, *EVENT_ALIASES))
    raise refusal(
        f'is "{value}", which is not an event. Events: {listed(known)}.',
        hint=f'Did you mean "{close}"?' if close else None,
    )


def http_url(value: str) -> str:
    """An address of a server: http or https, a host, nothing secret in it."""
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise refusal(f'is "{value}", must be an address that starts with http:// or https://.')
    if parts.username or parts.password:
        raise refusal("holds a user name or password, which do not belong in an address.")
    return value.rstrip("/")


def archive_address(value: str) -> str:
    """An address of a server, or the absolute path (or file://) of a folder with a mirror of the archive."""
    if value.startswith("/") or urlsplit(value).scheme == "file":
        return value.rstrip("/")
    if urlsplit(value).scheme in ("http", "https"):
        return http_url(value)
    raise refusal(f'is "{value}", must start with http:// or https://, or be the absolute path of a mirror folder.')


def database_url(value: SecretStr) -> SecretStr:
    """A PostgreSQL address; the value is never part of the message."""
    scheme = value.get_secret_value().split("://", 1)[0] if "://" in value.get_secret_value() else ""
    if scheme.split("+")[0] not in ("postgresql", "postgres"):
        given = f"starts with {scheme}://" if scheme.replace("+", "").isalnum() else "has no scheme"
        raise refusal(
            f"{given}; only PostgreSQL is supported: postgresql://user:password@host:5432/name. "
            "Unset it to use the embedded server."
        )
    return value


def network_text(value: object) -> object:
    """Only text names a network: a bare number would silently mean an address."""
    if isinstance(value, str):
        return value
    raise refusal(f'is {shown(value)}, must be a network such as "10.0.0.0/8" in quotes.')


def _as_tuple(value: object) -> object:
    """One string stands for a list of one. A tuple, because strict validation takes nothing else after Python code."""
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


Symbol = Annotated[str, AfterValidator(symbol_name)]
SourceName = Annotated[str, AfterValidator(source_name)]
EventName = Annotated[EventType, BeforeValidator(event_name)]
NetworkName = Annotated[IPvAnyNetwork, BeforeValidator(network_text)]
HttpUrl = Annotated[str, AfterValidator(http_url)]
ArchiveAddress = Annotated[str, AfterValidator(archive_address)]
DatabaseUrl = Annotated[SecretStr, AfterValidator(database_url)]
Names = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], BeforeValidator(_as_tuple)]
Secrets = Annotated[tuple[SecretStr, ...], BeforeValidator(_as_tuple)]
Port = Annotated[int, Field(ge=1, le=65535)]
Count = Annotated[int, Field(gt=0)]
Seconds = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    """A section of the file. Unknown keys are refused; instances are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class FilesSection(Section):
    """``[sources.files]``: the user's own history."""

    path: Path | None = Field(
        None, description="Folder with ohlcv, funding and liquidations as CSV or Parquet, relative to this file"
    )


class ArchiveSection(Section):
    """``[sources.archive]``: bulk download in the data.binance.vision layout."""

    base_url: ArchiveAddress = Field("https://data.binance.vision", description="Address of the archive or of a mirror")
    cache: Path | None = Field(None, description="Folder of downloaded files; default `archive` inside `home`")


class SimulatedSection(Section):
    """``[sources.simulated]``: the invented market of the demo."""

    seed: Annotated[int, Field(ge=0)] = Field(7, description="The same seed gives the same market")
    start: date | None = Field(None, description="First day of the market; default `history_start`")
    gaps: bool = Field(True, description="Leave out hours now and then, as real venues do")


class SourcesSection(Section):
    """``[sources]``: where the data comes from, in order of preference."""

    ohlcv: tuple[SourceName, ...] = Field(
        ("binanceus", "coinbaseexchange", "binance"),
        description="Spot candles: per symbol and hour the first source that has a row; its name is stored",
    )
    funding: tuple[SourceName, ...] = Field(
        ("hyperliquid", "krakenfutures", "deribit", "archive"),
        description="Perpetual funding: the first source that has a settlement in force",
    )
    liquidations: tuple[SourceName, ...] = Field(
        ("krakenfutures", "deribit", "gate", "bitfinex"), description="Liquidations: the sum over all of them"
    )
    minute_bars: tuple[SourceName, ...] | None = Field(
        None,
        description="One-minute closes of the last 14 days, for the test which asset leads: the first source that has "
        "a minute; default the venues of `ohlcv` that give minutes, the deepest first; an empty list switches it off",
    )
    liquidation_backfill_days: Count = Field(
        14,
        description="How far back liquidations are fetched trade by trade; older hours come from statistics or files",
    )
    ccxt: dict[str, Secret[dict[str, Any]]] = Field(
        default_factory=dict, description="Options per venue, passed to the ccxt constructor as they stand"
    )
    files: FilesSection = Field(FilesSection(), description="Own history")
    archive: ArchiveSection = Field(ArchiveSection(), description="Bulk archive")
    simulated: SimulatedSection = Field(SimulatedSection(), description="Invented market")

    def of(self, kind: str) -> tuple[str, ...]:
        """Sources of a kind (``ohlcv``, ``funding``, ``liquidations``, ``minute_bars``) in the configured order."""
        if kind == "minute_bars":
            return self._minute_bars() if self.minute_bars is None else self.minute_bars
        lists = {"ohlcv": self.ohlcv, "funding": self.funding, "liquidations": self.liquidations}
        return lists[kind]

    def _minute_bars(self) -> tuple[str, ...]:
        """No venue is asked that ``ohlcv`` does not name.

        The order is not that of ``ohlcv``: where few trades happen prices stand still for minutes, and whatever is
        traded more often then seems to lead. A depth of 14 days costs 63 requests on the first two for three
        symbols, once, and 205 on Coinbase; afterwards about 15 a day, since the test looks at whole days.
        """
        if "simulated" in self.ohlcv:
            return ("simulated",)
        return tuple(venue for venue in VENUES["minute_bars"] if venue in self.ohlcv)

    def ccxt_options(self, venue: str) -> dict[str, Any]:
        """Copy of the constructor options of a venue; empty if none are configured."""
        options = self.ccxt.get(venue)
        return deepcopy(options.get_secret_value()) if options is not None else {}

    @property
    def is_simulated(self) -> bool:
        """True if any list names the simulated market."""
        return any("simulated" in self.of(kind) for kind in VENUES)


class WebhookEntry(Section):
    """``[[alerts.webhook]]``: one receiver of alerts."""

    name: Annotated[str, Field(min_length=1, max_length=60)] | None = Field(
        None, description="Name in lists and on the dashboard; default `webhook` and its number"
    )
    url: SecretStr | None = Field(None, description="Address that is posted to; kept out of every log and page")
    url_env: str | None = Field(None, description="Environment variable that holds the address, instead of `url`")
    format: WebhookFormat | None = Field(None, description="Form of the message; guessed from the host when absent")
    events: tuple[EventName, ...] | None = Field(
        None, description="Events to send (`CASCADE` means LIQUIDATION_CASCADE); default all"
    )
    symbols: tuple[Symbol, ...] | None = Field(None, description="Symbols to send; default all")
    min_severity: Severity | None = Field(
        None, description="Lowest severity to send; default as `[alerts.min_severity]` says"
    )
    secret: Secrets = Field(
        (), description="`whsec_` secret that signs messages; a list of two while one replaces the other"
    )
    secret_env: Names = Field((), description="Environment variable (or list of them) that holds the secret")


def _usual_severities() -> dict[EventName, Severity]:
    return {"VOLATILITY_REGIME_CHANGE": "WARNING"}


def _over_the_usual(given: dict[EventName, Severity]) -> dict[EventName, Severity]:
    """Events not named keep their usual severity."""
    return {**_usual_severities(), **given}


class AlertsSection(Section):
    """``[alerts]``: what is posted, and to whom."""

    enabled: bool = Field(True, description="false records alerts and posts none (`WEBHOOKS_ENABLED=0`)")
    max_age_hours: Annotated[float, Field(gt=0, le=168)] = Field(
        6, description="Older alerts are recorded, never posted"
    )
    group_threshold: Count = Field(10, description="More alerts than this at once become one summary in chat formats")
    repeat_hours: Annotated[float, Field(ge=1)] | None = Field(
        None, description="Post an active CRITICAL alert again after so many hours; default never"
    )
    emit_close: bool = Field(False, description="Record and post the end of an episode as well")
    sensor_interval_seconds: Annotated[int, Field(ge=5, le=300)] = Field(
        10, description="How often deliveries are looked for"
    )
    json_time_to_live_hours: Annotated[float, Field(gt=0, le=168)] = Field(
        24, description="A json delivery is given up after so many hours of retries"
    )
    chat_time_to_live_hours: Annotated[float, Field(gt=0, le=168)] = Field(
        6, description="A chat delivery is given up after so many hours of retries"
    )
    min_severity: Annotated[dict[EventName, Severity], AfterValidator(_over_the_usual)] = Field(
        default_factory=_usual_severities,
        description="Lowest severity posted, per event; INFO for events not named",
    )
    allow_networks: tuple[NetworkName, ...] = Field(
        (), description="Networks that are not public and may be posted to, also over http, e.g. 127.0.0.0/8"
    )
    webhook: tuple[WebhookEntry, ...] = Field((), description="Receivers, one `[[alerts.webhook]]` each")


class DashboardSection(Section):
    """``[dashboard]``: the web pages and the REST interface."""

    host: Annotated[str, Field(min_length=1)] = Field("127.0.0.1", description="Address to listen on")
    port: Port = Field(8050, description="Port to listen on")
    auth: Literal["none", "basic", "proxy"] = Field(
        "none",
        description="`none` only on a loopback address, `basic` user and password, `proxy` a trusted header",
    )
    user: str | None = Field(None, description="User name for `basic`")
    password_hash: SecretStr | None = Field(
        None, description="scrypt hash of the password for `basic`; `regimes config hash-password` makes one"
    )
    trusted_proxies: tuple[NetworkName, ...] = Field(
        (), description="Networks whose `user_header` is believed, for `proxy`"
    )
    user_header: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]+$")] = Field(
        "X-Forwarded-User", description="Header that names the user, for `proxy`"
    )
    public_url: HttpUrl | None = Field(
        None, description="Address under which people reach it, if a proxy stands in front"
    )
    dagster_url: HttpUrl | None = Field(
        None, description="Address of the Dagster pages that the dashboard links to; default from `[dagster]`"
    )
    refresh_seconds: Annotated[int, Field(ge=5, le=3600)] = Field(15, description="How often a page asks for news")
    snapshot_seconds: Annotated[int, Field(ge=1, le=600)] = Field(
        10, description="How often the figures are rebuilt at most"
    )
    workers: Annotated[int, Field(ge=1, le=64)] = Field(8, description="Threads that answer requests")
    statement_timeout_seconds: Seconds = Field(5, description="A query of the dashboard is cut off after this")
    db_url: DatabaseUrl | None = Field(
        None, description="Database address with read rights only; default the role `regimes_dashboard` of `db_url`"
    )

    @property
    def is_loopback(self) -> bool:
        """True if only this machine can reach the address."""
        return is_loopback(self.host)


class DagsterSection(Section):
    """``[dagster]``: the Dagster webserver and its home."""

    host: Annotated[str, Field(min_length=1)] = Field("127.0.0.1", description="Address the Dagster pages listen on")
    port: Port = Field(3000, description="Port of the Dagster pages")
    home: Path | None = Field(None, description="Dagster's home folder; default `dagster` inside `home`")


def is_loopback(host: str) -> bool:
    """Whether a listening address is reachable from this machine alone."""
    return host == "localhost" or host == "::1" or bool(re.fullmatch(r"127(\.\d{1,3}){3}", host))


def scrypt_hash(value: str) -> bool:
    """Whether the text is a scrypt hash in the form ``scrypt:N:r:p$salt$hex``."""
    return bool(_SCRYPT.fullmatch(value))
