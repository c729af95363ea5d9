"""The data contracts: one pandera model per table, the only place where a column is described.

What belongs here: column names, types, units, ranges, nullability, keys and meaning. Assets, stored-rows
checks, the Dagster catalogue, SQL tables (``tables.py``), REST answers and dashboard queries all derive from
these models. What does not: SQL (``tables.py``) and any computation.

Conventions: hourly tables are keyed by ``ts``, the END of the hour, UTC; rates, returns and volatilities are
fractions unless the name says otherwise (``_pp`` percentage points, ``_bp`` basis points, ``_pct`` per cent);
money is USD. A missing value is null, never zero and never a sentinel. ``unit`` in a field's metadata is the
unit shown to people; ``sql = "jsonb"`` marks a structured column.
"""

from typing import Annotated, Any

import pandas as pd
import pandera.pandas as pa

UTC = Annotated[pd.DatetimeTZDtype, "us", "UTC"]
Int = pd.Int64Dtype
Bool = pd.BooleanDtype

REGIMES = ("STABLE", "HIGH_VOL", "EXPLOSIVE", "EXTREME")
STATES = ("IDLE", "ACTIVE", "COOLING", "UNKNOWN")
QUALITIES = ("OK", "INSUFFICIENT")
SEVERITIES = ("INFO", "WARNING", "CRITICAL")
PHASES = ("OPEN", "ESCALATE", "CLOSE")
EVENT_TYPES = (
    "LIQUIDATION_CASCADE",
    "FUNDING_ANOMALY",
    "FUNDING_REVERSAL",
    "VOLATILITY_REGIME_CHANGE",
    "CORRELATION_BREAK",
    "REGIME_CONFIRMED",
)
OPERATIONAL_EVENT_TYPES = ("PIPELINE_FAILED", "DATA_GAP")
KINDS = ("ohlcv", "funding", "liquidations", "minute_bars")


def _field(description: str, unit: str = "", *, null: bool = False, **checks: Any) -> Any:
    metadata = {"unit": unit} if unit else None
    return pa.Field(description=description, nullable=null, metadata=metadata, **checks)


def _json(description: str, *, null: bool = False) -> Any:
    return pa.Field(description=description, nullable=null, metadata={"sql": "jsonb"})


def _ts(description: str = "End of the hour, UTC", *, null: bool = False) -> Any:
    return pa.Field(description=description, nullable=null, metadata={"unit": "UTC"})


def _venue(description: str = "Venue the figures come from", *, null: bool = False) -> Any:
    return pa.Field(description=description, nullable=null, str_length={"min_value": 1, "max_value": 40})


def _symbol(description: str = "Canonical symbol, e.g. BTC/USDT") -> Any:
    return pa.Field(description=description, str_matches=r"^[A-Z0-9]+/[A-Z0-9]+$")


def _pair(description: str = "Two symbols joined by a slash, e.g. BTC/USDT/ETH/USDT") -> Any:
    return pa.Field(description=description, str_matches=r"^[A-Z0-9]+/[A-Z0-9]+/[A-Z0-9]+/[A-Z0-9]+$")


def _quality() -> Any:
    return pa.Field(description="OK, or INSUFFICIENT where too few inputs are valid", isin=QUALITIES)


def _state() -> Any:
    return pa.Field(description="State of the episode machine", isin=STATES)


def _episode() -> Any:
    return pa.Field(description="Episode that is open or cooling", nullable=True)


def _config_hash() -> Any:
    return pa.Field(description="Hash of the feature's configuration section")


class Table(pa.DataFrameModel):
    """Base of every table model; ``Config.unique`` is the primary key, ``Config.name`` the SQL name."""

    class Config:
        strict = True
        coerce = True
        ordered = False


# --- raw -------------------------------------------------------------------------------------------------


class Ohlcv(Table):
    """Hourly spot bars, every venue fetched; only final bars."""

    venue: str = _venue()
    symbol: str = _symbol()
    ts: UTC = _ts("End of the bar, UTC")
    open: float = _field("First price", "quote", gt=0)
    high: float = _field("Highest price", "quote", gt=0)
    low: float = _field("Lowest price", "quote", gt=0)
    close: float = _field("Last price", "quote", gt=0)
    volume: float = _field("Traded volume", "base", ge=0)
    quote_volume: float = _field("Traded volume; volume x (H+L+C)/3 where the venue gives none", "quote", ge=0)
    is_simulated: bool = _field("True for the simulated market")

    @pa.dataframe_check(name="low <= open, close <= high")
    @classmethod
    def _bar_is_consistent(cls, df: pd.DataFrame) -> "pd.Series[bool]":
        return (df["low"] <= df[["open", "close"]].min(axis=1)) & (df["high"] >= df[["open", "close"]].max(axis=1))

    class Config(Table.Config):
        name = "ohlcv"
        unique = ["venue", "symbol", "ts"]


