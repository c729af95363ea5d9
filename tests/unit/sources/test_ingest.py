"""The incremental rule, the order of the venues and what a run may delete, with sources that answer as told."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pandas as pd
import pytest

from regimes_dagster.partitions import HOUR, Window, utc
from regimes_dagster.schemas import SourceCoverage, SourceStatus
from regimes_dagster.sources.frames import empty, joined, table_frame
from regimes_dagster.sources.ingest import Ingested, ingest, stream
from regimes_dagster.sources.protocol import (
    BadResponse,
    Batch,
    GeoBlocked,
    Kind,
    MarketClosed,
    NotAvailable,
    Outage,
    Source,
    SourceError,
    UnknownSymbol,
)

NOW = utc("2025-02-10 10:01")
MONTH = Window(utc("2025-02-01"), utc("2025-03-01"))
DONE = Window(MONTH.start, utc("2025-02-10 10:00"))
BTC, ETH = "BTC/USDT", "ETH/USDT"


def bars(venue: str, symbol: str, window: Window) -> pd.DataFrame:
    stamps = window.hours()
    columns = dict.fromkeys(("open", "high", "low", "close"), [100.0] * len(stamps))
    return table_frame(
        "ohlcv",
        {
            "venue": venue,
            "symbol": symbol,
            "ts": stamps,
            "volume": [1.0] * len(stamps),
            "quote_volume": [100.0] * len(stamps),
            "is_simulated": False,
        }
        | columns,
    )


def sums(venue: str, symbol: str, window: Window) -> pd.DataFrame:
    stamps = window.hours()
    return table_frame(
        "liquidations",
        {
            "venue": venue,
            "symbol": symbol,
            "ts": stamps,
            "long_usd": [1.0] * len(stamps),
            "short_usd": [2.0] * len(stamps),
            "n_events": [1] * len(stamps),
            "coverage": 1.0,
            "is_lower_bound": False,
            "is_simulated": False,
        },
    )


@dataclass
class Told:
    """A source that serves everything, except what it is told."""

    name: str
    always_read: bool = False
    kinds: frozenset[str] = frozenset({"ohlcv", "funding", "liquidations"})
    says: Callable[[str, Window], SourceError | Batch | None] = lambda symbol, window: None
    asked: list[tuple[str, Window]] = field(default_factory=list)

    def fetch(self, kind: Kind, symbol: str, window: Window, now: pd.Timestamp) -> Batch:
        self.asked.append((symbol, window))
        answer = self.says(symbol, window)
        if isinstance(answer, SourceError):
            answer.requests = 1
            raise answer
        if answer is not None:
            return answer
        make = {"ohlcv": bars, "liquidations": sums}[kind]
        table = kind
        return Batch({table: make(self.name, symbol, window)}, (window,), requests=1)


def run(
    *sources: Source,
    kind: Kind = "ohlcv",
    now: pd.Timestamp = NOW,
    coverage: pd.DataFrame | None = None,
    **more: object,
) -> Ingested:
    result = ingest(
        kind,
        window=more.pop("window", MONTH),
        now=now,
        sources=sources,
        symbols=more.pop("symbols", (BTC, ETH)),  # type: ignore[arg-type]
        coverage=empty("source_coverage") if coverage is None else coverage,
        **more,  # type: ignore[arg-type]
    )
    SourceCoverage.validate(result.coverage)
    SourceStatus.validate(result.statuses)
    return result


def after(before: pd.DataFrame, result: Ingested) -> pd.DataFrame:
    """``source_coverage`` after the run has been written, scopes and all."""
    kept = before
    for scope in result.scopes.get("source_coverage", []):
        inside = scope.window.mask(kept["start_ts"])
        for column, value in scope.where.items():
            inside &= kept[column] == value
        kept = kept[~inside]
    return joined("source_coverage", [kept, result.coverage])


def test_a_cold_start_asks_the_first_venue_for_everything_and_the_second_for_nothing() -> None:
    first, second = Told("first"), Told("second")
    result = run(first, second)
    assert first.asked == [(BTC, DONE), (ETH, DONE)]
    assert second.asked == []
    assert result.requests == 2
    assert not result.failures
    assert len(result.rows["ohlcv"]) == 2 * len(DONE.hours())


def test_the_next_hour_asks_for_the_revisable_hours_and_the_new_one_only() -> None:
    first = Told("first")
    stored = run(first).coverage
    first.asked.clear()
    result = run(first, now=NOW + HOUR, coverage=stored)
    new = Window(utc("2025-02-10 07:00"), utc("2025-02-10 11:00"))
    assert first.asked == [(BTC, new), (ETH, new)]
    assert {(s.window, s.where["symbol"], s.where["venue"]) for s in result.scopes["ohlcv"]} == {
        (new, BTC, "first"),
        (new, ETH, "first"),
    }


def test_a_week_offline_ends_complete_and_the_hours_that_were_revisable_then_are_read_again() -> None:
    first = Told("first")
    stored = after(empty("source_coverage"), run(first))
    first.asked.clear()
    later = NOW + 7 * 24 * HOUR
    stored = after(stored, run(first, now=later, coverage=stored))
    assert first.asked[0] == (BTC, Window(utc("2025-02-10 07:00"), later.floor("h")))
    mine = stored[(stored["symbol"] == BTC) & (stored["state"] == "COMPLETE")]
    assert [(row.start_ts, row.end_ts) for row in mine.itertuples()] == [(MONTH.start, later.floor("h") - 3 * HOUR)]


def test_a_complete_month_is_not_asked_again_unless_refetch_says_so() -> None:
    first = Told("first")
    later = utc("2025-04-01")
    stored = run(first, now=later).coverage
    first.asked.clear()
    assert run(first, now=later, coverage=stored).requests == 0
    assert first.asked == []
    run(first, now=later, coverage=stored, refetch=True)
    assert first.asked == [(BTC, MONTH), (ETH, MONTH)]


def test_a_source_of_local_files_is_always_read() -> None:
    files = Told("files", always_read=True)
    later = utc("2025-04-01")
    stored = run(files, now=later).coverage
    files.asked.clear()
    run(files, now=later, coverage=stored)
    assert files.asked == [(BTC, MONTH), (ETH, MONTH)]


def test_the_second_venue_is_asked_only_for_what_the_first_cannot_give() -> None:
    listed = utc("2025-02-05")

    def says(symbol: str, window: Window) -> Batch | None:
        if symbol != BTC:
            return None
        known = Window(listed, window.end)
        return Batch({"ohlcv": bars("first", symbol, known)}, (known,), (Window(window.start, listed),), 1)

    first, second = Told("first", says=says), Told("second")
    result = run(first, second)
    assert second.asked == [(BTC, Window(MONTH.start, listed))]
    assert not result.failures
    states = result.coverage[(result.coverage["venue"] == "first") & (result.coverage["symbol"] == BTC)]
    assert list(states["state"]) == ["UNAVAILABLE", "COMPLETE", "PARTIAL"]


def test_hours_without_a_bar_are_asked_of_the_next_venue_once_and_are_no_failure() -> None:
    hole = Window(utc("2025-02-05"), utc("2025-02-06 06:00"))

    def says(symbol: str, window: Window) -> Batch | None:
        rows = bars("first", symbol, window)
        return Batch({"ohlcv": rows[~hole.mask(rows["ts"])]}, (window,), requests=1)

    first, second = Told("first", says=says), Told("second")
    result = run(first, second, symbols=(BTC,))
    assert second.asked == [(BTC, hole)]
    found = result.rows["ohlcv"]
    assert set(found.loc[hole.mask(found["ts"]), "venue"]) == {"second"}
    third = run(first, Told("second", says=lambda symbol, window: Outage("second", symbol, "down")), symbols=(BTC,))
    assert not third.failures
    later = Told("second")
    run(first, later, symbols=(BTC,), coverage=after(empty("source_coverage"), result), now=NOW + HOUR)
    assert all(not hole.mask(pd.Series(window.hours())).any() for _symbol, window in later.asked)


def test_a_geo_block_moves_the_whole_run_to_the_next_venue_after_one_request() -> None:
    first, second = Told("first", says=lambda s, w: GeoBlocked("first", s, "HTTP 451")), Told("second")
    result = run(first, second)
    assert len(first.asked) == 1
    assert len(second.asked) == 2
    states = result.statuses.set_index(["venue", "symbol"])
    assert set(states.loc["first", "state"]) == {"GEO_BLOCKED"}
    assert not states.loc["first", "in_use"].any()
    assert set(states.loc["second", "state"]) == {"OK"}
    assert states.loc["second", "in_use"].all()
    assert not result.failures
    assert set(result.rows["ohlcv"]["venue"]) == {"second"}


def test_when_the_first_venue_is_back_it_is_asked_for_what_it_missed() -> None:
    blocked = Told("first", says=lambda s, w: Outage("first", s, "down"))
    stored = run(blocked, Told("second"), symbols=(BTC,)).coverage
    first, second = Told("first"), Told("second")
    run(first, second, coverage=stored, symbols=(BTC,))
    assert first.asked == [(BTC, DONE)]
    assert second.asked == []


def test_a_symbol_that_fails_everywhere_is_named_and_stops_no_other() -> None:
    def says(symbol: str, window: Window) -> SourceError | None:
        return UnknownSymbol("x", symbol, "not listed") if symbol == BTC else None

    result = run(Told("first", says=says), Told("second", says=says))
    assert set(result.failures) == {BTC}
    assert "not listed" in result.failures[BTC]
    assert set(result.rows["ohlcv"]["symbol"]) == {ETH}
    assert {scope.where["symbol"] for scope in result.scopes["ohlcv"]} == {ETH}, (
        "nothing of the failed symbol may be deleted"
    )


def test_a_venue_that_cannot_serve_is_a_status_and_no_failure() -> None:
    result = run(Told("first", says=lambda s, w: NotAvailable("first", s, "spot only")), Told("second"))
    assert not result.failures
    assert set(result.statuses[result.statuses["venue"] == "first"]["state"]) == {"NOT_AVAILABLE"}


def test_a_venue_that_does_not_answer_is_left_alone_after_three_symbols() -> None:
    symbols = tuple(f"S{i}/USDT" for i in range(10))
    first, second = Told("first", says=lambda s, w: Outage("first", s, "down")), Told("second")
    run(first, second, symbols=symbols)
    assert len(first.asked) == 3
    assert len(second.asked) == 10


def test_an_outage_of_many_months_is_told_once_per_venue() -> None:
    """36 months without a network gave one line of 12,000 characters."""
    numbers = iter(range(100))
    down = [
        Told(name, says=lambda s, w, name=name: Outage(name, s, f"no answer, question {next(numbers)}"))
        for name in ("first", "second")
    ]
    months = Window(utc("2024-01-01"), utc("2025-01-01"))
    said = run(*down, symbols=(BTC,), window=months).failures[BTC]
    assert said.count("first: ") == said.count("second: ") == 1


def test_a_bad_answer_is_asked_once_more_and_then_given_up() -> None:
    bad = Told("first", says=lambda s, w: BadResponse("first", s, "nulls"))
    run(bad, Told("second"), symbols=(BTC,))
    assert len(bad.asked) == 2


def test_rows_that_cannot_be_true_are_never_handed_on() -> None:
    def says(symbol: str, window: Window) -> Batch:
        rows = bars("first", symbol, window)
        rows.loc[4, "low"] = 1e9
        return Batch({"ohlcv": rows}, (window,), requests=1)

    result = run(Told("first", says=says), symbols=(BTC,))
    assert BTC in result.failures
    assert "low" in result.failures[BTC]
    assert result.rows["ohlcv"].empty
    assert "ohlcv" not in result.scopes


def test_every_liquidation_venue_is_asked_for_everything() -> None:
    first, second = Told("first"), Told("second")
    result = run(first, second, kind="liquidations", symbols=(BTC,))
    assert first.asked == second.asked == [(BTC, DONE)]
    assert result.statuses["in_use"].all()
    assert set(result.rows["liquidations"]["venue"]) == {"first", "second"}


def test_one_liquidation_venue_that_fails_is_a_status_all_of_them_a_failure() -> None:
    down = Told("first", says=lambda s, w: Outage("first", s, "down"))
    assert not run(down, Told("second"), kind="liquidations", symbols=(BTC,)).failures
    assert BTC in run(down, kind="liquidations", symbols=(BTC,)).failures


def test_a_failure_keeps_the_last_success_and_a_venue_no_longer_used_is_marked_so() -> None:
    stored = run(Told("first"), symbols=(BTC,))
    later = NOW + HOUR
    down = Told("first", says=lambda s, w: Outage("first", s, "down"))
    result = run(down, Told("second"), symbols=(BTC,), now=later, coverage=stored.coverage, statuses=stored.statuses)
    first = result.statuses.set_index("venue").loc["first"]
    assert first["last_ok_at"] == NOW
    assert first["state"] == "OUTAGE"
    assert not first["in_use"]
    back = run(Told("first"), symbols=(BTC,), now=later + HOUR, coverage=stored.coverage, statuses=result.statuses)
    assert back.statuses.set_index("venue")["in_use"].to_dict() == {"first": True, "second": False}


def test_a_closed_market_is_a_state_of_its_own() -> None:
    result = run(Told("first", says=lambda s, w: MarketClosed("first", s, "no longer trades")), symbols=(BTC,))
    assert list(result.statuses["state"]) == ["CLOSED"]


def test_the_hour_that_is_not_over_is_never_asked() -> None:
    first = Told("first")
    run(first, now=utc("2025-02-10 10:59:59"), symbols=(BTC,))
    assert first.asked == [(BTC, DONE)]


def test_a_month_in_the_future_asks_nothing() -> None:
    first = Told("first")
    result = run(first, window=Window(utc("2025-03-01"), utc("2025-04-01")))
    assert first.asked == []
    assert result.rows["ohlcv"].empty
    assert result.requests == 0


def test_a_clock_that_was_wrong_by_minutes_loses_nothing() -> None:
    first = Told("first")
    early = utc("2025-02-10 10:58")
    stored = after(empty("source_coverage"), run(first, now=utc("2025-02-10 11:01"), symbols=(BTC,)))
    stored = after(stored, run(first, now=early, coverage=stored, symbols=(BTC,)))
    stored = after(stored, run(first, now=utc("2025-02-10 15:01"), coverage=stored, symbols=(BTC,)))
    asked = {hour for _, window in first.asked[1:] for hour in window.hours()}
    assert set(Window(utc("2025-02-10 08:00"), utc("2025-02-10 15:00")).hours()) <= asked
    complete = stored[stored["state"] == "COMPLETE"]
    assert complete["end_ts"].max() == utc("2025-02-10 12:00")


def test_a_hole_in_the_month_and_the_newest_hours_are_one_question() -> None:
    def says(symbol: str, window: Window) -> Batch | None:
        return None

    first = Told("first", says=says)
    hole = table_frame(
        "source_coverage",
        {
            "kind": ["ohlcv"] * 2,
            "venue": ["first"] * 2,
            "symbol": [BTC] * 2,
            "start_ts": [MONTH.start, utc("2025-02-05")],
            "end_ts": [utc("2025-02-04"), utc("2025-02-10 07:00")],
            "state": ["COMPLETE"] * 2,
            "checked_at": [NOW] * 2,
        },
    )
    run(first, coverage=hole, symbols=(BTC,))
    assert first.asked == [(BTC, Window(utc("2025-02-04"), utc("2025-02-10 10:00")))]


def test_a_backfill_comes_in_steps_of_a_symbol_and_a_month_with_progress() -> None:
    seen: list[tuple[int, int]] = []
    window = Window(utc("2024-11-01"), utc("2025-02-01"))
    steps = list(
        stream(
            "ohlcv",
            window=window,
            now=NOW,
            sources=[Told("first")],
            symbols=(BTC, ETH),
            coverage=empty("source_coverage"),
            progress=lambda done, total, text: seen.append((done, total)),
        )
    )
    assert seen == [(i, 6) for i in range(1, 7)]
    assert len(steps) == 7
    assert all(step.requests == 1 for step in steps[:-1])
    assert steps[-1].rows == {}
    assert len(steps[-1].statuses) == 2
    for step in steps[:-1]:
        (scope,) = step.scopes["source_coverage"]
        assert scope.ts_column == "start_ts"
        assert scope.window.mask(step.coverage["start_ts"]).all()


def test_a_run_that_stops_halfway_is_continued_not_repeated() -> None:
    first = Told("first")
    window = Window(utc("2024-11-01"), utc("2025-02-01"))
    arguments = {"window": window, "now": NOW, "sources": [first], "symbols": (BTC, ETH)}
    stored = empty("source_coverage")
    for step, _ in zip(stream("ohlcv", coverage=stored, **arguments), range(3), strict=False):  # type: ignore[arg-type]
        stored = after(stored, step)
    asked = list(first.asked)
    rest = [step for step in stream("ohlcv", coverage=stored, **arguments)]  # type: ignore[arg-type]
    assert sum(step.requests for step in rest) == 3
    assert not set(first.asked[len(asked) :]) & set(asked[:3])


@pytest.mark.parametrize("kind", ["ohlcv", "liquidations"])
def test_the_rows_of_a_table_are_there_even_when_nothing_was_missing(kind: Kind) -> None:
    result = run(Told("first"), kind=kind, window=Window(utc("2025-03-01"), utc("2025-04-01")))
    assert list(result.rows) == [kind]
