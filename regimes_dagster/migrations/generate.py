"""Writes the initial migration from the tables: ``python -m regimes_dagster.migrations.generate``.

What belongs here: rendering the tables as the SQL of revision 0001. Until the first release there is one initial
migration; whoever changes ``schemas.py`` or the indexes of ``tables.py`` runs this command and commits the file.
After the first release a change is a new file in ``versions/`` written by hand, and this one stays as it is.
"""

import sys
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable, SetColumnComment, SetTableComment

from regimes_dagster.tables import metadata

PATH = Path(__file__).parent / "versions" / "v0001_initial.py"

_HEAD = '''"""Revision 0001: every table of the first release.

Generated from ``schemas.py`` by ``python -m regimes_dagster.migrations.generate``; do not edit by hand.
"""

# ruff: noqa: E501
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

STATEMENTS = (
'''

_TAIL = ''')


def upgrade() -> None:
    """Make the tables, in schema public."""
    connection = op.get_bind()
    for statement in ("SET LOCAL search_path = public", *STATEMENTS):
        connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
'''


def statements() -> list[str]:
    """Every statement that makes the tables, their indexes and their comments, in a stable order."""
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    dialect.identifier_preparer._double_percents = False
    made: list[str] = []
    for table in metadata.sorted_tables:
        elements: list[sa.schema.ExecutableDDLElement] = [CreateTable(table)]
        elements += [CreateIndex(index) for index in sorted(table.indexes, key=lambda index: str(index.name))]
        elements.append(SetTableComment(table))
        elements += [SetColumnComment(column) for column in table.columns if column.comment]
        for element in elements:
            text = str(element.compile(dialect=dialect))
            made.append("\n".join(line.rstrip().replace("\t", "    ") for line in text.strip().splitlines()))
    return made


def render() -> str:
    """The text of the migration file."""
    body = "".join(f'    """{text}""",\n' if "\n" in text else f"    {_quoted(text)},\n" for text in statements())
    return _HEAD + body + _TAIL


def in_step() -> bool:
    """True if the file on disk is what the tables would render today."""
    return PATH.exists() and PATH.read_text(encoding="utf-8") == render()


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


if __name__ == "__main__":
    PATH.write_text(render(), encoding="utf-8")
    sys.stdout.write(f"wrote {PATH}\n")
