"""Every usual spelling of a database URL means the same database, and no password is ever shown."""

import psycopg.conninfo
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.engine import URL, make_url

from regimes_dagster import database

SPELLINGS = ["postgres", "postgresql", "postgresql+psycopg2", "postgresql+psycopg", "postgresql+asyncpg"]

words = st.text(
    st.characters(codec="utf-8", exclude_characters="\x00", exclude_categories=("Cs",)), min_size=1, max_size=12
)
hosts = st.from_regex(r"[a-z][a-z0-9-]{0,10}(\.[a-z]{2,5})?", fullmatch=True)


@given(st.sampled_from(SPELLINGS), words, words, hosts, st.integers(1, 65535), words)
def test_every_spelling_is_the_same_database_with_one_driver(
    scheme: str, user: str, password: str, host: str, port: int, name: str
) -> None:
    url = URL.create(scheme, user, password, host, port, name).render_as_string(hide_password=False)
    found = database.normalise_url(url)
    assert found.drivername == "postgresql+psycopg"
    assert (found.username, found.password, found.host, found.port, found.database) == (
        user,
        password,
        host,
        port,
        name,
    )
    assert database.normalise_url(found) == found


@given(
    st.sampled_from(SPELLINGS), words, hosts, st.sampled_from([{}, {"sslmode": "require"}, {"options": "-cfoo=bar"}])
)
def test_dagster_gets_the_same_server_its_own_schema_and_psycopg2(
    scheme: str, password: str, host: str, query: dict[str, str]
) -> None:
    url = URL.create(scheme, "me", password, host, 5432, "regimes", query)
    found = make_url(database.dagster_url(url))
    assert found.drivername == "postgresql+psycopg2"
    assert (found.password, found.host, found.database) == (password, host, "regimes")
    options = str(found.query["options"])
    assert options.endswith("-csearch_path=dagster")
    assert options.startswith(query.get("options", "-c"))
    assert found.query.get("sslmode") == query.get("sslmode")


@given(st.text("abcXYZ0189@:/?#%& é", min_size=6, max_size=20))
def test_a_password_is_never_shown(password: str) -> None:
    secret = f"s3cr3t{password}"
    url = URL.create("postgres", "me", secret, "host", None, "regimes", {"sslpassword": secret})
    assert "s3cr3t" not in database.shown(url)
    with pytest.raises(database.DatabaseUrlError) as refused:
        database.normalise_url(url.set(database=""))
    assert "s3cr3t" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["sqlite:///x.db", "mysql://me:s3cr3t@host/db", "nonsense s3cr3t", "", "postgresql://me:s3cr3t@host"]
)
def test_what_is_no_postgresql_url_is_refused_with_an_example(url: str) -> None:
    with pytest.raises(database.DatabaseUrlError, match="postgresql://user:password@host") as refused:
        database.normalise_url(url)
    assert "s3cr3t" not in str(refused.value)


def test_postgresql_programs_get_the_password_by_environment_and_never_on_their_command_line() -> None:
    environment, name = database.libpq_arguments("postgres://me:p%40ss@db.example:6543/regimes?sslmode=require")
    assert name == "regimes"
    assert environment == {
        "PGHOST": "db.example", "PGPORT": "6543", "PGUSER": "me", "PGPASSWORD": "p@ss", "PGSSLMODE": "require",
    }  # fmt: skip


def test_a_socket_folder_survives_normalising() -> None:
    found = database.normalise_url("postgresql://regimes@/regimes?host=%2Fsome%20place%2Fpg-socket")
    assert found.query["host"] == "/some place/pg-socket"
    assert psycopg.conninfo.make_conninfo(host=found.query["host"])
    assert database.libpq_arguments(found)[0]["PGHOST"] == "/some place/pg-socket"


def test_the_folder_of_the_embedded_server_follows_the_environment(tmp_path) -> None:  # type: ignore[no-untyped-def]
    assert database.home({"REGIMES_HOME": str(tmp_path / "there")}) == tmp_path / "there"
    assert database.home({}).name == ".regimes"


def test_a_server_of_the_users_own_never_starts_the_embedded_one(tmp_path) -> None:  # type: ignore[no-untyped-def]
    found = database.find_url("postgres://me@host/regimes", environment={"REGIMES_HOME": str(tmp_path)})
    assert found.host == "host"
    assert list(tmp_path.iterdir()) == []
