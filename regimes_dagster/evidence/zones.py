"""Validity test 11: do prices turn in liquidation zones more often than elsewhere at the same distance?

What belongs here: turns inside zones against mirrored placebo zones. What does not: how zones are found.

Once a day (00:00 UTC) the strongest zone below and above the price is watched for 24 hours. A touch: the day's low (for
a zone below) goes as far as the zone's near edge. A turn inside: the extreme lies within the zone. The placebo is
the same zone mirrored at the price, in logs: as wide, as far away, on the other side; a placebo that overlaps a real
zone of that side is left out together with its zone.
"""

import math
from dataclasses import replace

import numpy as np
import pandas as pd

from regimes_dagster.evidence.block_bootstrap import combined_interval
from regimes_dagster.evidence.finding import ALL, Finding, Test, nothing_to_measure
from regimes_dagster.evidence.inputs import DAY_H, Floats, Inputs
from regimes_dagster.features.hourly_grid import HOUR_US
from regimes_dagster.reports.charts import Dot, DotPlot

NAME = "11_zone_turns"
TITLE = "Liquidation zones against a placebo"
QUESTION = "Does the price turn inside a liquidation zone more often than inside a mirrored zone without liquidations?"

#: Turns (real and placebo together) below which nothing is decided.
MIN_TURNS = 20


def zone_turns(inputs: Inputs) -> Test:
    """Turns inside the strongest zones over turns inside their mirror images."""
    if inputs.zones.empty:
        return nothing_to_measure(NAME, TITLE, QUESTION, "no liquidation zones in the period")
    parts = np.zeros((len(inputs.symbols), 5, len(inputs.hours)))
    for k, symbol in enumerate(inputs.symbols):
        _watch(inputs, k, inputs.zones[inputs.zones["symbol"] == symbol], parts[k])
    findings, dots = [], []
    for symbol, sums in [*zip(inputs.symbols, parts, strict=True), (ALL, parts.sum(axis=0))]:
        total = sums.sum(axis=1)
        if not total[0]:
            continue
        watched = np.flatnonzero(sums[0])
        span = sums[:, watched[0] : watched[-1] + 1]
        lift = combined_interval(span, _lift, f"{NAME}|{symbol}")
        decided = math.isfinite(lift.low)
        finding = Finding.of(
            symbol, "turn_lift", lift, int(total[0]), baseline=1.0,
            target="interval above 1", holds=lift.low > 1 if decided else None,
            note=f"turned inside {total[1]:.0f} of {total[0]:.0f} zones and {total[2]:.0f} mirrored ones "
            f"(reached: {total[3]:.0f} and {total[4]:.0f})",
        )  # fmt: skip
        findings.append(finding if total[1] + total[2] >= MIN_TURNS else _few(finding, total[1] + total[2]))
        dots.append(Dot(symbol, "strongest zone", lift.value, lift.low, lift.high))
    if not findings:
        return nothing_to_measure(NAME, TITLE, QUESTION, "no day with a zone and a mirrored placebo")
    chart = DotPlot("Turns inside the zone over turns inside its mirror image", dots, reference=1.0,
                    caption="1: zones are no better than any place at that distance.")  # fmt: skip
    return Test(NAME, TITLE, QUESTION, findings, [chart])


def _few(finding: Finding, turns: float) -> Finding:
    return replace(finding, holds=None, note=f"{finding.note}; too few turns to decide ({turns:.0f} of {MIN_TURNS})")


def _watch(inputs: Inputs, k: int, zones: pd.DataFrame, sums: Floats) -> None:
    """Count, per hour: zones watched, turns inside, turns inside the mirror image, touches of either."""
    grid = inputs.grid
    low, high, close = (np.log(grid.values[name][k]) for name in ("low", "high", "close"))
    zones = zones[zones["ts"].dt.hour == 0].sort_values(["ts", "zone_rank"], kind="stable")
    columns = zones["ts"].to_numpy(dtype="datetime64[us]").astype(np.int64) // HOUR_US - grid.first_hour
    bounds = np.log(zones[["price_low", "price_high"]].to_numpy(dtype=np.float64))
    below = (zones["side"] == "BELOW").to_numpy()
    starts = np.flatnonzero(np.diff(columns, prepend=-1))
    for begin, end in zip(starts, [*starts[1:], len(columns)], strict=True):
        column = int(columns[begin])
        day = slice(column + 1, column + 1 + DAY_H)
        if column + DAY_H >= len(grid.ts) or not np.isfinite(low[day]).all() or not np.isfinite(close[column]):
            continue
        here, is_below = bounds[begin:end], below[begin:end]
        edges = {side: here[of] for side, of in (("BELOW", is_below), ("ABOVE", ~is_below)) if of.any()}
        for side, real in edges.items():
            sign = -1.0 if side == "BELOW" else 1.0
            near, far = _from_price(real[0], close[column], sign)
            other = edges.get("ABOVE" if side == "BELOW" else "BELOW", np.empty((0, 2)))
            taken = [_from_price(zone, close[column], -sign) for zone in other]
            if far <= 0 or any(near < t_far and far > t_near for t_near, t_far in taken):
                continue
            reach = {1.0: float(high[day].max() - close[column]), -1.0: float(close[column] - low[day].min())}
            place = column - inputs.begin
            sums[0, place] += 1
            sums[1, place] += near <= reach[sign] <= far
            sums[2, place] += near <= reach[-sign] <= far
            sums[3, place] += reach[sign] >= near
            sums[4, place] += reach[-sign] >= near


def _from_price(zone: Floats, price: float, sign: float) -> tuple[float, float]:
    """Log distance of the nearer and the farther edge on the side ``sign`` of the price."""
    first, second = sign * (zone[0] - price), sign * (zone[1] - price)
    return max(min(first, second), 0.0), max(first, second)


def _lift(sums: Floats) -> Floats:
    return np.asarray(sums[:, 1] / sums[:, 2])
