"""What is written is what is read: every table, every dtype, to the last bit."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from regimes_dagster import contracts, database, tables
from regimes_dagster.contracts import InvalidRowsError
from regimes_dagster.embedded import EmbeddedServer
from regimes_dagster.partitions import Window, utc
from regimes_dagster.schemas import TABLES
from regimes_dagster.storage import Warehouse, Write
from tests.conftest import fresh_database

SYMBOLS = ["BTC/USDT", "ETH/USDT", "1INCH/USDT"]


def random_rows(table: str, seed: int, count: int = 40) -> pd.DataFrame:
    """Rows that fit a table's contract, with nulls wherever they may be."""
    rng = np.random.default_rng(seed)
    columns = {}
    for name, column in contracts.schema_of(table).columns.items():
        values = pd.Series(random_values(name, column, rng, count))
        if column.nullable:
            values = values.astype(object).where(pd.Series(rng.random(count) > 0.3), None)
        columns[name] = values
    frame = pd.DataFrame(columns)
    if table == "ohlcv":
        frame["low"] = frame[["open", "high", "low", "close"]].min(axis=1)
        frame["high"] = frame[["open", "high", "low", "close"]].max(axis=1)
    return frame.drop_duplicates(list(contracts.keys_of(table)), ignore_index=True)


def random_values(name: str, column: Any, rng: np.random.Generator, count: int) -> list[Any]:
    rules = {check.name: check.statistics for check in column.checks}
    if tables.is_json(column):
        return [{"z": i, "a": [1.5, None, "é"], "deep": {"x": float(rng.normal())}} for i in range(count)]
    if "isin" in rules:
        return list(rng.choice(list(rules["isin"]["allowed_values"]), count))
    if "equal_to" in rules:
        return [rules["equal_to"]["value"]] * count
    if "str_matches" in rules:
        pair = "asset_pair" in name
        return [
            ("/".join(rng.choice(SYMBOLS, 2, replace=False)) if pair else str(rng.choice(SYMBOLS)))
            for _ in range(count)
        ]
    kind = str(column.dtype)
    if kind.startswith("datetime"):
        return list(utc("2024-02-01") + pd.to_timedelta(rng.integers(0, 10**13, count), unit="us"))
    low = max([-1e6, *(rule["min_value"] for key, rule in rules.items() if key.startswith("greater"))])
    high = min([1e6, *(rule["max_value"] for key, rule in rules.items() if key.startswith("less"))])
    if kind == "Int64":
        return list(rng.integers(math.ceil(low), math.floor(high), count, endpoint=True))
    if kind == "float64":
        return list(low + (high - low) * (1 - rng.random(count)))
    if kind.startswith("bool"):
        return list(rng.random(count) < 0.5)
    return [f"{name} {i} ü" for i in rng.integers(0, 10**9, count)]


@pytest.fixture(scope="module")
def shared(postgres: EmbeddedServer) -> Iterator[Warehouse]:
    """One database for tests that each use a table of their own."""
    for url in fresh_database(postgres):
        engine = database.make_engine(url)
        with engine.begin() as connection:
            # A delivery needs its alert; here every table stands alone.
            connection.execute(sa.text("ALTER TABLE alert_deliveries DROP CONSTRAINT fk_alert_deliveries_alerts"))
        yield Warehouse(engine)
        engine.dispose()


@pytest.mark.parametrize("table", TABLES)
def test_every_table_gives_back_what_was_written(shared: Warehouse, table: str) -> None:
    rows = random_rows(table, seed=len(table))
    assert shared.write([Write(table, rows.sample(frac=1, random_state=1))])[table].inserted == len(rows)
    expected = contracts.check(table, rows).sort_values(list(contracts.keys_of(table)), ignore_index=True)
    found = shared.read(table)
    pd.testing.assert_frame_equal(found, expected, check_exact=True)
    assert shared.write([Write(table, found)])[table].unchanged == len(rows)


texts = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=20)
floats = st.floats(allow_nan=False, allow_infinity=False)
# Larger floats read back as the integers of the same digits (contracts.to_json).
plain = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e15, 1e15) | texts
structures = st.recursive(plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3))
same_database = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)


@same_database
@given(
    value=st.none() | floats,
    note=st.none() | texts,
    holds=st.none() | st.booleans(),
    n=st.none() | st.integers(0, 2**63 - 1),
    end=st.datetimes(pd.Timestamp("1990-01-01").to_pydatetime(), pd.Timestamp("2200-01-01").to_pydatetime()),
    test=texts,
)
def test_any_number_text_and_stamp_survives(
    warehouse: Warehouse, value: float | None, note: str | None, holds: bool | None, n: int | None, end: Any, test: str
) -> None:
    """Empty texts, quotes, newlines, subnormal numbers, microseconds, the largest integers."""
    row = {
        "test": test, "symbol": "ALL", "metric": "x", "period_start": utc("2024-01-01"),
        "period_end": pd.Timestamp(end, tz="UTC"), "value": value, "ci_low": None, "ci_high": None, "baseline": None,
        "target": note, "holds": holds, "n": n, "note": note, "config_hash": "",
    }  # fmt: skip
    frame = pd.DataFrame({name: pd.Series([item], dtype=object) for name, item in row.items()})
    warehouse.write([Write("signal_evidence", frame)])
    found = warehouse.read(
        "signal_evidence",
        where={"test": test},
        window=Window(frame["period_end"][0] - pd.Timedelta(1, "us"), frame["period_end"][0]),
    )
    assert len(found) == 1
    stored = found.iloc[0]
    assert stored["period_end"] == row["period_end"]
    assert stored["test"] == test
    for name in ("value", "note", "holds", "n"):
        given_value, stored_value = row[name], stored[name]
        assert pd.isna(stored_value) if given_value is None else stored_value == given_value


