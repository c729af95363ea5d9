"""``regimes import``: files into the database, once, as a whole or not at all."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from regimes_dagster.commands.import_ import import_
from regimes_dagster.partitions import Window, utc
from regimes_dagster.storage import Warehouse

Run = Callable[..., Result]
BARS = "open_time,symbol,open,high,low,close,volume\n" + "".join(
    f"2024-01-{day:02d}T{hour:02d}:00:00Z,BTC/USDT,100,110,90,105,2\n" for day in (30, 31) for hour in range(24)
)
FEBRUARY = BARS.replace("2024-01-30", "2024-02-01").replace("2024-01-31", "2024-02-02")
FUNDING = "settled_at,symbol,rate,interval_hours\n2024-01-30T08:00:00Z,BTC/USDT,0.0001,8\n"
EVENTS = """time,symbol,liquidated_side,price,amount
2024-01-30T08:10:00Z,BTC/USDT,LONG,100,2
2024-01-30T10:10:00Z,BTC/USDT,SHORT,100,1
"""


@pytest.fixture
def run(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DB_URL", database_url)

    def command(*arguments: str | Path) -> Result:
        return CliRunner().invoke(import_, [str(argument) for argument in arguments], catch_exceptions=True)

    return command


def file(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_files_of_every_kind_are_recognised_by_their_columns(run: Run, tmp_path: Path, warehouse: Warehouse) -> None:
    result = run(file(tmp_path, "a.csv", BARS), file(tmp_path, "b.csv", FUNDING), file(tmp_path, "c.csv", EVENTS))
    assert result.exit_code == 0, result.output
    assert len(warehouse.read("ohlcv")) == 48
    assert len(warehouse.read("funding_rates")) == 1
    assert len(warehouse.read("liquidation_events")) == 2
    assert len(warehouse.read("liquidations")) == 3
    assert "regimes backfill --from 2024-01-30" in result.output


def test_importing_twice_changes_nothing(run: Run, tmp_path: Path, warehouse: Warehouse) -> None:
    path = file(tmp_path, "bars.csv", BARS + FEBRUARY.split("\n", 1)[1])
    assert run(path).exit_code == 0
    before = warehouse.read("ohlcv")
    assert run(path).exit_code == 0
    pd.testing.assert_frame_equal(warehouse.read("ohlcv"), before)
    assert len(before) == 96


def test_rows_of_another_span_stay(run: Run, tmp_path: Path, warehouse: Warehouse) -> None:
    run(file(tmp_path, "january.csv", BARS))
    run(file(tmp_path, "february.csv", FEBRUARY))
    assert len(warehouse.read("ohlcv")) == 96


def test_under_a_venues_name_the_hours_count_as_fetched(run: Run, tmp_path: Path, warehouse: Warehouse) -> None:
    assert run("--venue", "binanceus", file(tmp_path, "bars.csv", BARS)).exit_code == 0
    assert set(warehouse.read("ohlcv")["venue"]) == {"binanceus"}
    known = warehouse.read("source_coverage")
    assert set(known["state"]) == {"COMPLETE"}
    assert Window(known["start_ts"].min(), known["end_ts"].max()) == Window(utc("2024-01-30"), utc("2024-02-01"))


def test_a_bad_file_writes_nothing_and_is_answered_with_the_cell(
    run: Run, tmp_path: Path, warehouse: Warehouse
) -> None:
    result = run(
        file(
            tmp_path,
            "bars.csv",
            BARS.replace("2024-01-31T05:00:00Z,BTC/USDT,100,110", "2024-01-31T05:00:00Z,BTC/USDT,100,oops"),
        )
    )
    assert result.exit_code == 1
    assert "line 31, column 'high': 'oops'" in result.output
    assert warehouse.read("ohlcv").empty


def test_what_cannot_be_recognised_or_is_no_venue_is_said(run: Run, tmp_path: Path) -> None:
    assert "--kind" in run(file(tmp_path, "x.csv", "a,b\n1,2\n")).output
    assert "is no venue" in run("--venue", "nowhere", file(tmp_path, "y.csv", BARS)).output


def test_a_symbol_or_venue_that_is_not_configured_is_noted(run: Run, tmp_path: Path) -> None:
    output = run(file(tmp_path, "x.csv", BARS.replace("BTC", "DOGE"))).output
    assert "DOGE/USDT is not among the configured symbols" in output
    assert "'files' is not listed under [sources] ohlcv" in output


def test_rows_of_the_future_are_left_out_and_that_is_said(run: Run, tmp_path: Path, warehouse: Warehouse) -> None:
    result = run(file(tmp_path, "bars.csv", BARS + "2124-01-01T00:00:00Z,BTC/USDT,100,110,90,105,2\n"))
    assert result.exit_code == 0, result.output
    assert len(warehouse.read("ohlcv")) == 48
    assert "rows after" in result.output
    assert "were left out" in result.output


def test_invented_rows_cannot_be_imported_as_simulated(run: Run, tmp_path: Path) -> None:
    result = run(file(tmp_path, "bars.csv", BARS), "--venue", "simulated")
    assert result.exit_code == 2
    assert "no venue that files can come from" in result.output
