"""The settings of an installation: ``regimes.toml`` and the environment, typed and checked, built once.

What belongs here: the ``Settings`` model, rules that join several sections, and ``load_settings``. What does not:
the sections' own keys (``parameters.py``, ``configuration/sections.py``), reading files and variables
(``configuration/reading.py``, ``configuration/environment.py``) and webhook entries (``configuration/webhooks.py``).
Importing it loads neither pandas nor Dagster.
"""

import json
import os
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from pydantic import Field, PrivateAttr, SecretStr, ValidationError

from regimes_dagster.configuration.consistency import contradictions
from regimes_dagster.configuration.environment import apply_environment, with_dotenv
from regimes_dagster.configuration.explain import explain, without
from regimes_dagster.configuration.problems import Problem, SettingsError, in_reading_order, news
from regimes_dagster.configuration.reading import Tree, read_tree
from regimes_dagster.configuration.sections import (
    AlertsSection,
    DagsterSection,
    DashboardSection,
    DatabaseUrl,
    Section,
    SourcesSection,
    Symbol,
)
from regimes_dagster.configuration.webhooks import Endpoint, Filter, build_endpoints
from regimes_dagster.logs import hide
from regimes_dagster.parameters import (
    CorrelationParameters,
    FundingParameters,
    LiquidationParameters,
    MultiTimeframeParameters,
    VolatilityParameters,
)

__all__ = ["Endpoint", "Filter", "Problem", "Settings", "SettingsError", "load_settings"]


class Settings(Section):
    """Everything a user can set. Build it with ``load_settings``; paths are absolute, secrets are masked."""

    symbols: tuple[Symbol, ...] = Field(
        ("BTC/USDT", "ETH/USDT", "SOL/USDT"), min_length=1, description="Symbols to follow, base and quote in capitals"
    )
    history_start: date = Field(date(2024, 1, 1), description="First day of history (UTC) that is fetched and computed")
    home: Path = Field(
        Path(".regimes"),
        description="Folder of the embedded database, Dagster's home and downloads; relative to this file",
    )
    db_url: DatabaseUrl | None = Field(
        None, description="PostgreSQL 12 or later; default the embedded server in `home`"
    )
    sources: SourcesSection = Field(SourcesSection(), description="Where the data comes from")
    volatility: VolatilityParameters = Field(VolatilityParameters(), description="Volatility regimes")
    liquidation: LiquidationParameters = Field(LiquidationParameters(), description="Liquidation cascades")
    funding: FundingParameters = Field(FundingParameters(), description="Funding anomalies and reversals")
    multi_timeframe: MultiTimeframeParameters = Field(MultiTimeframeParameters(), description="Regimes over timeframes")
    correlation: CorrelationParameters = Field(CorrelationParameters(), description="Correlation breaks")
    alerts: AlertsSection = Field(AlertsSection(), description="What is posted, and to whom")
    dashboard: DashboardSection = Field(DashboardSection(), description="Web pages and REST interface")
    dagster: DagsterSection = Field(DagsterSection(), description="Dagster's pages and home")

    _tree: Tree = PrivateAttr(default_factory=lambda: Tree(root=Path()))
    _endpoints: tuple[Endpoint, ...] = PrivateAttr(default=())

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Addresses that alerts are posted to, each once (decision 23)."""
        return self._endpoints

    @property
    def config_file(self) -> Path | None:
        """The file that was read, or None if there is none."""
        return self._tree.file

    @property
    def root(self) -> Path:
        """Folder of the configuration file, else the working folder; relative paths refer to it."""
        return self._tree.root

    @property
    def history_start_at(self) -> datetime:
        """Start of the first day of history, UTC."""
        return datetime(self.history_start.year, self.history_start.month, self.history_start.day, tzinfo=UTC)

    @property
    def dagster_home(self) -> Path:
        """Dagster's home folder, absolute."""
        return self.dagster.home if self.dagster.home is not None else self.home / "dagster"

    @property
    def archive_cache(self) -> Path:
        """Folder of files downloaded from the bulk archive, absolute."""
        cache = self.sources.archive.cache
        return cache if cache is not None else self.home / "archive"

    @property
    def is_simulated(self) -> bool:
        """True if any figure comes from the simulated market."""
        return self.sources.is_simulated

    def origin(self, *path: str | int) -> str:
        """Where a key was set: ``file:line``, a variable, or ``default``."""
        for length in range(len(path), 0, -1):
            found = self._tree.origins.get(path[:length])
            if found is not None:
                return found if length == len(path) or not isinstance(self._written(path), _Missing) else "default"
        return "default"

    def _written(self, path: tuple[str | int, ...]) -> Any:
        here: Any = self._tree.values
        for part in path:
            try:
                here = here[part]
            except (KeyError, IndexError, TypeError):
                return _Missing()
        return here