class FundingRates(Table):
    """Funding settlements, every venue fetched."""

    venue: str = _venue()
    symbol: str = _symbol()
    ts: UTC = _ts("Settlement, rounded to the minute, UTC")
    rate: float = _field("Rate of one interval", "fraction", ge=-0.2, le=0.2)
    interval_hours: float = _field("Hours the rate pays for", "h", gt=0, le=24)
    settled_at_raw: UTC = _ts("Settlement stamp as the venue gave it")
    is_simulated: bool = _field("True for the simulated market")

    class Config(Table.Config):
        name = "funding_rates"
        unique = ["venue", "symbol", "ts"]


class FundingPredictions(Table):
    """Predicted next funding rate as seen at a moment; it has no history to fetch."""

    venue: str = _venue()
    symbol: str = _symbol()
    observed_at: UTC = _ts("Moment of the observation")
    rate: float = _field("Predicted rate of one interval", "fraction", ge=-0.2, le=0.2)
    interval_hours: float = _field("Hours the rate pays for", "h", gt=0, le=24)
    next_settlement: UTC = _ts("Settlement that the prediction is for", null=True)

    class Config(Table.Config):
        name = "funding_predictions"
        unique = ["venue", "symbol", "observed_at"]


class Liquidations(Table):
    """Liquidations summed by hour, every venue fetched."""

    venue: str = _venue()
    symbol: str = _symbol()
    ts: UTC = _ts()
    long_usd: float = _field("Liquidated long positions", "USD", ge=0)
    short_usd: float = _field("Liquidated short positions", "USD", ge=0)
    n_events: Int = _field("Single liquidations; null where the venue gives sums only", null=True, ge=0)
    coverage: float = _field("Share of the hour that was observed", "share", ge=0, le=1)
    is_lower_bound: bool = _field("True where the feed is sampled, so that sums are lower bounds")
    is_simulated: bool = _field("True for the simulated market")

    class Config(Table.Config):
        name = "liquidations"
        unique = ["venue", "symbol", "ts"]


class LiquidationEvents(Table):
    """Single liquidations, where the venue gives them."""

    venue: str = _venue()
    symbol: str = _symbol()
    event_id: str = _field("Unique id of the liquidation at its venue")
    ts: UTC = _ts("Moment of the liquidation")
    liquidated_side: str = _field("Position that was liquidated", isin=("LONG", "SHORT"))
    price: float = _field("Price of the liquidation", "quote", gt=0)
    amount: float = _field("Liquidated quantity", "base", ge=0)
    usd: float = _field("Liquidated value at its price", "USD", ge=0)
    is_simulated: bool = _field("True for the simulated market")

    class Config(Table.Config):
        name = "liquidation_events"
        unique = ["venue", "symbol", "event_id"]


class PerpVolume(Table):
    """Daily perpetual volume of the liquidation venues; scales the USD floors of the cascade rule."""

    venue: str = _venue()
    symbol: str = _symbol()
    ts: UTC = _ts("End of the UTC day")
    volume_usd: float = _field("Traded perpetual volume of the day", "USD", ge=0)

    class Config(Table.Config):
        name = "perp_volume_usd"
        unique = ["venue", "symbol", "ts"]


class MinuteBars(Table):
    """One-minute closes for the leader test; the trailing 14 days are kept."""

    venue: str = _venue()
    symbol: str = _symbol()
    ts: UTC = _ts("End of the minute, UTC")
    close: float = _field("Last price", "quote", gt=0)
    volume: float = _field("Traded volume", "base", ge=0)
    is_simulated: bool = _field("True for the simulated market")

    class Config(Table.Config):
        name = "minute_bars"
        unique = ["venue", "symbol", "ts"]


class SourceCoverage(Table):
    """Which windows of raw data are known to be complete."""

    kind: str = _field("Kind of data")
    venue: str = _venue()
    symbol: str = _symbol()
    start_ts: UTC = _ts("Start of the window (exclusive)")
    end_ts: UTC = _ts("End of the window (inclusive)")
    state: str = _field("What is known of the window", isin=("COMPLETE", "PARTIAL", "UNAVAILABLE"))
    checked_at: UTC = _ts("Moment of the last look")

    class Config(Table.Config):
        name = "source_coverage"
        unique = ["kind", "venue", "symbol", "start_ts"]


