"""How the settings are read, checked and explained; ``regimes_dagster.settings`` is the door to it."""
