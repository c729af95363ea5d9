"""The limits that venues publish, kept by the local servers: whoever asks more often is told to wait.

What belongs here: the sliding window, and the published figures (D: docs, to be confirmed by ``regimes probe``). What
does not: other faults (``http.py``).
"""

import math
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from tests.servers.http import Fault, Seen, too_many


class Limit:
    """At most ``capacity`` of weight in any ``seconds``, for the paths that match.

    Parameters
    ----------
    weigh
        Weight of a request; 1 by default.
    now
        A clock in seconds; a test may give a virtual one.
    """

    def __init__(
        self,
        capacity: float,
        seconds: float,
        *,
        path: str = "",
        weigh: Callable[[Seen], float] = lambda _: 1.0,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = re.compile(path)
        self.capacity, self.seconds = capacity, seconds
        self.refused = 0
        #: Most weight seen in one window.
        self.most = 0.0
        self._weigh, self._now = weigh, now
        self._taken: deque[tuple[float, float]] = deque()
        self._lock = threading.Lock()

    def faster(self, times: float) -> "Limit":
        """The same rate in a shorter window, which is stricter and needs fewer requests to be seen."""
        self.capacity, self.seconds = self.capacity / times, self.seconds / times
        return self

    def __call__(self, seen: Seen) -> Fault | None:
        """The refusal, or None and the weight is counted."""
        if not self.path.search(seen.path):
            return None
        with self._lock:
            # A hundredth of slack: the answer to a question is not where its clock stands.
            now, weight = self._now(), self._weigh(seen)
            while self._taken and self._taken[0][0] <= now - self.seconds * 0.99:
                self._taken.popleft()
            used = sum(some for _, some in self._taken) + weight
            if used > self.capacity:
                self.refused += 1
                return too_many(str(math.ceil(self._taken[0][0] + self.seconds - now) if self._taken else 1))
            self._taken.append((now, weight))
            self.most = max(self.most, used)
            return None


def _hyperliquid_weight(seen: Seen) -> float:
    query: Mapping[str, object] = seen.query
    if query.get("type") != "fundingHistory":
        return 20.0
    hours = (int(str(query["endTime"])) - int(str(query["startTime"]))) / 3_600_000
    return 20.0 + math.ceil(min(max(math.ceil(hours), 0), 500) / 20)


def published(venue: str, now: Callable[[], float] = time.monotonic) -> Sequence[Limit]:
    """Public limits per address as the venues write them down."""
    limits: Mapping[str, Sequence[Limit]] = {
        "binanceus": [Limit(1200, 60, now=now)],
        "binance": [Limit(6000, 60, weigh=lambda _: 2.0, now=now)],
        "coinbaseexchange": [Limit(10, 1, now=now)],
        "kraken": [Limit(15, 15, now=now)],
        "hyperliquid": [Limit(1200, 60, weigh=_hyperliquid_weight, now=now)],
        "krakenfutures": [Limit(500, 10, now=now)],
        "deribit": [Limit(20, 1, now=now)],
        "binanceusdm": [
            Limit(500, 300, path="fundingRate", now=now),
            Limit(2400, 60, weigh=lambda seen: 10.0 if "premiumIndex" in seen.path else 1.0, now=now),
        ],
        "bybit": [Limit(600, 5, now=now)],
        "okx": [Limit(10, 2, path="funding-rate-history", now=now), Limit(20, 2, path="funding-rate$", now=now)],
        "gate": [
            Limit(200, 10, path="contract_stats", now=now),
            Limit(200, 10, path="candlesticks", now=now),
        ],
        "bitfinex": [Limit(3, 60, path="liquidations", now=now), Limit(90, 60, path="candles|conf", now=now)],
    }
    return limits[venue]