class SourceStatus(Table):
    """Latest state of each venue per kind and symbol."""

    kind: str = _field("Kind of data")
    venue: str = _venue()
    symbol: str = _symbol()
    state: str = _field(
        "OK, or why the venue does not serve",
        isin=(
            "OK",
            "NOT_AVAILABLE",
            "GEO_BLOCKED",
            "RATE_LIMITED",
            "OUTAGE",
            "UNKNOWN_SYMBOL",
            "CLOSED",
            "BAD_RESPONSE",
        ),
    )
    last_ok_at: UTC = _ts("Last success", null=True)
    last_error_class: str = _field("Class of the last error", null=True)
    message: str = _field("What happened and what to do", null=True)
    in_use: bool = _field("True where rows of the venue are in use now")

    class Config(Table.Config):
        name = "source_status"
        unique = ["kind", "venue", "symbol"]


# --- joined ----------------------------------------------------------------------------------------------


class MarketMetrics(Table):
    """One row per symbol and hour: the joined input of every feature."""

    symbol: str = _symbol()
    ts: UTC = _ts()
    open: float = _field("First price of the hour", "quote", null=True, gt=0)
    high: float = _field("Highest price of the hour", "quote", null=True, gt=0)
    low: float = _field("Lowest price of the hour", "quote", null=True, gt=0)
    close: float = _field("Last price of the hour", "quote", null=True, gt=0)
    volume: float = _field("Traded spot volume", "base", null=True, ge=0)
    quote_volume: float = _field("Traded spot volume", "quote", null=True, ge=0)
    ohlcv_venue: str = _venue("Venue of the bar: the first listed that has one", null=True)
    funding_rate: float = _field("Rate of the settlement in force", "fraction", null=True, ge=-0.2, le=0.2)
    funding_interval_hours: float = _field("Hours that rate pays for", "h", null=True, gt=0, le=24)
    funding_venue: str = _venue("Venue of the rate", null=True)
    funding_settled_ts: UTC = _ts("Settlement in force", null=True)
    long_liq_usd: float = _field(
        "Liquidated longs over the listed venues; null if coverage is unknown", "USD", null=True, ge=0
    )
    short_liq_usd: float = _field(
        "Liquidated shorts over the listed venues; null if coverage is unknown", "USD", null=True, ge=0
    )
    liq_coverage: float = _field("Covered share of the trailing 30-day venue set", "share", null=True, ge=0, le=1)
    is_simulated: bool = _field("True where any input is simulated")

    class Config(Table.Config):
        name = "market_metrics"
        unique = ["symbol", "ts"]


# --- features --------------------------------------------------------------------------------------------


class VolatilityFeatures(Table):
    """Volatility estimators, regime, relative regime and 24 h forecast."""

    symbol: str = _symbol()
    ts: UTC = _ts()
    volatility: float = _field(
        "Published estimator (default Yang-Zhang), 24 h", "fraction per 24 h", null=True, ge=0, le=5
    )
    volatility_close: float = _field("Close-to-close estimator", "fraction per 24 h", null=True, ge=0)
    volatility_parkinson: float = _field("Parkinson estimator", "fraction per 24 h", null=True, ge=0)
    volatility_gk: float = _field("Garman-Klass estimator", "fraction per 24 h", null=True, ge=0)
    volatility_rs: float = _field("Rogers-Satchell estimator", "fraction per 24 h", null=True, ge=0)
    vol_annualised: float = _field("volatility x sqrt(365)", "fraction per year", null=True, ge=0)
    regime_raw: str = _field("Regime by the edges alone", isin=(*REGIMES, "UNKNOWN"))
    regime: str = _field("Regime with hysteresis", isin=(*REGIMES, "UNKNOWN"))
    risk_multiplier: float = _field(
        "Caution (stop-width) factor of the regime; not a position multiplier", "x", null=True, gt=0
    )
    position_scale: float = _field("Inverse-volatility position scale", "x", null=True, ge=0.1, le=1.5)
    vol_pctl_90d: float = _field("Weekday-adjusted rank within 90 days", "share", null=True, ge=0, le=1)
    relative_regime: str = _field(
        "Quintile of that rank", null=True, isin=("VERY_LOW", "LOW", "NORMAL", "HIGH", "VERY_HIGH")
    )
    vol_forecast_24h: float = _field("Forecast of the next 24 h", "fraction per 24 h", null=True, gt=0)
    forecast_model: str = _field("Model of the forecast", null=True, isin=("HAR", "EWMA"))
    mean_reversion_prob: float = _field(
        "Trailing share of lower volatility 24 h later in this regime", "share", null=True, ge=0, le=1
    )
    half_life_days: float = _field("Half-life of daily log volatility", "d", null=True, gt=0)
    acf7: float = _field("Autocorrelation of daily log volatility at 7 days", null=True, ge=-1, le=1)
    wick_ratio: float = _field("Yang-Zhang over close-to-close", "x", null=True, ge=0)
    suspect_wick: bool = _field("A venue's volatility is far above the median of the venues")
    flash_wick: bool = _field("wick_ratio above its limit")
    bars_in_regime: Int = _field("Hours since the regime was entered", "h", null=True, ge=0)
    quality: str = _quality()
    state: str = _state()
    episode_id: str = _episode()
    config_hash: str = _config_hash()

    class Config(Table.Config):
        name = "volatility_features"
        unique = ["symbol", "ts"]


