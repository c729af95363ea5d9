"""The simulated market: numbers only, no frames and no windows.

What belongs here: the random processes. What does not: rows (``simulated.py``).

Every number depends on (seed, symbol, hour) alone, so that any window gives the same rows. Time is cut into
blocks of 30 days from a fixed epoch. A coarse, mean-reverting path gives the log price at every block edge; the
hourly returns inside a block are drawn from a stream of their own and bridged to the edges, so that hour t needs
its own block (and, for trends, the one before it) and never the years before.

The market factor has a volatility that switches between calm, normal, hot and wild stretches, fat-tailed
innovations, an intraday and weekend pattern, and crashes and squeezes with aftershocks. A symbol follows the
factor with its own beta and its own noise; now and then it goes its own way for some days (a correlation break).
Funding follows the trailing trend and sometimes runs to extremes; liquidations follow large moves.
"""

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

BLOCK_HOURS = 720
SETTLEMENT_HOURS = 8

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.int64]

#: Daily volatility of the factor and mean stay in hours, per stretch: calm, normal, hot, wild.
_LEVELS = np.array([0.009, 0.024, 0.050, 0.095])
_STAYS = np.array([44.0, 66.0, 26.0, 8.0])
_NEXT = np.array(
    [[0.00, 0.85, 0.13, 0.02], [0.42, 0.00, 0.48, 0.10], [0.10, 0.72, 0.00, 0.18], [0.02, 0.28, 0.70, 0.00]]
)
_SHARE = np.array([0.30, 0.50, 0.17, 0.03])
_NORMAL_DAILY = 0.026

_CRASHES_PER_BLOCK = 1.8
_BREAKS_PER_BLOCK = 0.6
_STRESSES_PER_BLOCK = 0.7
_USUAL_RHO, _BREAK_RHO = 0.78, 0.03

#: (price, beta, hourly USD volume) of well-known symbols; others are drawn from their name.
_KNOWN = {"BTC": (62_000.0, 0.80, 90e6), "ETH": (3_100.0, 1.05, 45e6), "SOL": (150.0, 1.35, 18e6)}


@dataclass(frozen=True)
class Character:
    """What stays the same about a symbol."""

    base_log_price: float
    beta: float
    hourly_usd: float


@dataclass(frozen=True)
class Factor:
    """The market factor of one block."""

    sigma: Floats
    shock: Floats
    jump: Floats


@dataclass(frozen=True)
class Prices:
    """Bars of one symbol and block: index 0 is the block's first hour."""

    log_open: Floats
    log_close: Floats
    log_high: Floats
    log_low: Floats
    usd_volume: Floats
    missing: Flags


@dataclass(frozen=True)
class Bursts:
    """Liquidations of one symbol and block: sums per hour, and single ones by ``hour`` (index in the block)."""

    long_usd: Floats
    short_usd: Floats
    unobserved: Flags
    hour: Integers
    is_long: Flags
    second: Floats
    log_price: Floats
    usd: Floats


def stream(seed: int, purpose: str, symbol: str = "", block: int = 0) -> np.random.Generator:
    """A random stream of its own for each purpose, symbol and block."""
    digest = hashlib.sha256(f"{seed}|{purpose}|{symbol}|{block}".encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "little")))


@lru_cache(maxsize=1024)
def character(seed: int, symbol: str) -> Character:
    """Price level, beta and turnover of a symbol."""
    asset = symbol.split("/")[0]
    if asset in _KNOWN:
        price, beta, usd = _KNOWN[asset]
        return Character(float(np.log(price)), beta, usd)
    rng = stream(seed, "character", symbol)
    return Character(
        float(rng.uniform(np.log(0.05), np.log(400.0))),
        float(rng.uniform(0.9, 1.7)),
        float(np.exp(rng.uniform(12.5, 16.0))),
    )


@lru_cache(maxsize=128)
def factor(seed: int, block: int) -> Factor:
    """Volatility, innovations and jumps of the whole market."""
    rng = stream(seed, "factor", block=block)
    level = _stretches(rng)
    wobble = _autoregressive(rng.standard_normal(BLOCK_HOURS), 0.93, 0.16)
    sigma = np.exp(np.log(level) + wobble) / np.sqrt(24.0) * _calendar(block)
    jump = np.zeros(BLOCK_HOURS)
    hours = np.arange(BLOCK_HOURS)
    for _ in range(rng.poisson(_CRASHES_PER_BLOCK)):
        start = int(rng.integers(0, BLOCK_HOURS))
        size = float(np.exp(rng.normal(np.log(0.055), 0.35))) * (-1.0 if rng.random() < 0.68 else 0.8)
        for step, share in enumerate((0.58, 0.30, 0.12)):
            if start + step < BLOCK_HOURS:
                jump[start + step] += size * share
        after = np.where(hours >= start, np.exp(-(hours - start) / 11.0), 0.0)
        sigma = sigma * (1.0 + 1.9 * np.clip(after, 0.0, 1.0))
    shock = np.clip(rng.standard_t(4.0, BLOCK_HOURS) / np.sqrt(2.0), -7.0, 7.0)
    return Factor(sigma, shock, jump)


