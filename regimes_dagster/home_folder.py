"""Folders of the installation that nobody else may read.

What belongs here: making them. What does not: what is kept in them, and how the embedded server lets its own account
through (``embedded.py``).
"""

from pathlib import Path


def make_closed(folder: Path, mode: int = 0o700) -> Path:
    """Make a folder and every missing one above it with ``mode``; folders that exist keep theirs.

    ``Path.mkdir(mode=0o700, parents=True)`` closes the last one only: ``.regimes/demo/pg`` would leave ``.regimes``
    readable by every user of the machine.
    """
    for part in reversed([folder, *folder.parents]):
        if not part.exists():
            part.mkdir(mode=mode, exist_ok=True)
    return folder
