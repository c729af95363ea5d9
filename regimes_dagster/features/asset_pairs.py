"""Which pairs of assets are followed, and what they are called.

What belongs here: the pair rule alone. What does not: anything computed on a pair.
"""

from collections.abc import Sequence
from itertools import combinations

from regimes_dagster.parameters import CorrelationParameters

#: Up to this many symbols every pair is followed: beyond it their number would grow with the square.
ALL_PAIRS_UP_TO = 8


def pair_name(pair: tuple[str, str]) -> str:
    """The guide's name of a pair: ``BTC/USDT/ETH/USDT``."""
    return "/".join(pair)


def asset_pairs(symbols: Sequence[str], params: CorrelationParameters) -> list[tuple[str, str]]:
    """The pairs that are followed.

    All pairs of up to 8 symbols; beyond that each symbol against ``benchmark`` (default the first). The
    configured ``pairs`` come on top; a pair that is there already, in either order, is not doubled.

    Raises
    ------
    ValueError
        If a configured pair or the benchmark names a symbol that is not configured.
    """
    benchmark = params.benchmark or (symbols[0] if symbols else None)
    named = {symbol for pair in params.pairs for symbol in pair} | ({params.benchmark} if params.benchmark else set())
    if strangers := sorted(named - set(symbols)):
        raise ValueError(
            f"[correlation] names {', '.join(strangers)}, not among the symbols; add it to symbols or take it out"
        )
    if len(symbols) <= ALL_PAIRS_UP_TO:
        pairs = list(combinations(symbols, 2))
    else:
        pairs = [(str(benchmark), symbol) for symbol in symbols if symbol != benchmark]
    seen = {frozenset(pair) for pair in pairs}
    for first, second in params.pairs:
        if first == second:
            raise ValueError(f"[correlation] pairs names {first} twice in one pair; a pair needs two symbols")
        if frozenset((first, second)) not in seen:
            seen.add(frozenset((first, second)))
            pairs.append((first, second))
    return pairs
