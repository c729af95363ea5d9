"""The tunable numbers of the five features, one model per section of ``regimes.toml``.

What belongs here: names, defaults, units and allowed ranges, taken from the product guide and the feature
specification. What does not: where the values come from (``settings.py``) and what is done with them
(``features/``).
"""

import hashlib
import json
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Hours = Annotated[int, Field(gt=0)]

Regime = Literal["STABLE", "HIGH_VOL", "EXPLOSIVE", "EXTREME"]


class Parameters(BaseModel):
    """A section of feature parameters. Unknown keys are refused; instances are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def config_hash(self) -> str:
        """First 16 hex digits of the SHA-256 of the canonical JSON of this section."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _risk_multipliers() -> dict[Regime, float]:
    return {"STABLE": 0.7, "HIGH_VOL": 1.2, "EXPLOSIVE": 1.8, "EXTREME": 2.5}


class VolatilityParameters(Parameters):
    """``[volatility]``: estimator, regime edges (fraction per 24 h), hysteresis and forecast."""

    stable_threshold: Positive = Field(0.01, description="Upper edge of STABLE, fraction per 24 h")
    high_vol_threshold: Positive = Field(0.05, description="Upper edge of HIGH_VOL, fraction per 24 h")
    explosive_threshold: Positive = Field(0.10, description="Upper edge of EXPLOSIVE, fraction per 24 h")
    estimator: Literal["yang_zhang", "close", "parkinson", "garman_klass", "rogers_satchell"] = Field(
        "yang_zhang", description="Which estimator is published as `volatility`"
    )
    window_bars: Hours = Field(24, description="Hourly bars of the estimation window")
    min_bars: Hours = Field(22, description="Valid bars the window needs")
    hysteresis: Share = Field(
        0.20, description="Relative margin below the lower edge before a regime is left downwards"
    )
    down_bars: Hours = Field(3, description="Consecutive bars below that margin before a regime is left downwards")
    cooldown_h: Hours = Field(
        6, description="Hours in which a second change to the same regime is recorded, not posted"
    )
    threshold_scale: dict[str, Positive] = Field(default_factory=dict, description="Multiplier of the edges per symbol")
    target_daily_vol: Positive = Field(0.02, description="Daily volatility that position_scale aims at")
    har_min_days: Hours = Field(120, description="Days of known rows before the log-HAR forecast is fitted")
    har_max_days: Hours = Field(365, description="Days of known rows that a fit uses at most")
    har_refit: Literal["daily"] = Field("daily", description="How often the forecast model is fitted, at 00:00 UTC")
    seasonal: bool = Field(True, description="Weekday terms in the forecast")
    flash_wick_ratio: Positive = Field(
        2.0, description="volatility / close-to-close above which an hour is tagged as a flash wick"
    )
    suspect_wick_ratio: Positive = Field(
        2.5,
        description="Volatility of one venue over the median of three or more above which it is taken for a bad tick",
    )
    risk_multipliers: dict[Regime, Positive] = Field(
        default_factory=_risk_multipliers,
        description="Caution (stop-width) factor per regime; never a position multiplier",
    )

    @model_validator(mode="after")
    def _edges_rise(self) -> "VolatilityParameters":
        if not self.stable_threshold < self.high_vol_threshold < self.explosive_threshold:
            raise ValueError("stable_threshold < high_vol_threshold < explosive_threshold must hold")
        if self.min_bars > self.window_bars:
            raise ValueError("min_bars must not exceed window_bars")
        missing = {"STABLE", "HIGH_VOL", "EXPLOSIVE", "EXTREME"} - set(self.risk_multipliers)
        if missing:
            raise ValueError(f"risk_multipliers lacks {', '.join(sorted(missing))}")
        return self


