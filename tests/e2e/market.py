"""A deterministic market written straight into the tables, for browser tests, screenshots and benchmarks.

What belongs here: plausible rows for every table that the dashboard reads, made with numpy from a seed. It is no
part of the product: the product's simulated market is a source, and its features are computed.
"""

import io
import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa

from regimes_dagster import tables

Frames = dict[str, pd.DataFrame]
HASH = "0123456789abcdef"
START_PRICES = {"BTC/USDT": 61_000.0, "ETH/USDT": 3_050.0, "SOL/USDT": 148.0}
EDGES = (0.01, 0.05, 0.10)
REGIMES = np.array(["STABLE", "HIGH_VOL", "EXPLOSIVE", "EXTREME"])
RISK = np.array([0.7, 1.2, 1.8, 2.5])
EMOJI = {
    "BULL_TREND": "🚀",
    "BEAR_TREND": "🐻",
    "WARMING": "🌤️",
    "COOLING": "🌧️",
    "QUIET": "😴",
    "NEUTRAL": "⚖️",
    "CHOPPY": "⚡",
}
LABELS = np.array(["BEAR_TREND", "COOLING", "NEUTRAL", "WARMING", "BULL_TREND"])


#: Invented verdicts: test, figure, value, baseline, what was asked for, whether it holds, n, in words.
EVIDENCE = (
    ("06_qlike", "qlike_har", 0.28, 0.43, "below EWMA", True, 363, "mean QLIKE of the 24 h forecast; lower is better"),
    ("08_cascades", "cascades_per_30d", 4.6, 5.0, "at most 5", True, 24, "cascades per 30 days"),
    ("09_zones", "zone_lift", 1.02, 1.0, "above 1.2", False, 410, "touches of zones over those of random levels"),
    ("12_persistence", "half_life_h", 23.1, None, None, None, 2190, "half-life of a funding deviation, hours"),
    ("14_breaks", "breaks_per_30d", 0.41, 0.5, "at most 0.5", True, 24, "correlation breaks per pair and 30 days"),
    ("16_confirmed", "persistence_ratio", 1.31, 1.0, "above 1", True, 118, "length of confirmed regimes over others"),
)


def frames(symbols: Sequence[str], end: datetime, hours: int, *, seed: int = 7, simulated: bool = True) -> Frames:
    """Rows of ``hours`` hours up to and including ``end`` for every table."""
    ts = pd.date_range(end=end, periods=hours, freq="h", unit="us")
    common = np.random.default_rng(seed).standard_normal(hours)
    storm = _storms(hours, seed)
    parts: dict[str, list[pd.DataFrame]] = {}
    returns: dict[str, np.ndarray] = {}
    for number, symbol in enumerate(symbols):
        rng = np.random.default_rng([seed, number])
        scale = 0.0042 * (0.6, 1.35, 2.1, 2.05)[min(number, 3)] * (0.8 + 0.5 * rng.random() * (number > 2))
        shock = 0.8 * common + 0.6 * rng.standard_normal(hours)
        returns[symbol] = scale * storm * shock + 0.0006 * np.sin(
            (hours - np.arange(hours)) / (37 + 23 * number) + 2.2 + 1.9 * number
        )
        for name, frame in _symbol(symbol, ts, returns[symbol], storm, rng, simulated).items():
            parts.setdefault(name, []).append(frame)
    whole = {name: pd.concat(list_, ignore_index=True) for name, list_ in parts.items()}
    whole["correlation_features"] = _correlations(symbols, ts, returns)
    whole |= _alerts(whole, ts, simulated)
    whole |= _sources(symbols, ts)
    return whole


