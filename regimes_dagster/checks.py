"""The asset checks: what Dagster shows beside each asset, after every run.

What belongs here: which asset is asked which question, what stops a run, and how an answer is shown. What does
not: the questions themselves (``stored_rules.py``, ``data_health.py``, ``alerts/metrics.py``).

Checks carry no partitions: their rows would stay PLANNED for ever. A contract check looks at the run's own window;
everything else looks at now, so that a backfill of an old month neither hides nor heals anything.
"""

from collections.abc import Callable, Iterator, Sequence

import dagster as dg
import pandas as pd
from dagster import AssetCheckExecutionContext, AssetCheckResult, AssetCheckSeverity, AssetCheckSpec

from regimes_dagster.data_health import (
    Verdict,
    alert_budget,
    completeness,
    freshness,
    liquidation_totals,
    venue_freshness,
)
from regimes_dagster.jobs import RANGE_END_TAG, RANGE_START_TAG
from regimes_dagster.partitions import Window, keys_between, keys_touched, keys_window
from regimes_dagster.platform import Platform
from regimes_dagster.stored_rules import look

CONTRACT = "rows_keep_their_contract"

#: Checks about the platform's present, whatever months a run covers; a backfill is not incomplete because of them.
ABOUT_NOW = frozenset({"completeness", "freshness", "venues_answer", "totals_agree", "budget", "delivery", "given_up"})

#: One step per group, because a step costs more than its query. A group holds what no other member waits for: a
#: blocking check of `funding_features` that waited for `regimes`, which reads it, would wait for itself.
CONTRACT_STEPS: dict[str, tuple[str, ...]] = {
    "raw_contracts": ("ohlcv", "funding_rates", "liquidations"),
    "market_contract": ("market_metrics",),
    "funding_contract": ("funding_features",),
    "feature_contracts": (
        "volatility_features",
        "liquidation_features",
        "liquidation_zones",
        "regimes",
        "correlation_features",
    ),
}

Question = Callable[[Platform, pd.Timestamp], Verdict]

#: (asset, check) -> description and question.
QUESTIONS: dict[tuple[str, str], tuple[str, Question]] = {
    ("ohlcv", "venues_answer"): (
        "Every listed venue that serves bars answered when it was asked last.",
        lambda p, now: venue_freshness(p.warehouse, p.settings, now, "ohlcv"),
    ),
    ("funding_rates", "venues_answer"): (
        "Every listed venue that serves funding answered when it was asked last.",
        lambda p, now: venue_freshness(p.warehouse, p.settings, now, "funding"),
    ),
    ("liquidations", "venues_answer"): (
        "Every listed venue that serves liquidations answered when it was asked last.",
        lambda p, now: venue_freshness(p.warehouse, p.settings, now, "liquidations"),
    ),
    ("liquidations", "totals_agree"): (
        "Single liquidations add up to the hourly sums, and no venue is silent while the others are not.",
        lambda p, now: liquidation_totals(p.warehouse, p.settings, now),
    ),
    ("market_metrics", "completeness"): (
        "Hours of the last 30 days without a bar, per symbol, with the reason where it is known.",
        lambda p, now: completeness(p.warehouse, p.settings, now),
    ),
    ("market_metrics", "freshness"): (
        "The newest bar, settlement and liquidation hour of every symbol are as new as they can be.",
        lambda p, now: freshness(p.warehouse, p.settings, now),
    ),
    ("alerts", "budget"): (
        "Neither implausibly many alerts in 30 days nor suspiciously none.",
        lambda p, now: alert_budget(p.warehouse, p.settings, now),
    ),
    ("alerts", "delivery"): (
        "The oldest due delivery is at most 15 minutes late.",
        lambda p, now: _delivery(p, late=True),
    ),
    ("alerts", "given_up"): (
        "No delivery was given up within 24 h and no endpoint is switched off.",
        lambda p, now: _delivery(p, late=False),
    ),
}


def asset_checks(*, minute_bars: bool = False) -> Sequence[dg.AssetChecksDefinition]:
    """Every check that is not part of an asset itself; ``minute_bars`` says whether that optional asset exists."""
    steps = dict(CONTRACT_STEPS)
    if minute_bars:
        steps["raw_contracts"] = (*steps["raw_contracts"], "minute_bars")
    return [*(_contracts(step, assets) for step, assets in steps.items()), _health()]


def _contracts(step: str, assets: Sequence[str]) -> dg.AssetChecksDefinition:
    specs = [
        AssetCheckSpec(
            CONTRACT,
            asset=asset,
            blocking=True,
            description=f"The stored rows of the run's months keep every rule of {asset}; what reads them waits.",
        )
        for asset in assets
    ]

    @dg.multi_asset_check(name=step, specs=specs, can_subset=True)
    def contracts(
        context: AssetCheckExecutionContext, platform: dg.ResourceParam[Platform]
    ) -> Iterator[AssetCheckResult]:
        window = _window(context, platform)
        for key in sorted(context.selected_asset_check_keys):
            found = look(platform.warehouse, key.asset_key.path[-1], window)
            yield AssetCheckResult(
                check_name=key.name,
                asset_key=key.asset_key,
                passed=not found.broken,
                severity=AssetCheckSeverity.ERROR,
                description=str(found),
                metadata={"rows": found.rows, "broken": sum(found.broken.values()), "window": str(window)},
            )

    return contracts


def _health() -> dg.AssetChecksDefinition:
    specs = [
        AssetCheckSpec(
            check,
            asset=asset,
            description=description,
            # One step at the end of the run: it says what the tables look like after everything was written.
            additional_deps=[] if asset == "alerts" else ["alerts"],
        )
        for (asset, check), (description, _question) in QUESTIONS.items()
    ]

    @dg.multi_asset_check(name="health", specs=specs, can_subset=True)
    def health(context: AssetCheckExecutionContext, platform: dg.ResourceParam[Platform]) -> Iterator[AssetCheckResult]:
        now = platform.clock.now()
        for key in sorted(context.selected_asset_check_keys):
            verdict = QUESTIONS[key.asset_key.path[-1], key.name][1](platform, now)
            yield AssetCheckResult(
                check_name=key.name,
                asset_key=key.asset_key,
                passed=verdict.passed,
                severity=AssetCheckSeverity.ERROR if verdict.grave else AssetCheckSeverity.WARN,
                description=verdict.text,
                metadata=dict(verdict.figures),
            )

    return health


def _window(context: AssetCheckExecutionContext, platform: Platform) -> Window:
    """Months of the run; started by hand without any, those of the last three hours."""
    tags = context.run.tags
    if RANGE_START_TAG in tags:
        keys = keys_between(tags[RANGE_START_TAG], tags[RANGE_END_TAG])
    elif "dagster/partition" in tags:
        keys = [tags["dagster/partition"]]
    else:
        keys = keys_touched(platform.clock.now())
    return keys_window(keys)


def _delivery(platform: Platform, *, late: bool) -> Verdict:
    from regimes_dagster.alerts.metrics import dead_verdict, figures, late_verdict

    with platform.tables_engine.connect() as connection:
        found = figures(connection, platform.clock.system_now())
    passed, text = late_verdict(found) if late else dead_verdict(found)
    shown = {name: value for name, value in found.as_metadata().items() if not isinstance(value, str)}
    return Verdict(passed, text, shown)