@lru_cache(maxsize=640)
def prices(seed: int, symbol: str, block: int) -> Prices:
    """Bars of one symbol in one block."""
    who, market = character(seed, symbol), factor(seed, block)
    rng = stream(seed, "returns", symbol, block)
    own = np.clip(rng.standard_t(4.0, BLOCK_HOURS) / np.sqrt(2.0), -7.0, 7.0)
    rho = np.full(BLOCK_HOURS, _USUAL_RHO)
    drift = np.zeros(BLOCK_HOURS)
    for _ in range(rng.poisson(_BREAKS_PER_BLOCK)):
        start, length = int(rng.integers(0, BLOCK_HOURS)), int(rng.integers(36, 120))
        rho[start : start + length] = _BREAK_RHO
        drift[start : start + length] += float(rng.normal(0.0, 0.0022))
    sigma = market.sigma * who.beta
    move = (np.sqrt(rho) * market.shock + np.sqrt(1.0 - rho) * own) * sigma + drift * who.beta + market.jump * who.beta
    start_log, end_log = _edge(seed, symbol, block), _edge(seed, symbol, block + 1)
    # The bridge: a constant, tiny drift (a few hundredths of a per cent per hour) makes the block end on its edge.
    move = move + (end_log - start_log - move.sum()) / BLOCK_HOURS
    close = start_log + np.cumsum(move)
    close[-1] = end_log
    opened = np.concatenate(([start_log], close[:-1]))
    # Extremes of a Brownian bridge from open to close, so that range estimators agree with the true volatility.
    spread = 2.0 * (sigma**2) * 0.9
    high = opened + (move + np.sqrt(move**2 - spread * np.log(1.0 - rng.random(BLOCK_HOURS)))) / 2.0
    low = opened + (move - np.sqrt(move**2 - spread * np.log(1.0 - rng.random(BLOCK_HOURS)))) / 2.0
    usual = _NORMAL_DAILY * who.beta / np.sqrt(24.0)
    turnover = (
        who.hourly_usd
        * np.exp(0.35 * rng.standard_normal(BLOCK_HOURS))
        * (0.35 + 0.65 * sigma / usual + 0.8 * np.abs(move) / usual)
    )
    return Prices(
        opened, close, np.maximum(high, np.maximum(opened, close)), np.minimum(low, np.minimum(opened, close)),
        turnover, _holes(stream(seed, "gaps", symbol, block), 0.7, 3),
    )  # fmt: skip


def funding(seed: int, symbol: str, block: int) -> Floats:
    """Rates of the 90 settlements of a block; the first is at its eighth hour."""
    who = character(seed, symbol)
    before = prices(seed, symbol, block - 1).log_close
    log_price = np.concatenate((before, prices(seed, symbol, block).log_close))
    at = BLOCK_HOURS + np.arange(SETTLEMENT_HOURS - 1, BLOCK_HOURS, SETTLEMENT_HOURS)
    trend = (log_price[at] - log_price[at - 72]) / (_NORMAL_DAILY * who.beta * np.sqrt(3.0))
    rng = stream(seed, "funding", symbol, block)
    rates = 0.00008 + 0.00011 * np.tanh(trend / 1.5) + _autoregressive(rng.standard_normal(len(at)), 0.8, 0.000022)
    for _ in range(rng.poisson(_STRESSES_PER_BLOCK)):
        start, length = int(rng.integers(0, len(at))), int(rng.integers(2, 7))
        sign = 1.0 if trend[start] + rng.normal(0.0, 0.4) > 0 else -1.0
        rates[start : start + length] += sign * float(rng.uniform(0.0006, 0.0017))
    return np.asarray(np.round(np.clip(rates, -0.02, 0.02), 8), dtype="float64")


