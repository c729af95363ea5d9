"""The thresholds worth turning, and the values that are tried for each.

What belongs here: which keys of ``regimes.toml`` change how often a rule fires, the grid, and what a higher value does.
What does not: recomputing (``recompute.py``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from regimes_dagster.parameters import Parameters


@dataclass(frozen=True)
class Knob:
    """One key and the alerts it governs.

    Attributes
    ----------
    section, key
        Place in ``regimes.toml``.
    event_type
        Alerts that are counted.
    values
        Values tried beside the one in force; with ``relative`` multiples of it.
    more_alerts
        What to do for more alerts, in words.
    """

    section: str
    key: str
    event_type: str
    values: tuple[Any, ...]
    more_alerts: str
    relative: bool = False

    @property
    def name(self) -> str:
        """As written in the documentation: ``[section] key``."""
        return f"[{self.section}] {self.key}"

    def grid(self, params: Parameters) -> list[tuple[Any, Parameters]]:
        """Every valid value, ascending, with the parameters that it gives; the value in force is among them."""
        current = getattr(params, self.key)
        wanted = {value * current if self.relative else value for value in self.values} | {current}
        tried = ((value, self._with(params, value)) for value in sorted(wanted))
        return [(value, changed) for value, changed in tried if changed is not None]

    def _with(self, params: Parameters, value: Any) -> Parameters | None:
        if value == getattr(params, self.key):
            return params
        try:
            return type(params).model_validate({**params.model_dump(), self.key: value})
        except ValidationError:
            return None  # contradicts another key, such as an edge above the next one


CASCADE, ANOMALY, REVERSAL = "LIQUIDATION_CASCADE", "FUNDING_ANOMALY", "FUNDING_REVERSAL"
VOLATILITY, CONFIRMED, BREAK = "VOLATILITY_REGIME_CHANGE", "REGIME_CONFIRMED", "CORRELATION_BREAK"

KNOBS: tuple[Knob, ...] = (
    Knob("liquidation", "adaptive_quantile", CASCADE, (0.97, 0.98, 0.99, 0.995, 0.998, 0.999), "lower it"),
    Knob("liquidation", "adaptive", CASCADE, (False, True), "set it to false, so that only the fixed USD floors count"),
    Knob("liquidation", "critical_velocity", CASCADE, (0.25, 0.5, 1, 2, 4, 8), "lower it", relative=True),
    Knob("liquidation", "cascade_threshold_usd", CASCADE, (0.25, 0.5, 1, 2, 4, 8), "lower it", relative=True),
    Knob("liquidation", "cooldown_h", CASCADE, (4, 6, 12, 24, 48), "shorten it"),
    Knob("funding", "anomaly_z_threshold", ANOMALY, (1.5, 2.0, 2.5, 3.0, 3.5, 4.0), "lower it"),
    Knob("funding", "min_deviation", ANOMALY, (0.0, 5e-5, 1e-4, 2e-4, 3e-4), "lower it"),
    Knob("funding", "reversal_threshold", REVERSAL, (0.02, 0.03, 0.05, 0.08, 0.12), "lower it"),
    Knob("volatility", "high_vol_threshold", VOLATILITY, (0.03, 0.04, 0.05, 0.06, 0.07, 0.08), "lower it"),
    Knob("volatility", "explosive_threshold", VOLATILITY, (0.06, 0.08, 0.10, 0.12, 0.15), "lower it"),
    Knob("volatility", "hysteresis", VOLATILITY, (0.0, 0.1, 0.2, 0.3, 0.4), "lower it"),
    Knob("multi_timeframe", "confirm_threshold", CONFIRMED, (0.5, 0.6, 0.7, 0.75, 0.8, 0.9), "lower it"),
    Knob(
        "multi_timeframe", "release", CONFIRMED, (0.35, 0.45, 0.55, 0.65), "raise it: episodes become shorter and more"
    ),
    Knob("correlation", "break_z", BREAK, (-4.0, -3.5, -3.0, -2.5, -2.0, -1.5), "raise it towards 0"),
    Knob("correlation", "min_drop", BREAK, (0.0, 0.05, 0.10, 0.15, 0.20, 0.30), "lower it"),
)


def knobs_of(sections: Sequence[str]) -> list[Knob]:
    """Knobs of some sections; of all without any."""
    return [knob for knob in KNOBS if not sections or knob.section in sections]