class VolatilityModels(Table):
    """Fitted forecast models, one per symbol and fit; used for ``fit_ts < ts <= fit_ts + 24 h``."""

    symbol: str = _symbol()
    fit_ts: UTC = _ts("Moment of the fit, 00:00 UTC")
    model: str = _field("Kind of model", isin=("HAR", "EWMA"))
    coefficients: object = _json("Coefficient per term; weekday factors, half-life, acf7 and reversion shares")
    smear: float = _field("Duan's smearing factor", null=True, gt=0)
    n_rows: Int = _field("Rows of the fit", ge=0)
    config_hash: str = _config_hash()

    class Config(Table.Config):
        name = "volatility_models"
        unique = ["symbol", "fit_ts"]


class LiquidationFeatures(Table):
    """Liquidation sums, adaptive limits and cascades."""

    symbol: str = _symbol()
    ts: UTC = _ts()
    long_liq_usd: float = _field("Liquidated longs of the hour; null below the coverage limit", "USD", null=True, ge=0)
    short_liq_usd: float = _field(
        "Liquidated shorts of the hour; null below the coverage limit", "USD", null=True, ge=0
    )
    total_liq_usd: float = _field("Both sides", "USD", null=True, ge=0)
    coverage: float = _field("Covered share of the venue set", "share", null=True, ge=0, le=1)
    n_venues: Int = _field("Venues with rows in the hour", ge=0)
    n_events: Int = _field("Single liquidations; null where a venue gives sums only", null=True, ge=0)
    is_lower_bound: bool = _field("True if a sampled venue is in")
    total_1h: float = _field("Sum of the last hour", "USD", null=True, ge=0)
    total_4h: float = _field("Sum of the longest window (4 h by default)", "USD", null=True, ge=0)
    velocity_1h: float = _field("Velocity of the last hour", "USD/h", null=True, ge=0)
    velocity_4h: float = _field("Velocity of the longest window", "USD/h", null=True, ge=0)
    critical_velocity_eff: float = _field(
        "Velocity limit in force at the window of `severity`", "USD/h", null=True, gt=0
    )
    threshold_eff: float = _field("USD floor in force", "USD", null=True, ge=0)
    threshold_mode: str = _field("Fixed floor, or the symbol's own quantile", isin=("FLOOR", "ADAPTIVE"))
    window_hours: float = _field("Window of the cascade; null if there is none", "h", null=True, gt=0)
    severity: float = _field("Velocity over its limit", "x", null=True, ge=0)
    is_cascade: bool = _field("The cascade rule holds")
    long_share: float = _field("Share of longs; null if nothing was liquidated", "share", null=True, ge=0, le=1)
    side_bias: str = _field("Side that was liquidated", isin=("LONG", "SHORT", "BALANCED", "NONE"))
    intensity_z: float = _field("Robust z-score of the log sum", "sigma", null=True, ge=-10, le=50)
    price_confirmed: bool = _field("The price moved with the liquidations")
    market_wide: bool = _field("Three or more symbols were active within the hour")
    warming_up: bool = _field("The history is shorter than its minimum, or the venue set changed")
    quality: str = _quality()
    state: str = _state()
    episode_id: str = _episode()
    config_hash: str = _config_hash()

    class Config(Table.Config):
        name = "liquidation_features"
        unique = ["symbol", "ts"]


class LiquidationZones(Table):
    """Price zones where leverage was flushed in the last week; descriptive, not a forecast."""

    symbol: str = _symbol()
    ts: UTC = _ts()
    side: str = _field("Side of the price", isin=("BELOW", "ABOVE"))
    zone_rank: Int = _field("Rank by liquidated value within the side, from 1", ge=1)
    kind: str = _field("Kind of zone", eq="REALISED")
    price_low: float = _field("Lower edge", "quote", gt=0)
    price_center: float = _field("Densest price", "quote", gt=0)
    price_high: float = _field("Upper edge", "quote", gt=0)
    liq_usd: float = _field("Weighted liquidations in the zone", "USD", ge=0)
    usd_share: float = _field("Share of all weighted liquidations", "share", ge=0, le=1)
    long_share: float = _field("Share of longs", "share", null=True, ge=0, le=1)
    dist_pct: float = _field("Distance from the price", "%")
    dist_sigma: float = _field("Distance from the price", "24 h sigma", null=True)
    last_touch_ts: UTC = _ts("Last hour whose range reached the zone", null=True)
    method: str = _field("How the zone was found", isin=("KDE", "DBSCAN", "HOURLY"))
    config_hash: str = _config_hash()

    class Config(Table.Config):
        name = "liquidation_zones"
        unique = ["symbol", "ts", "side", "zone_rank"]


