"""A bulk archive in the data.binance.vision layout, as a folder and as a server over it.

What belongs here: writing zip files with their checksums as the archive does: without a header and in milliseconds
before 2025, in microseconds after. What does not: faults.
"""

import hashlib
import io
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.servers.http import Fault, VenueServer
from tests.servers.truth import HOUR_MS, bar, rate

MICROSECONDS_FROM = 1_735_689_600_000
KLINE_HEADER = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
)


def write_zip(root: Path, path: str, lines: Sequence[str]) -> Path:
    """A zip of one CSV file, and the checksum beside it."""
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(target.name.replace(".zip", ".csv"), "\n".join(lines) + "\n")
    target.write_bytes(packed.getvalue())
    digest = hashlib.sha256(packed.getvalue()).hexdigest()
    target.with_name(target.name + ".CHECKSUM").write_text(f"{digest}  {target.name}\n")
    return target


def kline_lines(symbol: str, opens: Sequence[int], *, header: bool = False) -> list[str]:
    """Rows of a klines file."""
    lines = [KLINE_HEADER] if header else []
    for ms in opens:
        opened, high, low, close, volume, quote = bar(symbol, ms)
        unit = 1000 if ms >= MICROSECONDS_FROM else 1
        end = (ms + HOUR_MS) * unit - 1
        lines.append(f"{ms * unit},{opened},{high},{low},{close},{volume},{end},{quote},5,1,1,0")
    return lines


def funding_lines(symbol: str, stamps: Sequence[int], hours: int = 8) -> list[str]:
    """Rows of a funding file, with the jitter of real stamps."""
    header = "calc_time,funding_interval_hours,last_funding_rate"
    return [header, *(f"{ms + (ms // HOUR_MS) % 7},{hours},{rate(symbol, ms):.10f}" for ms in stamps)]


class ArchiveServer(VenueServer):
    """Serves a folder; what is not in it is a 404."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root = root

        def file(_: dict[str, str], match: "re.Match[str]") -> Any:
            path = self.root / match[0].lstrip("/")
            return path.read_bytes() if path.is_file() else Fault(404, "<Error><Code>NoSuchKey</Code></Error>")

        self.route(r"^/data/.*", file)
