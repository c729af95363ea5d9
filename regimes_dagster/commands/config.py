"""``regimes config``: show, check and explain the settings.

What belongs here: printing. What does not: reading and checking (``settings.py``, ``configuration/``).
"""

import base64
import hashlib
import json
import secrets
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import click
from pydantic import BaseModel, Secret, SecretStr

from regimes_dagster.configuration.addresses import SECRET_PREFIX, endpoint_id
from regimes_dagster.configuration.problems import dotted, is_secret
from regimes_dagster.logs import redacted
from regimes_dagster.settings import Settings, load_settings

HIDDEN = "(hidden)"

#: Cost of the password hash: 2^15 x 8 x 128 bytes = 32 MiB, about 60 ms on a small machine.
SCRYPT_N, SCRYPT_R, SCRYPT_P = 2**15, 8, 1


@click.group(name="config", invoke_without_command=True)
@click.pass_context
def config(ctx: click.Context) -> None:
    """Show the settings in force and where each comes from."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(show)


@config.command()
@click.option("--set", "only_set", is_flag=True, help="Only what the file or the environment sets.")
@click.option("--json", "as_json", is_flag=True, help="As JSON, one object per key.")
def show(only_set: bool, as_json: bool) -> None:
    """Print every key, its value (secrets hidden) and its origin."""
    settings = load_settings()
    rows = [
        {"key": key, "value": value, "origin": origin}
        for key, value, origin in effective(settings)
        if not only_set or origin != "default"
    ]
    if as_json:
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    click.echo(f"# {settings.config_file or 'no regimes.toml: defaults and environment'}")
    for row in rows:
        text = f"{row['key']} = {json.dumps(row['value'], ensure_ascii=False)}"
        click.echo(f"{text:<70} # {row['origin']}")
    for endpoint in settings.endpoints:
        signed = f", signed with {len(endpoint.secrets)} secret(s)" if endpoint.secrets else ""
        origins = ", ".join(endpoint.origins)
        click.echo(f"# posts to {endpoint.label}: {endpoint.name}, {endpoint.format}{signed}; from {origins}")


@config.command()
def check() -> None:
    """Read the configuration and report every mistake at once."""
    settings = load_settings()
    if settings.multi_timeframe.classifier is not None:
        from regimes_dagster.configuration.classifier import check_classifier

        check_classifier(settings)
    count = len(settings.endpoints)
    where = settings.config_file or "defaults and environment"
    click.echo(f"{where}: no mistakes. {len(settings.symbols)} symbols, {count} webhook{'' if count == 1 else 's'}.")


@config.command()
@click.option("--write", type=click.Path(dir_okay=False, path_type=Path), help="Write to this file.")
def reference(write: Path | None) -> None:
    """Print the page docs/configure.md, made from the models."""
    from regimes_dagster.configuration.reference import reference as page

    text = page()
    if write is None:
        click.echo(text, nl=False)
    else:
        write.write_text(text, encoding="utf-8")
        click.echo(f"{write} written.")


@config.command()
def secret() -> None:
    """Make a secret that signs webhook messages."""
    click.echo(SECRET_PREFIX + base64.b64encode(secrets.token_bytes(32)).decode())


@config.command(name="hash-password")
@click.password_option(prompt="Password", help="Asked for when absent; an argument shows in the shell's history.")
def hash_password(password: str) -> None:
    """Make the value of dashboard.password_hash."""
    click.echo(scrypt_text(password, secrets.token_hex(16)))


def scrypt_text(password: str, salt: str) -> str:
    """scrypt hash in the form ``scrypt:N:r:p$salt$hex`` that Werkzeug reads as well."""
    digest = hashlib.scrypt(
        password.encode(), salt=salt.encode(), n=SCRYPT_N, r=SCRYPT_R, p=SCRYPT_P, maxmem=132 * SCRYPT_N * SCRYPT_R
    )
    return f"scrypt:{SCRYPT_N}:{SCRYPT_R}:{SCRYPT_P}${salt}${digest.hex()}"


def effective(settings: Settings) -> Iterator[tuple[str, Any, str]]:
    """Key, value (secrets hidden) and origin of every setting."""
    for path, value in _leaves(settings, ()):
        yield dotted(path), value, settings.origin(*path)


def _leaves(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    if isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _leaves(getattr(value, name), (*path, name))
    elif isinstance(value, Secret) and isinstance(value.get_secret_value(), dict):
        yield from _leaves(value.get_secret_value(), path)
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _leaves(inner, (*path, name))
        if not value:
            yield path, {}
    elif isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
        for index, inner in enumerate(value):
            yield from _leaves(inner, (*path, index))
    else:
        yield path, _shown(value, path)


def _shown(value: Any, path: tuple[str | int, ...]) -> Any:
    if isinstance(value, SecretStr):
        text = value.get_secret_value()
        if path[-1] == "db_url":
            return redacted(text)
        if path[-1] == "url":
            host = text.split("://")[-1].split("/")[0]
            return f"{host} ({endpoint_id(text)[:4]})"
        return HIDDEN
    if is_secret(path) and value is not None and not isinstance(value, (bool, int, float)):
        return HIDDEN if value != () else []
    if isinstance(value, (list, tuple)):
        return [_shown(item, path) for item in value]
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    return value.isoformat() if isinstance(value, date) else str(value)
