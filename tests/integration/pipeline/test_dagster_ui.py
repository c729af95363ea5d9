"""What a person does in the Dagster UI, through the same GraphQL: a backfill over several months, sensors, schedule.

The webserver and the daemon are real processes on a real PostgreSQL.
"""

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from regimes_dagster.instance import dagster_environment, dagster_instance
from regimes_dagster.partitions import partition_window
from regimes_dagster.platform import Platform
from regimes_dagster.supervisor import Child, Supervisor, python
from tests.integration.pipeline.conftest import SIMULATED, MakeSettings

ROOT = Path(__file__).resolve().parents[3]

BACKFILL = """
mutation Launch($assets: [AssetKeyInput!]!, $keys: [String!]!) {
  launchPartitionBackfill(backfillParams: {assetSelection: $assets, partitionNames: $keys, title: "from a test"}) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}
"""

STATUS = """
query Status($id: String!) {
  partitionBackfillOrError(backfillId: $id) {
    __typename
    ... on PartitionBackfill { status, numPartitions, error { message }, runs(limit: 20) { id, status } }
  }
}
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def ui(make_settings: MakeSettings, database_url: str, tmp_path: Path) -> Iterator[tuple[str, Any]]:
    """Address of the webserver's GraphQL and the settings, with a daemon beside it."""
    settings = make_settings()
    environment = {
        **SIMULATED,
        "DB_URL": database_url,
        "REGIMES_HOME": str(settings.home),
        **dagster_environment(settings),
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    port = free_port()
    workspace = ["-w", str(ROOT / "workspace.yaml")]
    with Supervisor(lambda _text: None) as supervisor:
        address = f"http://127.0.0.1:{port}"
        supervisor.start(
            Child(
                "webserver",
                python("-m", "dagster_webserver", "-h", "127.0.0.1", "-p", str(port), *workspace),
                log=tmp_path / "webserver.log",
                env=environment,
                ready_url=f"{address}/server_info",
            )
        )
        supervisor.start(
            Child("daemon", python("-m", "dagster._daemon", "run", *workspace), tmp_path / "daemon.log", environment)
        )
        supervisor.wait_ready("webserver")
        yield f"{address}/graphql", settings


def ask(address: str, query: str, **variables: Any) -> Any:
    answer = httpx.post(address, json={"query": query, "variables": variables}, timeout=60, trust_env=False).json()
    assert "errors" not in answer, answer
    return answer["data"]


def test_a_backfill_launched_in_the_ui_fills_every_partition_in_one_run(ui: tuple[str, Any]) -> None:
    address, settings = ui
    keys = ["2024-01-01", "2024-02-01", "2024-03-01"]
    assets = ["ohlcv", "funding_rates", "liquidations", "market_metrics", "volatility_features", "alerts"]
    launched = ask(address, BACKFILL, assets=[{"path": [name]} for name in assets], keys=keys)[
        "launchPartitionBackfill"
    ]
    assert launched["__typename"] == "LaunchBackfillSuccess", launched
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        found = ask(address, STATUS, id=launched["backfillId"])["partitionBackfillOrError"]
        if found["status"] not in ("REQUESTED", "STARTED"):
            break
        time.sleep(1)
    assert found["status"] == "COMPLETED_SUCCESS", found
    assert len(found["runs"]) == 1
    with dagster_instance(settings) as instance:
        import dagster as dg

        for name in assets:
            assert instance.get_materialized_partitions(dg.AssetKey(name)) == set(keys), name
    platform = Platform(settings)
    for key in keys:
        window = partition_window(key)
        joined, computed = (len(platform.warehouse.read(name, window=window)) for name in ("market_metrics", assets[4]))
        assert joined == computed > 2000, key
    platform.engine.dispose()