class FundingFeatures(Table):
    """Funding in 8-hour equivalents, its anomaly score and persistence, as of each hour."""

    symbol: str = _symbol()
    ts: UTC = _ts()
    venue: str = _venue("Venue in force", null=True)
    settle_ts: UTC = _ts("Settlement in force", null=True)
    funding_rate: float = _field("Raw rate of one interval", "fraction", null=True, ge=-0.2, le=0.2)
    interval_h: float = _field("Interval of the raw rate", "h", null=True, gt=0, le=24)
    funding_rate_8h: float = _field("8-hour-equivalent rate", "fraction per 8 h", null=True)
    funding_apr: float = _field("Simple annual rate", "fraction per year", null=True, ge=-50, le=50)
    funding_z_score: float = _field("Score against the previous 8-hour values", "sigma", null=True, ge=-20, le=20)
    funding_mean: float = _field("Mean of the previous values", "fraction per 8 h", null=True)
    funding_volatility: float = _field("Standard deviation of the previous values", "fraction per 8 h", null=True, ge=0)
    change_24h_pp: float = _field("Change over 24 h", "pp per 8 h", null=True, ge=-60, le=60)
    anomaly_score: float = _field("|z| + 0.5 per extra reason", null=True, ge=0)
    is_anomaly: bool = _field("The anomaly rule holds")
    vol_high: bool = _field("The standard deviation is high")
    rapid: bool = _field("The change over 24 h is rapid")
    reasons: object = _json("Reasons in words")
    predicted_rate: float = _field("Predicted next rate, live only", "fraction", null=True)
    predicted_z: float = _field("Score of the prediction, live only", "sigma", null=True, ge=-20, le=20)
    phi: float = _field("AR(1) slope, Kendall-corrected", null=True, ge=0, le=1)
    half_life_h: float = _field("Half-life of a deviation", "h", null=True, gt=0)
    expected_next: float = _field("Expected next 8-hour value", "fraction per 8 h", null=True)
    pctl_90d: float = _field("Rank within the last 270 values", "share", null=True, ge=0, le=1)
    spread_8h_bp: float = _field("Highest minus lowest venue", "bp per 8 h", null=True, ge=0)
    n_ref: Int = _field("Values the score refers to", ge=0)
    quality: str = _quality()
    state: str = _state()
    episode_id: str = _episode()
    config_hash: str = _config_hash()

    class Config(Table.Config):
        name = "funding_features"
        unique = ["symbol", "ts"]


class FundingVenueFeatures(Table):
    """8-hour-equivalent funding per venue and 8-hour block."""

    venue: str = _venue()
    symbol: str = _symbol()
    ts: UTC = _ts("End of the 8-hour block")
    funding_rate_8h: float = _field("8-hour-equivalent rate", "fraction per 8 h")
    funding_z_score: float = _field("Score against the previous values of the venue", "sigma", null=True, ge=-20, le=20)
    config_hash: str = _config_hash()

    class Config(Table.Config):
        name = "funding_venue_features"
        unique = ["venue", "symbol", "ts"]


class Regimes(Table):
    """Regime per timeframe and their agreement."""

    symbol: str = _symbol()
    ts: UTC = _ts()
    price_z_1h: float = _field("Trend score, 1 h bars", "sigma", null=True, ge=-10, le=10)
    price_z_4h: float = _field("Trend score, 4 h bars", "sigma", null=True, ge=-10, le=10)
    price_z_1d: float = _field("Trend score, 1 d bars", "sigma", null=True, ge=-10, le=10)
    price_z_1w: float = _field("Trend score, 1 w bars", "sigma", null=True, ge=-10, le=10)
    vol_z_1h: float = _field("Volatility score, 1 h bars", "sigma", null=True, ge=-10, le=20)
    vol_z_4h: float = _field("Volatility score, 4 h bars", "sigma", null=True, ge=-10, le=20)
    vol_z_1d: float = _field("Volatility score, 1 d bars", "sigma", null=True, ge=-10, le=20)
    vol_z_1w: float = _field("Volatility score, 1 w bars", "sigma", null=True, ge=-10, le=20)
    regime_1h: str = _field("Published label, 1 h bars")
    regime_4h: str = _field("Published label, 4 h bars")
    regime_1d: str = _field("Published label, 1 d bars")
    regime_1w: str = _field("Published label, 1 w bars")
    regime_raw_1h: str = _field("Label without dead-band, 1 h bars")
    regime_raw_4h: str = _field("Label without dead-band, 4 h bars")
    regime_raw_1d: str = _field("Label without dead-band, 1 d bars")
    regime_raw_1w: str = _field("Label without dead-band, 1 w bars")
    bar_close_1h: UTC = _ts("Close of the bar in use, 1 h", null=True)
    bar_close_4h: UTC = _ts("Close of the bar in use, 4 h", null=True)
    bar_close_1d: UTC = _ts("Close of the bar in use, 1 d", null=True)
    bar_close_1w: UTC = _ts("Close of the bar in use, 1 w", null=True)
    heat: float = _field("Mean rank of the heat inputs; 0.5 where fewer than two exist", "share", ge=0, le=1)
    primary_regime: str = _field("Label of the heaviest timeframe of the leading family")
    family: Int = _field("Leading family: -1 bear, 0 neutral, 1 bull", ge=-1, le=1)
    confidence: float = _field("Votes of the leading family over available timeframes", "share", null=True, ge=0, le=1)
    confidence_weighted: float = _field("Soft weighted agreement", "share", null=True, ge=0, le=1)
    n_timeframes: Int = _field("Available timeframes", ge=0, le=4)
    long_bias: float = _field("Weighted directional lean", null=True, ge=-1, le=1)
    risk_multiplier: float = _field("Largest caution factor of the heavy timeframes", "x", null=True, ge=0.7, le=2.5)
    emoji: str = _field("Shown beside the label")
    hours_in_regime: Int = _field("Hours since the primary regime was entered", "h", null=True, ge=0)
    quality: str = _quality()
    state: str = _state()
    episode_id: str = _episode()
    config_hash: str = _config_hash()

    class Config(Table.Config):
        name = "regimes"
        unique = ["symbol", "ts"]


