"""`regimes dashboard`: the dashboard and the REST interface alone.

What belongs here: the command's options. What does not: the server (``dash_app/server.py``).
"""

import click


@click.command(name="dashboard")
@click.option("--host", default=None, help="Address to listen on, default [dashboard] host.")
@click.option(
    "--port", type=click.IntRange(1, 65535), default=None, help="Port to listen on, default [dashboard] port."
)
@click.option(
    "--processes",
    type=click.IntRange(1, 32),
    default=1,
    show_default=True,
    help="Server processes that share the port.",
)
def dashboard(host: str | None, port: int | None, processes: int) -> None:
    """Serve the pages and the REST interface.

    It only reads tables, so it works (and says how old the data is) whether Dagster runs or not.
    """
    from dash_app.guard import RefusedBind
    from dash_app.server import serve
    from regimes_dagster.settings import load_settings

    settings = load_settings()
    shown = f"http://{host or settings.dashboard.host}:{port or settings.dashboard.port}"
    click.echo(f"Dashboard {shown}   REST {shown}/api/docs   (Ctrl-C stops it)")
    try:
        serve(settings, host=host, port=port, processes=processes)
    except RefusedBind as error:
        raise click.ClickException(str(error)) from None
