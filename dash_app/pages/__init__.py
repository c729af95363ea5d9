"""One module per tab: which panels it has and how each is built from the tables."""

from dash_app.pages import alerts, cascades, correlation, funding, health, overview, regimes, volatility
from dash_app.panels import Page

#: Every tab by its path, in the order of the tabs.
PAGES: dict[str, Page] = {
    module.PAGE.path: module.PAGE
    for module in (overview, cascades, funding, volatility, regimes, correlation, alerts, health)
}
