"""Where settings come from: the file, ``.env`` and the environment, merged into one tree that knows its origins.

What belongs here: finding and parsing ``regimes.toml``, the line of every key, and the names of environment
variables. What does not: which keys exist and which values are allowed (``sections.py``), and merging or
checking webhooks (``webhooks.py``).
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

from regimes_dagster.configuration.problems import Path, Problem

FILE_NAME = "regimes.toml"
CONFIG_VARIABLE = "REGIMES_CONFIG"

#: Value of the variable that means: no file and no ``.env``, defaults and variables alone (the demo).
NO_FILE = "none"

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_TOML_PLACE = re.compile(r"^(?P<what>.*?) \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)$")


@dataclass
class Tree:
    """Nested values as written, and where each came from.

    Attributes
    ----------
    values : dict
        Nested dictionaries and lists.
    origins : dict
        Path of a key to ``file:line`` or the name of an environment variable.
    root : pathlib.Path
        Folder that relative paths refer to.
    file : pathlib.Path or None
        The file that was read.
    """

    root: FilePath
    file: FilePath | None = None
    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[Path, str] = field(default_factory=dict)

    def origin(self, path: Path) -> str:
        """Origin of a key: its own, else that of the nearest section around it, else ``default``."""
        for length in range(len(path), 0, -1):
            found = self.origins.get(path[:length])
            if found is not None:
                return found
        return self.file.name if self.file else "default"

    def put(self, path: Path, value: Any, origin: str) -> None:
        """Set a value, replacing what the file says about it."""
        here: Any = self.values
        for part in path[:-1]:
            inner = here.get(part)
            if not isinstance(inner, dict):
                inner = here[part] = {}
            here = inner
        here[path[-1]] = value
        for known in [key for key in self.origins if key[: len(path)] == path]:
            del self.origins[known]
        self.origins[path] = origin


def read_tree(environ: Mapping[str, str], cwd: FilePath, problems: list[Problem]) -> Tree:
    """Read the file in use, or return an empty tree if there is none.

    A file named by ``REGIMES_CONFIG`` must exist (``none`` means no file); ``regimes.toml`` may be absent. What
    cannot be read is added to ``problems``.
    """
    named = environ.get(CONFIG_VARIABLE, "").strip()
    if named == NO_FILE:
        return Tree(root=cwd.resolve())
    path = (cwd / FilePath(named).expanduser()) if named else cwd / FILE_NAME
    tree = Tree(root=path.parent.resolve())
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        if named:
            problems.append(
                Problem("", CONFIG_VARIABLE, f"names {named}, which does not exist.", "Correct the path or unset it.")
            )
            tree.root = cwd.resolve()
        return tree
    except IsADirectoryError:
        problems.append(Problem("", str(path), "is a folder, not a file."))
        return tree
    except PermissionError:
        problems.append(Problem("", str(path), "may not be read by this user; check its permissions."))
        return tree
    except UnicodeDecodeError as error:
        problems.append(Problem("", str(path), f"is not UTF-8 text (byte {error.start}); save it as UTF-8."))
        return tree
    tree.file = path
    try:
        tree.values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        problems.append(toml_problem(path.name, text, error))
        return tree
    for key, line in key_lines(text).items():
        tree.origins[key] = f"{path.name}:{line}"
    return tree


def toml_problem(name: str, text: str, error: tomllib.TOMLDecodeError) -> Problem:
    """Line, column and the offending line of a file that is not TOML."""
    match = _TOML_PLACE.match(str(error))
    lines = text.splitlines() or [""]
    if match is None or match["line"] is None:
        what = match["what"] if match else str(error)
        return Problem("", f"{name}:{len(lines)}", f"is not valid TOML: {what} at the end of the file.")
    line = int(match["line"])
    source = lines[line - 1].strip() if line <= len(lines) else ""
    shown_line = re.sub(r"=.*", "= ...", source) if re.search(r"(?i)secret|password|url|token", source) else source
    place = f"{name}:{line}:{match['column']}"
    return Problem(
        "", place, f"is not valid TOML: {match['what']} in the line `{shown_line[:80]}`.", _toml_hint(source)
    )


def _toml_hint(line: str) -> str | None:
    match = re.match(r"^[\w.\-\"]+\s*=\s*([A-Za-z][\w/.:-]*)\s*(#.*)?$", line)
    if match and match[1] not in ("true", "false", "inf", "nan"):
        if match[1].casefold() in ("true", "false", "yes", "no", "on", "off"):
            return "Truth values are written true and false."
        return f'Strings stand in quotes: "{match[1]}".'
    if re.match(r"^[\w.\-\"]+\s*:", line):
        return "Keys and values are joined by =, not by a colon."
    return None


def key_lines(text: str) -> dict[Path, int]:
    """Line (from 1) of every key and table header of a valid TOML text.

    Keys inside inline tables and arrays are not listed: their line is that of the key that holds them.
    """
    lines: dict[Path, int] = {}
    counts: dict[Path, int] = {}
    table: Path = ()
    position, line = 0, 1
    while position < len(text):
        character = text[position]
        if character in " \t\r":
            position += 1
        elif character == "\n":
            position, line = position + 1, line + 1
        elif character == "#":
            position = _line_end(text, position)
        elif character == "[":
            double = text.startswith("[[", position)
            names, position = _key(text, position + (2 if double else 1))
            table = _resolve(tuple(names), counts)
            if double:
                index = counts[table] = counts.get(table, -1) + 1
                lines.setdefault(table, line)
                table = (*table, index)
            lines.setdefault(table, line)
            position = _line_end(text, position)
        else:
            names, position = _key(text, position)
            for length in range(1, len(names) + 1):
                lines.setdefault((*table, *names[:length]), line)
            end = _value_end(text, position + 1)
            line += text.count("\n", position, end)
            position = end
    return lines


def _resolve(names: Path, counts: Mapping[Path, int]) -> Path:
    """Insert the index of the newest element wherever a header walks through an array of tables."""
    path: Path = ()
    for place, name in enumerate(names):
        path = (*path, name)
        if path in counts and place < len(names) - 1:
            path = (*path, counts[path])
    return path


def _line_end(text: str, position: int) -> int:
    end = text.find("\n", position)
    return len(text) if end < 0 else end


def _key(text: str, position: int) -> tuple[list[str], int]:
    """Parts of a dotted key, and the position of the character that ends it."""
    names: list[str] = []
    while position < len(text):
        character = text[position]
        if character in " \t.":
            position += 1
        elif character in "\"'":
            end = _string_end(text, position)
            raw = text[position:end]
            names.append(str(tomllib.loads(f"k = {raw}")["k"]))
            position = end
        else:
            match = _BARE.match(text, position)
            if match is None:
                return names, position
            names.append(match[0])
            position = match.end()
    return names, position


def _string_end(text: str, position: int) -> int:
    quote = text[position]
    triple = text.startswith(quote * 3, position)
    closing = quote * 3 if triple else quote
    position += len(closing)
    while position < len(text):
        if text[position] == "\\" and quote == '"':
            position += 2
        elif text.startswith(closing, position):
            position += len(closing)
            while triple and text.startswith(quote, position):
                position += 1
            return position
        else:
            position += 1
    return position


def _value_end(text: str, position: int) -> int:
    depth = 0
    while position < len(text):
        character = text[position]
        if character in "\"'":
            position = _string_end(text, position)
            continue
        if character == "#":
            position = _line_end(text, position)
            continue
        if character in "[{":
            depth += 1
        elif character in "]}":
            depth -= 1
        elif character == "\n" and depth == 0:
            return position
        position += 1
    return position
