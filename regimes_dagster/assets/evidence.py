"""What the signals were worth: the validity tests as an asset, run monthly or on demand.

What belongs here: which period a run judges, and what its metadata show. What does not: the tests (``evidence/``), and
when it runs: not with the hourly job, because figures of a year do not change by the hour (``schedules.py``).
"""

from datetime import timedelta

import dagster as dg
import pandas as pd
from dagster import AssetExecutionContext

from regimes_dagster.assets.declare import Declare
from regimes_dagster.assets.run import run_window
from regimes_dagster.partitions import Window
from regimes_dagster.platform import Platform

#: Group of its own, so that jobs can leave it out.
EVIDENCE = "evidence"

#: A run judges at least so long: a month alone decides nothing.
JUDGED = timedelta(days=365)

#: Its schedule runs on the first of each month; the hourly promise of the others would call it missing all month long.
MONTHLY = dg.FreshnessPolicy.time_window(fail_window=timedelta(days=35), warn_window=timedelta(days=32))

#: Everything that is judged.
SOURCES = (
    "volatility_features", "liquidation_features", "liquidation_zones", "funding_features", "regimes",
    "correlation_features",
)  # fmt: skip


def evidence_assets(declare: Declare) -> list[dg.AssetsDefinition]:
    """``signal_evidence``."""

    @declare(group=EVIDENCE, deps=SOURCES, code_version="1", freshness_policy=MONTHLY)
    def signal_evidence(
        context: AssetExecutionContext, platform: dg.ResourceParam[Platform]
    ) -> dg.MaterializeResult[pd.DataFrame]:
        """Measured validity of every signal over the year that ends with the run's months (or over all of them).

        Figures of earlier periods stay. With less than two weeks of history there is nothing to measure yet.
        """
        from regimes_dagster.evidence.finding import evidence_rows
        from regimes_dagster.evidence.measure import TooLittleHistoryError, measure
        from regimes_dagster.evidence.report import counts

        window = run_window(context, platform)
        period = Window(min(window.start, window.end - JUDGED), window.end)
        try:
            found = measure(platform.warehouse, platform.settings, period, progress=context.log.info)
        except TooLittleHistoryError as error:
            context.log.warning(str(error))
            empty = evidence_rows([], period, "")
            return dg.MaterializeResult(value=empty, metadata={"empty_because": str(error)})
        return dg.MaterializeResult(
            value=found.rows,
            metadata={
                "judged": str(found.period),
                **counts(found),
                "verdicts": dg.MetadataValue.md(_verdicts(found.rows)),
            },
        )

    return [signal_evidence]


def _verdicts(rows: pd.DataFrame) -> str:
    """The claims as a Markdown table, those that do not hold first."""
    claims = rows[rows["target"].notna()]
    words = claims["holds"].map({True: "holds", False: "**does not hold**"}).fillna("undecided")
    shown = claims.assign(verdict=words).sort_values("verdict", kind="stable")
    head = ("test", "figure", "of", "value", "asked for", "verdict")
    body = [
        (row["test"], row["metric"], row["symbol"], f"{row['value']:.3g}", row["target"], row["verdict"])
        for row in shown.to_dict("records")
    ]
    return "\n".join(f"| {' | '.join(map(str, cells))} |" for cells in (head, ("---",) * len(head), *body))
