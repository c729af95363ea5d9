"""What the documents let a reader type into a database works on a fresh one."""

import re

import pytest
import sqlalchemy as sa

from tests.unit.test_docs import NAMES, blocks, code, text

STATEMENT = re.compile(r"\b(?:SELECT|DELETE|UPDATE|INSERT|ALTER|GRANT)\b[^;`\"]*")


def statements(page: str) -> list[str]:
    """SQL of `psql -c "..."`, of sql blocks and of what stands between backticks."""
    lines = [found for line in code(page) for found in STATEMENT.findall(line)]
    return [*lines, *(part for kind, body in blocks(page) if kind == "sql" for part in body.split(";") if part.strip())]


@pytest.mark.parametrize("page", [name for name in NAMES if statements(name)])
def test_every_statement_runs_on_a_migrated_database(page: str, database_url: str) -> None:
    engine = sa.create_engine(database_url)
    for statement in statements(page):
        with engine.connect() as connection:
            connection.execute(sa.text(statement))
    engine.dispose()


def test_the_guides_queries_still_work(database_url: str) -> None:
    """The product guide lets its reader look at these two tables; the pages say that they are among the tables."""
    assert "The guide's `market_metrics` and `regimes`" in text("docs/troubleshoot.md")
    engine = sa.create_engine(database_url)
    with engine.connect() as connection:
        for table in ("market_metrics", "regimes"):
            query = f"SELECT * FROM {table} WHERE symbol='BTC/USDT' ORDER BY ts DESC LIMIT 10"
            assert connection.execute(sa.text(query)).all() == []
    engine.dispose()
