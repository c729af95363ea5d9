"""The user's own files: what is read, and what a bad cell is answered with."""

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from regimes_dagster.partitions import Window, utc
from regimes_dagster.sources import files as files_module
from regimes_dagster.sources.files import FilesSource
from regimes_dagster.sources.protocol import BadFile, NotAvailable, UnknownSymbol
from regimes_dagster.sources.validate import validate_batch

NOW = utc("2025-06-01 12:30")
WINDOW = Window(utc("2024-01-01"), utc("2024-02-01"))
BTC = "BTC/USDT"

OHLCV = """open_time,symbol,open,high,low,close,volume
2024-01-01T00:00:00Z,BTC/USDT,100,110,90,105,2
2024-01-01 01:00:00,BTC/USDT,105,106,104,104.5,4
2024-01-01T03:00:00+00:00,BTC/USDT,104.5,105,100,101,1
2024-01-01T00:00:00Z,ETH/USDT,10,11,9,10,7
"""
EVENTS = """time,symbol,liquidated_side,price,amount,usd
2024-01-01T00:10:00Z,BTC/USDT,long,100,2,200
2024-01-01T00:10:00Z,BTC/USDT,LONG,100,2,200
2024-01-01T00:50:00Z,BTC/USDT,SHORT,101,1,101
2024-01-01T04:30:00Z,BTC/USDT,SHORT,102,1,102
"""


def write(folder: Path, name: str, text: str) -> FilesSource:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return FilesSource(folder)


def test_a_bar_is_labelled_with_the_end_of_its_hour_and_gets_a_typical_quote_volume(tmp_path: Path) -> None:
    batch = write(tmp_path, "ohlcv.csv", OHLCV).fetch("ohlcv", BTC, WINDOW, NOW)
    validate_batch("files", BTC, batch, WINDOW)
    rows = batch.rows["ohlcv"]
    assert list(rows["ts"]) == [utc(f"2024-01-01 0{h}:00") for h in (1, 2, 4)]
    assert rows["quote_volume"].iloc[0] == pytest.approx(2 * (110 + 90 + 105) / 3)
    assert batch.covered == (Window(utc("2024-01-01"), utc("2024-01-01 04:00")),)
    assert batch.unavailable == (Window(utc("2024-01-01 04:00"), WINDOW.end),)


def test_a_quote_volume_in_the_file_is_taken(tmp_path: Path) -> None:
    text = (
        OHLCV.replace("volume\n", "volume,quote_volume\n")
        .replace("105,2\n", "105,2,7\n")
        .replace("104.5,4\n", "104.5,4,8\n")
    )
    text = text.replace("101,1\n", "101,1,9\n").replace("10,7\n", "10,7,10\n")
    rows = write(tmp_path, "ohlcv.csv", text).fetch("ohlcv", BTC, WINDOW, NOW).rows["ohlcv"]
    assert list(rows["quote_volume"]) == [7, 8, 9]


@pytest.mark.parametrize("name", ["ohlcv.csv", "ohlcv.csv.gz", "ohlcv/a.csv", "ohlcv/2024/a.csv.gz"])
def test_plain_packed_and_folders_give_the_same_rows(tmp_path: Path, name: str) -> None:
    rows = write(tmp_path, name, OHLCV).fetch("ohlcv", BTC, WINDOW, NOW).rows["ohlcv"]
    assert list(rows["close"]) == [105, 104.5, 101]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_stamps_may_be_numbers_of_any_usual_unit(tmp_path: Path, unit: str, suffix: str) -> None:
    scale = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    seconds = int(utc("2024-01-05 06:00").timestamp())
    table = pd.DataFrame(
        {
            "open_time": [seconds * scale],
            "symbol": [BTC],
            "open": [1.0],
            "high": [1.0],
            "low": [1.0],
            "close": [1.0],
            "volume": [0.0],
        }
    )
    path = tmp_path / f"ohlcv.{suffix}"
    table.to_csv(path, index=False) if suffix == "csv" else table.to_parquet(path)
    rows = FilesSource(tmp_path).fetch("ohlcv", BTC, WINDOW, NOW).rows["ohlcv"]
    assert list(rows["ts"]) == [utc("2024-01-05 07:00")]


