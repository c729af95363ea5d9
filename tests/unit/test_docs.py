"""The documents: every link leads somewhere, and every command, option, target and table they name exists."""

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from regimes_dagster.cli import regimes
from regimes_dagster.schemas import TABLES

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"```(?:bash|sh|console|ini)\n(.*?)```|`([^`\n]+)`", re.DOTALL)
COMMAND = re.compile(r"(?:^|[\s(/])regimes +((?:[a-z][a-z-]*)(?: [^\n|;)]*)?)")


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def code(page: str) -> Iterator[str]:
    """Shell blocks line by line without their comments, and what stands between backticks."""
    for block, inline in CODE.findall(text(page)):
        for line in (block or inline).splitlines():
            yield line.split("#")[0].strip()


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ +(.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", NAMES)
def test_every_relative_link_leads_somewhere(page: str) -> None:
    broken = []
    for target in LINK.findall(text(page)):
        if "://" in target or target.startswith("mailto:"):
            continue
        path, _, anchor = target.partition("#")
        place = (ROOT / page).parent / path if path else ROOT / page
        if not place.exists() or (anchor and anchor not in anchors(place)):
            broken.append(target)
    assert not broken, f"{page} links to {', '.join(broken)}"


def commands(page: str) -> list[str]:
    return [found for line in code(page) for found in COMMAND.findall(line)]


@pytest.mark.parametrize("page", [name for name in NAMES if commands(name)])
def test_every_command_and_option_exists(page: str) -> None:
    for line in commands(page):
        words = line.replace("...", " ").split()
        context = click.Context(regimes)
        found: click.Command | None = regimes.get_command(context, words[0])
        assert found is not None, f"{page}: there is no command `regimes {words[0]}`"
        if words[0] == "dagster":  # hands everything on to Dagster
            continue
        options = words[1:]
        if isinstance(found, click.Group) and options and not options[0].startswith("-"):
            inner = found.get_command(context, options[0])
            assert inner is not None, f"{page}: there is no command `regimes {words[0]} {options[0]}`"
            found, options = inner, options[1:]
        known = {name for parameter in found.params for name in (*parameter.opts, *parameter.secondary_opts)} | {
            "--help"
        }
        unknown = {option.split("=")[0].strip("`.,:\"'") for option in options if option.startswith("--")} - known
        assert not unknown, f"{page}: `regimes {line}` has no {', '.join(sorted(unknown))}"


@pytest.mark.parametrize("page", NAMES)
def test_every_make_target_exists(page: str) -> None:
    targets = set(re.findall(r"^([a-z]+):", text("Makefile"), re.MULTILINE))
    named = {target for line in code(page) for target in re.findall(r"\bmake ([a-z]+)", line)}
    assert named <= targets, f"{page} names make {', '.join(sorted(named - targets))}"


def test_every_page_is_reached_from_the_readme() -> None:
    seen, todo = set(), [ROOT / "README.md"]
    while todo:
        page = todo.pop()
        if page in seen or page.suffix != ".md" or not page.exists():
            continue
        seen.add(page)
        targets = [target.partition("#")[0] for target in LINK.findall(page.read_text(encoding="utf-8"))]
        todo += [(page.parent / target).resolve() for target in targets if target and "://" not in target]
    unreached = {page.name for page in PAGES} - {page.name for page in seen}
    assert not unreached, f"no link leads to {', '.join(sorted(unreached))}"


def test_the_tables_of_the_concepts_page_are_the_tables_there_are() -> None:
    named = set(re.findall(r"`([a-z_]+)`", text("docs/concepts.md")))
    shown = {name for name in TABLES if name in named}
    hidden = {"minute_bars", "platform_clock", "signal_evidence", "volatility_models", "alert_requests"}
    hidden |= {"alert_silences", "webhook_endpoints"}
    assert set(TABLES) - shown <= hidden, f"the concepts page does not name {sorted(set(TABLES) - shown - hidden)}"