class CorrelationFeatures(Table):
    """Pair correlations against their own baseline, spread and leader."""

    asset_pair: str = _pair()
    ts: UTC = _ts()
    return_correlation: float = _field("Pearson correlation of hourly log returns, 72 h", null=True, ge=-1, le=1)
    corr_24h: float = _field("The same over 24 h", null=True, ge=-1, le=1)
    corr_168h: float = _field("The same over 168 h", null=True, ge=-1, le=1)
    corr_720h: float = _field("The same over 720 h", null=True, ge=-1, le=1)
    spearman_72h: float = _field("Rank correlation over 72 h", null=True, ge=-1, le=1)
    baseline_correlation: float = _field("Usual correlation of the last 90 days", null=True, ge=-1, le=1)
    band_low: float = _field("Lower edge of the usual band (5 %)", null=True, ge=-1, le=1)
    band_high: float = _field("Upper edge of the usual band (95 %)", null=True, ge=-1, le=1)
    break_z: float = _field("Empirical Fisher-z score", "sigma", null=True, ge=-20, le=20)
    break_strength: float = _field("0 usual, 1 perfect opposition", null=True, ge=0, le=1)
    divergence_strength: float = _field("Strength of the divergence", null=True, ge=0, le=1)
    trigger: str = _field("Rule that holds", isin=("NONE", "RELATIVE", "ABSOLUTE"))
    beta: float = _field("Hedge ratio, 720 h lagged 72 h", null=True, ge=-50, le=50)
    spread_z: float = _field("Score of the hedged 72 h spread", "sigma", null=True, ge=-20, le=20)
    spread_half_life_h: float = _field("Half-life of the cumulated residual", "h", null=True, gt=0)
    signal: str = _field("What the pair says", isin=("NONE", "CORRELATION_BREAK", "POTENTIAL_PAIR_TRADE"))
    leader: str = _field("Symbol that leads, or NONE")
    leader_reason: str = _field("Why there is no leader", null=True)
    lead_lag_s: float = _field("Lead", "s", null=True, ge=0)
    lead_p: float = _field("p-value of the leader test", null=True, ge=0, le=1)
    n_obs: Int = _field("Valid hours of the 72 h window", ge=0)
    quality: str = _quality()
    state: str = _state()
    episode_id: str = _episode()
    config_hash: str = _config_hash()

    class Config(Table.Config):
        name = "correlation_features"
        unique = ["asset_pair", "ts"]


class EpisodeEvents(Table):
    """Phase changes of every episode as the features compute them; the ``alerts`` asset turns them into alerts."""

    feature: str = _field("Table of the feature that computed the event")
    episode_id: str = _field("Hash of event type, key and onset")
    phase: str = _field("Phase that begins", isin=PHASES)
    level: Int = _field("Tier reached, from 1", ge=1)
    event_type: str = _field("Event of the guide", isin=EVENT_TYPES)
    key: str = _field("Key of the episode machine within the event type")
    symbol: str = _field("Symbol, or pair for correlation events")
    asset_pair: str = _field("Pair, for correlation events", null=True)
    ts: UTC = _ts("Hour that triggered the phase")
    onset_ts: UTC = _ts("Hour that opened the episode")
    severity: str = _field("Severity of the message", isin=SEVERITIES)
    title: str = _field("Headline")
    description: str = _field("One sentence")
    source: str = _field("The guide's source tag")
    data: object = _json("Payload of the message")
    explain: object = _json("Inputs, terms and thresholds in force; never sent")
    suppressed_reason: str = _field("Why the machine keeps it silent", null=True, isin=("COOLDOWN", "WARMING_UP"))
    config_hash: str = _config_hash()

    class Config(Table.Config):
        name = "episode_events"
        unique = ["feature", "episode_id", "phase", "level"]


