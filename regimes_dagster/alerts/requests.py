"""What people ask for: replay an alert, silence some, test an endpoint.

What belongs here: carrying out a request, from the dashboard (``alert_requests``, executed by the delivery sensor)
or from ``regimes alerts``. What does not: sending (``delivery.py``) and the function by which the dashboard may
insert requests (``migrations/access.py``).

Arguments per kind
------------------
REPLAY   ``alert_id``; ``endpoint`` (id, name or label) or none: every endpoint that it was planned for, or else every
         endpoint whose filters ask for it. A replay is a new series beside the old one; age, severity and silences do
         not hold it back, since a person asked.
SILENCE  ``hours``; ``event_type``, ``symbol``, ``comment``, each optional. Or ``end``: id of a silence to end now.
TEST     ``endpoint``: a marked test message to it.
"""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import sqlalchemy as sa

from regimes_dagster import tables
from regimes_dagster.alerts import ledger, planning, silences
from regimes_dagster.alerts.planning import Plan
from regimes_dagster.alerts.subject import PLATFORM, Subject
from regimes_dagster.configuration.problems import nearest
from regimes_dagster.settings import Endpoint, Settings
from regimes_dagster.vocabulary import EVENT_ALIASES, EVENT_TYPES, OPERATIONAL_EVENT_TYPES

#: Requests carried out per tick; the rest waits for the next one.
_MOST = 50


class RequestError(ValueError):
    """A request cannot be carried out; the message says why and is shown to the person."""


def execute_pending(engine: sa.Engine, settings: Settings, now: pd.Timestamp, moment: pd.Timestamp) -> int:
    """Carry out what the dashboard asked for; how many requests.

    Each in a transaction of its own, so that one that fails is marked FAILED with the reason and harms no other.
    """
    requests = tables.table("alert_requests")
    done = 0
    for _ in range(_MOST):
        with engine.begin() as connection:
            query = (
                sa.select(requests)
                .where(requests.c.state == "PENDING")
                .order_by(requests.c.requested_at, requests.c.id)
                .limit(1)
                .with_for_update(skip_locked=True)
            )
            row = connection.execute(query).one_or_none()
            if row is None:
                return done
            try:
                with connection.begin_nested():
                    result = execute(connection, settings, row.kind, row.args or {}, now=now, moment=moment, by=row.by)
                state = "DONE"
            except (RequestError, silences.SilenceError) as error:
                state, result = "FAILED", str(error)
            connection.execute(
                sa.update(requests).where(requests.c.id == row.id).values(state=state, result=result[:500])
            )
            done += 1
    return done


def execute(
    connection: sa.Connection,
    settings: Settings,
    kind: str,
    args: Mapping[str, Any],
    *,
    now: pd.Timestamp,
    moment: pd.Timestamp,
    by: str | None = None,
) -> str:
    """Carry out one request; what came of it, in words.

    Parameters
    ----------
    now
        The platform's moment; a test message carries it.
    moment
        The system's moment; deliveries and silences live in it.

    Raises
    ------
    RequestError, SilenceError
        If an argument is missing, unknown or makes no sense.
    """
    if kind == "REPLAY":
        made = replay(connection, settings, str(args.get("alert_id", "")), _text(args, "endpoint"), moment)
        return f"{len(made)} deliveries planned: {', '.join(made)}"
    if kind == "SILENCE":
        return _silence(connection, args, moment, by)
    if kind == "TEST":
        endpoint = find_endpoint(settings, _text(args, "endpoint"))
        test(connection, endpoint, now=now, moment=moment, is_simulated=settings.is_simulated)
        return f"test message planned for {endpoint.label}"
    raise RequestError(f"{kind!r} is no request; ask for REPLAY, SILENCE or TEST")


def replay(
    connection: sa.Connection, settings: Settings, alert: str, endpoint: str | None, moment: pd.Timestamp
) -> list[str]:
    """Plan another delivery of an alert; labels of the endpoints.

    Raises
    ------
    RequestError
        If there is no such alert, or no endpoint to send it to.
    """
    alerts, deliveries = tables.table("alerts"), tables.table("alert_deliveries")
    row = connection.execute(sa.select(alerts).where(alerts.c.alert_id == alert)).one_or_none()
    if row is None:
        raise RequestError(f"there is no alert {alert!r}; `regimes alerts list` shows their ids")
    if endpoint is not None:
        targets = [find_endpoint(settings, endpoint)]
    else:
        planned = connection.execute(
            sa.select(deliveries.c.endpoint).distinct().where(deliveries.c.alert_id == alert, deliveries.c.series == 0)
        ).scalars()
        before = set(planned)
        targets = [e for e in settings.endpoints if e.id in before] or _asking(settings, row)
    targets = [e for e in targets if not row.is_simulated or planning.is_local(e.host)]
    if not targets:
        raise RequestError("no endpoint asks for this alert; name one with --endpoint")
    _refuse_disabled(connection, targets)
    for target in targets:
        ledger.insert_deliveries(
            connection,
            [(alert, Plan(target.id, "PENDING", "REPLAY"))],
            moment=moment,
            series=ledger.next_series(connection, alert, target.id),
        )
    return [target.label for target in targets]


