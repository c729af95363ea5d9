"""What a write changes, what it may delete, and that it is all or nothing."""

from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa

from regimes_dagster import rows_as_csv
from regimes_dagster.contracts import InvalidRowsError
from regimes_dagster.partitions import Window, utc
from regimes_dagster.storage import Scope, Warehouse, Write, WriteCounts
from tests.integration.warehouse.conftest import MakeBars


def versions(engine: sa.Engine, table: str = "ohlcv") -> dict[Any, Any]:
    """Which transaction wrote and which locked each row, by place."""
    with engine.connect() as connection:
        rows = connection.execute(sa.text(f"SELECT ctid::text, xmin::text, xmax::text FROM {table}"))
        return {row[0]: (row[1], row[2]) for row in rows}


def test_running_a_write_twice_touches_no_row(
    warehouse: Warehouse, engine: sa.Engine, make_bars: MakeBars, february: Window
) -> None:
    write = Write("ohlcv", make_bars(hours=50), [Scope(february, {"symbol": "BTC/USDT"})])
    assert warehouse.write([write]) == {"ohlcv": WriteCounts(inserted=50)}
    before = versions(engine)
    assert warehouse.write([write]) == {"ohlcv": WriteCounts(unchanged=50)}
    assert versions(engine) == before


def test_only_the_rows_that_differ_are_updated(
    warehouse: Warehouse, engine: sa.Engine, make_bars: MakeBars, february: Window
) -> None:
    rows = make_bars(hours=5)
    warehouse.write([Write("ohlcv", rows, [Scope(february)])])
    before = versions(engine)
    rows.loc[2, "volume"] = 9.0
    assert warehouse.write([Write("ohlcv", rows, [Scope(february)])]) == {"ohlcv": WriteCounts(updated=1, unchanged=4)}
    assert len(before.items() & versions(engine).items()) == 4
    assert warehouse.read("ohlcv")["volume"].tolist() == [1.5, 1.5, 9.0, 1.5, 1.5]


def test_rows_that_are_gone_are_deleted_within_the_scope_alone(warehouse: Warehouse, make_bars: MakeBars) -> None:
    january, march = make_bars("2024-01-31 23:00", 2), make_bars("2024-03-01 01:00", 2)
    both = [make_bars(hours=6), make_bars(hours=6, symbol="ETH/USDT"), make_bars(hours=6, venue="gemini")]
    warehouse.write([Write("ohlcv", pd.concat([january, *both, march]))])

    fetched = Scope(
        Window(utc("2024-02-01 01:00"), utc("2024-02-01 05:00")), {"symbol": "BTC/USDT", "venue": ["kraken"]}
    )
    done = warehouse.write([Write("ohlcv", make_bars(hours=6).iloc[[0, 2, 5]], [fetched])])

    # Hours 2, 4, 5 lay in the scope and are not in the frame; hours 1 and 6 lie outside it.
    assert done == {"ohlcv": WriteCounts(deleted=3, unchanged=1, outside=2)}
    left = warehouse.read(
        "ohlcv", where={"venue": "kraken"}, symbols=["BTC/USDT"], window=Window(utc("2024-02-01"), utc("2024-02-02"))
    )
    assert left["ts"].dt.hour.tolist() == [1, 3, 6]
    assert len(warehouse.read("ohlcv", symbols=["ETH/USDT"])) == 6
    assert len(warehouse.read("ohlcv", where={"venue": "gemini"})) == 6
    assert len(warehouse.read("ohlcv")) == 2 + 3 + 6 + 6 + 2


def test_without_scopes_nothing_is_deleted(warehouse: Warehouse, make_bars: MakeBars) -> None:
    warehouse.write([Write("ohlcv", make_bars(hours=4))])
    assert warehouse.write([Write("ohlcv", make_bars(hours=1))]) == {"ohlcv": WriteCounts(unchanged=1)}
    assert len(warehouse.read("ohlcv")) == 4


