"""Self-hosted crypto market-regime platform. Nothing happens at import."""

__version__ = "0.1.0"