def test_files_of_a_folder_may_overlap_when_they_agree(tmp_path: Path) -> None:
    write(tmp_path, "ohlcv/a.csv", OHLCV)
    more = OHLCV + "2024-01-01T05:00:00Z,BTC/USDT,101,102,100,101,3\n"
    rows = write(tmp_path, "ohlcv/b.csv", more).fetch("ohlcv", BTC, WINDOW, NOW).rows["ohlcv"]
    assert len(rows) == 4


def test_files_of_a_folder_that_disagree_are_refused_by_name(tmp_path: Path) -> None:
    write(tmp_path, "ohlcv/a.csv", OHLCV)
    source = write(tmp_path, "ohlcv/b.csv", OHLCV.replace("104.5,4\n", "104.5,5\n"))
    with pytest.raises(BadFile, match=r"a\.csv and .*b\.csv disagree about BTC/USDT at 2024-01-01 02:00"):
        source.fetch("ohlcv", BTC, WINDOW, NOW)


def test_a_settlement_keeps_its_raw_stamp_and_is_keyed_by_the_minute(tmp_path: Path) -> None:
    text = "settled_at,symbol,rate,interval_hours\n2024-01-01T08:00:00.007Z,BTC/USDT,0.0001,8\n"
    rows = write(tmp_path, "funding.csv", text).fetch("funding", BTC, WINDOW, NOW).rows["funding_rates"]
    assert rows["ts"][0] == utc("2024-01-01 08:00")
    assert rows["settled_at_raw"][0] == utc("2024-01-01T08:00:00.007Z")


def test_hourly_sums_are_known_where_there_is_a_row_and_nowhere_else(tmp_path: Path) -> None:
    text = (
        "hour_start,symbol,long_usd,short_usd\n2024-01-01T00:00:00Z,BTC/USDT,5,0\n2024-01-01T02:00:00Z,BTC/USDT,0,0\n"
    )
    batch = write(tmp_path, "liquidations.csv", text).fetch("liquidations", BTC, WINDOW, NOW)
    validate_batch("files", BTC, batch, WINDOW)
    rows = batch.rows["liquidations"]
    assert list(rows["ts"]) == [utc("2024-01-01 01:00"), utc("2024-01-01 03:00")]
    assert rows["n_events"].isna().all()
    assert (rows["coverage"] == 1).all()
    assert set(batch.rows) == {"liquidations"}


def test_single_liquidations_become_events_and_hours_with_zeros_between_the_first_and_the_last(tmp_path: Path) -> None:
    batch = write(tmp_path, "liquidations.csv", EVENTS).fetch("liquidations", BTC, WINDOW, NOW)
    validate_batch("files", BTC, batch, WINDOW)
    hours = batch.rows["liquidations"].set_index("ts")
    assert list(hours["long_usd"]) == [400, 0, 0, 0, 0]
    assert list(hours["short_usd"]) == [101, 0, 0, 0, 102]
    assert list(hours["n_events"]) == [3, 0, 0, 0, 1]
    assert hours["coverage"].to_numpy() == pytest.approx([50 / 60, 1, 1, 1, 0.5])
    assert len(batch.rows["liquidation_events"]) == 4, "two equal events of one file are two events"


