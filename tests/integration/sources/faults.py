"""What every venue's wire may do, and what each source must call it."""

import pytest

from regimes_dagster.sources.protocol import BadResponse, GeoBlocked, Outage, RateLimited
from tests.servers.http import CUT, FORBIDDEN, GEO_BLOCK, HTML, SERVER_ERROR, Fault, too_many

#: A server that hangs does so for longer than the tests' clients wait.
every_fault = pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (GEO_BLOCK, GeoBlocked),
        (FORBIDDEN, GeoBlocked),
        (SERVER_ERROR, Outage),
        (CUT, Outage),
        (Fault(hang=0.8), Outage),
        (HTML, BadResponse),
        (too_many("3600"), RateLimited),
    ],
    ids=["451", "403", "500", "cut", "timeout", "html", "429"],
)