class _Missing:
    """Marks a key that nobody wrote."""


def load_settings(
    environ: Mapping[str, str] | None = None,
    cwd: str | Path | None = None,
    *,
    today: date | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Settings:
    """Read, merge and check the configuration.

    Parameters
    ----------
    environ : mapping, optional
        Environment variables; default those of the process.
    cwd : path, optional
        Folder in which ``regimes.toml`` is looked for when ``REGIMES_CONFIG`` names no file; default the
        working folder.
    today : datetime.date, optional
        Day after which ``history_start`` must not lie; default the clock's.
    overrides : mapping, optional
        Nested values that win over file and environment, e.g. ``{"symbols": ["BTC/USDT"]}``; for commands.

    Raises
    ------
    SettingsError
        With every mistake found, each naming the key, its origin, what is allowed and the nearest valid name.

    Notes
    -----
    Addresses and secrets of webhooks are made known to ``logs``, so that no log line of this process shows them.
    """
    environ = os.environ if environ is None else environ
    folder = Path.cwd() if cwd is None else Path(cwd)
    problems: list[Problem] = []
    tree = read_tree(environ, folder, problems)
    environ = with_dotenv(environ, tree.root, tree)
    apply_environment(Settings, environ, tree, problems)
    for key, value in _leaves(overrides or {}):
        tree.put(key, value, "command line")
    settings = _validated(tree, problems)
    consequences = list(contradictions(settings, tree, today or _today))
    endpoints = build_endpoints(settings.alerts, tree, environ, consequences)
    problems.extend(news(consequences, problems))
    if problems:
        raise SettingsError(in_reading_order(problems))
    absolute = _with_absolute_paths(settings, tree.root)
    absolute._tree = tree
    absolute._endpoints = endpoints
    for endpoint in endpoints:
        hide([endpoint.url.get_secret_value(), *(secret.get_secret_value() for secret in endpoint.secrets)])
    return absolute


def _validated(tree: Tree, problems: list[Problem]) -> Settings:
    """Settings of whatever is right; what is wrong is added to ``problems`` and left at its default.

    Each section is checked for itself, and once more without its wrong keys, so that one mistake does not hide
    those that only the joined rules see.
    """
    good: dict[str, Any] = {}
    for key, value in tree.values.items():
        document = json.loads(json.dumps({key: value}, default=_json_value))
        for attempt in range(5):
            try:
                part = Settings.model_validate_json(json.dumps(document), strict=True)
            except ValidationError as error:
                if attempt == 0:
                    problems.extend(explain(error, Settings, tree))
                for details in error.errors(include_url=False):
                    without(document, details["loc"])
            else:
                if key in part.model_fields_set:
                    good[key] = getattr(part, key)
                break
    return Settings.model_construct(**good)


def _json_value(value: object) -> object:
    """TOML's dates and times, and what commands pass, as text."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _leaves(values: Mapping[str, Any], path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    found: list[tuple[tuple[str, ...], Any]] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            found.extend(_leaves(value, (*path, key)))
        else:
            found.append(((*path, key), value))
    return found


def _with_absolute_paths(settings: Settings, root: Path) -> Settings:
    def absolute(path: Path | None) -> Path | None:
        return (root / path.expanduser()).resolve() if path is not None else None

    sources, dagster = settings.sources, settings.dagster
    return settings.model_copy(
        update={
            "home": absolute(settings.home),
            "sources": sources.model_copy(
                update={
                    "files": sources.files.model_copy(update={"path": absolute(sources.files.path)}),
                    "archive": sources.archive.model_copy(update={"cache": absolute(sources.archive.cache)}),
                }
            ),
            "dagster": dagster.model_copy(update={"home": absolute(dagster.home)}),
        }
    )


def _today() -> date:
    from regimes_dagster.clock import system_now

    return system_now().date()
