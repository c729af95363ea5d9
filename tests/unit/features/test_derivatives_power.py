"""Size and power of the cascade and funding rules on synthetic truth."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from regimes_dagster.features.funding_anomaly import compute_funding_metrics
from regimes_dagster.features.liquidation_cascade import compute_liquidation_metrics, detect_cascade_events
from regimes_dagster.features.result import FeatureResult
from regimes_dagster.parameters import FundingParameters, LiquidationParameters
from regimes_dagster.partitions import Window
from tests.unit.features.derivatives_market import Raw, funding_market, liquidation_market

#: Few markets by default, the specified 200 on demand.
MARKETS = [25, pytest.param(200, marks=pytest.mark.slow)]
#: The alert budget: alerts per 30 days over three symbols, here per symbol.
CASCADE_NOMINAL = 8 / 3
FUNDING_WARNING_NOMINAL = 8 / 3
FUNDING_CRITICAL_NOMINAL = 4.5 / 3


def together(parts: list[Raw]) -> Raw:
    """Several one-symbol markets as one."""
    return Raw(
        *(pd.concat([getattr(part, name) for part in parts], ignore_index=True) for name in Raw.__dataclass_fields__)
    )


def name(n: int) -> str:
    return f"S{n}/USDT"


def self_exciting(branching: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """USD per minute of Hawkes processes with 10 spontaneous liquidations an hour and a memory of ten minutes.

    Parameters
    ----------
    branching
        Offspring per liquidation, [K, minutes]; .5 gives 20 liquidations an hour, .9 tends to 100.
    """
    counts = np.zeros(branching.shape, dtype=np.int64)
    excited = np.zeros(len(branching))
    keep = np.exp(-1 / 10)
    for t in range(branching.shape[1]):
        counts[:, t] = rng.poisson(10 / 60 + excited)
        excited = excited * keep + branching[:, t] * counts[:, t] * (1 - keep)
    place = np.repeat(np.arange(counts.size), counts.reshape(-1))
    usd = np.bincount(place, rng.lognormal(8.5, 1.2, len(place)), counts.size)
    return np.asarray(usd.reshape(counts.shape))


@pytest.fixture(scope="module")
def bursts() -> tuple[pd.DataFrame, np.ndarray]:
    """Sixty markets with one burst each: for six hours every liquidation triggers .9 others instead of .5.

    One, because the limit is a trailing quantile of 0.995: what happens in more than four hours a month is usual by
    definition. True are the hours in which the burst has reached its level (100 minutes after its beginning).
    """
    rng = np.random.default_rng(18)
    n, hours = 60, 24 * 32
    branching, truth = np.full((n, hours * 60), 0.5), np.zeros((n, hours), dtype=bool)
    for k, start in enumerate(rng.integers(24 * 20, hours - 24, n)):
        branching[k, start * 60 : (start + 6) * 60] = 0.9
        truth[k, start + 2 : start + 6] = True
    usd = self_exciting(branching, rng).reshape(n, hours, 60).sum(axis=2)
    raw = together([liquidation_market(usd[k], symbol=f"S{k:02d}/USDT") for k in range(n)])
    return detect_cascade_events(raw.market, raw.liquidations, LiquidationParameters()), truth


def test_the_severity_ranks_injected_bursts_above_calm_hours(bursts: tuple[pd.DataFrame, np.ndarray]) -> None:
    rows, truth = bursts
    usable = ~rows["warming_up"].to_numpy() & rows["severity"].notna().to_numpy()
    before, after = 2, 8  # the rise of the burst, and the windows and offspring that still hold it
    near = truth.copy()
    for shift in range(1, after + 1):
        near[:, shift:] |= truth[:, :-shift]
    for shift in range(1, before + 1):
        near[:, :-shift] |= truth[:, shift:]
    severity = rows["severity"].to_numpy()
    inside, calm = severity[usable & truth.reshape(-1)], severity[usable & ~near.reshape(-1)]
    auc = stats.mannwhitneyu(inside, calm).statistic / (len(inside) * len(calm))
    assert auc >= 0.98


def per_month(result: FeatureResult, months: float, severity: str | None = None) -> float:
    opened = result.events.query("phase == 'OPEN' and suppressed_reason.isna()")
    return len(opened if severity is None else opened[opened["severity"] == severity]) / months


def whole(raw: Raw) -> Window:
    return Window(raw.market["ts"].min() - pd.Timedelta(hours=1), raw.market["ts"].max())


@pytest.mark.parametrize("n", MARKETS)
@pytest.mark.parametrize("tail", [1.0, 2.0])
def test_independent_liquidations_alert_at_most_twice_as_often_as_agreed(tail: float, n: int) -> None:
    rng = np.random.default_rng(19)
    hours = 24 * 60
    raw = together(
        [
            liquidation_market(rng.lognormal(10, tail, hours), rng.lognormal(10, tail, hours), symbol=name(k))
            for k in sorted(range(n), key=name)
        ]
    )
    result = compute_liquidation_metrics(
        raw.market, LiquidationParameters(), window=whole(raw), liquidations=raw.liquidations, zones=False
    )
    rows = result.rows["liquidation_features"]
    rate = per_month(result, (~rows["warming_up"]).sum() / 720)
    assert 0 < rate <= 2 * CASCADE_NOMINAL


def autoregressive(n: int, hours: int, rng: np.random.Generator, phi: float) -> np.ndarray:
    x = np.zeros((n, hours))
    shocks = rng.normal(0, 4e-5, x.shape)
    for k in range(1, hours):
        x[:, k] = phi * x[:, k - 1] + shocks[:, k]
    return np.round(x + 1e-4, 8)


@pytest.mark.parametrize("n", MARKETS)
@pytest.mark.parametrize("phi", [0.0, 0.8])
def test_funding_that_is_only_noise_alerts_at_most_twice_as_often_as_agreed(phi: float, n: int) -> None:
    rng = np.random.default_rng(20)
    rates = autoregressive(n, 90 + 180, rng, phi)
    raw = together([funding_market(rates[k], symbol=name(k)) for k in sorted(range(len(rates)), key=name)])
    result = compute_funding_metrics(
        raw.market, FundingParameters(), window=whole(raw), funding_rates=raw.funding_rates
    )
    rows = result.rows["funding_features"]
    months = (rows["quality"] == "OK").sum() / 720
    anomalies = FeatureResult({}, result.events.query("event_type == 'FUNDING_ANOMALY'"), result.states)
    assert per_month(anomalies, months, "WARNING") <= 2 * FUNDING_WARNING_NOMINAL
    assert per_month(anomalies, months, "CRITICAL") <= 2 * FUNDING_CRITICAL_NOMINAL


def test_planted_shifts_of_funding_are_found_at_their_settlement() -> None:
    rng = np.random.default_rng(21)
    rates = autoregressive(40, 200, rng, 0.7)
    at = 150
    sd = rates[:, :at].std(axis=1)
    rates[:, at : at + 3] += 6 * sd[:, None]
    raw = together([funding_market(rates[k], symbol=name(k)) for k in sorted(range(40), key=name)])
    result = compute_funding_metrics(
        raw.market, FundingParameters(), window=whole(raw), funding_rates=raw.funding_rates
    )
    planted = raw.market["ts"].min() - pd.Timedelta(hours=1) + pd.Timedelta(hours=8 * (at + 1))
    rows = result.rows["funding_features"]
    hit = rows[(rows["ts"] == planted)]["is_anomaly"]
    assert hit.mean() >= 0.95
    before = rows[(rows["ts"] == planted - pd.Timedelta(hours=8))]
    scores = np.concatenate([rows[rows["ts"] == planted]["funding_z_score"].abs(), before["funding_z_score"].abs()])
    label = np.repeat([True, False], 40)
    auc = stats.mannwhitneyu(scores[label], scores[~label]).statistic / 40**2
    assert auc >= 0.98
