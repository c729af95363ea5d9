"""Files of the bulk archive: fetched once, verified, kept.

What belongs here: getting one file by its path from a web address or from a local mirror directory, checking it
against the checksum beside it, and the local cache. What does not: which file holds what (``archive.py``) and what
is in it (``archive_formats.py``).
"""

import hashlib
import os
import time
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pandas as pd

from regimes_dagster.sources.ccxt_client import LONGEST_PAUSE, TRIES, Sleep
from regimes_dagster.sources.classify import Answer, retry_after
from regimes_dagster.sources.protocol import BadResponse, GeoBlocked, Outage, RateLimited, SourceError

VENUE = "archive"


class ArchiveStore:
    """Gets files of the archive.

    Parameters
    ----------
    base
        ``https://..`` (or http), ``file:///..`` or a path of a mirror directory that has the archive's layout.
    cache
        Folder in which verified downloads are kept; a mirror directory is read in place.
    sleep
        Waits between tries.
    timeout, tries
        Seconds for an answer, and how often a file is asked for at most.
    """

    def __init__(
        self, base: str, cache: Path, *, sleep: Sleep = time.sleep, timeout: float = 60.0, tries: int = TRIES
    ) -> None:
        self.base = base.rstrip("/")
        self.cache = cache
        self.requests = 0
        self._sleep = sleep
        self._timeout = timeout
        self._tries = tries
        scheme = urlsplit(self.base).scheme
        self.mirror = None if scheme in ("http", "https") else _folder(self.base)

    def get(self, symbol: str, path: str, now: pd.Timestamp) -> bytes | None:
        """The verified bytes of a file, or None where the archive does not have it (yet).

        Raises
        ------
        BadResponse
            If the file does not match its checksum, twice.
        SourceError
            If the archive cannot be reached.
        """
        if self.mirror is not None:
            return self._from_mirror(symbol, path)
        kept = self.cache / path
        if kept.is_file() and _matches(kept.read_bytes(), _text(kept.with_name(kept.name + ".CHECKSUM"))):
            return kept.read_bytes()
        for last in (False, True):
            checksum = self._download(symbol, f"{path}.CHECKSUM", now)
            data = None if checksum is None else self._download(symbol, path, now)
            if data is None or checksum is None:
                return None
            if _matches(data, checksum.decode("utf-8", "replace")):
                self._keep(kept, data, checksum)
                return data
            if last:
                raise BadResponse(
                    VENUE, symbol, f"{path} does not match its checksum; the file was not used, the next run asks again"
                )
        return None

    def _from_mirror(self, symbol: str, path: str) -> bytes | None:
        assert self.mirror is not None
        if not self.mirror.is_dir():
            raise Outage(
                VENUE, symbol, f"the mirror folder {self.mirror} does not exist; set [sources.archive] base_url"
            )
        file = self.mirror / path
        if not file.is_file():
            return None
        data = file.read_bytes()
        checksum = file.with_name(file.name + ".CHECKSUM")
        # A mirror made by hand may lack checksums; a checksum that is there must hold.
        if checksum.is_file() and not _matches(data, _text(checksum)):
            raise BadResponse(VENUE, symbol, f"{file} does not match {checksum.name}; copy the file again")
        return data

    def _download(self, symbol: str, path: str, now: pd.Timestamp) -> bytes | None:
        import httpx

        for attempt in range(1, self._tries + 1):
            self.requests += 1
            error: SourceError
            try:
                response = httpx.get(f"{self.base}/{path}", timeout=self._timeout, follow_redirects=True)
            except httpx.HTTPError as problem:
                error = Outage(
                    VENUE, symbol, f"{path}: no usable answer ({type(problem).__name__}); the next run asks again"
                )
            else:
                if response.status_code == 200:
                    return response.content
                if response.status_code == 404:
                    return None
                error = _refused(
                    symbol, path, Answer(response.status_code, dict(response.headers), response.text[:300]), now
                )
            pause = error.retry_after if isinstance(error, RateLimited) else 2.0 ** (attempt - 1)
            if not error.retryable or attempt == self._tries or pause > LONGEST_PAUSE:
                raise error
            self._sleep(pause)
        raise AssertionError("unreachable: the loop returns or raises")

    def _keep(self, path: Path, data: bytes, checksum: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        for target, content in ((path.with_name(path.name + ".CHECKSUM"), checksum), (path, data)):
            # Written beside and moved, so that a killed run leaves no half file.
            part = target.with_name(f"{target.name}.{os.getpid()}.part")
            part.write_bytes(content)
            part.replace(target)


def _refused(symbol: str, path: str, answer: Answer, now: pd.Timestamp) -> SourceError:
    if answer.status == 429:
        return RateLimited(VENUE, symbol, f"{path}: asked too often", retry_after=retry_after(answer.headers, now))
    if answer.status in (403, 451):
        return GeoBlocked(
            VENUE,
            symbol,
            f"the archive refuses this address (HTTP {answer.status}); set [sources.archive] base_url to a mirror",
        )
    return Outage(VENUE, symbol, f"{path}: HTTP {answer.status}; the next run asks again")


def _matches(data: bytes, checksum: str) -> bool:
    """Whether the first word of a checksum file is the SHA-256 of the data."""
    words = checksum.split()
    return bool(words) and hashlib.sha256(data).hexdigest() == words[0].lower()


def _text(path: Path) -> str:
    return path.read_text("utf-8", "replace") if path.is_file() else ""


def _folder(base: str) -> Path:
    parts = urlsplit(base)
    return Path(unquote(parts.path)) if parts.scheme == "file" else Path(base)