class LiquidationParameters(Parameters):
    """``[liquidation]``: cascade rule, side bias, episodes and zones."""

    cascade_threshold_usd: Positive = Field(500_000, description="USD floor of the liquidations inside a window")
    critical_velocity: Positive = Field(200_000, description="USD per hour floor of the velocity")
    velocity_window: Hours = Field(4, description="Longest window, hours (the guide's name)")
    windows_h: tuple[Hours, ...] = Field((1, 4), description="Windows over which liquidations are summed, hours")
    adaptive: bool = Field(True, description="Raise the velocity limit to the symbol's own trailing quantile")
    adaptive_quantile: Share = Field(0.995, description="Quantile of the trailing velocity that the limit is raised to")
    adaptive_lookback_h: Hours = Field(720, description="Hours of trailing velocity history")
    adaptive_min_h: Hours = Field(168, description="Hours of history before the quantile counts")
    liq_ref_adv_usd: Positive = Field(
        1e10, description="Median daily perpetual volume at which the USD floors hold in full"
    )
    symbol_scale: dict[str, Positive] = Field(
        default_factory=dict, description="Own scale of the USD floors per symbol"
    )
    side_bias_share: Annotated[float, Field(gt=0.5, le=1)] = Field(
        0.65, description="Share of one side that makes a cascade one-sided"
    )
    critical_severity: Positive = Field(1.5, description="velocity / limit from which a cascade is CRITICAL")
    cooldown_h: Hours = Field(12, description="Hours of silence after an episode")
    release_bars: Hours = Field(2, description="Consecutive hours below off_ratio that end an episode")
    off_ratio: Share = Field(0.5, description="Share of the limit below which an hour counts as quiet")
    max_episode_h: Hours = Field(24, description="Hours after which an episode is split")
    alert_during_warmup: bool = Field(
        False, description="Raise alerts while the history is shorter than adaptive_min_h"
    )
    min_coverage: Share = Field(0.9, description="Coverage below which a window does not count")
    zone_lookback_h: Hours = Field(168, description="Hours of liquidations that form the zones")
    zone_half_life_h: Positive = Field(48, description="Half-life of a liquidation's weight, hours")
    zone_method: Literal["kde", "dbscan"] = Field("kde", description="How zones are found")

    @model_validator(mode="after")
    def _windows_fit(self) -> "LiquidationParameters":
        if not self.windows_h:
            raise ValueError("windows_h needs at least one window")
        if len(set(self.windows_h)) != len(self.windows_h):
            raise ValueError("windows_h names a window twice")
        if max(self.windows_h) != self.velocity_window:
            raise ValueError("the longest of windows_h must equal velocity_window")
        return self


class FundingParameters(Parameters):
    """``[funding]``: anomaly and reversal rules on 8-hour-equivalent rates."""

    anomaly_z_threshold: Positive = Field(2.0, description="|z| above which a settlement is an anomaly")
    reversal_threshold: Positive = Field(0.05, description="Percentage points per 24 h that count as rapid")
    z_reference_settlements: Hours = Field(90, description="Previous 8-hour values the z-score refers to")
    min_reference: Hours = Field(45, description="Values needed for a z-score")
    sd_floor: Positive = Field(1e-5, description="Smallest standard deviation used in the z-score (fraction per 8 h)")
    min_deviation: NonNegative = Field(1e-4, description="Smallest |x - mean| of an anomaly (fraction per 8 h)")
    volatility_threshold: Positive = Field(3e-4, description="Standard deviation that counts as high volatility")
    critical_z: Positive = Field(3.0, description="|z| of a CRITICAL anomaly")
    critical_apr: Positive = Field(0.30, description="|APR| (fraction per year) of a CRITICAL anomaly")
    off_z: Positive = Field(1.0, description="|z| below which an anomaly ends")
    cooldown_h: Hours = Field(24, description="Hours of silence after an episode")
    max_age_h: Hours = Field(9, description="Hours after which the last settlement no longer holds")
    flip_min_pp: NonNegative = Field(0.02, description="Percentage points a sign flip must travel in 24 h")
    unwind_peak_z: Positive = Field(3.0, description="Peak |z| from which an unwind may be reported")
    unwind_share: Share = Field(0.5, description="Share of the excess that must be lost for an unwind")
    legacy_z_window_hours: Hours = Field(24, description="The guide's 24 h window; documented, not used")


class TimeframeParameters(Parameters):
    """One row of the timeframe table."""

    trend_bars: Hours = Field(description="Bars of the trend (n)")
    vol_bars: Hours = Field(description="Bars of the realised volatility (m)")
    history_bars: Hours = Field(description="Bars the volatility z-score refers to (M)")
    history_min: Hours = Field(description="Bars needed for a volatility z-score")
    weight: Share = Field(description="Weight of the timeframe in votes")


class LabelParameters(Parameters):
    """A label that a custom classifier may return."""

    emoji: str = Field(min_length=1, description="Shown beside the label")
    family: Literal[-1, 0, 1] = Field(description="Bear, neutral or bull")
    long_bias: Annotated[float, Field(ge=-1, le=1)] = Field(description="Directional lean")
    risk_multiplier: Annotated[float, Field(ge=0.7, le=2.5)] = Field(description="Caution factor")


