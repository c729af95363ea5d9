"""Folders of the installation that nobody else may read.

What belongs here: making them. What does not: what is kept in them, and how the embedded server lets its own account
through folders that exist already (``postgres_programs.py``).
"""

import os
from pathlib import Path


def make_closed(folder: Path, *, passable: bool = False) -> Path:
    """Make a folder (mode 0700) and every missing one above it; folders that exist keep their mode.

    ``Path.mkdir(mode=0o700, parents=True)`` closes the last one only: ``.regimes/demo/pg`` would leave ``.regimes``
    readable by every user of the machine.

    Parameters
    ----------
    passable
        The folder itself, too, lies above the data of the embedded server.
    """
    # Run as root, the embedded server has an account of its own, which must pass through the folders above its data;
    # passing through is not reading.
    through = 0o711 if os.geteuid() == 0 else 0o700
    for part in reversed(folder.parents):
        if not part.exists():
            part.mkdir(mode=through, exist_ok=True)
    folder.mkdir(mode=through if passable else 0o700, exist_ok=True)
    return folder