def test_a_recorders_gaps_lower_the_coverage(tmp_path: Path) -> None:
    write(
        tmp_path,
        "coverage.csv",
        "symbol,gap_start,gap_end\n,2024-01-01T01:30:00Z,2024-01-01T03:00:00Z\nETH/USDT,2024-01-01T00:10:00Z,2024-01-01T04:00:00Z\n",
    )
    hours = (
        write(tmp_path, "liquidations.csv", EVENTS)
        .fetch("liquidations", BTC, WINDOW, NOW)
        .rows["liquidations"]
        .set_index("ts")
    )
    assert utc("2024-01-01 03:00") not in hours.index, "an hour nobody watched is unknown, not zero"
    assert hours.loc[utc("2024-01-01 02:00"), "coverage"] == pytest.approx(0.5)


def test_an_event_without_usd_is_valued_at_its_price(tmp_path: Path) -> None:
    text = "time,symbol,liquidated_side,price,amount\n2024-01-01T00:10:00Z,BTC/USDT,LONG,100,2.5\n"
    events = (
        write(tmp_path, "liquidations.csv", text).fetch("liquidations", BTC, WINDOW, NOW).rows["liquidation_events"]
    )
    assert events["usd"][0] == 250


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "ohlcv.csv",
            OHLCV.replace("104.5,4\n", "104.5,four\n"),
            r"ohlcv\.csv: line 3, column 'volume': 'four'; allowed is 0 or more",
        ),
        (
            "ohlcv.csv",
            OHLCV.replace("2024-01-01 01:00:00", "01/01/2024 1am"),
            r"line 3, column 'open_time': '01/01/2024 1am'; allowed is a UTC time",
        ),
        (
            "ohlcv.csv",
            OHLCV.replace("2024-01-01 01:00:00", "2024-01-01 01:30:00"),
            r"line 3, column 'open_time'.*whole hour",
        ),
        ("ohlcv.csv", OHLCV.replace("105,106,104,104.5", "105,106,104.9,104.5"), r"line 3, column 'low': '104.9'"),
        (
            "ohlcv.csv",
            OHLCV.replace("10,11,9,10,7", "10,11,,10,7"),
            r"line 5, column 'low': empty; allowed is a price above 0",
        ),
        (
            "ohlcv.csv",
            OHLCV.replace("ETH/USDT", "ethusdt"),
            r"line 5, column 'symbol': 'ethusdt'; allowed is a symbol such as BTC/USDT",
        ),
        (
            "ohlcv.csv",
            OHLCV.replace("open_time", "opentime"),
            r"line 1: column 'open_time' is missing \(is 'opentime' meant\?\)",
        ),
        ("ohlcv.csv", OHLCV.replace("10,7\n", "10,7,8,9\n"), r"line 5: has 9 cells"),
        ("ohlcv.csv", "", r"is empty; the first line must name the columns"),
        (
            "ohlcv.csv",
            OHLCV + "2024-01-01T00:00:00Z,ETH/USDT,10,11,9,10,8\n",
            r"line 6: ETH/USDT .* twice with different values \(also line 5\)",
        ),
        (
            "funding.csv",
            "settled_at,symbol,rate,interval_hours\n2024-01-01T08:00:00Z,BTC/USDT,1.5,8\n",
            r"line 2, column 'rate': '1.5'; allowed is a fraction",
        ),
        (
            "funding.csv",
            "settled_at,symbol,rate,interval_hours\n2024-01-01T08:00:00Z,BTC/USDT,0.1,0\n",
            r"line 2, column 'interval_hours': '0'",
        ),
        (
            "liquidations.csv",
            EVENTS.replace("SHORT,101", "sell,101"),
            r"line 4, column 'liquidated_side': 'sell'; allowed is LONG or SHORT",
        ),
        (
            "liquidations.csv",
            "hour_start,symbol,long_usd,short_usd\n2024-01-01T00:00:00Z,BTC/USDT,-5,0\n",
            r"line 2, column 'long_usd': '-5'; allowed is USD",
        ),
        ("ohlcv.csv.gz", None, r"cannot be read"),
        ("ohlcv.parquet", None, r"is no readable Parquet file"),
    ],
)
def test_a_bad_file_is_answered_with_the_place_the_value_and_what_is_allowed(
    tmp_path: Path, name: str, text: str | None, message: str
) -> None:
    if text is None:
        (tmp_path / name).write_bytes(b"\x1f\x8bnonsense")
        source = FilesSource(tmp_path)
    else:
        source = write(tmp_path, name, text)
    kind = name.split(".")[0]
    with pytest.raises(BadFile, match=message) as caught:
        source.fetch(kind, BTC, WINDOW, NOW)  # type: ignore[arg-type]
    assert str(tmp_path / name) in str(caught.value) or "disagree" in str(caught.value)
    assert not caught.value.retryable


