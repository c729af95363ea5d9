"""What a venue calls a symbol, and what one of its contracts is worth.

What belongs here: the map from the canonical symbol to each venue's own name, and the contract's size and kind.
What does not: asking the venue. The names follow fixed rules, so no market list has to be loaded (that costs 4 to
11 calls on some venues); a name the venue does not know is answered with an error that says so.
"""

from dataclasses import dataclass
from typing import Literal

#: Kraken's own asset names, spot and futures.
_KRAKEN_ASSETS = {"BTC": "XBT", "DOGE": "XDG"}

#: Assets that Hyperliquid quotes per thousand, under a name of its own.
_HYPERLIQUID_THOUSANDS = frozenset({"PEPE", "SHIB", "BONK", "FLOKI", "LUNC", "DOGS", "NEIRO"})

#: Assets whose perpetual on Deribit is inverse (settled in the asset); the others are linear, in USDC.
_DERIBIT_INVERSE = frozenset({"BTC", "ETH"})

#: Bitfinex writes Tether as UST and perpetuals with F0.
_BITFINEX_ASSETS = {"USDT": "UST"}


@dataclass(frozen=True)
class Instrument:
    """One perpetual of a venue.

    Attributes
    ----------
    symbol
        Canonical symbol, e.g. BTC/USDT.
    native
        The venue's name.
    kind
        ``linear``: quantities are units of the base asset (times ``size``); ``inverse``: quantities are USD (times
        ``size``) and the base quantity is USD / price.
    size
        Units (or USD) per contract.
    """

    symbol: str
    native: str
    kind: Literal["linear", "inverse"] = "linear"
    size: float = 1.0

    def base_amount(self, quantity: float, price: float) -> float:
        """Base units of a quantity as the venue gives it."""
        return quantity * self.size / price if self.kind == "inverse" else quantity * self.size

    def usd(self, quantity: float, price: float) -> float:
        """USD of a quantity as the venue gives it."""
        return quantity * self.size if self.kind == "inverse" else quantity * self.size * price


def split(symbol: str) -> tuple[str, str]:
    """Base and quote of a canonical symbol."""
    base, quote = symbol.split("/")
    return base, quote


def spot_id(venue: str, symbol: str) -> str:
    """The venue's name of a spot market; by default base and quote run together."""
    base, quote = split(symbol)
    if venue == "coinbaseexchange":
        return f"{base}-{quote}"
    if venue == "kraken":
        return f"{_KRAKEN_ASSETS.get(base, base)}{quote}"
    return f"{base}{quote}"


def perpetual(venue: str, symbol: str) -> Instrument:
    """The perpetual that stands for a symbol at a venue.

    The quote of the symbol chooses nothing: venues that settle in USD, USDC or the asset itself serve a USDT symbol,
    and the venue is stored on the rows.
    """
    base, quote = split(symbol)
    if venue == "hyperliquid":
        if base in _HYPERLIQUID_THOUSANDS:
            return Instrument(symbol, f"k{base}", size=1000.0)
        return Instrument(symbol, base)
    if venue == "krakenfutures":
        # Multi-collateral perpetuals: quantities are units of the base asset. The older PI_ contracts count USD.
        return Instrument(symbol, f"PF_{_KRAKEN_ASSETS.get(base, base)}USD")
    if venue == "deribit":
        if base in _DERIBIT_INVERSE:
            return Instrument(symbol, f"{base}-PERPETUAL", "inverse")
        return Instrument(symbol, f"{base}_USDC-PERPETUAL")
    if venue == "okx":
        return Instrument(symbol, f"{base}-{quote}-SWAP")
    if venue == "gate":
        return Instrument(symbol, f"{base}_{quote}")
    if venue == "bitfinex":
        return Instrument(symbol, f"t{base}F0:{_BITFINEX_ASSETS.get(quote, quote)}F0")
    return Instrument(symbol, f"{base}{quote}")


def kraken_inverse(symbol: str) -> Instrument:
    """Kraken's older USD-quoted contract of a symbol, for files and archives that still hold it."""
    base, _ = split(symbol)
    return Instrument(symbol, f"PI_{_KRAKEN_ASSETS.get(base, base)}USD", "inverse")