@lru_cache(maxsize=64)
def bursts(seed: int, symbol: str, block: int) -> Bursts:
    """Liquidations: a quiet background, and bursts on the side that a large move hurts."""
    who, bars = character(seed, symbol), prices(seed, symbol, block)
    rng = stream(seed, "liquidations", symbol, block)
    usual = _NORMAL_DAILY * who.beta / np.sqrt(24.0)
    move = (bars.log_close - bars.log_open) / usual
    base = who.hourly_usd * 0.0004
    sums, counts = [], []
    for pressure in (-move, move):
        wanted = (
            base
            * np.exp(0.8 * rng.standard_normal(BLOCK_HOURS))
            * (0.4 + 11.0 * np.clip(pressure - 0.9, 0.0, None) ** 1.7)
        )
        number = rng.poisson(np.clip(0.55 * np.sqrt(wanted / base), 0.0, 30.0))
        sums.append(np.where(number > 0, wanted, 0.0))
        counts.append(number)
    hour = np.concatenate([np.repeat(np.arange(BLOCK_HOURS), number) for number in counts])
    is_long = np.repeat([True, False], [int(number.sum()) for number in counts])
    weight = rng.exponential(1.0, len(hour)) + 0.02
    slot = hour + np.where(is_long, 0, BLOCK_HOURS)
    total = np.bincount(slot, weights=weight, minlength=2 * BLOCK_HOURS)
    usd = np.maximum(np.round(weight / total[slot] * np.concatenate(sums)[slot], 2), 0.01)
    depth = rng.random(len(hour)) ** 1.6
    low, high = bars.log_low[hour], bars.log_high[hour]
    log_price = np.where(is_long, low + depth * (high - low), high - depth * (high - low))
    # Whole milliseconds strictly inside the hour: a stamp on the edge would belong to the hour before.
    second = np.round(rng.uniform(0.5, 3599.5, len(hour)), 3)
    order = np.lexsort((second, hour))
    hour, is_long, second, log_price, usd = hour[order], is_long[order], second[order], log_price[order], usd[order]
    return Bursts(
        np.bincount(hour[is_long], weights=usd[is_long], minlength=BLOCK_HOURS).astype("float64"),
        np.bincount(hour[~is_long], weights=usd[~is_long], minlength=BLOCK_HOURS).astype("float64"),
        _holes(stream(seed, "unobserved", symbol, block), 0.35, 6), hour, is_long, second, log_price, usd,
    )  # fmt: skip


def _edge(seed: int, symbol: str, block: int) -> float:
    return float(_edges(seed, symbol, 64 * (max(block, 0) // 64 + 1))[block + 1])


@lru_cache(maxsize=1024)
def _edges(seed: int, symbol: str, count: int) -> Floats:
    """Log price at the start of blocks -1, 0, 1, ..; the first numbers do not depend on how many are asked."""
    who = character(seed, symbol)
    common = stream(seed, "coarse").standard_normal(count + 2)
    own = stream(seed, "coarse", symbol).standard_normal(count + 2)
    steps = (0.8 * common + 0.6 * own) * 0.13 * who.beta
    path = np.empty(count + 2)
    value = 0.0
    for index, step in enumerate(steps):
        value = 0.96 * value + step
        path[index] = value
    return who.base_log_price + path


def _stretches(rng: np.random.Generator) -> Floats:
    level = np.empty(BLOCK_HOURS)
    state, hour = int(rng.choice(4, p=_SHARE)), 0
    while hour < BLOCK_HOURS:
        stay = max(3, int(rng.exponential(_STAYS[state])))
        level[hour : hour + stay] = _LEVELS[state] * np.exp(rng.normal(0.0, 0.12))
        hour += stay
        state = int(rng.choice(4, p=_NEXT[state]))
    return level


def _autoregressive(noise: Floats, keep: float, scale: float) -> Floats:
    """x[t] = keep x[t-1] + scale noise[t]; a plain loop over a block costs less than importing a filter."""
    value, path = 0.0, []
    for draw in noise.tolist():
        value = keep * value + scale * draw
        path.append(value)
    return np.array(path)


def _calendar(block: int) -> Floats:
    hours = block * BLOCK_HOURS + np.arange(BLOCK_HOURS)
    of_day = 1.0 + 0.18 * np.cos(2.0 * np.pi * ((hours % 24) - 15) / 24.0)
    # The epoch, 2020-01-01, is a Wednesday: weekday 2.
    weekend = (hours // 24 + 2) % 7 >= 5
    return np.asarray(of_day * np.where(weekend, 0.78, 1.06), dtype="float64")


def _holes(rng: np.random.Generator, rate: float, longest: int) -> Flags:
    hole = np.zeros(BLOCK_HOURS, dtype=bool)
    for _ in range(rng.poisson(rate)):
        start = int(rng.integers(0, BLOCK_HOURS))
        hole[start : start + int(rng.integers(1, longest + 1))] = True
    return hole
