"""`regimes alerts`: list, replay, test and silence alerts.

What belongs here: the command line and the table it prints. What does not: what a replay, silence or test is
(``alerts/requests.py``) and sending (``alerts/delivery.py``).
"""

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import sqlalchemy as sa

    from regimes_dagster.platform import Platform

STATES = ("PENDING", "RETRYING", "DELIVERED", "DEAD", "EXPIRED", "CANCELLED", "SUPPRESSED")


@click.group(name="alerts")
def alerts() -> None:
    """List, replay, test and silence alerts."""


@alerts.command(name="list")
@click.option("--state", type=click.Choice(STATES, case_sensitive=False), help="Only deliveries in this state.")
@click.option("--event", help="Only this event type; CASCADE means LIQUIDATION_CASCADE.")
@click.option("--symbol", help="Only this symbol or pair.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 10_000), help="Newest so many.")
def list_alerts(state: str | None, event: str | None, symbol: str | None, limit: int) -> None:
    """Show the newest alerts and what became of their deliveries."""
    from regimes_dagster.alerts import requests

    platform = _platform()
    with platform.engine.connect() as connection, _clear():
        rows = _rows(connection, state, requests.event_type(event), symbol, limit)
    if not rows:
        click.echo("No alert matches.")
        return
    width = max(len(row.alert_id) for row in rows)
    click.echo(f"{'ALERT':<{width}}  {'HOUR (UTC)':<16}  {'SEVERITY':<8}  {'DELIVERIES':<40}  TITLE")
    for row in rows:
        fate = row.deliveries or (
            f"not posted: {row.suppressed_reason}" if row.suppressed_reason else "no endpoint asks"
        )
        mark = " (retracted)" if row.retracted_at else ""
        click.echo(
            f"{row.alert_id:<{width}}  {row.ts:%Y-%m-%d %H:%M}  {row.severity:<8}  {fate:<40}  {_line(row.title)}{mark}"
        )


@alerts.command()
@click.argument("alert")
@click.option("--endpoint", help="Name, id or label of one endpoint; default those it was planned for.")
def replay(alert: str, endpoint: str | None) -> None:
    """Send ALERT (an id from `regimes alerts list`) again, as a new delivery beside the old one."""
    args = {"alert_id": alert, "endpoint": endpoint}
    click.echo(_ask("REPLAY", args))
    click.echo("The delivery sensor sends it within ten seconds (while `regimes up` runs).")


@alerts.command()
@click.argument("name", required=False)
def test(name: str | None) -> None:
    """Send a marked test message to the endpoint NAME and print its answer; without NAME list the endpoints.

    An endpoint that was switched off is on again once a test reaches it.
    """
    from regimes_dagster.alerts import delivery, endpoints, requests
    from regimes_dagster.clock import system_now

    platform = _platform()
    settings, engine = platform.settings, platform.engine
    if name is None:
        for endpoint in settings.endpoints:
            click.echo(f"{endpoint.name:<24} {endpoint.label:<40} {endpoint.format}")
        if not settings.endpoints:
            click.echo("No endpoint is configured: set WEBHOOKS_ALL or add [[alerts.webhook]] to regimes.toml.")
        return
    with _clear():
        if not settings.alerts.enabled:
            raise requests.RequestError("webhooks are off: alerts.enabled is false or WEBHOOKS_ENABLED=0")
        endpoint = requests.find_endpoint(settings, name)
        with engine.begin() as connection:
            endpoints.sync(connection, settings, platform.clock.now())
            alert = requests.test(
                connection,
                endpoint,
                now=platform.clock.now(),
                moment=system_now(),
                is_simulated=settings.is_simulated,
            )
        result = delivery.deliver_one(engine, settings, alert, endpoint.id)
        if result is None:
            raise click.ClickException(
                f"{endpoint.label} is busy with other deliveries; the test is queued and goes out after them"
            )
        outcome, decision = result
    what = (
        f"{outcome.status}"
        if outcome.status is not None
        else f"no answer ({outcome.trouble and outcome.trouble.value})"
    )
    click.echo(f"{endpoint.label}: {what} after {outcome.millis} ms: {decision.state}")
    if decision.state != "DELIVERED":
        raise SystemExit(1)


@alerts.command()
@click.option("--hours", type=float, help="How long, from now.")
@click.option("--event", help="Event type; default all.")
@click.option("--symbol", help="Symbol or pair; default all.")
@click.option("--comment", help="Why.")
@click.option("--end", metavar="ID", help="End a silence now.")
def silence(hours: float | None, event: str | None, symbol: str | None, comment: str | None, end: str | None) -> None:
    """Record matching alerts without posting them for a while; without options list the silences that hold."""
    if hours is None and end is None:
        _list_silences()
        return
    args = {"hours": hours, "event_type": event, "symbol": symbol, "comment": comment, "end": end}
    click.echo(_ask("SILENCE", {key: value for key, value in args.items() if value is not None}))


def _list_silences() -> None:
    import sqlalchemy as sa

    from regimes_dagster import tables
    from regimes_dagster.clock import system_now

    silences = tables.table("alert_silences")
    query = sa.select(silences).where(silences.c.ends_at > system_now().to_pydatetime()).order_by(silences.c.ends_at)
    with _platform().engine.connect() as connection:
        rows = connection.execute(query).all()
    for row in rows:
        what = f"{row.event_type or 'every event'}, {row.symbol or 'every symbol'}"
        click.echo(f"{row.id}  until {row.ends_at:%Y-%m-%d %H:%M} UTC  {what}  {row.comment or ''}")
    if not rows:
        click.echo("No silence holds. Start one: regimes alerts silence --hours 4 --symbol BTC/USDT")


def _ask(kind: str, args: dict[str, Any]) -> str:
    from regimes_dagster.alerts import endpoints, requests
    from regimes_dagster.clock import system_now

    platform = _platform()
    with _clear(), platform.engine.begin() as connection:
        endpoints.sync(connection, platform.settings, platform.clock.now())
        return requests.execute(
            connection,
            platform.settings,
            kind,
            args,
            now=platform.clock.now(),
            moment=system_now(),
            by="regimes alerts",
        )


def _rows(
    connection: "sa.Connection", state: str | None, event: str | None, symbol: str | None, limit: int
) -> list[Any]:
    import sqlalchemy as sa

    from regimes_dagster import tables

    table, deliveries = tables.table("alerts"), tables.table("alert_deliveries")
    counted = (
        sa.select(deliveries.c.alert_id, deliveries.c.state, deliveries.c.reason, sa.func.count().label("n"))
        .group_by(deliveries.c.alert_id, deliveries.c.state, deliveries.c.reason)
        .subquery()
    )
    # One line per alert, e.g. "2 DELIVERED, 1 DEAD (GONE)".
    told = counted.c.n.cast(sa.Text) + " " + counted.c.state + sa.func.coalesce(" (" + counted.c.reason + ")", "")
    fates = sa.select(sa.func.string_agg(told, sa.literal(", "))).where(counted.c.alert_id == table.c.alert_id)
    query = sa.select(table, fates.scalar_subquery().label("deliveries")).order_by(table.c.ts.desc(), table.c.alert_id)
    if state is not None:
        query = query.where(
            table.c.alert_id.in_(sa.select(deliveries.c.alert_id).where(deliveries.c.state == state.upper()))
        )
    if event is not None:
        query = query.where(table.c.event_type == event)
    if symbol is not None:
        query = query.where(table.c.symbol == symbol)
    return list(connection.execute(query.limit(limit)))


def _line(text: str) -> str:
    from regimes_dagster.alerts.text_limits import cut, tidy

    return cut(tidy(text, one_line=True), 80)


def _platform() -> "Platform":
    from regimes_dagster.platform import Platform
    from regimes_dagster.settings import load_settings

    return Platform(load_settings())


class _clear:  # noqa: N801 - reads as a statement
    """Turns a refusal into the command line's own error."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _trace: object) -> None:
        from regimes_dagster.alerts.requests import RequestError
        from regimes_dagster.alerts.silences import SilenceError

        if isinstance(error, (RequestError, SilenceError)):
            raise click.ClickException(str(error)) from error