@same_database
@given(structures)
def test_any_structure_survives(warehouse: Warehouse, value: Any) -> None:
    frame = pd.DataFrame(
        {
            "feature": ["f"],
            "key": "k",
            "ts": utc("2024-02-01"),
            "config_hash": "c",
            "state": pd.Series([{"v": value}], dtype=object),
        }
    )
    warehouse.write([Write("engine_state", frame)])
    assert warehouse.read("engine_state")["state"][0] == {"v": value}


def state(value: Any) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "feature": ["f"],
            "key": "k",
            "ts": utc("2024-02-01"),
            "config_hash": "c",
            "state": pd.Series([value], dtype=object),
        }
    )


@pytest.mark.parametrize(
    "value",
    [
        {"x": float("nan")},
        {"x": float("inf")},
        {"x": np.float64("nan")},
        {"x": object()},
        {"x": "a\x00b"},
        {"x": "\ud800"},
    ],
)
def test_what_json_cannot_hold_is_refused_with_the_key_of_the_row(warehouse: Warehouse, value: Any) -> None:
    with pytest.raises(InvalidRowsError, match=r"column state: 1 row.s. hold no JSON: .feature=f, key=k"):
        warehouse.write([Write("engine_state", state(value))])
    assert warehouse.read("engine_state").empty


def test_a_backslash_before_u0000_is_text_like_any_other(warehouse: Warehouse) -> None:
    warehouse.write([Write("engine_state", state({"x": "\\u0000"}))])
    assert warehouse.read("engine_state")["state"][0] == {"x": "\\u0000"}


def test_numbers_of_numpy_and_stamps_are_stored_as_json_knows_them(warehouse: Warehouse) -> None:
    value = {"n": np.int64(3), "b": np.bool_(True), "a": np.arange(2), "t": utc("2024-02-01")}
    warehouse.write([Write("engine_state", state(value))])
    assert warehouse.read("engine_state")["state"][0] == {
        "n": 3,
        "b": True,
        "a": [0, 1],
        "t": "2024-02-01T00:00:00+00:00",
    }


def test_a_nul_in_a_text_is_refused_with_the_key_of_the_row(warehouse: Warehouse) -> None:
    with pytest.raises(InvalidRowsError, match=r"column config_hash: no character NUL .* key=k"):
        warehouse.write([Write("engine_state", state({}).assign(config_hash="a\x00b"))])


def test_infinities_are_refused(warehouse: Warehouse) -> None:
    rows = random_rows("signal_evidence", 1)
    rows.loc[2, "value"] = -math.inf
    with pytest.raises(InvalidRowsError, match="column value: finite does not hold in 1 row"):
        warehouse.write([Write("signal_evidence", rows)])


def test_reading_nothing_keeps_columns_and_dtypes(warehouse: Warehouse) -> None:
    for table in TABLES:
        found = warehouse.read(table)
        expected = contracts.check(table, random_rows(table, 1))
        assert found.empty
        assert found.dtypes.to_dict() == expected.dtypes.to_dict(), table


def test_reading_narrows_by_window_symbol_column_and_value(warehouse: Warehouse) -> None:
    hours = pd.date_range(utc("2024-01-31 22:00"), periods=6, freq="h", unit="us")
    rows = pd.concat(
        [pd.DataFrame({"venue": v, "symbol": s, "ts": hours, "volume_usd": 1.0}) for v in "ab" for s in SYMBOLS]
    )
    warehouse.write([Write("perp_volume_usd", rows)])
    found = warehouse.read(
        "perp_volume_usd", window=Window(utc("2024-01-31 23:00"), utc("2024-02-01 01:00")), symbols=SYMBOLS[:2],
        where={"venue": "b"}, columns=["ts", "symbol"],
    )  # fmt: skip
    # The start of a window is exclusive, its end inclusive.
    assert found["ts"].dt.hour.tolist() == [0, 1, 0, 1]
    assert found["symbol"].unique().tolist() == SYMBOLS[:2]
    assert list(found.columns) == ["ts", "symbol"]
    assert warehouse.read("perp_volume_usd", symbols=[]).empty


def test_an_unknown_table_or_column_is_named(warehouse: Warehouse) -> None:
    with pytest.raises(KeyError, match="no table 'candles'; the tables are alert"):
        warehouse.read("candles")
    with pytest.raises(KeyError, match="ohlcv has no column 'price'; it has venue"):
        warehouse.read("ohlcv", columns=["price"])
    with pytest.raises(KeyError, match="no column 'side; DROP'"):
        warehouse.read("ohlcv", where={"side; DROP": "x"})


def test_newest_and_oldest_are_per_value_and_leave_out_what_has_no_rows(warehouse: Warehouse) -> None:
    hours = pd.date_range(utc("2024-02-01 01:00"), periods=3, freq="h", unit="us")
    rows = [
        pd.DataFrame({"venue": "a", "symbol": s, "ts": hours[: i + 1], "volume_usd": 1.0})
        for i, s in enumerate(SYMBOLS)
    ]
    warehouse.write([Write("perp_volume_usd", pd.concat(rows))])
    newest = warehouse.newest("perp_volume_usd", by="symbol", where={"symbol": [*SYMBOLS[:2], "NONE/USDT"]})
    assert dict(zip(newest["symbol"], newest["ts"], strict=True)) == {SYMBOLS[0]: hours[0], SYMBOLS[1]: hours[1]}
    assert warehouse.newest("perp_volume_usd")["ts"].tolist() == [hours[2]]
    assert warehouse.oldest("perp_volume_usd", by="symbol")["ts"].tolist() == [hours[0]] * 3
    assert warehouse.row_count("perp_volume_usd") == 6
