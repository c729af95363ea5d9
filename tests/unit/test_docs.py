"""The documents say what is so: every link leads somewhere, every command line is accepted by its command, and every
option, target, key, variable, path of the REST interface, file and name of the code exists.

What belongs here: what can be told without running anything. What does not: SQL and the tutorials
(``tests/integration/test_documents.py`` and ``test_tutorials.py``).
"""

import base64
import re
import shlex
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import click
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from dash_app.api import routes
from dash_app.api.metrics import Metrics
from dash_app.reader import Reader
from dash_app.snapshot import SnapshotKeeper
from regimes_dagster.cli import regimes
from regimes_dagster.schemas import TABLES
from regimes_dagster.settings import load_settings

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
#: A block between fences, indented or not: its language with whatever follows it, and its lines.
FENCE = re.compile(r"^( *)```([^\n]*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
SHELL = ("bash", "sh", "ini")
COMMAND = re.compile(r"(?:^|[\s(/])regimes +((?:--demo +)?[a-z][a-z-]*(?: [^\n|;)&]*)?)")
#: A name of code: words joined by underscores, in capitals or small letters.
NAME = re.compile(r"[a-z]+(?:_[a-z0-9]+)+|[A-Z]+(?:_[A-Z0-9]+)+")
#: Names that pages invent for the reader's own things.
INVENTED = {"my_module", "my_function", "my_regimes", "YOUR_ID", "YOUR_TOKEN", "DESK_HOOK", "DESK_SECRET_NEW"}


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(page: str) -> Iterator[tuple[str, str]]:
    """Language and text of every fenced block."""
    for indent, language, body in FENCE.findall(text(page)):
        yield (language.split() or [""])[0], re.sub(rf"^{indent}", "", body, flags=re.MULTILINE)


def prose(page: str) -> str:
    """The page without its fenced blocks."""
    return FENCE.sub("", text(page))


def shell_lines(page: str) -> Iterator[str]:
    """Lines of shell blocks without their comments."""
    for language, body in blocks(page):
        if language in SHELL:
            for line in body.replace("\\\n", " ").splitlines():
                yield line.split(" #")[0].strip() if not line.startswith("#") else ""


def code(page: str) -> Iterator[str]:
    """Shell lines, and what stands between backticks."""
    yield from shell_lines(page)
    yield from INLINE.findall(prose(page))


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


def commands(lines: Iterable[str]) -> list[str]:
    return [found for line in lines for found in COMMAND.findall(line)]


def resolve(line: str) -> tuple[list[str], click.Command, click.Context]:
    """Words behind the last command of a command line, that command, and the context of what stands before it."""
    words = shlex.split(line.replace("...", " "))
    context = click.Context(regimes, info_name="regimes")
    if words[0] == "--demo":
        words = words[1:]
    found: click.Command | None = regimes.get_command(context, words[0])
    assert found is not None, f"there is no command `regimes {words[0]}`"
    path, words = words[0], words[1:]
    while isinstance(found, click.Group) and words and not words[0].startswith("-"):
        context = click.Context(found, info_name=path, parent=context)
        inner = found.get_command(context, words[0])
        assert inner is not None, f"there is no command `regimes {path} {words[0]}`"
        found, path, words = inner, f"{path} {words[0]}", words[1:]
    return words, found, context


@pytest.mark.parametrize("page", [name for name in NAMES if commands(code(name))])
def test_every_command_and_option_exists(page: str) -> None:
    """Also those that are only mentioned, without their arguments."""
    for line in commands(code(page)):
        words, found, _ = resolve(line)
        if found.name == "dagster":  # hands everything on to Dagster
            continue
        known = {name for parameter in found.params for name in (*parameter.opts, *parameter.secondary_opts)}
        unknown = {word.split("=")[0].strip(".,:") for word in words if word.startswith("--")} - known - {"--help"}
        assert not unknown, f"{page}: `regimes {line}` has no {', '.join(sorted(unknown))}"


@pytest.mark.parametrize("page", [name for name in NAMES if commands(shell_lines(name))])
def test_every_command_line_of_a_block_is_accepted_as_it_stands(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Arguments, values and their types, by the commands' own parsers; nothing is run."""
    monkeypatch.chdir(tmp_path)
    for line in commands(shell_lines(page)):
        words, found, context = resolve(line)
        if isinstance(found, click.Group) or found.name == "dagster":
            continue
        for parameter in found.params:
            if isinstance(parameter, click.Argument) and isinstance(parameter.type, click.Path) and words:
                # A file that has to exist, or must not.
                (tmp_path / words[0]).unlink(missing_ok=True)
                if parameter.type.exists:
                    (tmp_path / words[0]).touch()
        try:
            found.make_context(found.name, list(words), parent=context)
        except click.UsageError as error:
            pytest.fail(f"{page}: `regimes {line}`: {error.format_message()}")


def test_no_block_hides_its_language() -> None:
    """A block without a language is looked at by none of these tests."""
    nameless = [page for page in NAMES for language, _ in blocks(page) if not language]
    assert not nameless, f"say bash, toml, python, text, ... in {', '.join(nameless)}"


@pytest.mark.parametrize("page", [name for name in NAMES if any(kind == "toml" for kind, _ in blocks(name))])
def test_every_toml_block_is_a_configuration_that_is_accepted(page: str, tmp_path: Path) -> None:
    for kind, body in blocks(page):
        if kind == "python" and body.startswith("# my_"):
            (tmp_path / body.split()[1]).write_text(body, encoding="utf-8")
    (tmp_path / "history").mkdir()
    environment = {
        "DESK_HOOK": "https://desk.example/hook",
        "DESK_SECRET": "whsec_" + base64.b64encode(b"x" * 32).decode(),
    }
    for number, body in enumerate(body for kind, body in blocks(page) if kind == "toml"):
        file = tmp_path / f"{number}.toml"
        file.write_text(body, encoding="utf-8")
        load_settings({**environment, "REGIMES_CONFIG": str(file)}, tmp_path)


@pytest.mark.parametrize("page", NAMES)
def test_every_configuration_key_named_in_the_text_exists(page: str) -> None:
    known = configuration_keys()
    for section, first, more in re.findall(r"`\[+([a-z_.]+)\]+(?: ([a-z_]+)[^`]*)?`((?:, `[a-z_]+`)*)", prose(page)):
        place = section if section in known else section.rpartition(".")[0]
        assert place in known, f"{page}: there is no section [{section}]"
        if place == section:
            missing = {key for key in (first, *re.findall(r"`([a-z_]+)`", more)) if key} - known[section]
            assert not missing, f"{page}: [{section}] has no {', '.join(sorted(missing))}"


@pytest.mark.parametrize("page", NAMES)
def test_every_environment_variable_exists(page: str) -> None:
    reference = text("docs/configure.md")
    for name in set(re.findall(r"\b(?:REGIMES|WEBHOOKS|DASHBOARD)_[A-Z_0-9]+\b", text(page))):
        # Options of ccxt are as many as ccxt has; the other is a state of an alert.
        if name.startswith("REGIMES_SOURCES__CCXT__") or name == "WEBHOOKS_OFF":
            continue
        assert f"`{name}`" in reference, f"{page} names {name}, which docs/configure.md does not know"


@pytest.mark.parametrize("page", [name for name in NAMES if name != "docs/configure.md"])
def test_every_name_of_code_occurs_in_the_code(page: str) -> None:
    """Tables, columns, checks, jobs, schedules, events, states, keys, modules: renamed there, wrong here."""
    words = vocabulary()
    taught = set(NAME.findall(" ".join(body for kind, body in blocks(page) if kind == "python")))
    for token in INLINE.findall(prose(page)):
        unknown = {name for name in NAME.findall(token) if name not in words} - INVENTED - taught
        assert not unknown, f"{page}: `{token}`: nothing is called {', '.join(sorted(unknown))}"


@pytest.mark.parametrize("page", NAMES)
def test_every_file_named_exists(page: str) -> None:
    place = re.compile(r"(?:regimes_dagster|dash_app|tests|bench|docs|features|sources|alerts)/[\w./-]+")
    made = {match for match in re.findall(r"file=(\S+)", text(page))}
    for token in INLINE.findall(prose(page)):
        if "/api/" in token:
            continue
        for path in place.findall(token):
            exists = any((ROOT / top / path).exists() for top in ("", "regimes_dagster"))
            assert exists or path in made, f"{page}: there is no {path}"


def test_every_path_of_the_rest_interface_and_its_parameters_exist() -> None:
    app = FastAPI()
    settings = load_settings({"REGIMES_CONFIG": "none"})
    reader = Reader("postgresql://nobody@127.0.0.1:1/none")
    keeper = SnapshotKeeper(reader, settings)
    routes.mount(app, settings, keeper, reader, Metrics(keeper, reader))
    client = TestClient(app, raise_server_exceptions=False)
    described = client.get("/api/openapi.json").json()["paths"]
    assert len(described) > 8
    place = re.compile(r"(?<![a-z])(/(?:api/[a-z_./{}]+|healthz|readyz|metrics))\b(?:\?([^\s`'\"]+))?")
    for page in NAMES:
        for named, query in place.findall(text(page)):
            # The table of a path is any table; the tutorial adds one of its own.
            path = re.sub(r"/history/[a-z_{}]+", "/history/{table}", named.rstrip("."))
            exists = path in described or client.get(path).status_code != 404
            assert exists, f"{page}: the interface has no {path}"
            parameters = {
                parameter["name"]
                for operation in described.get(path, {}).values()
                for parameter in operation.get("parameters", [])
            }
            asked = {part.split("=")[0] for part in query.split("&")} if query else set()
            assert asked <= parameters, f"{page}: {path} has no parameter {', '.join(sorted(asked - parameters))}"


@cache
def configuration_keys() -> dict[str, set[str]]:
    """Section -> its keys, from the reference, which another test compares with the models."""
    found: dict[str, set[str]] = {}
    for heading, body in re.findall(r"^## \[+([a-z_.]+)\]+$(.*?)(?=^## )", text("docs/configure.md"), re.M | re.S):
        found[heading] = set(re.findall(r"^\| `([a-z_]+)` \|", body, re.M))
    for section in list(found):
        above, _, key = section.rpartition(".")
        if above in found:
            found[above].add(key)
    return found


@cache
def vocabulary() -> frozenset[str]:
    """Every word of the sources: what is named in the documents must be among them."""
    files = [
        *(
            file
            for folder in ("regimes_dagster", "dash_app", "bench", "tests")
            for file in (ROOT / folder).rglob("*.py")
        ),
        *(ROOT / name for name in ("Makefile", "Dockerfile", "docker-compose.yml", "dagster.yaml", "regimes.toml")),
    ]
    own = ROOT / "tests" / "unit" / "test_docs.py"
    found: set[str] = set()
    for file in files:
        if file != own:
            found.update(NAME.findall(file.read_text(encoding="utf-8")))
    return frozenset(found)


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
