"""Which hours are asked of which venue, and what a run may write and delete because of the answers.

What belongs here: the incremental rule (ask only for what is missing or still revisable), the order of the
venues, the isolation of failures, and the book-keeping (scopes, coverage, status). What does not: how a venue is
asked, and the writing itself.

OHLCV and funding: a later venue is asked only for what the earlier ones could not give in this run or before.
Liquidations are summed over the venues, so each is asked for everything it has not given yet.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from regimes_dagster.partitions import HOUR, Window, month_start, partition_of, partition_window
from regimes_dagster.sources.coverage import Known, Record, by_month, coverage_frame, final_edge, merge, subtract
from regimes_dagster.sources.frames import joined
from regimes_dagster.sources.protocol import MAIN_TABLE, Batch, Kind, Outage, Source, SourceError
from regimes_dagster.sources.status import StatusBoard
from regimes_dagster.sources.validate import validate_batch
from regimes_dagster.storage import Scope, Write

#: Called with (steps done, steps in all, what is being done).
Progress = Callable[[int, int, str], None]

#: Tables of which a fetched window replaces what was stored; rows of the others are only added or changed.
_REPLACED = frozenset(MAIN_TABLE.values()) | {"liquidation_events"}

#: A venue that fails this often in a row without an answer is left alone for the rest of the run.
_STRIKES = 3


@dataclass(frozen=True)
class Ingested:
    """What a run (or one step of it) brought.

    Attributes
    ----------
    rows
        Table name -> rows to write.
    scopes
        Table name -> what that write may delete: exactly what was fetched, nothing of a symbol that failed.
    coverage, statuses
        Rows of ``source_coverage`` and ``source_status``.
    failures
        Symbol -> why a part of the window could be had from no venue.
    requests
        Network requests that were made.
    notes
        Things worth showing that are no failure.
    """

    rows: dict[str, pd.DataFrame]
    scopes: dict[str, list[Scope]]
    coverage: pd.DataFrame
    statuses: pd.DataFrame
    failures: dict[str, str] = field(default_factory=dict)
    requests: int = 0
    notes: tuple[str, ...] = ()


def ingest(
    kind: Kind,
    *,
    window: Window,
    now: pd.Timestamp,
    sources: Sequence[Source],
    symbols: Sequence[str],
    coverage: pd.DataFrame,
    statuses: pd.DataFrame | None = None,
    refetch: bool = False,
    progress: Progress | None = None,
) -> Ingested:
    """Everything of ``kind`` that is missing in ``window``, for all symbols, as one result.

    Parameters
    ----------
    window
        Usually the months of a run; hours after ``now`` are left out.
    now
        The clock's reading; hours are final when they end at or before it.
    sources
        In order of preference.
    coverage
        Rows of ``source_coverage`` of this kind that overlap the window's months (more does no harm).
    statuses
        Rows of ``source_status`` of this kind as stored, so that a failure keeps the last success.
    refetch
        Ask for the whole window again, whatever is recorded as complete.
    progress
        Called after each step.
    """
    steps = stream(
        kind, window=window, now=now, sources=sources, symbols=symbols, coverage=coverage,
        statuses=statuses, refetch=refetch, progress=progress,
    )  # fmt: skip
    return combine(kind, list(steps))


def stream(
    kind: Kind,
    *,
    window: Window,
    now: pd.Timestamp,
    sources: Sequence[Source],
    symbols: Sequence[str],
    coverage: pd.DataFrame,
    statuses: pd.DataFrame | None = None,
    refetch: bool = False,
    progress: Progress | None = None,
) -> Iterator[Ingested]:
    """The same as :func:`ingest` in steps of one symbol and month, each of which may be written at once.

    A long backfill that writes every step loses at most one step when it is killed: the next run finds the
    coverage of the steps before it and does not ask for them again. The last step carries the status rows.
    """
    run = _Run(kind, now, sources, coverage, statuses, refetch)
    months = _steps(window.until(final_edge(now)), sources)
    total, done = len(months) * len(symbols), 0
    for symbol in symbols:
        for month in months:
            step = run.step(symbol, month)
            done += 1
            if progress is not None:
                progress(done, total, f"{kind} {symbol} {month.start:%Y-%m}")
            if step is not None:
                yield step
    yield run.last()


def combine(kind: Kind, steps: Sequence[Ingested]) -> Ingested:
    """Steps of one run as one result."""
    tables = dict.fromkeys([MAIN_TABLE[kind], *(name for step in steps for name in step.rows)])
    scopes: dict[str, list[Scope]] = {}
    for step in steps:
        for table, some in step.scopes.items():
            scopes.setdefault(table, []).extend(some)
    return Ingested(
        rows={table: joined(table, [step.rows[table] for step in steps if table in step.rows]) for table in tables},
        scopes=scopes,
        coverage=joined("source_coverage", [step.coverage for step in steps]),
        statuses=joined("source_status", [step.statuses for step in steps]),
        failures={symbol: why for step in steps for symbol, why in step.failures.items()},
        requests=sum(step.requests for step in steps),
        notes=tuple(dict.fromkeys(note for step in steps for note in step.notes)),
    )


def writes(step: Ingested) -> list[Write]:
    """What has to be written because of a step, in one transaction.

    A table without scopes is only added to; an empty frame with scopes still has to be written, because it deletes
    what the venue no longer has.
    """
    return [
        *(Write(table, frame, step.scopes.get(table, ())) for table, frame in step.rows.items()),
        Write("source_coverage", step.coverage, step.scopes.get("source_coverage", ())),
        Write("source_status", step.statuses),
    ]


class _Run:
    """State of one run: what is known per venue and symbol, which venues gave up, and the status board."""

    def __init__(
        self,
        kind: Kind,
        now: pd.Timestamp,
        sources: Sequence[Source],
        coverage: pd.DataFrame,
        statuses: pd.DataFrame | None,
        refetch: bool,
    ) -> None:
        self.kind, self.now, self.sources, self.refetch = kind, now, sources, refetch
        own = coverage[coverage["kind"] == kind]
        self._stored = {key: rows for key, rows in own.groupby(["venue", "symbol"])}
        self._nothing = own.iloc[:0]
        self.board = StatusBoard(kind, now, [source.name for source in sources], statuses)
        self._gone: dict[str, SourceError] = {}
        self._strikes: dict[str, int] = {}
        #: Symbol -> venue -> its first error: an outage of a venue fails every month for the same reason.
        self._failures: dict[str, dict[str, str]] = {}

    def step(self, symbol: str, month: Window) -> Ingested | None:
        """Ask the venues for what is missing of one symbol and month; None where nothing was to be done."""
        batches: list[tuple[Source, Batch]] = []
        records: dict[tuple[str, str], list[Record]] = {}
        errors: list[SourceError] = []
        requests = 0
        needs, served_by_any, whole = [month], False, _whole_months(month)
        holes: list[Window] = []
        for source in self.sources:
            known = Known(self._stored.get((source.name, symbol), self._nothing), self.now)
            again = self.refetch or source.always_read
            asked = needs if again else _common(needs, known.missing(month))
            for part in self._grouped(asked):
                batch, error, spent = self._fetch(source, symbol, part)
                requests += spent
                if error is not None:
                    errors.append(error)
                    self.board.failed(source.name, symbol, error)
                    break
                batches.append((source, batch))
                known.add(batch.covered, batch.unavailable)
                if self.kind == "ohlcv":
                    holes = merge([*subtract(holes, batch.covered), *_hours_without_bar(batch)])
                if batch.covered:
                    self.board.served(source.name, symbol, newest=max(w.end for w in batch.covered))
                else:
                    self.board.answered(source.name, symbol)
            if known.changed():
                records[(source.name, symbol)] = known.records(whole)
            served = known.served(month)
            served_by_any = served_by_any or bool(served)
            if self.kind != "liquidations":
                # Hours for which a venue has no bar are asked of the next one too (decision 3), but lack nothing.
                needs = merge([*subtract(needs, served), *holes])
                if not needs:
                    break
        lacking = bool(subtract(needs, holes)) if self.kind != "liquidations" else not served_by_any
        if errors and lacking:
            said = self._failures.setdefault(symbol, {})
            for error in errors:
                said.setdefault(error.venue, f"{error.venue}: {error.message}")
        if not batches and not requests:
            return None
        return self._written(symbol, whole, batches, records, requests)

    def last(self) -> Ingested:
        """The status rows and the failures, once everything was asked."""
        failures = {symbol: "; ".join(said.values()) for symbol, said in self._failures.items()}
        return Ingested({}, {}, coverage_frame(self.kind, {}), self.board.frame(), failures)

    def _fetch(self, source: Source, symbol: str, part: Window) -> tuple[Batch, SourceError | None, int]:
        gone = self._gone.get(source.name)
        if gone is not None:
            return Batch(), type(gone)(source.name, symbol, gone.message), 0
        spent, error = 0, None
        for last_try in (False, True):
            try:
                batch = source.fetch(self.kind, symbol, part, self.now)
                spent += batch.requests
                validate_batch(source.name, symbol, batch, part)
            except SourceError as problem:
                error, spent = problem, spent + problem.requests
                # An answer that contradicts itself is often right a moment later; other errors were retried already.
                if problem.state == "BAD_RESPONSE" and problem.retryable and not last_try:
                    continue
                break
            self._strikes[source.name] = 0
            return batch, None, spent
        assert error is not None
        strikes = self._strikes[source.name] = self._strikes.get(source.name, 0) + isinstance(error, Outage)
        if error.venue_wide or strikes >= _STRIKES:
            self._gone[source.name] = error
        return Batch(), error, spent

    def _grouped(self, windows: Sequence[Window]) -> list[Window]:
        """Bars and rates of a month fit into a page or two: one question over a hole is cheaper than two."""
        pieces = merge(windows)
        if len(pieces) > 1 and self.kind != "liquidations":
            return [Window(pieces[0].start, pieces[-1].end)]
        return pieces

    def _written(
        self,
        symbol: str,
        whole: Window,
        batches: Sequence[tuple[Source, Batch]],
        records: Mapping[tuple[str, str], Sequence[Record]],
        requests: int,
    ) -> Ingested:
        rows: dict[str, list[pd.DataFrame]] = {}
        scopes: dict[str, list[Scope]] = {}
        for source, batch in batches:
            for table, frame in batch.rows.items():
                rows.setdefault(table, []).append(frame)
                if table in _REPLACED:
                    where = {"venue": source.name, "symbol": symbol}
                    scopes.setdefault(table, []).extend(Scope(w, where) for w in merge(batch.covered))
        scopes["source_coverage"] = [
            Scope(_starts_in(whole), {"kind": self.kind, "venue": venue, "symbol": name}, ts_column="start_ts")
            for (venue, name), some in records.items()
            if some
        ]
        return Ingested(
            rows={table: joined(table, frames) for table, frames in rows.items()},
            scopes=scopes,
            coverage=coverage_frame(self.kind, records),
            statuses=StatusBoard.nothing(),
            requests=requests,
            notes=tuple(note for _, batch in batches for note in batch.notes),
        )


def _hours_without_bar(batch: Batch) -> list[Window]:
    """Hours that the venue has answered for and has no bar of."""
    found = set(batch.rows["ohlcv"]["ts"]) if "ohlcv" in batch.rows else set()
    return merge([Window(hour - HOUR, hour) for part in batch.covered for hour in part.hours() if hour not in found])


def _common(left: Sequence[Window], right: Sequence[Window]) -> list[Window]:
    return subtract(left, subtract(left, right))


def _whole_months(part: Window) -> Window:
    last = partition_window(partition_of(part.end))
    return Window(month_start(part.start), last.end)


def _steps(window: Window, sources: Sequence[Source]) -> list[Window]:
    """Months; several at once where every source is local, because there the cost is per step and not per row."""
    months = [part for part in by_month(window) if part.end > part.start]
    size = min((getattr(source, "step_months", 1) for source in sources), default=1)
    groups = [months[first : first + size] for first in range(0, len(months), size)]
    return [Window(group[0].start, group[-1].end) for group in groups]


def _starts_in(months: Window) -> Window:
    """``source_coverage`` is keyed by a window's exclusive start: ``months.start <= start_ts < months.end``."""
    tick = pd.Timedelta(1, "us")
    return Window(months.start - tick, months.end - tick)
