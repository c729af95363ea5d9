"""The tutorials docs/add-a-feature.md and docs/add-a-venue.md, applied block by block to a copy of the project and run.

Each block says in its first line which file it makes, or before which text it goes or what it replaces.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"```python file=(\S+)(?: (before|replace)=(?:\"([^\n]*)\"|'([^\n]*)'))?\n(.*?)```", re.DOTALL)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the project."""
    project = tmp_path / "project"
    project.mkdir()
    for folder in ("regimes_dagster", "dash_app", "tests/servers"):
        shutil.copytree(ROOT / folder, project / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("tests", "tests/servers"):
        (project / name / "__init__.py").touch()
    shutil.copy(ROOT / "dagster.yaml", project)
    return project


def apply(page: str, project: Path, expected: int) -> None:
    """Do with every Python block of a page what its first line says."""
    shown = (ROOT / "docs" / page).read_text(encoding="utf-8")
    blocks = BLOCK.findall(shown)
    assert len(blocks) == shown.count("```python") == expected
    for name, how, double, single, body in blocks:
        path, anchor = project / name, double or single
        if not how:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(body, encoding="utf-8")
            continue
        text = path.read_text(encoding="utf-8")
        assert text.count(anchor) == 1, f"{name} holds {anchor!r} {text.count(anchor)} times"
        replacement = body + anchor if how == "before" else body.rstrip("\n")
        path.write_text(text.replace(anchor, replacement), encoding="utf-8")


def run(project: Path, environment: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_venue_added_as_the_page_says_serves_bars(copy: Path) -> None:
    apply("add-a-venue.md", copy, 5)
    environment = {**os.environ, "PYTHONPATH": str(copy), "REGIMES_SOURCES__OHLCV": '["bitstamp"]'}
    run(copy, environment, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/integration/sources/test_bitstamp.py")
    assert "bitstamp" in run(copy, environment, "-m", "regimes_dagster", "config", "show")


def test_a_feature_added_as_the_page_says_is_computed_stored_and_described(copy: Path, database_url: str) -> None:
    apply("add-a-feature.md", copy, 10)
    environment = {
        **os.environ,
        "PYTHONPATH": str(copy),
        "DB_URL": database_url,
        "REGIMES_SYMBOLS": '["BTC/USDT", "ETH/USDT"]',
        "REGIMES_HISTORY_START": "2024-01-01",
        "REGIMES_SOURCES__SIMULATED__START": "2024-01-01",
        **{f"REGIMES_SOURCES__{kind}": '["simulated"]' for kind in ("OHLCV", "FUNDING", "LIQUIDATIONS")},
    }
    tests = copy / "tests" / "unit" / "features" / "test_drawdown.py"
    run(copy, environment, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tests))
    # The database exists already, at the revision before the page's migration.
    assert "0002" in run(copy, environment, "-m", "regimes_dagster", "db", "upgrade")
    run(copy, environment, "-m", "regimes_dagster", "backfill", "--from", "2024-01-01", "--to", "2024-02-29")
    engine = sa.create_engine(database_url)
    with engine.connect() as connection:
        rows = connection.execute(
            sa.text(
                "SELECT count(*), count(drawdown), max(drawdown), min(ts), "
                "(SELECT count(*) FROM market_metrics) FROM drawdown_features"
            )
        ).one()
        comment = connection.execute(sa.text("SELECT col_description('drawdown_features'::regclass, 4)")).scalar()
    engine.dispose()
    assert rows[0] == rows[4] > 2800
    assert 1000 < rows[1] < rows[0]
    assert rows[2] == 0
    assert "minus 1" in str(comment)
