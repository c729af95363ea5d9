"""Who may do what in the database: the dashboard's role, and the one thing it may ask for.

What belongs here: the role ``regimes_dashboard`` (select only, statements cancelled after 15 s) and the function
``request_alert_action``, by which the dashboard asks the delivery sensor for a replay, a silence or a test without
any right to write. What does not: tables.

All of it can be repeated, and is after every migration, so that new tables become readable. Where the database's
user may not make roles, that part is left out: the dashboard then runs in a read-only session (see
``database.dashboard_engine``) until somebody who may runs ``regimes db upgrade``.
"""

import logging

import sqlalchemy as sa

from regimes_dagster.database import DASHBOARD_ROLE

log = logging.getLogger("regimes_dagster.database")

#: Requests that the dashboard may make within a minute, and the size of one request's arguments in bytes.
REQUESTS_PER_MINUTE = 20
REQUEST_BYTES = 8192

_LOCK = 7_203_114_552

_FUNCTION = f"""
CREATE OR REPLACE FUNCTION public.request_alert_action(kind text, args jsonb) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    request text := gen_random_uuid()::text;
BEGIN
    IF kind IS NULL OR kind NOT IN ('REPLAY', 'SILENCE', 'TEST') THEN
        RAISE EXCEPTION 'kind must be REPLAY, SILENCE or TEST' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF args IS NULL OR jsonb_typeof(args) <> 'object' OR octet_length(args::text) > {REQUEST_BYTES} THEN
        RAISE EXCEPTION 'args must be an object of at most {REQUEST_BYTES} bytes'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM pg_advisory_xact_lock({_LOCK});
    IF (SELECT count(*) FROM public.alert_requests r WHERE r.requested_at > clock_timestamp() - interval '1 minute')
        >= {REQUESTS_PER_MINUTE} THEN
        RAISE EXCEPTION 'too many requests; at most {REQUESTS_PER_MINUTE} a minute, wait a little'
            USING ERRCODE = 'configuration_limit_exceeded';
    END IF;
    INSERT INTO public.alert_requests (id, kind, args, requested_at, by, state, result)
    VALUES (request, kind, args, clock_timestamp(), session_user, 'PENDING', NULL);
    RETURN request;
END
$body$
"""  # noqa: S608 - constants of this file

_ROLE = f"""
DO $body$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = '{DASHBOARD_ROLE}') THEN
        CREATE ROLE {DASHBOARD_ROLE} LOGIN;
        ALTER ROLE {DASHBOARD_ROLE} SET statement_timeout = '15s';
        ALTER ROLE {DASHBOARD_ROLE} SET idle_in_transaction_session_timeout = '60s';
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL;  -- another database of the same server was migrated at the same moment
END
$body$
"""

_GRANTS = (
    f"GRANT USAGE ON SCHEMA public TO {DASHBOARD_ROLE}",
    f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {DASHBOARD_ROLE}",
    f"ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO {DASHBOARD_ROLE}",
    f"GRANT EXECUTE ON FUNCTION public.request_alert_action(text, jsonb) TO {DASHBOARD_ROLE}",
)

_MEMBERSHIP = f"""
DO $body$
BEGIN
    IF NOT pg_has_role(current_user, '{DASHBOARD_ROLE}', 'MEMBER') THEN
        EXECUTE format('GRANT {DASHBOARD_ROLE} TO %I', current_user);
    END IF;
END
$body$
"""


def grant(engine: sa.Engine) -> bool:
    """Make the function, and the role with its rights; False where this user may not make roles."""
    with engine.begin() as connection:
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
        connection.execute(sa.text(_FUNCTION.replace(":=", r"\:=").replace("::", r"\:\:")))
        connection.execute(sa.text("REVOKE ALL ON FUNCTION public.request_alert_action(text, jsonb) FROM PUBLIC"))
    try:
        with engine.begin() as connection:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
            for statement in (_ROLE, _MEMBERSHIP, *_GRANTS):
                connection.execute(sa.text(statement))
    except sa.exc.ProgrammingError as error:
        if getattr(error.orig, "sqlstate", None) != "42501":
            raise
        log.warning(
            "this database user may not make the role %s; the dashboard will use a read-only session. "
            "Set DASHBOARD_DB_URL, or run `regimes db upgrade` as a user with CREATEROLE",
            DASHBOARD_ROLE,
        )
        return False
    return True
