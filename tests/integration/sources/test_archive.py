"""The bulk archive, over HTTP and as a local mirror: verified, sniffed, kept, and never more than is there.

History: spot files changed to microseconds in 2025, headers come in newer files only, liquidation snapshots have
every row twice, and a partial month looks like a whole one.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from regimes_dagster.partitions import HOUR, Window, utc
from regimes_dagster.sources.archive import ArchiveSource
from regimes_dagster.sources.archive_store import ArchiveStore
from regimes_dagster.sources.frames import empty, milliseconds
from regimes_dagster.sources.ingest import ingest
from regimes_dagster.sources.protocol import BadResponse, Batch, GeoBlocked, Kind, Outage
from regimes_dagster.sources.simulated import SimulatedSource
from regimes_dagster.sources.validate import validate_batch
from tests.servers.archive import ArchiveServer, funding_lines, kline_lines, write_zip
from tests.servers.http import GEO_BLOCK, SERVER_ERROR, Fault, too_many
from tests.servers.truth import HOUR_MS, bar, rate

SYMBOL, NATIVE = "BTC/USDT", "BTCUSDT"
NOW = utc("2025-03-03 10:01")
DECEMBER = Window(utc("2024-12-01"), utc("2025-01-01"))
JANUARY = Window(utc("2025-01-01"), utc("2025-02-01"))
FEBRUARY = Window(utc("2025-02-01"), utc("2025-03-01"))


def opens(window: Window) -> list[int]:
    return [milliseconds(ts) - HOUR_MS for ts in window.hours()]


def klines(root: Path, window: Window, *, daily: bool = False, header: bool = False) -> Path:
    span, date = ("daily", f"{window.start:%Y-%m-%d}") if daily else ("monthly", f"{window.start:%Y-%m}")
    path = f"data/spot/{span}/klines/{NATIVE}/1h/{NATIVE}-1h-{date}.zip"
    return write_zip(root, path, kline_lines(SYMBOL, opens(window), header=header))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "remote"


@pytest.fixture
def server(root: Path) -> Iterator[ArchiveServer]:
    root.mkdir()
    with ArchiveServer(root) as server:
        yield server


def source(server: ArchiveServer | Path, tmp_path: Path, pauses: list[float] | None = None) -> ArchiveSource:
    base = server.url if isinstance(server, ArchiveServer) else str(server)
    sleep = (lambda _: None) if pauses is None else pauses.append
    return ArchiveSource(ArchiveStore(base, tmp_path / "cache", sleep=sleep, timeout=2.0))


def fetch(archive: ArchiveSource, kind: Kind, window: Window) -> Batch:
    batch = archive.fetch(kind, SYMBOL, window, NOW)
    validate_batch("archive", SYMBOL, batch, window)
    return batch


@pytest.mark.parametrize("header", [False, True])
@pytest.mark.parametrize("window", [DECEMBER, JANUARY], ids=["milliseconds", "microseconds"])
def test_header_and_time_unit_are_sniffed(
    server: ArchiveServer, root: Path, tmp_path: Path, window: Window, header: bool
) -> None:
    klines(root, window, header=header)
    batch = fetch(source(server, tmp_path), "ohlcv", window)
    rows = batch.rows["ohlcv"]
    assert list(rows["ts"]) == list(window.hours())
    want = np.array([bar(SYMBOL, ms) for ms in opens(window)])
    columns = ["open", "high", "low", "close", "volume", "quote_volume"]
    assert rows[columns].to_numpy() == pytest.approx(want)
    assert batch.covered == (window,)


def test_a_verified_file_is_downloaded_once(server: ArchiveServer, root: Path, tmp_path: Path) -> None:
    klines(root, DECEMBER)
    for _ in range(3):
        fetch(source(server, tmp_path), "ohlcv", DECEMBER)
    assert len(server.log) == 2, "the file and its checksum"


def test_a_damaged_copy_in_the_cache_is_downloaded_again(server: ArchiveServer, root: Path, tmp_path: Path) -> None:
    klines(root, DECEMBER)
    fetch(source(server, tmp_path), "ohlcv", DECEMBER)
    (kept,) = (tmp_path / "cache").rglob("*.zip")
    kept.write_bytes(kept.read_bytes()[:100])
    assert len(fetch(source(server, tmp_path), "ohlcv", DECEMBER).rows["ohlcv"]) == 744


def test_a_file_that_never_matches_its_checksum_is_refused_and_not_kept(
    server: ArchiveServer, root: Path, tmp_path: Path
) -> None:
    file = klines(root, DECEMBER)
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(BadResponse, match="does not match its checksum"):
        fetch(source(server, tmp_path), "ohlcv", DECEMBER)
    assert not list((tmp_path / "cache").rglob("*.zip"))


def test_a_download_that_is_cut_off_is_tried_again(server: ArchiveServer, root: Path, tmp_path: Path) -> None:
    klines(root, DECEMBER)
    server.fail_next(Fault(cut=True), path=r"\.zip$")
    assert len(fetch(source(server, tmp_path), "ohlcv", DECEMBER).rows["ohlcv"]) == 744


def test_daily_files_stand_in_for_a_month_that_is_not_there_yet(
    server: ArchiveServer, root: Path, tmp_path: Path
) -> None:
    for day in (1, 2, 4):
        start = utc(f"2025-02-0{day}")
        klines(root, Window(start, start + 24 * HOUR), daily=True)
    batch = fetch(source(server, tmp_path), "ohlcv", FEBRUARY)
    assert len(batch.rows["ohlcv"]) == 72
    assert batch.covered == (
        Window(utc("2025-02-01"), utc("2025-02-03")),
        Window(utc("2025-02-04"), utc("2025-02-05")),
    )
    assert batch.unavailable[0] == Window(utc("2025-02-03"), utc("2025-02-04"))


def test_a_month_that_is_there_in_part_is_never_taken_for_complete(
    server: ArchiveServer, root: Path, tmp_path: Path
) -> None:
    part = Window(utc("2024-12-05"), utc("2024-12-20"))
    path = f"data/spot/monthly/klines/{NATIVE}/1h/{NATIVE}-1h-2024-12.zip"
    write_zip(root, path, kline_lines(SYMBOL, opens(part)))
    batch = fetch(source(server, tmp_path), "ohlcv", DECEMBER)
    assert batch.covered == (part,)
    assert batch.unavailable == (Window(DECEMBER.start, part.start), Window(part.end, DECEMBER.end))


def test_what_the_archive_lacks_falls_through_to_the_next_source(
    server: ArchiveServer, root: Path, tmp_path: Path
) -> None:
    klines(root, JANUARY)
    result = ingest(
        "ohlcv",
        window=Window(JANUARY.start, FEBRUARY.end),
        now=NOW,
        sources=[source(server, tmp_path), SimulatedSource(7, gaps=False)],
        symbols=[SYMBOL],
        coverage=empty("source_coverage"),
    )
    venues = result.rows["ohlcv"].groupby("venue")["ts"].agg(["min", "max"])
    assert venues.loc["archive", "max"] == utc("2025-02-01")
    assert venues.loc["simulated", "min"] == utc("2025-02-01 01:00")
    assert not result.failures


def test_a_local_mirror_is_read_in_place(root: Path, tmp_path: Path) -> None:
    klines(root, DECEMBER)
    for base in (str(root), root.as_uri()):
        archive = ArchiveSource(ArchiveStore(base, tmp_path / "cache"))
        assert len(fetch(archive, "ohlcv", DECEMBER).rows["ohlcv"]) == 744
    assert not (tmp_path / "cache").exists()


def test_a_mirror_folder_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(Outage, match="base_url"):
        fetch(source(tmp_path / "nowhere", tmp_path), "ohlcv", DECEMBER)


def test_a_damaged_file_of_a_mirror_is_refused(root: Path, tmp_path: Path) -> None:
    file = klines(root, DECEMBER)
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(BadResponse, match="copy the file again"):
        fetch(source(root, tmp_path), "ohlcv", DECEMBER)


def test_the_settlement_at_the_last_midnight_comes_from_the_next_months_file(
    server: ArchiveServer, root: Path, tmp_path: Path
) -> None:
    for start, end in (("2024-11-01", "2024-12-01"), ("2024-12-01", "2025-01-01"), ("2025-01-01", "2025-02-01")):
        stamps = range(milliseconds(utc(start)), milliseconds(utc(end)), 8 * HOUR_MS)
        path = f"data/futures/um/monthly/fundingRate/{NATIVE}/{NATIVE}-fundingRate-{start[:7]}.zip"
        write_zip(root, path, funding_lines(SYMBOL, stamps))
    batch = fetch(source(server, tmp_path), "funding", DECEMBER)
    rows = batch.rows["funding_rates"]
    assert rows["ts"].iloc[0] == utc("2024-12-01 08:00")
    assert rows["ts"].iloc[-1] == utc("2025-01-01 00:00")
    assert len(rows) == 93
    assert batch.covered == (DECEMBER,)
    assert rows["rate"].to_numpy() == pytest.approx([rate(SYMBOL, milliseconds(ts)) for ts in rows["ts"]], abs=1e-10)
    january = fetch(source(server, tmp_path), "funding", JANUARY)
    assert january.covered == (Window(JANUARY.start, utc("2025-01-31 23:00")),), "February's file is not there yet"


def snapshot(root: Path, market: str, native: str, day: str, rows: list[str]) -> None:
    path = f"data/futures/{market}/daily/liquidationSnapshot/{native}/{native}-liquidationSnapshot-{day}.zip"
    header = (
        "time,side,order_type,time_in_force,original_quantity,price,average_price,order_status,"
        "last_fill_quantity,accumulated_fill_quantity"
    )
    # Every row twice, as in the real files.
    write_zip(root, path, [header, *(line for row in rows for line in (row, row))])


def test_old_liquidation_snapshots_count_each_row_once_at_its_average_price(root: Path, tmp_path: Path) -> None:
    noon = milliseconds(utc("2024-03-05 12:10"))
    snapshot(root, "um", NATIVE, "2024-03-05", [
        f"{noon},SELL,LIMIT,IOC,2.0,61000,60000,FILLED,0.5,2.0",
        f"{noon + 5},BUY,LIMIT,IOC,1.0,61000,60500,FILLED,1.0,1.0",
    ])  # fmt: skip
    snapshot(root, "cm", "BTCUSD_PERP", "2024-03-05", [f"{noon},SELL,LIMIT,IOC,30,61000,60000,FILLED,30,30"])
    window = Window(utc("2024-03-05"), utc("2024-03-07"))
    batch = fetch(source(root, tmp_path), "liquidations", window)
    hours = batch.rows["liquidations"].set_index("ts")
    assert len(hours) == 24
    assert hours["is_lower_bound"].all()
    assert hours.loc[utc("2024-03-05 13:00"), "long_usd"] == pytest.approx(2 * 60_000 + 30 * 100)
    assert hours.loc[utc("2024-03-05 13:00"), "short_usd"] == pytest.approx(60_500)
    coin = batch.rows["liquidation_events"].query("event_id.str.startswith('BTCUSD_PERP')")
    assert coin["amount"].iloc[0] == pytest.approx(3000 / 60_000)
    assert batch.unavailable == (Window(utc("2024-03-06"), utc("2024-03-07")),)


def perp_klines(root: Path, market: str, native: str, window: Window, *, monthly: bool = True) -> None:
    span, date = ("monthly", f"{window.start:%Y-%m}") if monthly else ("daily", f"{window.start:%Y-%m-%d}")
    path = f"data/futures/{market}/{span}/klines/{native}/1h/{native}-1h-{date}.zip"
    write_zip(root, path, kline_lines(SYMBOL, opens(window), header=True))


def liquidated_day(root: Path, day: str, market: str = "um", native: str = NATIVE) -> None:
    snapshot(root, market, native, day, [f"{milliseconds(utc(day)) + 1},SELL,LIMIT,IOC,2,61000,60000,FILLED,2,2"])


MARCH = Window(utc("2024-03-01"), utc("2024-04-01"))


def test_old_liquidations_bring_the_perpetual_volume_of_their_days(root: Path, tmp_path: Path) -> None:
    for day in ("2024-03-05", "2024-03-06", "2024-03-31"):
        liquidated_day(root, day)
    liquidated_day(root, "2024-03-06", "cm", "BTCUSD_PERP")
    perp_klines(root, "um", NATIVE, MARCH)
    perp_klines(root, "cm", "BTCUSD_PERP", MARCH)
    batch = fetch(source(root, tmp_path), "liquidations", MARCH)
    volume = batch.rows["perp_volume_usd"].set_index("ts")["volume_usd"]
    assert list(volume.index) == [utc("2024-03-06"), utc("2024-03-07"), utc("2024-04-01")]

    def traded(day: str, cell: int) -> float:
        window = Window(utc(day), utc(day) + 24 * HOUR)
        return sum(bar(SYMBOL, ms)[cell] for ms in opens(window))

    assert volume[utc("2024-03-06")] == pytest.approx(traded("2024-03-05", 5)), "the quote volume of 24 hours"
    coin = 100 * traded("2024-03-06", 4)
    assert volume[utc("2024-03-07")] == pytest.approx(traded("2024-03-06", 5) + coin), "contracts of 100 USD beside it"
    assert not batch.notes


def test_a_day_without_all_its_hours_has_no_perpetual_volume(root: Path, tmp_path: Path) -> None:
    for day in ("2024-03-05", "2024-03-06"):
        liquidated_day(root, day)
    perp_klines(root, "um", NATIVE, Window(utc("2024-03-05"), utc("2024-03-06 23:00")))
    volume = fetch(source(root, tmp_path), "liquidations", MARCH).rows["perp_volume_usd"]
    assert list(volume["ts"]) == [utc("2024-03-06")]


def test_daily_klines_stand_in_for_the_volume_of_a_month_that_is_not_there(root: Path, tmp_path: Path) -> None:
    liquidated_day(root, "2024-03-05")
    perp_klines(root, "um", NATIVE, Window(utc("2024-03-05"), utc("2024-03-06")), monthly=False)
    assert len(fetch(source(root, tmp_path), "liquidations", MARCH).rows["perp_volume_usd"]) == 1


def test_without_old_liquidations_no_perpetual_volume_is_asked(
    server: ArchiveServer, root: Path, tmp_path: Path
) -> None:
    perp_klines(root, "um", NATIVE, MARCH)
    batch = fetch(source(server, tmp_path), "liquidations", MARCH)
    assert batch.rows["perp_volume_usd"].empty
    assert batch.unavailable == (MARCH,)
    assert not server.asked("klines")


def test_old_liquidations_survive_a_damaged_volume_file(root: Path, tmp_path: Path) -> None:
    liquidated_day(root, "2024-03-05")
    path = f"data/futures/um/monthly/klines/{NATIVE}/1h/{NATIVE}-1h-2024-03.zip"
    write_zip(root, path, ["1709251200000,1,2,x,1,1,1,1,1,1,1,0"])
    batch = fetch(source(root, tmp_path), "liquidations", MARCH)
    assert batch.rows["liquidations"]["long_usd"].sum() == pytest.approx(120_000)
    assert batch.rows["perp_volume_usd"].empty
    assert any("no perpetual volume" in note and "row 1" in note for note in batch.notes)


def test_the_premium_index_can_be_read(root: Path, tmp_path: Path) -> None:
    path = f"data/futures/um/monthly/premiumIndexKlines/{NATIVE}/1h/{NATIVE}-1h-2024-12.zip"
    write_zip(root, path, [f"{ms},0.0001,0.0002,-0.0001,0.0001,0,{ms},0,12,0,0,0" for ms in opens(DECEMBER)])
    rows = source(root, tmp_path).premium_index(SYMBOL, DECEMBER, NOW)
    assert len(rows) == 744
    assert rows["high"].iloc[0] == 0.0002


def test_faults_are_classified_as_everywhere(server: ArchiveServer, root: Path, tmp_path: Path) -> None:
    klines(root, DECEMBER)
    pauses: list[float] = []
    archive = source(server, tmp_path, pauses)
    server.fail_next(too_many("3"), SERVER_ERROR)
    assert len(fetch(archive, "ohlcv", DECEMBER).rows["ohlcv"]) == 744
    assert pauses == [3.0, 2.0]
    server.fail_while(lambda _: True, GEO_BLOCK)
    with pytest.raises(GeoBlocked, match="mirror"):
        fetch(archive, "ohlcv", JANUARY)


def test_a_zip_with_nonsense_inside_is_named(root: Path, tmp_path: Path) -> None:
    path = f"data/spot/monthly/klines/{NATIVE}/1h/{NATIVE}-1h-2024-12.zip"
    write_zip(root, path, ["1733011200000,1,2,x,1,1,1,1,1,1,1,0"])
    with pytest.raises(BadResponse, match="row 1 holds something else than numbers"):
        fetch(source(root, tmp_path), "ohlcv", DECEMBER)
