"""The recorded market and what one backfill of it says, computed once for all proofs."""

from pathlib import Path

import pytest

from tests.integration.pipeline.conftest import recorded as recorded
from tests.proof.memory_platform import Backfill, backfill
from tests.proof.raw_market import recorded_market


@pytest.fixture(scope="session")
def whole(acceptance: Path) -> Backfill:
    """Five features over the two recorded years, in one pass. Nothing may change it."""
    return backfill(recorded_market(acceptance))
