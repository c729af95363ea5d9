"""`dagster definitions validate` for `make check`, on default settings and without a database.

What belongs here: loading the definitions the way Dagster's own command does. What does not: running anything.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path


def main() -> int:
    """Run the command in an empty Dagster home; returns its exit code."""
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "DAGSTER_HOME": home, "DAGSTER_DISABLE_TELEMETRY": "1"}
        command = [
            str(Path(sys.executable).with_name("dagster")),
            "definitions",
            "validate",
            "-m",
            "regimes_dagster.definitions",
        ]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.stdout.write(done.stdout + done.stderr)
    else:
        sys.stdout.write("Dagster definitions are valid\n")
    return done.returncode


if __name__ == "__main__":
    raise SystemExit(main())
