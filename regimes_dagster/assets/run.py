"""What a run covers: its window, its symbols, and what was asked of it by tags.

What belongs here: reading a Dagster context in the platform's words. What does not: the window rule
(``partitions.py``).
"""

from dagster import AssetExecutionContext

from regimes_dagster.partitions import Window, keys_window
from regimes_dagster.platform import Platform
from regimes_dagster.settings import Settings

#: Run tag: comma-separated symbols to fetch; default all configured ones.
SYMBOLS_TAG = "regimes/symbols"

#: Run tag: ``true`` fetches again what is recorded as complete.
REFETCH_TAG = "regimes/refetch"


def run_window(context: AssetExecutionContext, platform: Platform) -> Window:
    """Hours of the run's partitions that can be final now."""
    return keys_window(context.partition_keys).until(platform.newest_hour())


def symbols_of(context: AssetExecutionContext, settings: Settings) -> tuple[str, ...]:
    """Symbols the run fetches.

    Raises
    ------
    ValueError
        If the tag names a symbol that is not configured.
    """
    named = context.run.tags.get(SYMBOLS_TAG, "")
    wanted = tuple(symbol.strip() for symbol in named.split(",") if symbol.strip())
    strangers = [symbol for symbol in wanted if symbol not in settings.symbols]
    if strangers:
        raise ValueError(
            f"{', '.join(strangers)} is not configured; add it to `symbols` in regimes.toml. "
            f"Configured: {', '.join(settings.symbols)}"
        )
    return wanted or tuple(settings.symbols)


def refetch_wanted(context: AssetExecutionContext) -> bool:
    """Whether the run was asked to fetch complete windows again."""
    return str(context.run.tags.get(REFETCH_TAG, "")).lower() == "true"