Timeframe = Literal["1h", "4h", "1d", "1w"]


def _timeframes() -> dict[Timeframe, TimeframeParameters]:
    def row(n: int, m: int, history: int, minimum: int, weight: float) -> TimeframeParameters:
        return TimeframeParameters(trend_bars=n, vol_bars=m, history_bars=history, history_min=minimum, weight=weight)

    return {
        "1h": row(24, 12, 720, 360, 0.15),
        "4h": row(30, 15, 360, 180, 0.25),
        "1d": row(20, 10, 120, 60, 0.35),
        "1w": row(8, 4, 26, 13, 0.25),
    }


class MultiTimeframeParameters(Parameters):
    """``[multi_timeframe]``: timeframes, confirmation and the classifier."""

    timeframes: dict[Timeframe, TimeframeParameters] = Field(
        default_factory=_timeframes, description="Bars and weight per timeframe"
    )
    confirm_threshold: Share = Field(0.70, description="Confidence a confirmed regime must exceed")
    release: Share = Field(0.55, description="Weighted agreement below which a confirmation ends")
    deadband: bool = Field(True, description="Leave a label at a smaller |z| than it is entered")
    cooldown_h: Hours = Field(12, description="Hours of silence after a confirmation")
    week_anchor: Literal["MON"] = Field("MON", description="Day on which a week starts, 00:00 UTC")
    classifier: str | None = Field(None, description="Own classifier, `module:function` taking (price_z, vol_z, heat)")
    labels: dict[str, LabelParameters] = Field(
        default_factory=dict, description="Meaning of the labels an own classifier adds"
    )

    @model_validator(mode="after")
    def _timeframes_can_agree(self) -> "MultiTimeframeParameters":
        if len(self.timeframes) < 3:
            raise ValueError(
                "timeframes needs at least three: agreement of fewer says nothing; give every row you keep"
            )
        if not sum(timeframe.weight for timeframe in self.timeframes.values()) > 0:
            raise ValueError("the weights of the timeframes must not all be 0")
        for name, timeframe in self.timeframes.items():
            if not 2 <= timeframe.history_min <= timeframe.history_bars:
                raise ValueError(f"timeframe {name}: history_min must lie between 2 and history_bars")
        if self.release > self.confirm_threshold:
            raise ValueError("release must not exceed confirm_threshold")
        return self


class CorrelationParameters(Parameters):
    """``[correlation]``: pairs, window, baseline, break rule and leader test."""

    pairs: tuple[tuple[str, str], ...] = Field((), description="Pairs beyond the default rule")
    benchmark: str | None = Field(
        None, description="Against which every symbol is paired beyond 8 symbols; default the first symbol"
    )
    window_h: Hours = Field(72, description="Hours of the correlation")
    min_window_h: Hours = Field(65, description="Valid hours the correlation needs")
    baseline_days: Hours = Field(90, description="Days of the baseline")
    baseline_min_h: Hours = Field(720, description="Hours the baseline needs")
    break_z: Annotated[float, Field(lt=0)] = Field(-2.5, description="Fisher-z score at or below which a pair breaks")
    min_drop: NonNegative = Field(0.15, description="Fall below the baseline that a break needs")
    off_z: Annotated[float, Field(lt=0)] = Field(-1.0, description="Score above which a break ends")
    release_bars: Hours = Field(3, description="Consecutive hours above off_z that end a break")
    absolute_threshold: Annotated[float, Field(gt=-1, lt=1)] = Field(
        -0.5, description="Correlation below which a pair is in opposition"
    )
    critical_z: Annotated[float, Field(lt=0)] = Field(-4.0, description="Score of a CRITICAL break")
    cooldown_h: Hours = Field(24, description="Hours of silence after a break")
    lead_max_lag: Hours = Field(10, description="Lags of the leader test, in bars")
    lead_shifts: Hours = Field(499, description="Circular shifts of the leader test")
    lead_alpha: Share = Field(0.01, description="Significance of the leader test")

    @model_validator(mode="after")
    def _rules_fit(self) -> "CorrelationParameters":
        if not 3 <= self.min_window_h <= self.window_h:
            raise ValueError("min_window_h must lie between 3 and window_h")
        if self.baseline_min_h > self.baseline_days * 24:
            raise ValueError("baseline_min_h must not exceed baseline_days x 24")
        if not self.critical_z <= self.break_z < self.off_z:
            raise ValueError("critical_z <= break_z < off_z must hold")
        return self
