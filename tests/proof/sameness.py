"""What differs between what was computed live and what was computed at once, column by column.

What belongs here: the comparison and its one tolerance. What does not: what is compared.

Labels, flags, counts, stamps and ids must be equal; floats within ``RTOL``, also inside ``data`` and ``explain``.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from regimes_dagster.features.result import FeatureResult
from regimes_dagster.partitions import Window

RTOL = 1e-12

EVENT_KEY = ["ts", "episode_id", "phase", "level"]
STATE_KEY = ["ts", "key"]


def row_differences(name: str, found: pd.DataFrame, expected: pd.DataFrame) -> list[str]:
    """One sentence per column that differs, none if the frames say the same; both sorted by their key."""
    if list(found.columns) != list(expected.columns):
        return [f"{name}: columns {sorted(set(found.columns) ^ set(expected.columns))} are on one side only"]
    if len(found) != len(expected):
        return [f"{name}: {len(found)} rows, expected {len(expected)}"]
    said = []
    for column in found.columns:
        a, b = found[column], expected[column]
        if a.dtype == np.float64 and b.dtype == np.float64:
            unequal = ~np.isclose(a.to_numpy(), b.to_numpy(), rtol=RTOL, atol=0, equal_nan=True)
        elif a.dtype != object and a.dtype == b.dtype:
            unequal = ~((a.isna() & b.isna()) | a.eq(b).fillna(False)).to_numpy(dtype=bool)
        else:
            unequal = np.array([not same(x, y) for x, y in zip(a, b, strict=True)], dtype=bool)
        if unequal.any():
            first = int(np.flatnonzero(unequal)[0])
            where = f" at {expected['ts'].iloc[first]}" if "ts" in expected else ""
            said.append(
                f"{name}.{column}: {int(unequal.sum())} of {len(unequal)} rows, first{where}: "
                f"{a.iloc[first]!r}, expected {b.iloc[first]!r}"
            )
    return said


def result_differences(found: FeatureResult, expected: FeatureResult, window: Window) -> list[str]:
    """Differences of all rows and events of a window."""
    said = []
    for name, rows in expected.rows.items():
        said += row_differences(name, inside(found.rows[name], window), inside(rows, window))
    return said + event_differences(found, expected, window)


def event_differences(found: FeatureResult, expected: FeatureResult, window: Window) -> list[str]:
    """Differences of the events of a window, ids and payloads included."""
    feature = next(iter(expected.rows))
    return row_differences(
        f"events of {feature}",
        *(inside(result.events, window).sort_values(EVENT_KEY, ignore_index=True) for result in (found, expected)),
    )


def state_differences(found: FeatureResult, expected: FeatureResult, moment: pd.Timestamp) -> list[str]:
    """Differences of the machines' states after ``moment``."""
    feature = next(iter(expected.rows))
    return row_differences(
        f"states of {feature}",
        *(
            result.states.loc[result.states["ts"] == moment].sort_values(STATE_KEY, ignore_index=True)
            for result in (found, expected)
        ),
    )


def inside(rows: pd.DataFrame, window: Window) -> pd.DataFrame:
    return rows.loc[window.mask(rows["ts"])].reset_index(drop=True)


def same(a: Any, b: Any) -> bool:
    """Equality of JSON-like values; floats within the tolerance, null equals null."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(same(value, b[key]) for key, value in a.items())
    if isinstance(a, (list, tuple, np.ndarray)) and isinstance(b, (list, tuple, np.ndarray)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=RTOL, abs_tol=0) or (math.isnan(a) and math.isnan(b))
    if pd.api.types.is_scalar(a) and pd.api.types.is_scalar(b) and (pd.isna(a) or pd.isna(b)):
        return bool(pd.isna(a) and pd.isna(b))
    return bool(a == b)


def summary(said: Iterable[str], limit: int = 20) -> str:
    """The differences as a failing test shows them."""
    lines: Sequence[str] = list(said)
    return "\n".join([f"{len(lines)} differences:", *lines[:limit]])