def test_an_empty_frame_empties_its_scope(warehouse: Warehouse, make_bars: MakeBars, february: Window) -> None:
    warehouse.write([Write("ohlcv", make_bars(hours=4))])
    assert warehouse.write([Write("ohlcv", make_bars(hours=0), [Scope(february)])]) == {"ohlcv": WriteCounts(deleted=4)}


def test_a_frame_without_columns_is_refused_rather_than_taken_for_no_rows(
    warehouse: Warehouse, make_bars: MakeBars, february: Window
) -> None:
    warehouse.write([Write("ohlcv", make_bars(hours=4))])
    with pytest.raises(InvalidRowsError, match="columns missing: venue"):
        warehouse.write([Write("ohlcv", pd.DataFrame(), [Scope(february)])])
    assert len(warehouse.read("ohlcv")) == 4


def test_one_bad_row_stops_the_whole_batch_and_is_named(
    warehouse: Warehouse, make_bars: MakeBars, february: Window
) -> None:
    bad = make_bars(hours=20, symbol="ETH/USDT")
    bad.loc[[3, 7], "volume"] = -1.0
    bad.loc[11, "close"] = float("inf")
    with pytest.raises(InvalidRowsError) as raised:
        warehouse.write([Write("ohlcv", make_bars()), Write("ohlcv", bad, [Scope(february)])])
    message = str(raised.value)
    assert message.startswith("ohlcv: ")
    assert "column volume" in message
    assert "in 2 row(s)" in message
    assert "venue=kraken, symbol=ETH/USDT, ts=2024-02-01 04:00:00+00:00" in message
    assert "column close: finite does not hold in 1 row(s)" in message
    assert warehouse.read("ohlcv").empty


def test_at_most_five_bad_rows_are_shown(warehouse: Warehouse, make_bars: MakeBars) -> None:
    bad = make_bars(hours=30).assign(volume=-1.0)
    with pytest.raises(InvalidRowsError) as raised:
        warehouse.write([Write("ohlcv", bad)])
    assert str(raised.value).count("symbol=BTC/USDT") == 5
    assert "and 25 more" in str(raised.value)


def test_a_key_that_occurs_twice_is_refused(warehouse: Warehouse, make_bars: MakeBars) -> None:
    with pytest.raises(InvalidRowsError, match="venue=kraken, symbol=BTC/USDT, ts=2024-02-01 01:00"):
        warehouse.write([Write("ohlcv", pd.concat([make_bars(), make_bars(hours=1)]))])


def test_all_tables_of_a_call_are_written_or_none(warehouse: Warehouse, engine: sa.Engine, make_bars: MakeBars) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE source_status ADD CONSTRAINT nothing CHECK (false)"))
    status = pd.DataFrame(
        {
            "kind": ["ohlcv"], "venue": "kraken", "symbol": "BTC/USDT", "state": "OK", "last_ok_at": pd.NaT,
            "last_error_class": None, "message": None, "in_use": True,
        }
    )  # fmt: skip
    with pytest.raises(Exception, match="nothing"):
        warehouse.write([Write("ohlcv", make_bars()), Write("source_status", status)])
    assert warehouse.read("ohlcv").empty


def test_a_scope_on_an_unknown_column_is_refused(warehouse: Warehouse, make_bars: MakeBars, february: Window) -> None:
    with pytest.raises(KeyError, match="ohlcv has no column 'pair'"):
        warehouse.write([Write("ohlcv", make_bars(), [Scope(february, {"pair": "x"})])])


def test_the_scratch_schema_of_a_replay_is_written_and_public_is_not(
    engine: sa.Engine, make_bars: MakeBars, february: Window
) -> None:
    from regimes_dagster.tables import metadata

    with engine.begin() as connection:
        connection.execute(sa.schema.CreateSchema("scratch"))
        metadata.create_all(connection.execution_options(schema_translate_map={None: "scratch"}))
    Warehouse(engine, "scratch").write([Write("ohlcv", make_bars(), [Scope(february)])])
    assert Warehouse(engine).read("ohlcv").empty
    assert len(Warehouse(engine, "scratch").read("ohlcv")) == 3


