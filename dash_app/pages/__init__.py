"""One module per tab: which panels it has and how each is built from the tables."""

from dash_app.pages import overview
from dash_app.panels import Page

#: Every tab by its path.
PAGES: dict[str, Page] = {page.path: page for page in (overview.PAGE,)}
