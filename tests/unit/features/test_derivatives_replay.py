"""The same rows, events and ids live, month by month, in one go, and with the future cut off or poisoned."""

from collections.abc import Sequence
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from regimes_dagster import schemas
from regimes_dagster.features import funding_anomaly, liquidation_cascade
from regimes_dagster.features.funding_anomaly import compute_funding_metrics
from regimes_dagster.features.liquidation_cascade import compute_liquidation_metrics
from regimes_dagster.features.result import FeatureResult, StoredState
from regimes_dagster.parameters import FundingParameters, LiquidationParameters
from regimes_dagster.partitions import Window, month_edges, utc
from tests.unit.features.derivatives_market import (
    Compute,
    Raw,
    assert_same,
    in_pieces,
    simulate,
    stored,
)

START = utc("2024-01-01")
END = utc("2024-05-20")


def liquidation(
    raw: Raw, window: Window, state: StoredState | None = None, checkpoints: Sequence[pd.Timestamp] | None = None
) -> FeatureResult:
    return compute_liquidation_metrics(
        raw.market,
        LiquidationParameters(),
        window=window,
        state=state,
        checkpoints=checkpoints,
        liquidations=raw.liquidations,
        liquidation_events=raw.liquidation_events,
        perp_volume=raw.perp_volume,
    )


def funding(
    raw: Raw, window: Window, state: StoredState | None = None, checkpoints: Sequence[pd.Timestamp] | None = None
) -> FeatureResult:
    return compute_funding_metrics(
        raw.market,
        FundingParameters(),
        window=window,
        state=state,
        checkpoints=checkpoints,
        funding_rates=raw.funding_rates,
    )


CASES: dict[str, tuple[Compute, timedelta]] = {
    "liquidation": (liquidation, liquidation_cascade.lookback(LiquidationParameters())),
    "funding": (funding, funding_anomaly.lookback(FundingParameters())),
}


@pytest.fixture(scope="module")
def raw() -> Raw:
    """Five months with outages of 1, 5 and 30 hours, a listing and a delisting in mid-history."""
    raw = simulate(int((END - START) / timedelta(hours=1)), seed=3)
    bars = raw.market
    stamp = bars["ts"]
    for symbol, begin, hours in (
        ("BTC/USDT", "2024-03-10 05:00", 1),
        ("ETH/USDT", "2024-03-31 21:00", 5),
        ("SOL/USDT", "2024-04-02", 30),
    ):
        gone = (bars["symbol"] == symbol) & (stamp > utc(begin)) & (stamp <= utc(begin) + timedelta(hours=hours))
        bars.loc[gone, ["open", "high", "low", "close", "long_liq_usd", "short_liq_usd", "funding_rate"]] = np.nan
        bars.loc[gone, "liq_coverage"] = 0.0
    late = (bars["symbol"] == "SOL/USDT") & (stamp <= utc("2024-02-11 07:00"))
    early = (bars["symbol"] == "ETH/USDT") & (stamp > utc("2024-05-12 03:00"))
    return Raw(
        bars.loc[~late & ~early].reset_index(drop=True), *(getattr(raw, n) for n in list(Raw.__dataclass_fields__)[1:])
    )


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> tuple[Compute, timedelta]:
    return CASES[request.param]


@pytest.fixture(scope="module")
def whole(case: tuple[Compute, timedelta], raw: Raw) -> FeatureResult:
    return case[0](raw, Window(START, END), None, None)


def test_every_table_and_event_keeps_its_contract_and_has_no_infinity(whole: FeatureResult) -> None:
    for name, rows in whole.rows.items():
        assert len(rows)
        schemas.TABLES[name].validate(rows)
        assert not np.isinf(rows.select_dtypes("number").to_numpy(dtype=float, na_value=np.nan)).any()
    schemas.EpisodeEvents.validate(whole.events)
    schemas.EngineState.validate(whole.states)
    assert len(whole.events) > 20


def test_a_row_for_every_market_row(whole: FeatureResult, raw: Raw) -> None:
    table = next(iter(whole.rows.values()))
    pd.testing.assert_frame_equal(table[["symbol", "ts"]], raw.market[["symbol", "ts"]], check_dtype=False)


def test_month_by_month_equals_one_pass(case: tuple[Compute, timedelta], raw: Raw, whole: FeatureResult) -> None:
    compute, lookback = case
    edges = [START, *month_edges(Window(START, END))]
    assert_same(in_pieces(raw, edges, compute, lookback), whole, states=True)


def test_hour_by_hour_over_a_month_edge_equals_one_pass(
    case: tuple[Compute, timedelta], raw: Raw, whole: FeatureResult
) -> None:
    compute, lookback = case
    march, april = utc("2024-03-01"), utc("2024-04-01")
    state, begin = stored(whole.states.loc[whole.states["ts"] == march]), march
    for now in pd.date_range(utc("2024-03-31 16:00"), utc("2024-04-01 10:00"), freq="h", unit="us"):
        newest = compute(raw.between(state.ts - lookback, now), Window(begin, now), state, None)
        window = Window(begin, now)
        expected = FeatureResult(
            {name: rows.loc[window.mask(rows["ts"])] for name, rows in whole.rows.items()},
            whole.events.loc[window.mask(whole.events["ts"])],
            whole.states,
        )
        assert_same(newest, expected)
        if now == april:
            state, begin = stored(newest.states), april


