"""Environment variables that override the file.

What belongs here: how ``REGIMES_SECTION__KEY`` finds its key in the models, how the text of a variable becomes a
value, the guide's own names, and ``.env``. What does not: the models themselves and the webhook variables' meaning
(``webhooks.py``).
"""

import json
import types
from collections.abc import Iterable, Mapping
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, Secret

from regimes_dagster.configuration.problems import Path, Problem, did_you_mean, nearest
from regimes_dagster.configuration.reading import CONFIG_VARIABLE, NO_FILE, Tree
from regimes_dagster.vocabulary import WEBHOOK_VARIABLES

PREFIX = "REGIMES_"

#: The guide's names for keys of the file.
GUIDE_VARIABLES: dict[str, Path] = {
    "DB_URL": ("db_url",),
    "DASHBOARD_DB_URL": ("dashboard", "db_url"),
    "WEBHOOKS_ENABLED": ("alerts", "enabled"),
}

#: Variables with the prefix that are not keys of the file.
OTHER_VARIABLES: dict[str, str] = {
    CONFIG_VARIABLE: "Path of the configuration file; `none` reads neither a file nor `.env`",
    "REGIMES_PG_URL": "Database address handed to dagster.yaml; set by `regimes` itself",
    "REGIMES_DAGSTER_DIR": "Folder of Dagster's own files, handed to dagster.yaml; set by `regimes` itself",
    "REGIMES_LOG_FORMAT": "`json` writes one JSON object per line, `text` (default) lines for people",
    "REGIMES_LOG_LEVEL": "DEBUG, INFO (default), WARNING or ERROR",
    "REGIMES_ACCEPTANCE_DATA": "Folder of the recorded data that the acceptance tests use",
}

#: Prefix for variables that commands hand to their own child processes.
INTERNAL_PREFIX = "REGIMES_INTERNAL_"

_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


def with_dotenv(environ: Mapping[str, str], root: FilePath, tree: Tree) -> dict[str, str]:
    """The environment, completed by the ``.env`` file beside the configuration; real variables win."""
    path = root / ".env"
    if environ.get(CONFIG_VARIABLE) == NO_FILE or not path.is_file():
        return dict(environ)
    from dotenv import dotenv_values

    extra = {name: value for name, value in dotenv_values(path, interpolate=False).items() if value is not None}
    for name in extra:
        if name not in environ:
            tree.origins[(name,)] = f".env: {name}"
    return {**extra, **environ}


def apply_environment(model: type[BaseModel], environ: Mapping[str, str], tree: Tree, problems: list[Problem]) -> None:
    """Put the variables that override keys into the tree. Empty variables count as unset."""
    set_by: dict[Path, str] = {}
    for name in sorted(environ):
        value = environ[name]
        if not value.strip():
            continue
        if name in GUIDE_VARIABLES:
            path: Path | None = GUIDE_VARIABLES[name]
        elif name.startswith("WEBHOOKS_") and name not in WEBHOOK_VARIABLES:
            problems.append(_no_variable(name, (*WEBHOOK_VARIABLES, "WEBHOOKS_ENABLED")))
            continue
        elif not name.startswith(PREFIX) or name in OTHER_VARIABLES or name.startswith(INTERNAL_PREFIX):
            continue
        else:
            path = find_key(model, name, problems)
        if path is None:
            continue
        if path in set_by and environ[set_by[path]] != value:
            message = f"and {set_by[path]} set the same key to different values; keep one of them."
            problems.append(Problem("", name, message))
            continue
        set_by[path] = name
        annotation = annotation_of(model, path)
        tree.put(path, from_text(value, annotation), tree.origins.get((name,), name))


def find_key(model: type[BaseModel], name: str, problems: list[Problem]) -> Path | None:
    """Path of the key that a ``REGIMES_`` variable names, or None with a problem added."""
    parts = name.removeprefix(PREFIX).split("__")
    path: list[str] = []
    here: Any = model
    for part in parts:
        kind, keys, inner = _children(here)
        stem = PREFIX + "".join(f"{known.upper()}__" for known in path)
        if kind == "leaf":
            owner = stem.removesuffix("__")
            problems.append(Problem("", name, f"goes one level too deep: {owner} is a single value."))
            return None
        match = next((key for key in keys if key.casefold() == part.casefold()), None)
        if kind == "free" and match is None and part:
            match = part.lower() if path[-1:] == ["ccxt"] else part
        if match is None:
            problems.append(_no_key(name, part, keys, ".".join(path)))
            return None
        path.append(match)
        here = inner[match] if match in inner else inner.get("*")
    return tuple(path)


