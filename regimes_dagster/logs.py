"""Log lines: the guide's tags, text for people or JSON for machines, and nothing secret in them.

What belongs here: handlers, formats, tags and the redaction of addresses. What does not: what is logged. Only the
logger ``regimes_dagster`` (and ``dash_app``) is set up, never the root logger: Dagster forwards a managed root
logger's lines of every library into its event log.
"""

import contextlib
import json
import logging
import re
import sys
import threading
from collections.abc import Iterable, Mapping, MutableMapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TextIO

from regimes_dagster.home_folder import make_closed

Tag = Literal["MKT", "CASCADE", "FUND", "VOL", "MTF", "CORR", "WEBHOOK"]

LOGGERS = ("regimes_dagster", "dash_app")

#: At INFO these log full addresses, tokens included.
CHATTY = ("httpx", "httpcore", "urllib3", "asyncio")

_URL = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<rest>[^\s\"'<>\\]+)", re.IGNORECASE)
_WHSEC = re.compile(r"whsec_[A-Za-z0-9+/=_-]+")
_CHAT = re.compile(r"(^|\.)(discord(app)?\.com|hooks\.slack(-gov)?\.com|api\.telegram\.org)$", re.IGNORECASE)
_SECRET_PARAMETER = re.compile(r"(?i)([?&;](?:[\w-]*(?:token|secret|key|sig|signature|password|auth)[\w-]*)=)[^&;#\s]+")

_known: set[str] = set()
_lock = threading.Lock()


class TagAdapter(logging.LoggerAdapter[logging.Logger]):
    """Puts ``[TAG]`` before every message, so that ``grep "\\[VOL\\]"`` finds it."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Prefix the message and keep the tag for the JSON form."""
        tag = (self.extra or {}).get("tag")
        kwargs["extra"] = {**(kwargs.get("extra") or {}), "tag": tag}
        return f"[{tag}] {msg}", kwargs


def tagged(tag: Tag, name: str = "regimes_dagster") -> TagAdapter:
    """Logger whose lines carry one of the guide's tags.

    Parameters
    ----------
    tag : str
        ``MKT`` market data, ``CASCADE``, ``FUND``, ``VOL``, ``MTF``, ``CORR``, ``WEBHOOK``.
    name : str
        Name of the module, usually ``__name__``.
    """
    return TagAdapter(logging.getLogger(name), {"tag": tag})


def log_file(home: Path) -> Path:
    """The file of an installation that every run writes to."""
    return home / "logs" / "regimes.log"


def hide(secrets: Iterable[str]) -> None:
    """Remember texts (addresses, passwords, signing secrets) that no log line may show."""
    with _lock:
        _known.update(secret for secret in secrets if len(secret) >= 6)


def redacted(text: str) -> str:
    """The text without passwords, tokens, signing secrets and the secret parts of addresses."""
    with _lock:
        known = sorted(_known, key=len, reverse=True)
    for secret in known:
        if secret in text:
            text = text.replace(secret, _short(secret))
    return _URL.sub(_safe_url, _WHSEC.sub("whsec_***", text))


def _short(secret: str) -> str:
    match = re.match(r"^([a-z][a-z0-9+.-]*://)(?:[^/@\s]*@)?([^/?#\s]+)", secret)
    return f"{match[1]}{match[2]}/***" if match else "***"


def _safe_url(match: re.Match[str]) -> str:
    scheme, rest = match["scheme"], match["rest"]
    place, slash, path = rest.partition("/")
    if "@" in place:
        user, _, host = place.rpartition("@")
        place = f"{user.split(':')[0]}:***@{host}" if ":" in user else f"***@{host}"
    host = place.rpartition("@")[2].split(":")[0]
    if _CHAT.search(host):
        return f"{scheme}://{place}/***"
    path = _SECRET_PARAMETER.sub(r"\1***", path)
    return f"{scheme}://{place}{slash}{path}"


class RedactingFilter(logging.Filter):
    """Removes secrets from the message, its arguments and the traceback of a record."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Always lets the record through, made safe."""
        record.msg = redacted(record.getMessage())
        record.args = None
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = redacted(record.exc_text)
        return True


class JsonFormatter(logging.Formatter):
    """One JSON object per line: ``ts``, ``level``, ``logger``, ``tag``, ``message``, ``error``."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        line = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "tag": getattr(record, "tag", None),
            "message": record.getMessage(),
        }
        if record.exc_text:
            line["error"] = record.exc_text
        return json.dumps(line, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    """``2024-08-05 13:01:07Z INFO [MKT] ...``."""

    def format(self, record: logging.LogRecord) -> str:
        """The record for people."""
        stamp = datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        text = f"{stamp} {record.levelname} {record.getMessage()}"
        return f"{text}\n{record.exc_text}" if record.exc_text else text


def configure_logging(
    environ: Mapping[str, str],
    *,
    verbose: bool = False,
    stream: TextIO | None = None,
    file: Path | None = None,
    quiet: bool = False,
) -> None:
    """Send the platform's log lines to ``stream`` (default stderr) and ``file``. Calling it again replaces both.

    ``REGIMES_LOG_FORMAT=json`` and ``REGIMES_LOG_LEVEL`` choose form and level; ``verbose`` means DEBUG, and
    ``quiet`` leaves warnings alone on the stream, for commands that show their own progress. Several processes may
    write to one file: each line is one append.
    """
    handlers: list[logging.Handler] = [logging.StreamHandler(stream or sys.stderr)]
    if quiet and not verbose:
        handlers[0].setLevel(logging.WARNING)
    if file is not None:
        # Dagster keeps what a step writes to stderr in a file per step; this is the one that `tail -f` follows.
        with contextlib.suppress(OSError):
            make_closed(file.parent)
            handlers.append(logging.FileHandler(file, encoding="utf-8"))
    for handler in handlers:
        handler.set_name("regimes")
        handler.addFilter(RedactingFilter())
        handler.setFormatter(
            JsonFormatter() if environ.get("REGIMES_LOG_FORMAT", "").lower() == "json" else TextFormatter()
        )
    name = "DEBUG" if verbose else environ.get("REGIMES_LOG_LEVEL", "INFO").upper()
    level = logging.getLevelNamesMapping().get(name, logging.INFO)
    for logger in (logging.getLogger(known) for known in LOGGERS):
        for old in [known for known in logger.handlers if known.get_name() == "regimes"]:
            logger.removeHandler(old)
            if isinstance(old, logging.FileHandler):
                old.close()
        for handler in handlers:
            logger.addHandler(handler)
        logger.setLevel(level)
        logger.propagate = False
    for chatty in CHATTY:
        logging.getLogger(chatty).setLevel(logging.WARNING)