def test_nothing_changes_when_the_future_is_cut_off(
    case: tuple[Compute, timedelta], raw: Raw, whole: FeatureResult
) -> None:
    compute, lookback = case
    rng = np.random.default_rng(7)
    begin = utc("2024-04-01")
    state = stored(whole.states.loc[whole.states["ts"] == begin])
    near = raw.between(begin - lookback, END)
    moments = [begin + timedelta(hours=int(h)) for h in rng.integers(30, 1100, 18)]
    for moment in [*moments, utc("2024-05-01"), utc("2024-05-01 01:00")]:
        part = compute(near.between(None, moment), Window(begin, moment), state, None)
        assert max(rows["ts"].max() for rows in part.rows.values()) == moment
        window = Window(begin, moment)
        kept = FeatureResult(
            {name: rows.loc[window.mask(rows["ts"])] for name, rows in whole.rows.items()},
            whole.events.loc[window.mask(whole.events["ts"])],
            whole.states,
        )
        assert_same(part, kept)


def test_nothing_changes_when_the_future_is_poisoned(
    case: tuple[Compute, timedelta], raw: Raw, whole: FeatureResult
) -> None:
    compute, _ = case
    for moment in (utc("2024-02-20 13:00"), utc("2024-04-09 08:00"), utc("2024-05-12 03:00")):
        assert_same(compute(_poisoned(raw, moment), Window(START, END), None, None), whole, until=moment)


def _poisoned(raw: Raw, moment: pd.Timestamp) -> Raw:
    """Absurd but well-formed figures after the moment."""
    tables = {}
    for name in Raw.__dataclass_fields__:
        table = getattr(raw, name).copy()
        later = table["ts"] > moment
        for column in table.select_dtypes("float").columns:
            if column not in ("interval_hours", "funding_interval_hours", "coverage", "liq_coverage"):
                table.loc[later, column] = table.loc[later, column] * 7.3 + 0.01
        tables[name] = table
    return Raw(**tables)


def test_the_start_of_the_data_does_not_matter_beyond_the_lookback(
    case: tuple[Compute, timedelta], raw: Raw, whole: FeatureResult
) -> None:
    compute, lookback = case
    begin = utc("2024-04-20")
    late = compute(raw.between(begin - lookback, END), Window(begin, END), None, None)
    machine = ["state", "episode_id", "market_wide"]
    for name, rows in late.rows.items():
        full = whole.rows[name]
        full = full.loc[full["ts"] > begin].reset_index(drop=True)
        drop = [column for column in machine if column in rows.columns]
        pd.testing.assert_frame_equal(
            rows.drop(columns=drop).astype({"reasons": str} if "reasons" in rows else {}),
            full.drop(columns=drop).astype({"reasons": str} if "reasons" in full else {}),
            rtol=1e-12,
            atol=0,
        )


def test_a_stored_state_that_is_too_old_for_the_rows_given_is_refused(
    case: tuple[Compute, timedelta], raw: Raw
) -> None:
    compute, _ = case
    early = compute(raw.between(None, utc("2024-02-01")), Window(START, utc("2024-02-01")), None, None)
    later = raw.between(utc("2024-03-01"), utc("2024-03-05"))
    with pytest.raises(ValueError, match="read the rows between them"):
        compute(later, Window(utc("2024-03-01"), utc("2024-03-05")), stored(early.states), None)


def test_without_any_row_there_is_an_empty_result(case: tuple[Compute, timedelta], raw: Raw) -> None:
    compute, _ = case
    nothing = raw.between(None, utc("2020-01-01"))
    result = compute(nothing, Window(utc("2019-12-01"), utc("2020-01-01")), None, None)
    for name, rows in result.rows.items():
        assert rows.empty
        schemas.TABLES[name].validate(rows)
    assert result.events.empty
    assert result.states.empty


def test_one_symbol_alone_is_computed_as_among_others(
    case: tuple[Compute, timedelta], raw: Raw, whole: FeatureResult
) -> None:
    compute, _ = case
    alone = Raw(
        raw.market.loc[raw.market["symbol"] == "BTC/USDT"].reset_index(drop=True),
        *(getattr(raw, n) for n in list(Raw.__dataclass_fields__)[1:]),
    )
    result = compute(alone, Window(START, END), None, None)
    for name, rows in result.rows.items():
        among = whole.rows[name]
        among = among.loc[among["symbol"] == "BTC/USDT"].reset_index(drop=True)
        drop = [column for column in ("market_wide",) if column in rows.columns]
        words = {"reasons": str} if "reasons" in rows else {}
        pd.testing.assert_frame_equal(
            rows.drop(columns=drop).astype(words), among.drop(columns=drop).astype(words), rtol=1e-12, atol=0
        )