def test_blank_lines_do_not_shift_the_line_numbers(tmp_path: Path) -> None:
    source = write(
        tmp_path, "ohlcv.csv", OHLCV.replace("\n2024-01-01 01", "\n\n\n2024-01-01 01").replace("104.5,4\n", "104.5,x\n")
    )
    with pytest.raises(BadFile, match="line 5, column 'volume'"):
        source.fetch("ohlcv", BTC, WINDOW, NOW)


def test_a_missing_file_or_folder_says_what_to_put_where(tmp_path: Path) -> None:
    with pytest.raises(NotAvailable, match=r"put one of funding\.parquet, funding\.csv"):
        FilesSource(tmp_path).fetch("funding", BTC, WINDOW, NOW)
    with pytest.raises(NotAvailable, match=r"\[sources\.files\] path"):
        FilesSource(tmp_path / "nowhere").fetch("funding", BTC, WINDOW, NOW)


def test_a_symbol_the_files_lack_is_named_with_those_they_have(tmp_path: Path) -> None:
    with pytest.raises(UnknownSymbol, match="found: BTC/USDT, ETH/USDT"):
        write(tmp_path, "ohlcv.csv", OHLCV).fetch("ohlcv", "SOL/USDT", WINDOW, NOW)


def test_a_file_is_parsed_once_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    plain = files_module.read_cells
    monkeypatch.setattr(files_module, "read_cells", lambda path: (read.append(path.name), plain(path))[1])
    source = write(tmp_path, "ohlcv.csv", OHLCV)
    for _ in range(5):
        FilesSource(tmp_path).fetch("ohlcv", BTC, WINDOW, NOW)
        source.fetch("ohlcv", "ETH/USDT", WINDOW, NOW)
    assert len(read) == 1
    write(tmp_path, "ohlcv.csv", OHLCV + "2024-01-01T07:00:00Z,BTC/USDT,101,102,100,101,3\n")
    assert len(source.fetch("ohlcv", BTC, WINDOW, NOW).rows["ohlcv"]) == 4
    assert len(read) == 2


def test_what_is_not_over_is_left_out(tmp_path: Path) -> None:
    batch = write(tmp_path, "ohlcv.csv", OHLCV).fetch("ohlcv", BTC, WINDOW, utc("2024-01-01 02:40"))
    assert batch.rows["ohlcv"]["ts"].max() == utc("2024-01-01 02:00")


def test_the_recorded_data_reads_without_loss(acceptance: Path) -> None:
    source, whole = FilesSource(acceptance), Window(utc("2022-12-01"), utc("2025-01-01"))
    for kind, table in (("ohlcv", "ohlcv"), ("funding", "funding_rates"), ("liquidations", "liquidations")):
        raw = pd.read_parquet(acceptance / f"{kind}.parquet")
        read = 0
        for symbol in ("BTC/USDT", "ETH/USDT", "SOL/USDT"):
            batch = source.fetch(kind, symbol, whole, NOW)  # type: ignore[arg-type]
            validate_batch("files", symbol, batch, whole)
            read += len(batch.rows[table])
        assert read == len(raw)
    hours = source.fetch("ohlcv", BTC, whole, NOW).rows["ohlcv"]["ts"]
    assert utc("2023-03-24 14:00") not in set(hours), "the exchange's outage stays a hole"
    assert np.diff(hours.astype("int64")).min() > 0