def test_many_rows_for_an_empty_scope_are_stored_as_few_are(warehouse: Warehouse, make_bars: MakeBars) -> None:
    """From 2,000 rows on, rows for scopes in which nothing is stored are copied straight into the table."""
    rows = make_bars(hours=2500)
    window = Window(utc("2024-01-01"), utc("2025-01-01"))
    elsewhere = make_bars("2023-12-31 22:00", 3), make_bars(hours=2, symbol="ETH/USDT")
    warehouse.write([Write("ohlcv", pd.concat(elsewhere))])
    statements: list[str] = []
    sent = warehouse._step

    def noted(cursor: Any, query: Any, parameters: Any = None) -> Any:
        statements.append(query if isinstance(query, str) else query.as_string(cursor))
        return sent(cursor, query, parameters)

    warehouse._step = noted  # type: ignore[method-assign]
    write = Write("ohlcv", rows, [Scope(window, {"venue": "kraken", "symbol": "BTC/USDT"})])
    done = warehouse.write([write])["ohlcv"]
    assert (done, done.since) == (WriteCounts(inserted=2500), rows["ts"].min())
    assert not any("TEMP TABLE" in statement for statement in statements)
    pd.testing.assert_frame_equal(
        warehouse.read("ohlcv", symbols=["BTC/USDT"], window=window), rows, check_like=True, check_dtype=False
    )
    assert warehouse.write([write]) == {"ohlcv": WriteCounts(unchanged=2500)}
    assert any("TEMP TABLE" in statement for statement in statements)


@pytest.mark.parametrize("where", [{"venue": "kraken", "symbol": "BTC/USDT"}, {"symbol": ["BTC/USDT"]}, {}])
def test_one_stored_row_in_the_scope_of_many_is_replaced(
    warehouse: Warehouse, make_bars: MakeBars, where: dict[str, Any]
) -> None:
    rows = make_bars(hours=2500)
    window = Window(utc("2024-01-01"), utc("2025-01-01"))
    gone = make_bars("2024-12-01", 1)
    warehouse.write([Write("ohlcv", pd.concat([rows.iloc[[7]].assign(volume=9.0), gone]))])
    done = warehouse.write([Write("ohlcv", rows, [Scope(window, where)])])["ohlcv"]
    assert done == WriteCounts(inserted=2499, updated=1, deleted=1)
    assert warehouse.read("ohlcv")["volume"].eq(1.5).all()


def test_many_rows_without_scopes_update_what_is_stored(warehouse: Warehouse, make_bars: MakeBars) -> None:
    rows = make_bars(hours=2500)
    warehouse.write([Write("ohlcv", rows.iloc[[3]].assign(volume=1.0))])
    assert warehouse.write([Write("ohlcv", rows)]) == {"ohlcv": WriteCounts(inserted=2499, updated=1)}


def test_a_frame_in_pieces_is_stored_whole_or_not_at_all(
    warehouse: Warehouse, make_bars: MakeBars, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large frame is sent in pieces, the next being made in a thread while one is on its way."""
    monkeypatch.setattr(rows_as_csv, "PIECE", 700)
    rows = make_bars(hours=2500)
    assert warehouse.write([Write("ohlcv", rows)]) == {"ohlcv": WriteCounts(inserted=2500)}
    pd.testing.assert_frame_equal(warehouse.read("ohlcv"), rows, check_like=True, check_dtype=False)
    bad = rows.assign(volume=3.0)
    bad.loc[2000, "venue"] = "kra\x00ken"
    with pytest.raises(InvalidRowsError, match="NUL"):
        warehouse.write([Write("ohlcv", bad)])
    assert warehouse.read("ohlcv")["volume"].eq(1.5).all()
