"""What a question really costs at a venue, where the client library believes something else.

What belongs here: corrected costs, in the library's own unit (``rateLimit`` milliseconds), with the published limit
they follow from. What does not: waiting (``pace.py``) and options of the client (``ccxt_client.py``).
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

Weigh = Callable[[str, Mapping[str, Any], float], float]

#: Room to the published limit: a venue's window and this machine's clock do not start together.
_MARGIN = 1.05

_HOUR_MS = 3_600_000


def _hyperliquid(path: str, params: Mapping[str, Any], believed: float) -> float:
    """1,200 a minute, 50 ms each: 20 for most questions, and 1 more for every 20 settlements in the answer.

    The library counts 10, so that a hundred symbols an hour, or any backfill, ran into the limit.
    """
    if params.get("type") == "fundingHistory":
        hours = (int(params.get("endTime", 0)) - int(params.get("startTime", 0))) / _HOUR_MS
        return 20.0 + math.ceil(min(max(hours, 0.0) + 1.0, 500.0) / 20.0)
    return 20.0 if believed >= 10 else believed


def _binanceusdm(path: str, params: Mapping[str, Any], believed: float) -> float:
    """Settlements have a limit of their own, 500 in 5 minutes, so 600 ms each; the index of all symbols weighs 10 of
    2,400 a minute.
    """
    return {"fundingRate": 12.0, "premiumIndex": 5.0}.get(path, believed)


_WEIGHTS: Mapping[str, Weigh] = {"hyperliquid": _hyperliquid, "binanceusdm": _binanceusdm}


def cost(venue: str, path: str, params: object, believed: object) -> float:
    """Cost of a question in units of the client's ``rateLimit``.

    Parameters
    ----------
    venue, path, params
        Whom, what and with which parameters.
    believed
        What the library thinks; it stands, but for the margin, where nothing better is known.
    """
    unit = 1.0 if believed is None else float(believed)  # type: ignore[arg-type]
    weigh = _WEIGHTS.get(venue)
    return _MARGIN * (unit if weigh is None else weigh(path, params if isinstance(params, Mapping) else {}, unit))