def annotation_of(model: type[BaseModel], path: Path) -> Any:
    """Type of the value under a path; None inside free tables."""
    here: Any = model
    for part in path:
        _, _, inner = _children(here)
        here = inner[part] if part in inner else inner.get("*")
    return here


def from_text(text: str, annotation: Any) -> Any:
    """The value that the text of a variable stands for; text that does not fit stays text and is refused later."""
    text = text.strip()
    if text.casefold() == "none" and type(None) in get_args(_without_annotated(annotation)):
        return None
    base = plain_type(annotation)
    origin = get_origin(base) or base
    if origin is bool:
        return True if text.casefold() in _TRUE else False if text.casefold() in _FALSE else text
    if origin in (int, float) or (origin is Literal and all(isinstance(value, int) for value in get_args(base))):
        return _number(text, whole=origin is not float)
    if origin in (tuple, list, dict, Secret) or (isinstance(origin, type) and issubclass(origin, BaseModel)):
        if text[:1] in ("[", "{"):
            try:
                return json.loads(text)
            except json.JSONDecodeError:
                return text
        if origin in (tuple, list):
            inner = get_args(base)[0] if get_args(base) else None
            return [from_text(part, inner) for part in text.split(",") if part.strip()]
        return text
    if base is None or base is Any:
        try:
            return json.loads(text)
        except json.JSONDecodeError:
            return text
    return text


def plain_type(annotation: Any) -> Any:
    """The annotation without ``Annotated`` and without ``None``."""
    while True:
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        elif get_origin(annotation) in (Union, types.UnionType):
            options = [option for option in get_args(annotation) if option is not type(None)]
            if len(options) != 1:
                return annotation
            annotation = options[0]
        else:
            return annotation


def _without_annotated(annotation: Any) -> Any:
    return _without_annotated(get_args(annotation)[0]) if get_origin(annotation) is Annotated else annotation


def _number(text: str, *, whole: bool) -> Any:
    plain = text.replace("_", "")
    try:
        return int(plain)
    except ValueError:
        pass
    try:
        number = float(plain)
    except ValueError:
        return text
    return int(number) if whole and number.is_integer() else number


def _children(annotation: Any) -> tuple[str, tuple[str, ...], dict[str, Any]]:
    """Kind (``model``, ``closed``, ``free`` or ``leaf``), known keys, and the type under each key."""
    base = plain_type(annotation)
    if isinstance(base, type) and issubclass(base, BaseModel):
        fields = {name: info.annotation for name, info in base.model_fields.items()}
        return "model", tuple(fields), fields
    if get_origin(base) is Secret or base is Any or base is None:
        return "free", (), {"*": None}
    if get_origin(base) is dict:
        key, value = get_args(base)
        key = plain_type(key)
        if get_origin(key) is Literal:
            names = tuple(str(name) for name in get_args(key))
            return "closed", names, dict.fromkeys(names, value)
        return "free", (), {"*": value}
    return "leaf", (), {}


def _no_variable(name: str, known: Iterable[str]) -> Problem:
    known = tuple(known)
    return Problem("", name, f"is not a known variable. Known: {', '.join(known)}.", did_you_mean(name, known))


def _no_key(name: str, part: str, keys: Iterable[str], section: str) -> Problem:
    keys = tuple(keys)
    stem = PREFIX + "".join(f"{level.upper()}__" for level in section.split(".") if level)
    others = () if section else tuple(other.removeprefix(PREFIX) for other in OTHER_VARIABLES)
    close = nearest(part, (*keys, *others))
    what = f"a key of [{section}]" if section else "a section or key"
    return Problem(
        "",
        name,
        f"names no setting: {part.lower() or '(nothing)'} is not {what}. Known: {', '.join(keys)}.",
        f"Did you mean {stem}{close.upper()}?" if close else None,
    )
