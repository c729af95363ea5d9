"""The machine: Python, files and their permissions, disk space, ports.

What belongs here: checks that need neither the database nor the network beyond this machine. What does not: what
the database holds (``data.py``).
"""

import os
import shutil
import socket
import stat
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from regimes_dagster.doctor.finding import Finding, fail, ok, skip, warn
from regimes_dagster.settings import Settings

OLDEST_PYTHON = (3, 11)

#: A month of hourly rows of 3 symbols takes about 10 MB with indexes and Dagster's events; PostgreSQL stops taking
#: writes when its disk is full and its log of changes alone may grow to 1 GB.
LITTLE_SPACE, NO_SPACE = 2 * 1024**3, 256 * 1024**2

PACKAGES = ("dagster", "dagster-postgres", "dagster-webserver", "dash", "pandas", "pandera", "sqlalchemy", "ccxt")


def python_version(version: Sequence[Any]) -> Finding:
    """Python is new enough."""
    text = ".".join(str(part) for part in version[:3])
    if tuple(version[:2]) < OLDEST_PYTHON:
        need = ".".join(map(str, OLDEST_PYTHON))
        return fail("Python", f"{text} is too old", f"Install Python {need} or newer and run: make clean install")
    return ok("Python", text)


def packages() -> Finding:
    """The packages that everything rests on are installed."""
    found, missing = [], []
    for name in PACKAGES:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        return fail("packages", f"not installed: {', '.join(missing)}", "Run: make install")
    return ok("packages", ", ".join(found))


def home_folder(home: Path) -> Iterator[Finding]:
    """The platform's folder is writable and closed to other users."""
    if not home.exists():
        parent = next(folder for folder in home.parents if folder.exists())
        if not os.access(parent, os.W_OK | os.X_OK):
            yield fail("home folder", f"{home} cannot be made: {parent} is not writable", "Set home, or REGIMES_HOME.")
        else:
            yield ok("home folder", f"{home} does not exist yet; the first start makes it")
        return
    if not home.is_dir():
        yield fail("home folder", f"{home} is not a folder", "Move it away, or set home (REGIMES_HOME).")
        return
    if not os.access(home, os.W_OK | os.X_OK):
        yield fail("home folder", f"{home} is not writable by this user", f"Run as its owner, or chown {home}.")
        return
    # Passing through (o+x) is not reading: the embedded server needs it where it runs as an account of its own.
    if home.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO) & ~(stat.S_IXGRP | stat.S_IXOTH):
        yield warn("home folder", f"{home} can be read by other users of this machine", f"Run: chmod go-rw {home}")
    else:
        yield ok("home folder", f"{home} is closed to other users")


def secret_files(settings: Settings, environment_file: Path) -> Iterator[Finding]:
    """Files that hold secrets are closed to other users."""
    candidates = [environment_file] if environment_file.is_file() else []
    entries = settings.alerts.webhook
    in_file = [settings.origin("db_url"), settings.origin("dashboard", "db_url")]
    in_file += [settings.origin("alerts", "webhook", i, "url") for i, e in enumerate(entries) if e.url is not None]
    in_file += [settings.origin("alerts", "webhook", i, "secret") for i, e in enumerate(entries) if e.secret]
    config = settings.config_file
    if config is not None and any(origin.startswith(f"{config.name}:") for origin in in_file):
        candidates.append(config)
    for path in candidates:
        if path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
            action = f"Run: chmod 600 {path.name}, or keep secrets in environment variables (url_env, secret_env)."
            yield warn("secret files", f"{path.name} holds secrets and can be read by other users", action)
        else:
            yield ok("secret files", f"{path.name} is closed to other users")


def disk_space(folder: Path) -> Finding:
    """There is room for the database to grow."""
    existing = folder if folder.exists() else next(parent for parent in folder.parents if parent.exists())
    free = shutil.disk_usage(existing).free
    text = f"{free / 1024**3:.1f} GB free for {folder}"
    if free < NO_SPACE:
        return fail("disk space", text, "Free some space: PostgreSQL refuses to write on a full disk.")
    if free < LITTLE_SPACE:
        return warn("disk space", text, "Free some space soon.")
    return ok("disk space", text)


def port(name: str, host: str, number: int, path: str, key: str) -> Finding:
    """The port is free, or what answers there is ours."""
    check = f"port {number}"
    target = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104 - how to reach it
    if _is_free(host, number):
        return ok(check, f"free for {name}")
    try:
        with build_opener(ProxyHandler({})).open(f"http://{target}:{number}{path}", timeout=3) as answer:
            ours = answer.status == 200
    except (URLError, OSError, ValueError):
        ours = False
    if ours:
        return ok(check, f"taken by {name}, here or of another installation")
    return fail(check, f"another program listens where {name} should", f"Stop it, or set {key}.")


def _is_free(host: str, number: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, number))
        except OSError:
            return False
    return True


def dagster_file(places: Sequence[Path]) -> Finding:
    """There is a ``dagster.yaml`` that uses the platform's database."""
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        return fail("Dagster home", f"no dagster.yaml in {places[0].parent}", "Copy it there from the project.")
    import yaml  # type: ignore[import-untyped]

    try:
        content = yaml.safe_load(found.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        line = getattr(getattr(error, "problem_mark", None), "line", 0) + 1
        return fail("Dagster home", f"{found} is not valid YAML (line {line})", "Correct it.")
    storage = content.get("storage", {}) if isinstance(content, dict) else {}
    storage = storage if isinstance(storage, dict) else {}
    custom = storage.get("custom") or {}
    url = (storage.get("postgres") or custom.get("config") or {}).get("postgres_url")
    if not isinstance(url, dict) or url.get("env") != "REGIMES_PG_URL":
        action = "Take the section `storage` from the project's dagster.yaml."
        return warn("Dagster home", f"{found} stores runs elsewhere than in the platform's database", action)
    if "postgres" in storage:
        action = "Take the section `storage` from the project's dagster.yaml: it keeps connections open."
        return warn("Dagster home", f"{found} opens a connection to the database for every statement", action)
    loggers = (content.get("python_logs") or {}).get("managed_python_loggers") or []
    if "root" in loggers:
        action = "Name regimes_dagster in python_logs.managed_python_loggers instead."
        return warn("Dagster home", f"{found} records the log lines of every library in the event log", action)
    return ok("Dagster home", str(found))


def machine(settings: Settings, version: Sequence[Any]) -> Iterator[Finding]:
    """Every check of this file."""
    yield python_version(version)
    yield packages()
    yield from home_folder(settings.home)
    yield from secret_files(settings, settings.root / ".env")
    if settings.db_url is None:
        yield disk_space(settings.home)
    else:
        yield skip("disk space", "the database runs elsewhere; look there")
    project = Path(__file__).resolve().parents[2]
    yield dagster_file([settings.root / "dagster.yaml", project / "dagster.yaml"])
    board, web = settings.dashboard, settings.dagster
    yield port("the dashboard", board.host, board.port, "/healthz", "[dashboard] port (REGIMES_DASHBOARD__PORT)")
    yield port("the Dagster pages", web.host, web.port, "/server_info", "[dagster] port (REGIMES_DAGSTER__PORT)")
