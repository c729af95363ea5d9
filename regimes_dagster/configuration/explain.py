"""Pydantic's errors in plain words.

What belongs here: one function from a ``ValidationError`` to problems, with the origin of each key and the nearest
valid name. What does not: the wording of types and bounds (``problems.py``).
"""

from collections.abc import Iterator
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from regimes_dagster.configuration.environment import plain_type
from regimes_dagster.configuration.problems import (
    Path,
    Problem,
    did_you_mean,
    dotted,
    listed,
    nearest,
    out_of_bounds,
    shown,
    wrong_type,
)
from regimes_dagster.configuration.reading import Tree


def explain(error: ValidationError, model: type[BaseModel], tree: Tree) -> list[Problem]:
    """One problem per mistake, in the order of the file."""
    found = []
    every = error.errors(include_url=False)
    for details in every:
        if details["type"] == "too_short" and len(every) > 1:
            continue  # its items are wrong, and named for themselves
        path = tuple(part for part in details["loc"] if part != "[key]")
        found.append(_problem(details, path, "[key]" in details["loc"], model, tree))
    return found


def _problem(details: ErrorDetails, path: Path, is_key: bool, model: type[BaseModel], tree: Tree) -> Problem:
    origin, key = tree.origin(path), dotted(path)
    kind, context = details["type"], details.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown_key(path, model, tree)
    if kind == "refused":
        return Problem(key, origin, context["message"], context["hint"] or None)
    if kind == "literal_error":
        return _not_listed(path, is_key, details["input"], model, tree)
    if kind == "missing":
        return Problem(key, origin, "is missing.")
    if kind == "too_short" and path == ("symbols",):
        return Problem(key, origin, "is empty; name at least one symbol.")
    if kind == "value_error":
        return Problem(key, origin, f"{context['error']}.")
    text = wrong_type(details, path) or out_of_bounds(details, path)
    if text is None:
        text = f"is {shown(details['input'], path)}: {details['msg'].lower()}."
    return Problem(key, origin, text)


def _unknown_key(path: Path, model: type[BaseModel], tree: Tree) -> Problem:
    name, parent = str(path[-1]), path[:-1]
    known = tuple(_fields(model, parent))
    section = f"[{dotted(parent)}]" if parent else "the top level"
    hint = did_you_mean(name, known)
    if hint is None or not parent:
        elsewhere = [where for where, key in _every_key(model) if key == name and where != parent]
        if elsewhere:
            homes = " or ".join(
                f"[{dotted(where)}]" if where else "the top, before the first [section]" for where in elsewhere
            )
            hint = f"It belongs to {homes}."
        elif hint is None:
            hint = _far_hint(name, model)
    what = "section" if not parent and isinstance(tree.values.get(name), dict) else "key"
    return Problem(dotted(path), tree.origin(path), f"is not a {what} of {section}. Known: {listed(known, 40)}.", hint)


def _far_hint(name: str, model: type[BaseModel]) -> str | None:
    keys: dict[str, Path] = {key: where for where, key in _every_key(model)}
    match = nearest(name, keys, cutoff=0.8)
    return f'Did you mean "{dotted((*keys[match], match))}"?' if match else None


def _not_listed(path: Path, is_key: bool, value: Any, model: type[BaseModel], tree: Tree) -> Problem:
    if is_key:
        allowed = [str(choice) for choice in _choices(_type_at(model, path[:-1]), key=True)]
        hint = did_you_mean(str(path[-1]), allowed)
        section = f"[{dotted(path[:-1])}]"
        return Problem(dotted(path), tree.origin(path), f"is not a key of {section}. Known: {listed(allowed)}.", hint)
    choices = _choices(_type_at(model, path), key=False)
    words = [str(choice) for choice in choices]
    quoted = [shown(choice) for choice in choices]
    hint = did_you_mean(value, words) if isinstance(value, str) else None
    return Problem(dotted(path), tree.origin(path), f"is {shown(value, path)}, must be one of {listed(quoted)}.", hint)


def _type_at(model: type[BaseModel], path: Path) -> Any:
    here: Any = model
    for part in path:
        here = plain_type(here)
        if isinstance(here, type) and issubclass(here, BaseModel):
            here = here.model_fields[str(part)].annotation
        else:
            here = get_args(here)[1 if get_origin(here) is dict else 0]
    return plain_type(here)


def _choices(annotation: Any, *, key: bool) -> tuple[Any, ...]:
    if key:
        annotation = plain_type(get_args(annotation)[0])
    return get_args(annotation)


def _fields(model: type[BaseModel], path: Path) -> tuple[str, ...]:
    base = _type_at(model, path)
    return tuple(base.model_fields) if isinstance(base, type) and issubclass(base, BaseModel) else ()


def _every_key(model: type[BaseModel], path: Path = ()) -> Iterator[tuple[Path, str]]:
    for name, info in model.model_fields.items():
        yield path, name
        base = plain_type(info.annotation)
        if isinstance(base, type) and issubclass(base, BaseModel):
            yield from _every_key(base, (*path, name))


def without(document: dict[str, Any], loc: tuple[int | str, ...]) -> None:
    """Remove the key that an error names, in place; an item of a list takes the key of its list with it.

    Entries of a list of tables stay, without the wrong key, so that the others keep their numbers.
    """
    holder: dict[str, Any] | None = None
    name = ""
    here: Any = document
    for part in loc:
        if isinstance(here, dict) and part in here:
            holder, name = here, str(part)
            here = here[part]
        elif isinstance(here, list) and isinstance(part, int) and part < len(here):
            here = here[part]
        else:
            break
    if holder is not None:
        holder.pop(name, None)
