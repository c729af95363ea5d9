"""``python -m regimes_dagster`` is the console script ``regimes``."""

from regimes_dagster.cli import main

main()
