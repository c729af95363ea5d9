"""The one protocol that every source of raw data speaks, and the errors it may raise.

What belongs here: names shared by all sources (``Kind``, ``Batch``, ``Source``) and the error hierarchy. What
does not: how a venue is asked (one file per venue family), how windows are chosen (``ingest.py``), storage.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Protocol, runtime_checkable

import pandas as pd

from regimes_dagster.partitions import Window

Kind = Literal["ohlcv", "funding", "liquidations", "minute_bars"]

#: Table that carries the rows of a kind; further tables (single events, predictions) may come beside it.
MAIN_TABLE: Mapping[Kind, str] = {
    "ohlcv": "ohlcv",
    "funding": "funding_rates",
    "liquidations": "liquidations",
    "minute_bars": "minute_bars",
}


@dataclass(frozen=True)
class Batch:
    """What one ``fetch`` brought.

    Attributes
    ----------
    rows
        Table name -> rows with the columns of the table's model in ``schemas.py``.
    covered
        Windows now known: every row the venue has in them is in ``rows``, and hours without a row have none.
    unavailable
        Windows that the venue cannot give (before its listing, beyond its depth, no answer for the range).
    requests
        Network requests that were needed.
    notes
        Things a person should know that are no failure (a control total that differs, for example).
    """

    rows: dict[str, pd.DataFrame] = field(default_factory=dict)
    covered: tuple[Window, ...] = ()
    unavailable: tuple[Window, ...] = ()
    requests: int = 0
    notes: tuple[str, ...] = ()


@runtime_checkable
class Source(Protocol):
    """A venue, a folder of files, a bulk archive or the simulated market.

    ``always_read`` is true for sources that are local and may be edited by hand: what is recorded as complete
    is read again, because reading costs nothing and a corrected file must win.
    """

    name: str
    kinds: frozenset[str]
    always_read: bool

    def fetch(self, kind: Kind, symbol: str, window: Window, now: pd.Timestamp) -> Batch:
        """Rows of one symbol with ``window.start < ts <= window.end`` that are final at ``now``.

        Raises
        ------
        SourceError
            One of its subclasses; nothing else may come out of a source.
        """
        ...


class SourceError(Exception):
    """Why a source cannot serve; the message says what happened and what to do.

    Attributes
    ----------
    state
        Value of ``source_status.state``.
    retryable
        Whether asking the same again later can succeed without a person doing something.
    venue_wide
        Whether the other symbols of the venue would fail the same way.
    """

    state: ClassVar[str] = "OUTAGE"
    retryable: ClassVar[bool] = True
    venue_wide: ClassVar[bool] = False

    def __init__(self, venue: str, symbol: str, message: str, *, requests: int = 0) -> None:
        super().__init__(f"{venue} {symbol}: {message}")
        self.venue = venue
        self.symbol = symbol
        self.message = message
        self.requests = requests


class GeoBlocked(SourceError):  # noqa: N818
    """The venue refuses this address (HTTP 451 or 403)."""

    state = "GEO_BLOCKED"
    retryable = False
    venue_wide = True


class RateLimited(SourceError):  # noqa: N818
    """The venue asks to slow down; ``retry_after`` is what it asks for, in seconds."""

    state = "RATE_LIMITED"
    venue_wide = True

    def __init__(self, venue: str, symbol: str, message: str, *, retry_after: float = 60.0, requests: int = 0) -> None:
        super().__init__(venue, symbol, message, requests=requests)
        self.retry_after = retry_after


class Outage(SourceError):  # noqa: N818
    """No answer, a time-out, or a server error."""

    state = "OUTAGE"


class UnknownSymbol(SourceError):  # noqa: N818
    """The venue does not list the symbol."""

    state = "UNKNOWN_SYMBOL"
    retryable = False


class MarketClosed(SourceError):  # noqa: N818
    """The venue listed the symbol and no longer trades it."""

    state = "CLOSED"
    retryable = False


class BadResponse(SourceError):  # noqa: N818
    """The answer cannot be understood or contradicts itself; nothing of it is used."""

    state = "BAD_RESPONSE"


class BadFile(BadResponse):
    """A file of the user's own cannot be read; the message names file, line, column, value and what is allowed."""

    retryable = False
    venue_wide = True


class NotAvailable(SourceError):  # noqa: N818
    """The venue is known but does not serve this kind of data."""

    state = "NOT_AVAILABLE"
    retryable = False
    venue_wide = True


class Asks(Protocol):
    """Whoever sends requests and counts them."""

    requests: int


@contextmanager
def charged(asks: Asks) -> Iterator[None]:
    """An error that leaves the block carries the requests that were made in it, so that they are counted too."""
    before = asks.requests
    try:
        yield
    except SourceError as problem:
        problem.requests = asks.requests - before
        raise
