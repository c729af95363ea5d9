"""The example of docs/custom-regimes.md works as it stands there."""

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from regimes_dagster.features.multi_timeframe import compute_multi_timeframe_regimes
from regimes_dagster.parameters import MultiTimeframeParameters
from regimes_dagster.partitions import Window, utc
from tests.unit.features.hourly_market import market

PAGE = Path(__file__).resolve().parents[3] / "docs" / "custom-regimes.md"


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found is not None
    return found.group(1)


@pytest.fixture
def pages_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """``my_regimes`` as the page has it; forgotten afterwards, since other tests write modules of that name."""
    (tmp_path / "my_regimes.py").write_text(block("python"))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("my_regimes", None)


@pytest.mark.usefixtures("pages_module")
def test_the_pages_classifier_is_used_for_every_row() -> None:
    section = tomllib.loads(block("toml"))["multi_timeframe"]
    window = Window(utc("2024-04-01"), utc("2024-04-03"))
    frame = market(24 * 120, seed=3)
    own = compute_multi_timeframe_regimes(frame, MultiTimeframeParameters.model_validate(section), window=window)
    plain = compute_multi_timeframe_regimes(frame, MultiTimeframeParameters(), window=window)
    mine, theirs = own.rows["regimes"], plain.rows["regimes"]
    # Heat is 0.5 here, so the new label never comes and the rest must be as without the classifier.
    assert mine["regime_1d"].equals(theirs["regime_1d"])
    assert mine["primary_regime"].equals(theirs["primary_regime"])
    assert not mine["config_hash"].equals(theirs["config_hash"])
