"""The json format: exactly the guide's body, the same bytes every time.

What belongs here: the guide's eight keys in its order (and ``asset_pair`` for correlation), how numbers and stamps
are written, and the 20 kB limit. What does not: headers and signatures (``signing.py``), other formats.
"""

import json
import math
import re
from collections.abc import Mapping
from typing import Any

import pandas as pd

from regimes_dagster.alerts.message import DATA_KEYS, GUIDE_DATA_KEYS, Message, ordered_data

#: The guide's keys, in its order.
GUIDE_KEYS = ("event_type", "timestamp", "symbol", "severity", "title", "description", "source", "data")

MAX_BYTES = 20_000

_LONG_TEXT = 1_000
_LONG_LIST = 50
_SAFE_INTEGER = 2**53
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def envelope(message: Message) -> dict[str, Any]:
    """The guide's body as a dictionary in the guide's key order.

    ``asset_pair`` stands behind ``symbol``, as the guide prints it before ``data``. NaN and infinities are None,
    whole floats are integers (the guide prints ``1500000``).
    """
    body: dict[str, Any] = {
        "event_type": message.event_type,
        "timestamp": timestamp(message.ts),
        "symbol": clean(message.symbol),
    }
    if message.asset_pair is not None:
        body["asset_pair"] = clean(message.asset_pair)
    body |= {
        "severity": message.severity,
        "title": clean(message.title),
        "description": clean(message.description),
        "source": clean(message.source),
        "data": plain(ordered_data(message.event_type, message.data)),
    }
    return body


def json_body(message: Message) -> bytes:
    """The bytes that are signed and sent: UTF-8, ``σ`` stays ``σ``, under 20 kB.

    A body that would be longer loses, in this order: the ends of long texts and lists, payload keys that are not
    declared, payload keys that the guide does not print; ``data.truncated`` then says so.
    """
    body = envelope(message)
    raw = encode(body)
    if len(raw) <= MAX_BYTES:
        return raw
    declared = DATA_KEYS.get(message.event_type, ())
    guide = declared[: GUIDE_DATA_KEYS.get(message.event_type, len(declared))]
    data: Mapping[str, Any] = body["data"]
    short = {key: _shortened(value, _LONG_TEXT) for key, value in body.items() if key != "data"}
    for keep, text in ((tuple(data), _LONG_TEXT), (declared, _LONG_TEXT), (guide, _LONG_TEXT), (guide, 100), ((), 100)):
        kept = {key: _shortened(data[key], text) for key in keep if key in data}
        raw = encode({key: short[key] if key != "data" else {**kept, "truncated": True} for key in body})
        if len(raw) <= MAX_BYTES:
            break
    return raw


def encode(value: Any) -> bytes:
    """Compact UTF-8 JSON of finite, cleaned values."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def timestamp(moment: pd.Timestamp) -> str:
    """``2024-02-03T12:34:56.789Z``: milliseconds, UTC."""
    utc = moment.tz_convert("UTC")
    return f"{utc:%Y-%m-%dT%H:%M:%S}.{utc.microsecond // 1000:03d}Z"


def plain(value: Any) -> Any:
    """JSON-able copy: numpy scalars and stamps made plain, NaN and infinities None, whole floats integers."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, pd.Timestamp):
        return None if pd.isna(value) else timestamp(value if value.tzinfo else value.tz_localize("UTC"))
    if isinstance(value, Mapping):
        return {clean(str(key)): plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(inner) for inner in (sorted(value) if isinstance(value, (set, frozenset)) else value)]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return int(value) if value.is_integer() and abs(value) < _SAFE_INTEGER else value
    if pd.isna(value):
        return None
    raise TypeError(
        f"a message cannot carry a {type(value).__name__}; give numbers, texts, stamps, lists or tables of them"
    )


def clean(text: str) -> str:
    """The text without what UTF-8 or PostgreSQL cannot hold: NUL and lone surrogates become U+FFFD."""
    return _UNSTORABLE.sub("\ufffd", text)


def _shortened(value: Any, text: int) -> Any:
    if isinstance(value, str):
        return value if len(value) <= text else value[: text - 1] + "…"
    if isinstance(value, list):
        return [_shortened(inner, text) for inner in value[:_LONG_LIST]]
    if isinstance(value, dict):
        return {key: _shortened(inner, text) for key, inner in list(value.items())[:_LONG_LIST]}
    return value