class EngineState(Table):
    """State of every machine at the end of each partition and at the newest hour."""

    feature: str = _field("Table of the feature")
    key: str = _field("Key of the machine within the feature")
    ts: UTC = _ts("Hour after which the state holds")
    config_hash: str = _config_hash()
    state: object = _json("Whole state of the machine")

    class Config(Table.Config):
        name = "engine_state"
        unique = ["feature", "key", "ts", "config_hash"]


class StalePartitions(Table):
    """Months whose rows were computed from inputs or parameters that have changed since."""

    table_name: str = _field("Table of the feature")
    partition_key: str = _field("Month, e.g. 2024-02-01")
    reason: str = _field("What changed")
    marked_at: UTC = _ts("Moment of the mark")

    class Config(Table.Config):
        name = "stale_partitions"
        unique = ["table_name", "partition_key"]


class PlatformClock(Table):
    """The moment that a demo or replay declares to be now; empty on a live installation."""

    name: str = _field("Always `platform`")
    now_ts: UTC = _ts("Declared moment", null=True)
    set_by: str = _field("Command that set it")

    class Config(Table.Config):
        name = "platform_clock"
        unique = ["name"]


class SignalEvidence(Table):
    """Measured validity of a signal over a period."""

    test: str = _field("Validity test, e.g. 06_qlike")
    symbol: str = _field("Symbol, pair, or ALL")
    metric: str = _field("Figure")
    period_start: UTC = _ts("Start of the period")
    period_end: UTC = _ts("End of the period")
    value: float = _field("Measured value", null=True)
    ci_low: float = _field("Lower end of the block-bootstrap interval (95 %)", null=True)
    ci_high: float = _field("Upper end of the block-bootstrap interval (95 %)", null=True)
    baseline: float = _field("Value of the baseline", null=True)
    target: str = _field("What the specification asks for", null=True)
    holds: Bool = _field("Whether it holds; null where only reported", null=True)
    n: Int = _field("Observations", null=True, ge=0)
    note: str = _field("Wording for people", null=True)
    config_hash: str = _config_hash()

    class Config(Table.Config):
        name = "signal_evidence"
        unique = ["test", "symbol", "metric", "period_start", "period_end"]


# --- alerts ----------------------------------------------------------------------------------------------


class Alerts(Table):
    """The outbox: every alert once, whether it is posted or not. Rows are never deleted."""

    alert_id: str = _field("episode_id:phase:level")
    episode_id: str = _field("Episode the alert belongs to")
    phase: str = _field("Phase that begins", isin=PHASES)
    level: Int = _field("Tier reached, from 1", ge=1)
    event_type: str = _field("Kind of event", isin=(*EVENT_TYPES, *OPERATIONAL_EVENT_TYPES, "TEST"))
    key: str = _field("Key of the episode machine within the event type")
    symbol: str = _field("Symbol, or pair for correlation events")
    asset_pair: str = _field("Pair, for correlation events", null=True)
    ts: UTC = _ts("Hour that triggered the alert")
    onset_ts: UTC = _ts("Hour that opened the episode")
    severity: str = _field("Severity", isin=SEVERITIES)
    title: str = _field("Headline")
    description: str = _field("One sentence")
    source: str = _field("The guide's source tag")
    data: object = _json("Payload of the message")
    explain: object = _json("Why it fired: inputs, terms, thresholds; never sent", null=True)
    schema_version: Int = _field("Version of the payload", ge=1)
    suppressed_reason: str = _field(
        "Why it is not posted", null=True, isin=("AGE", "COOLDOWN", "STALE_INPUT", "WEBHOOKS_OFF", "WARMING_UP")
    )
    recorded_at: UTC = _ts("Moment the row was written")
    retracted_at: UTC = _ts("Moment a recomputation found that the condition did not hold", null=True)
    ended_ts: UTC = _ts("Hour in which the episode ended, as last computed; null while it lasts", null=True)
    is_simulated: bool = _field("True for the simulated market")
    config_hash: str = _config_hash()

    class Config(Table.Config):
        name = "alerts"
        unique = ["alert_id"]


