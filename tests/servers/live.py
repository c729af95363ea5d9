"""Websocket servers that push liquidations the way okx, bybit and binanceusdm do.

What belongs here: subscriptions, pings, bursts, and breaking connections on command. What does not: what the
messages mean to the collector.
"""

# A row of a wire format stays on one line, as the venue sends it.

import json
import threading
import time
from collections.abc import Callable
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import Server, ServerConnection, serve


class LiveServer:
    """Use as a context manager; ``push`` sends to whoever is subscribed and says how many that were."""

    def __init__(self, acknowledge: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        self._acknowledge = acknowledge
        self._subscribed: set[ServerConnection] = set()
        self._lock = threading.Lock()
        self.subscriptions: list[dict[str, Any]] = []
        self.silent = False
        self._server: Server

    def __enter__(self) -> "LiveServer":
        self._server = serve(self._serve, "127.0.0.1", 0, compression=None)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"ws://127.0.0.1:{self._server.socket.getsockname()[1]}"
        return self

    def __exit__(self, *_: object) -> None:
        self.disconnect()
        self._server.shutdown()

    @property
    def subscribers(self) -> int:
        """Connections that have subscribed."""
        return len(self._subscribed)

    def wait_for_subscriber(self, seconds: float = 10.0) -> None:
        """Until somebody has subscribed."""
        deadline = time.monotonic() + seconds
        while not self._subscribed:
            if time.monotonic() > deadline:
                raise TimeoutError("nobody subscribed")
            time.sleep(0.005)

    def push(self, message: dict[str, Any]) -> int:
        """Send to every subscriber; the number of those that took it."""
        text, sent = json.dumps(message), 0
        with self._lock:
            for connection in list(self._subscribed):
                try:
                    connection.send(text)
                    sent += 1
                except ConnectionClosed:
                    self._subscribed.discard(connection)
        return sent

    def disconnect(self) -> None:
        """Break every connection."""
        with self._lock:
            gone, self._subscribed = list(self._subscribed), set()
        for connection in gone:
            connection.close()

    def _serve(self, connection: ServerConnection) -> None:
        try:
            for text in connection:
                if text == "ping":
                    connection.send("pong")
                    continue
                message = json.loads(text)
                if message.get("op") == "ping":
                    connection.send(json.dumps({"op": "pong", "ret_msg": "pong", "success": True}))
                    continue
                self.subscriptions.append(message)
                connection.send(json.dumps(self._acknowledge(message)))
                with self._lock:
                    self._subscribed.add(connection)
        except ConnectionClosed:
            pass
        finally:
            with self._lock:
                self._subscribed.discard(connection)


def okx_ack(message: dict[str, Any]) -> dict[str, Any]:
    """As okx confirms."""
    return {"event": "subscribe", "arg": message["args"][0], "connId": "a4d3ae55"}


def bybit_ack(message: dict[str, Any]) -> dict[str, Any]:
    """As bybit confirms."""
    return {"success": True, "ret_msg": "", "op": "subscribe", "conn_id": "x", "req_id": message.get("req_id", "")}


def binance_ack(message: dict[str, Any]) -> dict[str, Any]:
    """As binance confirms."""
    return {"result": None, "id": message["id"]}


def okx_message(native: str, details: list[tuple[int, str, float, float]]) -> dict[str, Any]:
    """Details are (milliseconds, long or short, contracts, price)."""
    rows = [
        {
            "bkLoss": "0",
            "bkPx": f"{price}",
            "ccy": "",
            "posSide": side,
            "side": "sell" if side == "long" else "buy",
            "sz": f"{size}",
            "ts": f"{ms}",
        }
        for ms, side, size, price in details
    ]
    return {
        "arg": {"channel": "liquidation-orders", "instType": "SWAP"},
        "data": [
            {"details": rows, "instFamily": native[:-5], "instId": native, "instType": "SWAP", "uly": native[:-5]}
        ],
    }


def bybit_message(native: str, rows: list[tuple[int, str, float, float]]) -> dict[str, Any]:
    """Rows are (milliseconds, Buy or Sell of the position, size, price)."""
    data = [{"T": ms, "s": native, "S": side, "v": f"{size}", "p": f"{price}"} for ms, side, size, price in rows]
    return {"topic": f"allLiquidation.{native}", "type": "snapshot", "ts": rows[0][0], "data": data}


def binance_message(native: str, ms: int, side: str, filled: float, price: float) -> dict[str, Any]:
    """The order that liquidated; ``q`` and ``p`` are the order's, not what was filled."""
    order = {
        "s": native,
        "S": side,
        "o": "LIMIT",
        "f": "IOC",
        "q": f"{filled * 3}",
        "p": f"{price * 2}",
        "ap": f"{price}",
        "X": "FILLED",
        "l": "0",
        "z": f"{filled}",
        "T": ms,
    }
    return {"e": "forceOrder", "E": ms, "o": order}