def test(
    connection: sa.Connection,
    endpoint: Endpoint,
    *,
    now: pd.Timestamp,
    moment: pd.Timestamp,
    is_simulated: bool,
) -> str:
    """Record a marked test message and plan it for one endpoint; the alert's id."""
    row = ledger.alert_row(
        episode_id=uuid.uuid4().hex[:16],
        phase="OPEN",
        level=1,
        event_type="TEST",
        key=endpoint.id,
        symbol=PLATFORM,
        ts=now,
        severity="INFO",
        title="Test message from regimes",
        description="This is a test. If you can read it, alerts reach this endpoint.",
        source="TEST",
        data={"test": True, "endpoint": endpoint.name},
        recorded_at=moment,
        ended_ts=now,
        config_hash="",
        is_simulated=is_simulated,
    )
    ledger.insert_alerts(connection, [row])
    alert = str(row["alert_id"])
    ledger.insert_deliveries(connection, [(alert, Plan(endpoint.id, "PENDING", "TEST"))], moment=moment)
    return alert


def find_endpoint(settings: Settings, name: str | None) -> Endpoint:
    """The endpoint that a person means: by name, one of its joined names, id or label.

    Raises
    ------
    RequestError
        If none or more than one is meant.
    """
    if not name:
        raise RequestError(f"name an endpoint: {_names(settings)}")
    found = [e for e in settings.endpoints if name in (e.name, e.id, e.id[:4], e.label, *e.name.split(", "))]
    if len(found) == 1:
        return found[0]
    if found:
        raise RequestError(f"{name!r} means more than one endpoint; use one of {_names(settings)}")
    close = nearest(name, [part for e in settings.endpoints for part in (e.name, *e.name.split(", "))])
    hint = f" Did you mean {close!r}?" if close else ""
    raise RequestError(f"there is no endpoint {name!r}.{hint} Endpoints: {_names(settings)}")


def event_type(name: str | None) -> str | None:
    """The event a person means (``CASCADE`` is LIQUIDATION_CASCADE); None means all.

    Raises
    ------
    RequestError
        If there is no such event.
    """
    if name is None:
        return None
    full = EVENT_ALIASES.get(name, name)
    known = (*EVENT_TYPES, *OPERATIONAL_EVENT_TYPES)
    if full not in known:
        close = nearest(name, (*known, *EVENT_ALIASES))
        raise RequestError(
            f"{name!r} is not an event.{f' Did you mean {close}?' if close else ''} Events: {', '.join(known)}"
        )
    return full


def _silence(connection: sa.Connection, args: Mapping[str, Any], moment: pd.Timestamp, by: str | None) -> str:
    ending = _text(args, "end")
    if ending is not None:
        if not silences.end(connection, ending, moment):
            raise RequestError(f"there is no silence {ending!r} that holds now")
        return f"silence {ending} ended"
    try:
        hours = float(args.get("hours", ""))
    except (TypeError, ValueError):
        raise RequestError("a silence needs `hours`, a number") from None
    made = silences.add(
        connection,
        now=moment,
        hours=hours,
        event_type=event_type(_text(args, "event_type")),
        symbol=_text(args, "symbol"),
        comment=_text(args, "comment"),
        by=by,
    )
    return f"silence {made} holds for {hours:g} h"


def _asking(settings: Settings, row: Any) -> list[Endpoint]:
    subject = Subject(row.event_type, row.symbol, "CRITICAL", row.asset_pair, row.is_simulated)
    plans = planning.plan(
        subject, settings.endpoints, minimum={}, silences=(), states={}, now=pd.Timestamp(row.recorded_at)
    )
    wanted = {plan.endpoint for plan in plans if plan.state == "PENDING"}
    return [e for e in settings.endpoints if e.id in wanted]


def _refuse_disabled(connection: sa.Connection, targets: Sequence[Endpoint]) -> None:
    endpoints = tables.table("webhook_endpoints")
    query = sa.select(endpoints.c.endpoint).where(
        endpoints.c.endpoint.in_([e.id for e in targets]), endpoints.c.state == "DISABLED"
    )
    off = set(connection.execute(query).scalars())
    for target in targets:
        if target.id in off:
            raise RequestError(
                f"{target.label} is switched off; correct its address or change its entry, then "
                f"`regimes alerts test {target.name.split(', ')[0]}`"
            )


def _text(args: Mapping[str, Any], key: str) -> str | None:
    value = args.get(key)
    return None if value is None or value == "" else str(value)


def _names(settings: Settings) -> str:
    return ", ".join(f"{e.name} = {e.label}" for e in settings.endpoints) or "none is configured"
