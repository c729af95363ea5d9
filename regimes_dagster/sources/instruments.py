"""What a venue calls a symbol, and what one of its contracts is worth.

What belongs here: the map from the canonical symbol to each venue's own name, and the contract's size and kind.
What does not: asking the venue. The names follow fixed rules, so no market list has to be loaded (that costs 4 to
11 calls on some venues); a name the venue does not know is answered with an error that says so.
"""

#: Kraken's own asset names, spot and futures.
_KRAKEN_ASSETS = {"BTC": "XBT", "DOGE": "XDG"}


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
