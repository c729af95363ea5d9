"""The Dash application and its first document.

What belongs here: which scripts the page loads and in which order, the first paint before any script has run, and
the hashes for the content security policy. What does not: callbacks (``wiring.py``).

Dash's own way of loading plotly is the full bundle (1.47 MB compressed); the vendored finance bundle (429 kB) is
put before Dash's scripts instead: ``dcc.Graph`` uses ``window.Plotly`` when it is there. Dash's two descriptions of
the page are asked for at once, so that they come while the scripts are read.
"""

import re
from typing import Any

from dash import Dash

from dash_app import static

SCRIPTS = ("clock.js", "islands.js", "tables.js", "live.js")
#: A bundle that no page uses: the data table, which Dash keeps for old applications. (Its polyfill has to stay: Dash's
#: own components call the generator runtime that it brings.)
UNUSED = re.compile(r'<script src="[^"]*dash_table[^"]*"></script>\n?')

INDEX = """<!DOCTYPE html>
<html lang="en" data-theme="dark">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="dark light">
<title>regimes</title>
<link rel="icon" type="image/svg+xml" href="{icon}">
<script src="{theme}"></script>
<link rel="stylesheet" href="{style}">
<link rel="preload" as="script" href="{plotly}">
<link rel="preload" as="fetch" href="/_dash-layout" crossorigin="anonymous">
<link rel="preload" as="fetch" href="/_dash-dependencies" crossorigin="anonymous">
</head>
<body>
<div id="react-entry-point"><div class="shell">
<div class="header"><div class="bar"><span class="brand"><span class="logo">◢</span> regimes</span></div></div>
<div class="first-paint"><span class="bone"></span><span class="bone"></span><span class="bone"></span></div>
</div></div>
<noscript><p class="banner warn">This dashboard needs JavaScript.
The same figures are at /api/features, /api/alerts and /api/docs.</p></noscript>
<footer hidden></footer>
{config}
<script src="{plotly}"></script>
{own}
{scripts}
{renderer}
</body>
</html>"""


class Shell(Dash):
    """Dash with a document of our own."""

    def _config(self) -> dict[str, Any]:
        """What the browser is told; without the version of Python and the address that developer tools would ask."""
        return {**super()._config(), "python_version": "", "dash_version_url": ""}  # type: ignore[no-untyped-call]

    def prepare(self) -> None:
        """What Dash does before its first request; done at the start, so that no request races with it."""
        self._setup_server()  # type: ignore[no-untyped-call]

    def document(self) -> str:
        """The first document, inside a request's context."""
        return str(self.index())  # type: ignore[no-untyped-call]

    def interpolate_index(self, **parts: Any) -> str:  # type: ignore[override]
        """The first document; ``parts`` are what Dash would put into its own."""
        return INDEX.format(
            icon=static.url("icon.svg"),
            theme=static.url("theme.js"),
            style=static.url("style.css"),
            plotly=static.url(static.PLOTLY),
            own="\n".join(f'<script src="{static.url(name)}"></script>' for name in SCRIPTS),
            config=parts["config"],
            scripts=UNUSED.sub("", parts["scripts"]),
            renderer=parts["renderer"],
        )


def make() -> Shell:
    """The Dash application without layout and callbacks."""
    return Shell(
        "dash_app",
        assets_folder=str(static.ASSETS),
        include_assets_files=False,
        suppress_callback_exceptions=True,
        serve_locally=True,
        update_title="",
        enable_mcp=False,
        add_log_handler=False,
        pages_folder="",
    )
