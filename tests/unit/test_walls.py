"""The walls between the parts of the project, checked on the imports as they stand in the source."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "regimes_dagster"

#: Parts that must work without Dagster: maths, contracts, settings, storage, delivery.
WITHOUT_DAGSTER = [
    "features", "sources", "alerts", "configuration", "migrations", "schemas.py", "tables.py", "settings.py",
    "parameters.py", "feature_results.py", "contracts.py", "rows_as_csv.py", "writes.py", "row_changes.py", "backup.py",
    "postgres_programs.py", "evidence", "calibration", "reports", "partitions.py", "storage.py", "database.py",
    "embedded.py", "clock.py", "platform.py",
]  # fmt: skip


def files(*places: Path) -> Iterator[Path]:
    for place in places:
        yield from [place] if place.suffix == ".py" else sorted(place.rglob("*.py"))


def imports(path: Path, *, top_level_only: bool = False) -> set[str]:
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else ast.walk(tree)
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def uses(path: Path, package: str, *, top_level_only: bool = False) -> bool:
    return any(
        name == package or name.startswith(f"{package}.") for name in imports(path, top_level_only=top_level_only)
    )


@pytest.mark.parametrize("place", WITHOUT_DAGSTER)
def test_this_part_does_not_know_dagster(place: str) -> None:
    assert [path.name for path in files(PACKAGE / place) if uses(path, "dagster")] == []


def test_the_dashboard_knows_neither_dagster_nor_ccxt() -> None:
    bad = [path for path in files(ROOT / "dash_app") if uses(path, "dagster") or uses(path, "ccxt")]
    assert bad == []


def test_only_the_definitions_import_assets() -> None:
    allowed = {PACKAGE / "definitions.py"}
    outside = [
        path
        for path in files(PACKAGE, ROOT / "dash_app")
        if uses(path, "regimes_dagster.assets", top_level_only=True)
        and path not in allowed
        and PACKAGE / "assets" not in path.parents
    ]
    assert outside == []


def test_ccxt_is_never_imported_at_module_top() -> None:
    # It costs 76 MiB and 0.4 s in every process.
    bad = [path for path in files(PACKAGE, ROOT / "dash_app") if uses(path, "ccxt", top_level_only=True)]
    assert bad == []


def test_only_the_clock_asks_what_time_it_is() -> None:
    asking = []
    for path in files(PACKAGE, ROOT / "dash_app"):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in {"now", "utcnow", "today"}
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id in {"datetime", "date", "pd"}
            ):
                asking.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    # settings.py refuses a history_start in the future before there is a database that could hold a clock.
    assert [
        place for place in asking if not place.startswith(("regimes_dagster/clock.py", "regimes_dagster/settings.py"))
    ] == []


def test_there_is_no_module_named_after_nothing() -> None:
    vague = {"utils.py", "helpers.py", "common.py", "misc.py", "util.py"}
    assert [path for path in files(PACKAGE, ROOT / "dash_app", ROOT / "tests") if path.name in vague] == []


def test_every_module_says_what_belongs_there() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in files(PACKAGE, ROOT / "dash_app")
        if path.read_text().strip() and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert silent == []
