"""The pace of a venue, shared by every process of the installation.

What belongs here: reserving the next moment at which a venue may be asked. What does not: how much a question
weighs (the client library knows) and what happens after a refusal (``ccxt_client.py``).

The library's limiter counts per client, so a backfill, the hourly run and a probe would each use up the whole limit.
Here each process reserves one slot at a time in a small locked file: together they keep the venue's pace, and they
take turns, so that an hourly run is never starved by a backfill that takes hours.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

#: A reservation further ahead than this is left over from before a restart of the machine, seconds.
_STALE = 300.0


class SharedPace:
    """Slots of one venue.

    Parameters
    ----------
    path
        File that the processes share; its folder is made.
    now, sleep
        A clock that all processes of the machine share, and waiting.
    """

    def __init__(
        self,
        path: Path,
        *,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.path = path
        self._now = now
        self._sleep = sleep

    def wait(self, seconds: float) -> float:
        """Wait for the next free slot and take it, with ``seconds`` after it for nobody else; gives the wait."""
        now = self._now()
        slot = self._reserve(now, seconds)
        pause = max(0.0, slot - now)
        if pause > 0:
            self._sleep(pause)
        return pause

    def hold(self, seconds: float) -> None:
        """Give no slot to any process for ``seconds``: the venue has asked for a pause."""
        with self._locked() as file:
            self._put(file, max(self._free(file, self._now()), self._now() + seconds))

    def _reserve(self, now: float, seconds: float) -> float:
        with self._locked() as file:
            slot = self._free(file, now)
            self._put(file, slot + seconds)
            return slot

    @contextlib.contextmanager
    def _locked(self) -> Iterator[TextIO]:
        import fcntl

        self.path.parent.mkdir(parents=True, exist_ok=True)
        # The lock goes with the file handle, so that a killed process leaves nothing locked.
        with self.path.open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file

    @staticmethod
    def _free(file: TextIO, now: float) -> float:
        """The next free moment; what an earlier start of the machine left does not count."""
        file.seek(0)
        free = now
        with contextlib.suppress(ValueError):
            free = float(file.read().strip() or now)
        return free if now <= free <= now + _STALE else now

    @staticmethod
    def _put(file: TextIO, moment: float) -> None:
        file.seek(0)
        file.truncate()
        file.write(f"{moment:.6f}\n")
