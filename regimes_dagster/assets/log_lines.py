"""What each asset says in the log, under the guide's tags: `grep "\\[VOL\\]"` follows one feature.

What belongs here: one line per asset and run, and one per episode phase of the newest hour. What does not: handlers
and formats (``logs.py``). A backfill of years says no more than an hourly run: its episodes are rows of ``alerts``.
"""

from regimes_dagster.features.result import FeatureResult
from regimes_dagster.logs import Tag, tagged
from regimes_dagster.partitions import Window


def told(tag: Tag, window: Window, result: FeatureResult) -> FeatureResult:
    """Log what a feature computed and hand it on."""
    log = tagged(tag, __name__)
    rows = max(result.rows.values(), key=len)
    what, unit = ("asset_pair", "pairs") if "asset_pair" in rows else ("symbol", "symbols")
    upto = f"{window.end:%Y-%m-%d %H:%M}"
    log.info("%d rows of %d %s up to %s, %d events", len(rows), rows[what].nunique(), unit, upto, len(result.events))
    for event in result.events[result.events["ts"] == window.end].to_dict("records"):
        silent = f" ({event['suppressed_reason']})" if isinstance(event["suppressed_reason"], str) else ""
        log.info("%s %s %s: %s%s", event["phase"], event["severity"], event["symbol"], event["title"], silent)
    return result