class AlertDeliveries(Table):
    """The ledger: one row per alert, endpoint and series (0, or the number of the replay)."""

    alert_id: str = _field("Alert")
    endpoint: str = _field("Hash of the endpoint's normalised URL")
    series: Int = _field("0, or the number of the replay", ge=0)
    state: str = _field(
        "State of the delivery",
        isin=("PENDING", "RETRYING", "DELIVERED", "DEAD", "EXPIRED", "CANCELLED", "SUPPRESSED"),
    )
    reason: str = _field("Why it is in that state", null=True)
    attempts: Int = _field("Attempts so far", ge=0)
    tries: Int = _field("Attempts that count against the retry schedule (an answer 429 does not)", ge=0)
    next_attempt_at: UTC = _ts("Earliest next attempt", null=True)
    lease_until: UTC = _ts("Until when a worker holds the row", null=True)
    first_attempt_at: UTC = _ts("First attempt", null=True)
    last_attempt_at: UTC = _ts("Last attempt", null=True)
    delivered_at: UTC = _ts("Moment of the 2xx answer", null=True)
    last_status: Int = _field("HTTP status of the last answer", null=True)
    last_error: str = _field("Class of the last error, redacted", null=True)
    history: object = _json("The last attempts: moment, status, class of the error, milliseconds", null=True)
    created_at: UTC = _ts("Moment the delivery was planned")

    class Config(Table.Config):
        name = "alert_deliveries"
        unique = ["alert_id", "endpoint", "series"]


class WebhookEndpoints(Table):
    """Endpoints as configured, with the state of their breaker; never their URL."""

    endpoint: str = _field("Hash of the normalised URL")
    name: str = _field("Name in the configuration, or the variable it comes from")
    host: str = _field("Host shown to people")
    format: str = _field("Format of the body", isin=("json", "discord", "slack", "telegram"))
    filters: object = _json("Event types, symbols and minimum severity")
    state: str = _field("State", isin=("ACTIVE", "PAUSED", "DISABLED", "REMOVED"))
    state_reason: str = _field("Why it is paused or disabled", null=True)
    consecutive_failures: Int = _field("Failures in a row", ge=0)
    opened_at: UTC = _ts("Moment the breaker opened", null=True)
    retry_at: UTC = _ts("Earliest next probe", null=True)
    failing_since: UTC = _ts("First failure of the current row of failures", null=True)
    enabled_at: UTC = _ts("Moment it was first seen in the configuration")
    last_ok_at: UTC = _ts("Moment of the last 2xx answer", null=True)
    fingerprint: str = _field("Hash of the whole entry; a change of it enables a disabled endpoint again")

    class Config(Table.Config):
        name = "webhook_endpoints"
        unique = ["endpoint"]


class AlertSilences(Table):
    """Silences: matching alerts are recorded, not posted."""

    id: str = _field("Id of the silence")
    event_type: str = _field("Event type, or null for all", null=True)
    symbol: str = _field("Symbol, or null for all", null=True)
    starts_at: UTC = _ts("Start")
    ends_at: UTC = _ts("End")
    comment: str = _field("Why", null=True)
    created_at: UTC = _ts("Moment of creation")
    created_by: str = _field("Who", null=True)

    class Config(Table.Config):
        name = "alert_silences"
        unique = ["id"]


class AlertRequests(Table):
    """What the dashboard asks the delivery sensor to do."""

    id: str = _field("Id of the request")
    kind: str = _field("What is asked", isin=("REPLAY", "SILENCE", "TEST"))
    args: object = _json("Arguments")
    requested_at: UTC = _ts("Moment of the request")
    by: str = _field("Who asked", null=True)
    state: str = _field("State", isin=("PENDING", "DONE", "FAILED"))
    result: str = _field("What came of it", null=True)

    class Config(Table.Config):
        name = "alert_requests"
        unique = ["id"]


RAW_TABLES: tuple[type[Table], ...] = (
    Ohlcv, FundingRates, FundingPredictions, Liquidations, LiquidationEvents, PerpVolume, MinuteBars,
)  # fmt: skip
DERIVED_TABLES: tuple[type[Table], ...] = (
    MarketMetrics, VolatilityFeatures, LiquidationFeatures, LiquidationZones, FundingFeatures,
    FundingVenueFeatures, Regimes, CorrelationFeatures,
)  # fmt: skip
LEDGER_TABLES: tuple[type[Table], ...] = (
    SourceCoverage, SourceStatus, VolatilityModels, EpisodeEvents, EngineState, StalePartitions, PlatformClock,
    SignalEvidence, Alerts, AlertDeliveries, WebhookEndpoints, AlertSilences, AlertRequests,
)  # fmt: skip

#: Every table by its SQL name.
TABLES: dict[str, type[Table]] = {
    str(model.to_schema().name): model for model in (*RAW_TABLES, *DERIVED_TABLES, *LEDGER_TABLES)
}


def primary_key(model: type[Table]) -> tuple[str, ...]:
    """Column names of the table's primary key."""
    unique = model.to_schema().unique
    return tuple(unique) if isinstance(unique, list) else ()