def _storms(hours: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng([seed, 999])
    storm = np.ones(hours)
    starts = [*rng.integers(0, hours, size=max(1, hours // 260)), hours - 40, hours - 9]
    for start in starts:
        length = min(60, hours - start)
        storm[start : start + length] += (2.2 + 2.0 * rng.random()) * np.exp(-np.arange(length) / 7.0)
    return storm


def _symbol(
    symbol: str, ts: pd.DatetimeIndex, r: np.ndarray, storm: np.ndarray, rng: np.random.Generator, simulated: bool
) -> Frames:
    n = len(ts)
    close = START_PRICES.get(symbol, float(np.exp(rng.normal(2.0, 2.0)))) * np.exp(np.cumsum(r) - np.sum(r))
    opening = np.concatenate([[close[0]], close[:-1]])
    wick = np.abs(r).mean() * (0.3 + rng.random(n)) * storm
    high, low = np.maximum(opening, close) * (1 + wick), np.minimum(opening, close) * (1 - wick)
    missing = np.zeros(n, bool)
    missing[n // 2 : n // 2 + 3] = True
    bars = {
        name: np.where(missing, np.nan, value)
        for name, value in {"open": opening, "high": high, "low": low, "close": close}.items()
    }
    volume = np.exp(rng.normal(6, 0.4, n)) * storm
    size = np.clip(close * volume / 2e6, 0.2, 5)
    burst = np.clip(np.abs(r) / np.abs(r).mean() - 3.0, 0, None) ** 1.6
    longs = size * (rng.lognormal(9.3, 0.9, n) + np.where(r < 0, 130_000 * burst, 9_000 * burst))
    shorts = size * (rng.lognormal(9.1, 0.9, n) + np.where(r > 0, 110_000 * burst, 8_000 * burst))
    coverage = np.ones(n)
    coverage[n // 3 : n // 3 + 9] = 0.5
    settled = ts.floor("8h")
    block = np.arange(n) // 8
    base_rate = _ar(block.max() + 2, rng) * 1e-4 + 0.4e-4
    rate = base_rate[block]
    market = pd.DataFrame(
        {
            "symbol": symbol,
            "ts": ts,
            **bars,
            "volume": np.where(missing, np.nan, volume),
            "quote_volume": np.where(missing, np.nan, close * volume),
            "ohlcv_venue": np.where(missing, None, "simulated"),
            "funding_rate": rate,
            "funding_interval_hours": 8.0,
            "funding_venue": "simulated",
            "funding_settled_ts": settled,
            "long_liq_usd": longs,
            "short_liq_usd": shorts,
            "liq_coverage": coverage,
            "is_simulated": simulated,
        }
    )
    volatility = _volatility(symbol, ts, r, missing, rng)
    return {
        "market_metrics": market,
        "volatility_features": volatility,
        "liquidation_features": _liquidations(symbol, ts, longs, shorts, coverage),
        "liquidation_zones": _zones(symbol, ts, close, volatility["volatility"].to_numpy()),
        "funding_features": _funding(symbol, ts, rate, base_rate, block, settled),
        "funding_venue_features": _venue_rates(symbol, ts, base_rate),
        "regimes": _regimes(symbol, ts, close, r),
    }


def _ar(n: int, rng: np.random.Generator) -> np.ndarray:
    out = np.zeros(n)
    for i in range(1, n):
        out[i] = 0.85 * out[i - 1] + rng.standard_normal() * (1 + 4 * (rng.random() > 0.985))
    return out


def _states(on: np.ndarray, ts: pd.DatetimeIndex, tag: str) -> tuple[np.ndarray, np.ndarray]:
    """ACTIVE where on, COOLING for 6 h after, else IDLE; ids by onset."""
    state = np.full(len(on), "IDLE", object)
    ids = np.full(len(on), None, object)
    onset, cooling = None, 0
    for i, flag in enumerate(on):
        if flag and onset is None:
            onset, cooling = i, 0
        if onset is not None:
            cooling = 0 if flag else cooling + 1
            state[i] = "ACTIVE" if cooling < 2 else "COOLING"
            ids[i] = f"{abs(hash_of(tag, ts[onset])):016x}"
            if cooling > 8:
                onset = None
    return state, ids


def hash_of(*parts: object) -> int:
    """A stable 64-bit number (the built-in hash differs from run to run)."""
    import hashlib

    return int.from_bytes(hashlib.blake2s("|".join(map(str, parts)).encode(), digest_size=8).digest(), "big")


def _rolling(values: np.ndarray, window: int, how: str) -> np.ndarray:
    return getattr(pd.Series(values).rolling(window, min_periods=max(2, window // 3)), how)().to_numpy()


def _volatility(
    symbol: str, ts: pd.DatetimeIndex, r: np.ndarray, missing: np.ndarray, rng: np.random.Generator
) -> pd.DataFrame:
    n = len(ts)
    vol = _rolling(r, 24, "std") * np.sqrt(24) * 1.06
    regime = REGIMES[np.searchsorted(EDGES, np.nan_to_num(vol, nan=0.02))]
    known = ~np.isnan(vol)
    index = np.searchsorted(EDGES, np.nan_to_num(vol, nan=0.02))
    changed = np.concatenate([[True], regime[1:] != regime[:-1]])
    last = np.maximum.accumulate(np.where(changed, np.arange(n), 0))
    rank = pd.Series(vol).rolling(2160, min_periods=24).rank(pct=True).to_numpy()
    quintile = np.array(["VERY_LOW", "LOW", "NORMAL", "HIGH", "VERY_HIGH"])[
        np.clip((np.nan_to_num(rank) * 5).astype(int), 0, 4)
    ]
    forecast = np.exp(0.6 * np.log(vol) + 0.4 * np.log(_rolling(vol, 168, "mean")))
    state, ids = _states(index >= 2, ts, f"vol{symbol}")
    return pd.DataFrame(
        {
            "symbol": symbol,
            "ts": ts,
            "volatility": vol,
            "volatility_close": vol / 1.06,
            "volatility_parkinson": vol * 1.02,
            "volatility_gk": vol * 1.03,
            "volatility_rs": vol * 1.04,
            "vol_annualised": vol * np.sqrt(365),
            "regime_raw": np.where(known, regime, "UNKNOWN"),
            "regime": np.where(known, regime, "UNKNOWN"),
            "risk_multiplier": np.where(known, RISK[index], np.nan),
            "position_scale": np.clip(0.02 / forecast, 0.1, 1.5),
            "vol_pctl_90d": rank,
            "relative_regime": np.where(np.isnan(rank), None, quintile),
            "vol_forecast_24h": forecast,
            "forecast_model": np.where(np.isnan(forecast), None, "HAR"),
            "mean_reversion_prob": np.clip(0.15 + 8 * vol, 0, 0.97),
            "half_life_days": 1.1,
            "acf7": 0.33,
            "wick_ratio": 1.06 + 0.1 * rng.random(n),
            "suspect_wick": False,
            "flash_wick": False,
            "bars_in_regime": np.arange(n) - last,
            "quality": np.where(known, "OK", "INSUFFICIENT"),
            "state": np.where(known, state, "UNKNOWN"),
            "episode_id": ids,
            "config_hash": HASH,
        }
    )


def _liquidations(
    symbol: str, ts: pd.DatetimeIndex, longs: np.ndarray, shorts: np.ndarray, coverage: np.ndarray
) -> pd.DataFrame:
    total = longs + shorts
    four = _rolling(total, 4, "sum")
    limit = np.maximum(
        200_000.0, pd.Series(total).rolling(720, min_periods=168).quantile(0.995).shift(1).fillna(200_000).to_numpy()
    )
    severity = np.maximum(total / limit, four / 4 / limit)
    cascade = (severity > 1) & (total > 500_000)
    state, ids = _states(cascade, ts, f"liq{symbol}")
    covered = coverage >= 0.9
    share = longs / total
    side = np.where(share >= 0.65, "LONG", np.where(share <= 0.35, "SHORT", "BALANCED"))

    def known(values: np.ndarray) -> np.ndarray:
        return np.where(covered, values, np.nan)

    return pd.DataFrame(
        {
            "symbol": symbol,
            "ts": ts,
            "long_liq_usd": known(longs),
            "short_liq_usd": known(shorts),
            "total_liq_usd": known(total),
            "coverage": coverage,
            "n_venues": 3,
            "n_events": (total / 9_000).astype(int),
            "is_lower_bound": True,
            "total_1h": known(total),
            "total_4h": known(four),
            "velocity_1h": known(total),
            "velocity_4h": known(four / 4),
            "critical_velocity_eff": limit,
            "threshold_eff": 500_000.0,
            "threshold_mode": np.where(limit > 200_000, "ADAPTIVE", "FLOOR"),
            "window_hours": np.where(cascade, 1.0, np.nan),
            "severity": known(severity),
            "is_cascade": cascade & covered,
            "long_share": known(share),
            "side_bias": np.where(covered, side, "NONE"),
            "intensity_z": np.clip(known(severity * 3 - 2), -10, 50),
            "price_confirmed": cascade,
            "market_wide": False,
            "warming_up": np.arange(len(ts)) < 168,
            "quality": np.where(covered, "OK", "INSUFFICIENT"),
            "state": state,
            "episode_id": ids,
            "config_hash": HASH,
        }
    )


def _zones(symbol: str, ts: pd.DatetimeIndex, close: np.ndarray, vol: np.ndarray) -> pd.DataFrame:
    rows = []
    for i in range(max(0, len(ts) - 48), len(ts)):
        sigma = np.nan_to_num(vol[i], nan=0.02)
        for side, rank, away, usd, share in (
            ("BELOW", 1, -1.1, 48.2e6, 0.31),
            ("BELOW", 2, -2.0, 21.9e6, 0.14),
            ("ABOVE", 1, 0.9, 33.4e6, 0.22),
            ("ABOVE", 2, 1.9, 12.6e6, 0.08),
        ):
            centre = close[i] * np.exp(away * sigma)
            rows.append(
                {
                    "symbol": symbol,
                    "ts": ts[i],
                    "side": side,
                    "zone_rank": rank,
                    "kind": "REALISED",
                    "price_low": centre * (1 - 0.12 * sigma),
                    "price_center": centre,
                    "price_high": centre * (1 + 0.12 * sigma),
                    "liq_usd": usd,
                    "usd_share": share,
                    "long_share": 0.8 if side == "BELOW" else 0.2,
                    "dist_pct": 100 * (centre / close[i] - 1),
                    "dist_sigma": away,
                    "last_touch_ts": ts[i] - pd.Timedelta(hours=30),
                    "method": "KDE",
                    "config_hash": HASH,
                }
            )
    return pd.DataFrame(rows)


def _funding(
    symbol: str, ts: pd.DatetimeIndex, rate: np.ndarray, base: np.ndarray, block: np.ndarray, settled: pd.DatetimeIndex
) -> pd.DataFrame:
    mean, sd = _rolling(base, 90, "mean")[block], np.maximum(_rolling(base, 90, "std")[block], 1e-5)
    z = np.clip((rate - mean) / sd, -20, 20)
    change = 100 * (rate - base[np.maximum(block - 3, 0)])
    anomaly = (np.abs(z) > 2) & (np.abs(rate - mean) >= 1e-4)
    rapid, high = np.abs(change) > 0.05, sd >= 3e-4
    reasons = [
        [text for text, holds in ((f"Z-score anomaly: {score:.2f}σ", a), (f"Rapid change: {c:+.3f}pp/24h", q)) if holds]
        for score, a, c, q in zip(z, anomaly, change, rapid, strict=True)
    ]
    state, ids = _states(anomaly | rapid, ts, f"fund{symbol}")
    return pd.DataFrame(
        {
            "symbol": symbol,
            "ts": ts,
            "venue": "simulated",
            "settle_ts": settled,
            "funding_rate": rate,
            "interval_h": 8.0,
            "funding_rate_8h": rate,
            "funding_apr": rate * 3 * 365,
            "funding_z_score": z,
            "funding_mean": mean,
            "funding_volatility": sd,
            "change_24h_pp": change,
            "anomaly_score": np.abs(z) + 0.5 * rapid + 0.5 * high,
            "is_anomaly": anomaly | rapid,
            "vol_high": high,
            "rapid": rapid,
            "reasons": reasons,
            "predicted_rate": np.nan,
            "predicted_z": np.nan,
            "phi": 0.79,
            "half_life_h": 23.5,
            "expected_next": mean + 0.79 * (rate - mean),
            "pctl_90d": np.clip(0.5 + z / 6, 0, 1),
            "spread_8h_bp": np.abs(z) * 0.6,
            "n_ref": np.minimum(90, block),
            "quality": np.where(block >= 45, "OK", "INSUFFICIENT"),
            "state": state,
            "episode_id": ids,
            "config_hash": HASH,
        }
    )


def _venue_rates(symbol: str, ts: pd.DatetimeIndex, base: np.ndarray) -> pd.DataFrame:
    ends = ts[::8].ceil("8h")
    rows = []
    for shift, venue in enumerate(("simulated", "hyperliquid", "krakenfutures")):
        values = base[: len(ends)] + shift * 0.3e-4
        rows.append(
            pd.DataFrame(
                {
                    "venue": venue,
                    "symbol": symbol,
                    "ts": ends,
                    "funding_rate_8h": values,
                    "funding_z_score": np.clip(values / 2e-4, -20, 20),
                    "config_hash": HASH,
                }
            )
        )
    return pd.concat(rows).drop_duplicates(["venue", "ts"], keep="last")


def _regimes(symbol: str, ts: pd.DatetimeIndex, close: np.ndarray, r: np.ndarray) -> pd.DataFrame:
    log = np.log(close)
    columns: dict[str, Any] = {"symbol": symbol, "ts": ts}
    labels, weights, family_votes = {}, {"1h": 0.15, "4h": 0.25, "1d": 0.35, "1w": 0.25}, []
    for timeframe, span in (("1h", 24), ("4h", 72), ("1d", 240), ("1w", 700)):
        span = min(span, max(6, len(ts) // 4))
        past = np.concatenate([np.full(span, log[0]), log[:-span]])
        z = np.clip((log - past) / (r.std() * np.sqrt(span)), -10, 10)
        labels[timeframe] = LABELS[np.searchsorted([-1, -0.5, 0.5, 1], z)]
        columns |= {
            f"price_z_{timeframe}": z,
            f"vol_z_{timeframe}": np.clip(_rolling(np.abs(r), 12, "mean") / np.abs(r).mean() - 1, -10, 20),
        }
        columns |= {
            f"regime_{timeframe}": labels[timeframe],
            f"regime_raw_{timeframe}": labels[timeframe],
            f"bar_close_{timeframe}": ts,
        }
        family_votes.append(np.sign(np.searchsorted([-1, -0.5, 0.5, 1], z) - 2))
    votes = np.stack(family_votes)
    weight = np.array(list(weights.values()))[:, None]
    score = np.stack([(weight * (votes == family)).sum(0) for family in (-1, 0, 1)])
    family = score.argmax(0) - 1
    confidence = (votes == family).mean(0)
    primary = np.where(
        votes[2] == family,
        labels["1d"],
        np.where(votes[3] == family, labels["1w"], np.where(votes[1] == family, labels["4h"], labels["1h"])),
    )
    confirmed = (family != 0) & (confidence > 0.70)
    state, ids = _states(confirmed, ts, f"reg{symbol}")
    changed = np.concatenate([[True], primary[1:] != primary[:-1]])
    last = np.maximum.accumulate(np.where(changed, np.arange(len(ts)), 0))
    return pd.DataFrame(
        columns
        | {
            "heat": 0.5,
            "primary_regime": primary,
            "family": family,
            "confidence": confidence,
            "confidence_weighted": score.max(0),
            "n_timeframes": 4,
            "long_bias": (weight * votes).sum(0),
            "risk_multiplier": 1.0 + 0.2 * (family < 0),
            "emoji": [EMOJI[name] for name in primary],
            "hours_in_regime": np.arange(len(ts)) - last,
            "quality": "OK",
            "state": state,
            "episode_id": ids,
            "config_hash": HASH,
        }
    )


def _correlations(symbols: Sequence[str], ts: pd.DatetimeIndex, returns: dict[str, np.ndarray]) -> pd.DataFrame:
    if len(symbols) <= 8:
        wanted = [(a, b) for i, a in enumerate(symbols) for b in symbols[i + 1 :]]
    else:
        wanted = [(symbols[0], other) for other in symbols[1:]]
    out = []
    for a, b in wanted:
        first, second = pd.Series(returns[a]), pd.Series(returns[b])
        rho = {w: first.rolling(w, min_periods=12).corr(second).to_numpy() for w in (24, 72, 168, 720)}
        fisher = np.arctanh(np.clip(rho[72], -0.999, 0.999))
        mean, sd = _rolling(fisher, 2160, "mean"), np.maximum(_rolling(fisher, 2160, "std"), 0.05)
        z = np.clip((fisher - mean) / sd, -20, 20)
        base = np.tanh(mean)
        breaking = (z <= -2.5) & (base - rho[72] >= 0.15)
        state, ids = _states(breaking, ts, f"corr{a}{b}")
        out.append(
            pd.DataFrame(
                {
                    "asset_pair": f"{a}/{b}",
                    "ts": ts,
                    "return_correlation": rho[72],
                    "corr_24h": rho[24],
                    "corr_168h": rho[168],
                    "corr_720h": rho[720],
                    "spearman_72h": rho[72] * 0.96,
                    "baseline_correlation": base,
                    "band_low": np.tanh(mean - 1.645 * sd),
                    "band_high": np.tanh(mean + 1.645 * sd),
                    "break_z": z,
                    "break_strength": np.clip((base - rho[72]) / (1 + base), 0, 1),
                    "divergence_strength": np.clip((base - rho[72]) / (1 + base), 0, 1),
                    "trigger": np.where(breaking, "RELATIVE", "NONE"),
                    "beta": 1.1,
                    "spread_z": np.clip(z * 0.7, -20, 20),
                    "spread_half_life_h": 31.0,
                    "signal": np.where(breaking, "CORRELATION_BREAK", "NONE"),
                    "leader": "NONE",
                    "leader_reason": "no minute bars are stored",
                    "lead_lag_s": np.nan,
                    "lead_p": np.nan,
                    "n_obs": np.minimum(72, np.arange(len(ts)) + 1),
                    "quality": "OK",
                    "state": state,
                    "episode_id": ids,
                    "config_hash": HASH,
                }
            )
        )
    return pd.concat(out, ignore_index=True) if out else pd.DataFrame()


# --- alerts ----------------------------------------------------------------------------------------------


def _alert(
    event: str,
    symbol: str,
    row: dict[str, Any],
    severity: str,
    title: str,
    text: str,
    data: dict[str, Any],
    explain: dict[str, Any],
    simulated: bool,
) -> dict[str, Any]:
    return {
        "alert_id": f"{row['episode_id']}:OPEN:1",
        "episode_id": row["episode_id"],
        "phase": "OPEN",
        "level": 1,
        "event_type": event,
        "key": symbol,
        "symbol": symbol,
        "asset_pair": symbol if event == "CORRELATION_BREAK" else None,
        "ts": row["ts"],
        "onset_ts": row["ts"],
        "severity": severity,
        "title": title,
        "description": text,
        "source": event.split("_")[0],
        "data": data,
        "explain": explain,
        "schema_version": 1,
        "suppressed_reason": None,
        "recorded_at": row["ts"] + timedelta(minutes=2),
        "retracted_at": None,
        "is_simulated": simulated,
        "config_hash": HASH,
    }


def _openings(frame: pd.DataFrame) -> list[dict[str, Any]]:
    opened = frame.dropna(subset=["episode_id"]).drop_duplicates("episode_id")
    return opened.to_dict("records")  # type: ignore[return-value]


def _alerts(whole: Frames, ts: pd.DatetimeIndex, simulated: bool) -> Frames:
    rows: list[dict[str, Any]] = []
    for row in _openings(whole["liquidation_features"]):
        total, velocity, limit = row["total_1h"], row["velocity_1h"], row["critical_velocity_eff"]
        if np.isnan(total):
            continue
        data = {
            "total_liquidated_usd": round(total),
            "velocity_usd_per_hour": round(velocity),
            "side_bias": row["side_bias"],
            "severity": round(row["severity"], 3),
            "window_hours": 1.0,
            "critical_velocity_usd_per_hour": limit,
            "coverage": row["coverage"],
        }
        explain = {
            "inputs": {
                "long_usd_this_hour": row["long_liq_usd"],
                "short_usd_this_hour": row["short_liq_usd"],
                "coverage": row["coverage"],
                "n_venues": 3,
                "volatility_24h": 0.031,
            },
            "terms": {
                "windows": {
                    f"{hours}h": {
                        "total_usd": row[f"total_{hours}h"],
                        "velocity_usd_per_hour": row[f"velocity_{hours}h"],
                        "velocity_limit": limit,
                        "usd_floor": 500_000.0,
                        "mode": row["threshold_mode"],
                        "history_hours": 720,
                    }
                    for hours in (1, 4)
                },
                "scale": 1.0,
                "is_cascade": True,
            },
            "thresholds": {
                "cascade_threshold_usd": 500_000.0,
                "critical_velocity": 200_000.0,
                "adaptive_quantile": 0.995,
                "critical_severity": 2.0,
                "off_ratio": 0.5,
                "min_coverage": 0.5,
            },
        }
        critical = row["severity"] >= 1.5
        rows.append(
            _alert(
                "LIQUIDATION_CASCADE",
                row["symbol"],
                row,
                "CRITICAL" if critical else "WARNING",
                f"Liquidation Cascade Detected - {row['symbol']}",
                f"Large liquidation event with velocity {velocity:.0f} USD/h",
                data,
                explain,
                simulated,
            )
        )
    for row in _openings(whole["funding_features"]):
        data = {
            "funding_rate": row["funding_rate"],
            "funding_z_score": round(row["funding_z_score"], 2),
            "anomaly_score": round(row["anomaly_score"], 2),
            "reasons": row["reasons"],
        }
        explain = {
            "inputs": {
                "venue": row["venue"],
                "funding_rate": row["funding_rate"],
                "interval_h": row["interval_h"],
                "funding_rate_8h": row["funding_rate_8h"],
            },
            "terms": {
                "funding_mean": row["funding_mean"],
                "funding_volatility": row["funding_volatility"],
                "n_ref": int(row["n_ref"]),
                "funding_z_score": row["funding_z_score"],
                "change_24h_pp": row["change_24h_pp"],
                "funding_apr": row["funding_apr"],
            },
            "thresholds": {
                "anomaly_z_threshold": 2.0,
                "min_deviation": 1e-4,
                "reversal_threshold": 0.05,
                "critical_z": 3.0,
                "critical_apr": 0.30,
                "off_z": 1.0,
            },
        }
        rows.append(
            _alert(
                "FUNDING_ANOMALY",
                row["symbol"],
                row,
                "WARNING",
                f"Funding Rate Anomaly - {row['symbol']}",
                f"Funding at {row['funding_rate']:.5f} per 8 h",
                data,
                explain,
                simulated,
            )
        )
    for row in _openings(whole["volatility_features"]):
        data = {
            "previous_regime": "HIGH_VOL",
            "regime": row["regime"],
            "volatility": round(row["volatility"], 5),
            "risk_multiplier": row["risk_multiplier"],
        }
        explain = {
            "inputs": {
                "estimator": "yang_zhang",
                "window_bars": 24,
                "volatility": row["volatility"],
                "volatility_close": row["volatility_close"],
                "volatility_parkinson": row["volatility_parkinson"],
                "wick_ratio": row["wick_ratio"],
                "suspect_wick": False,
                "forecast_model": row["forecast_model"],
            },
            "edges": dict(zip((f"upper_edge_of_{name}" for name in REGIMES[:3]), EDGES, strict=True)),
            "hysteresis": {
                "regime_by_edges_alone": row["regime_raw"],
                "margin": 0.2,
                "release_levels": {
                    f"upper_edge_of_{name}": 0.8 * edge for name, edge in zip(REGIMES[:3], EDGES, strict=True)
                },
                "hours_needed": 3,
            },
            "cooldown_h": 6,
        }
        rows.append(
            _alert(
                "VOLATILITY_REGIME_CHANGE",
                row["symbol"],
                row,
                "CRITICAL" if row["regime"] == "EXTREME" else "WARNING",
                f"Volatility Regime {row['regime']} - {row['symbol']}",
                f"24 h volatility {100 * row['volatility']:.2f} %",
                data,
                explain,
                simulated,
            )
        )
    for row in _openings(whole["regimes"]):
        data = {"primary_regime": row["primary_regime"], "confidence": row["confidence"], "long_bias": row["long_bias"]}
        explain = {
            "inputs": {
                name: {
                    "price_z": row[f"price_z_{name}"],
                    "vol_z": row[f"vol_z_{name}"],
                    "raw": row[f"regime_raw_{name}"],
                    "weight": weight,
                }
                for name, weight in (("1h", 0.15), ("4h", 0.25), ("1d", 0.35), ("1w", 0.25))
            },
            "terms": {
                "family": int(row["family"]),
                "votes": round(4 * row["confidence"]),
                "n_timeframes": 4,
                "weight_share": row["confidence_weighted"],
            },
            "thresholds": {"confidence": 0.70, "weight_share": 0.70, "release": 0.55},
        }
        rows.append(
            _alert(
                "REGIME_CONFIRMED",
                row["symbol"],
                row,
                "INFO",
                f"Regime confirmed {row['primary_regime']} - {row['symbol']}",
                f"Confidence {100 * row['confidence']:.0f} %",
                data,
                explain,
                simulated,
            )
        )
    if len(whole["correlation_features"]):
        for row in _openings(whole["correlation_features"]):
            data = {
                "return_correlation": round(row["return_correlation"], 3),
                "divergence_strength": round(row["divergence_strength"], 3),
                "signal": row["signal"],
            }
            explain = {
                "inputs": {
                    "return_correlation": round(row["return_correlation"], 3),
                    "baseline_correlation": round(row["baseline_correlation"], 3),
                },
                "terms": {"break_z": round(row["break_z"], 2)},
                "thresholds": {"break_z": -2.5, "min_drop": 0.15},
            }
            rows.append(
                _alert(
                    "CORRELATION_BREAK",
                    row["asset_pair"],
                    row,
                    "WARNING",
                    f"Correlation Break - {row['asset_pair']}",
                    f"72 h correlation {row['return_correlation']:.2f}",
                    data,
                    explain,
                    simulated,
                )
            )
    alerts = pd.DataFrame(rows).drop_duplicates("alert_id")
    old = alerts["ts"] < ts[-1] - pd.Timedelta(days=3)
    alerts["suppressed_reason"] = np.where(old, "AGE", None)
    return {"alerts": alerts, "webhook_endpoints": _endpoints(ts[-1]), "alert_deliveries": _deliveries(alerts[~old])}


def _endpoints(now: pd.Timestamp) -> pd.DataFrame:
    rows = [
        ("a1b2c3d4e5f60718", "desk", "hooks.example.com", "json", "ACTIVE"),
        ("b7c8d9e0f1a20394", "discord", "discord.com", "discord", "ACTIVE"),
        ("c3d4e5f607182930", "WEBHOOKS_ALL", "10.0.0.12", "json", "PAUSED"),
    ]
    return pd.DataFrame(
        [
            {
                "endpoint": e,
                "name": name,
                "host": host,
                "format": form,
                "filters": {"min_severity": "INFO"},
                "state": state,
                "state_reason": "5 failures in a row" if state == "PAUSED" else None,
                "consecutive_failures": 5 if state == "PAUSED" else 0,
                "fingerprint": "00000000",
                "opened_at": None,
                "retry_at": now + pd.Timedelta(minutes=4) if state == "PAUSED" else None,
                "failing_since": None,
                "enabled_at": now - pd.Timedelta(days=90),
            }
            for e, name, host, form, state in rows
        ]
    )


def _deliveries(alerts: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for number, alert in enumerate(alerts.to_dict("records")):
        for place, endpoint in enumerate(("a1b2c3d4e5f60718", "b7c8d9e0f1a20394", "c3d4e5f607182930")):
            state = "DELIVERED" if place < 2 or number % 3 else ("RETRYING" if number % 2 else "DEAD")
            at = alert["recorded_at"] + timedelta(seconds=7 + place)
            rows.append(
                {
                    "alert_id": alert["alert_id"],
                    "endpoint": endpoint,
                    "series": 0,
                    "state": state,
                    "reason": None,
                    "attempts": 1 if state == "DELIVERED" else 4,
                    "tries": 1 if state == "DELIVERED" else 4,
                    "history": [
                        {"at": at.isoformat(), "status": 204 if state == "DELIVERED" else 503, "ms": 180 + 40 * place}
                    ],
                    "next_attempt_at": at + timedelta(hours=1) if state == "RETRYING" else None,
                    "lease_until": None,
                    "first_attempt_at": at,
                    "last_attempt_at": at,
                    "delivered_at": at if state == "DELIVERED" else None,
                    "last_status": 204 if state == "DELIVERED" else 503,
                    "last_error": None if state == "DELIVERED" else "HTTP 503",
                    "created_at": alert["recorded_at"],
                }
            )
    return pd.DataFrame(rows)


def _sources(symbols: Sequence[str], ts: pd.DatetimeIndex) -> Frames:
    now = ts[-1] + pd.Timedelta(minutes=2)
    rows = []
    for symbol in symbols:
        for kind in ("ohlcv", "funding", "liquidations"):
            rows.append(
                {
                    "kind": kind,
                    "venue": "simulated",
                    "symbol": symbol,
                    "state": "OK",
                    "last_ok_at": now,
                    "last_error_class": None,
                    "message": None,
                    "in_use": True,
                }
            )
        rows.append(
            {
                "kind": "liquidations",
                "venue": "bitfinex",
                "symbol": symbol,
                "state": "NOT_AVAILABLE",
                "last_ok_at": None,
                "last_error_class": "NotAvailable",
                "message": "the venue lists no perpetual of this symbol",
                "in_use": False,
            }
        )
    evidence = [
        {
            "test": test,
            "symbol": symbol,
            "metric": metric,
            "period_start": ts[0],
            "period_end": ts[-1],
            "value": value * (1 - 0.04 * place),
            "ci_low": value * (1 - 0.04 * place) * 0.88,
            "ci_high": value * (1 - 0.04 * place) * 1.13,
            "baseline": baseline,
            "target": target,
            "holds": holds,
            "n": n,
            "note": words,
            "config_hash": HASH,
        }
        for test, metric, value, baseline, target, holds, n, words in EVIDENCE
        for place, symbol in enumerate(symbols[:3])
    ]
    return {"source_status": pd.DataFrame(rows), "signal_evidence": pd.DataFrame(evidence)}


# --- into the database -----------------------------------------------------------------------------------


def fill(engine: sa.Engine, rows: Frames) -> None:
    """Copy every frame into its table."""
    order = ["alerts", *[name for name in rows if name != "alerts"]]
    with engine.begin() as connection:
        cursor = connection.connection.cursor()
        for name in order:
            frame = rows[name]
            if frame.empty:
                continue
            columns = [column.name for column in tables.table(name).columns]
            own = frame.reindex(columns=columns)  # columns that the market does not know stay null
            for column in tables.table(name).columns:
                if isinstance(column.type, sa.JSON):
                    own[column.name] = [
                        None if isinstance(value, float) else json.dumps(value, default=str).replace("NaN", "null")
                        for value in own[column.name]
                    ]
            text = io.StringIO()
            own.to_csv(text, index=False, header=False, na_rep="\\N", date_format="%Y-%m-%dT%H:%M:%S.%f%z")
            with cursor.copy(f"COPY {name} ({', '.join(columns)}) FROM STDIN WITH (FORMAT csv, NULL '\\N')") as copy:
                copy.write(text.getvalue())
