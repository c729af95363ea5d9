"""The delivery engine: what is due is posted, in lanes, until nothing is due or the time is used up.

What belongs here: lanes, their order and budget. What does not: one post (``post.py``), what an answer means
(``answers.py``) and the statements (``queue.py``).

One lane per endpoint, up to ten at once; a slow endpoint holds up nobody else, because lanes that are done look for
news every second while any other is at work. Inside a lane posts follow one another, so that an endpoint gets the
alerts of an episode in order and a killed worker leaves at most one post per endpoint that it cannot remember.
The ledger alone says what is to do: two workers, or a worker killed at any point, do no harm.
"""

import asyncio
import random
import ssl
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, ParamSpec, TypeVar

import pandas as pd
import sqlalchemy as sa

from regimes_dagster.alerts import queue, silences
from regimes_dagster.alerts.addresses import Resolver, SystemResolver
from regimes_dagster.alerts.answers import Decision, Outcome, Trouble, decide
from regimes_dagster.alerts.breaker import Health, gate
from regimes_dagster.alerts.formats import CHAT_FORMATS, render, target
from regimes_dagster.alerts.message import Message
from regimes_dagster.alerts.post import Limits, Poster, hush
from regimes_dagster.alerts.queue import Claimed
from regimes_dagster.alerts.signing import headers
from regimes_dagster.alerts.silences import silenced
from regimes_dagster.alerts.subject import Subject
from regimes_dagster.clock import system_now
from regimes_dagster.logs import tagged
from regimes_dagster.settings import Endpoint, Settings

log = tagged("WEBHOOK", __name__)

P = ParamSpec("P")
T = TypeVar("T")

#: Endpoints posted to at once.
LANES = 10

#: Most alerts that one summary covers.
_SUMMARY_MOST = 500

#: Seconds between looks for news while any lane is at work.
_LOOK_EVERY = 1.0

#: A lease older than this is renewed before the next post, seconds.
_RENEW_AFTER = 5.0


@dataclass(frozen=True)
class Engine:
    """What the engine works with besides the settings; tests give their own.

    Attributes
    ----------
    now
        The system's moment: leases, retries and signatures live in real time.
    spread
        Jitter in [-1, 1] per retry.
    """

    resolver: Resolver | None = None
    tls: ssl.SSLContext | None = None
    limits: Limits = field(default_factory=Limits)
    now: Callable[[], pd.Timestamp] = system_now
    spread: Callable[[], float] = lambda: random.uniform(-1.0, 1.0)


@dataclass
class Tally:
    """What one call did."""

    posts: int = 0
    delivered: int = 0
    retrying: int = 0
    dead: int = 0
    suppressed: int = 0
    expired: int = 0
    endpoints: set[str] = field(default_factory=set)
    stopped_by: str = "nothing due"

    def as_metadata(self) -> dict[str, Any]:
        """Name and figure; no addresses."""
        counts = {
            name: getattr(self, name) for name in ("posts", "delivered", "retrying", "dead", "suppressed", "expired")
        }
        return {**counts, "endpoints": len(self.endpoints), "stopped_by": self.stopped_by}


def deliver(
    engine: sa.Engine,
    settings: Settings,
    *,
    budget_s: float = 40.0,
    parts: Engine | None = None,
    only: Sequence[str] | None = None,
) -> Tally:
    """Post what is due until nothing is, or ``budget_s`` seconds are used up.

    No post starts after the budget; one may still end up to 15 s later (an endpoint that has been failing is not
    tried in the last 15 s of it).

    Parameters
    ----------
    only
        Endpoint ids to work on; default all.

    Raises
    ------
    sqlalchemy.exc.SQLAlchemyError
        If the database fails; what was posted and not written down is posted again.
    """
    if not settings.alerts.enabled or not settings.endpoints:
        return Tally(stopped_by="webhooks are off" if not settings.alerts.enabled else "no endpoints")
    hush()
    return asyncio.run(_Worker(engine, settings, parts or Engine(), budget_s, only).run())


def deliver_one(
    engine: sa.Engine,
    settings: Settings,
    alert: str,
    endpoint_id: str,
    *,
    wait_s: float = 20.0,
    parts: Engine | None = None,
) -> tuple[Outcome, Decision] | None:
    """Post one waiting delivery now, before all others; None if another worker keeps the lane or took it.

    A person who tests an endpoint wants its answer, so a closed breaker does not hold this post up.
    """
    hush()
    chosen = parts or Engine()
    return asyncio.run(_Worker(engine, settings, chosen, wait_s, [endpoint_id]).one(endpoint_id, alert, wait_s))


class _Worker:
    def __init__(
        self, engine: sa.Engine, settings: Settings, parts: Engine, budget_s: float, only: Sequence[str] | None
    ) -> None:
        self.engine = engine
        self.settings = settings
        self.parts = parts
        self.endpoints = {e.id: e for e in settings.endpoints if only is None or e.id in only}
        self.deadline = monotonic() + budget_s
        self.tally = Tally()
        self.threads = ThreadPoolExecutor(LANES + 1, thread_name_prefix="regimes-delivery")
        self.own_resolver = SystemResolver() if parts.resolver is None else None
        self.resolver: Resolver = parts.resolver or self.own_resolver  # type: ignore[assignment]

    async def run(self) -> Tally:
        try:
            await self._work()
        finally:
            self.close()
        return self.tally

    def close(self) -> None:
        self.threads.shutdown(wait=True, cancel_futures=True)
        if self.own_resolver is not None:
            self.own_resolver.close()

    def _poster(self) -> Poster:
        return Poster(
            resolver=self.resolver,
            allow=self.settings.alerts.allow_networks,
            tls=self.parts.tls,
            limits=self.parts.limits,
            now=self.parts.now,
        )

    async def one(self, endpoint_id: str, alert: str, wait_s: float) -> tuple[Outcome, Decision] | None:
        endpoint = self.endpoints[endpoint_id]
        connection = await self._db(self.engine.connect)
        give_up = monotonic() + wait_s
        try:
            while not await self._db(queue.take_lane, connection, endpoint_id, self.parts.now()):
                if monotonic() > give_up:
                    return None
                await asyncio.sleep(0.2)
            rows = await self._db(queue.claim_one, connection, endpoint_id, alert, self.parts.now())
            if not rows:
                await self._db(queue.leave_lane, connection, endpoint_id)
                return None
            state = await self._db(queue.health, connection, endpoint_id)
            poster = self._poster()
            decisions, outcome = await self._post(endpoint, poster, rows)
            await poster.close()
            await self._db(queue.settle, connection, decisions, outcome, state, self.parts.now())
            await self._db(queue.leave_lane, connection, endpoint_id)
            return outcome, decisions[0][1]
        except BaseException:
            await self._db(connection.invalidate)
            raise
        finally:
            await self._db(connection.close)
            self.close()

    async def _work(self) -> None:
        alerts = self.settings.alerts
        self.tally.expired = await self._db(
            self._expire, alerts.json_time_to_live_hours, alerts.chat_time_to_live_hours
        )
        lanes: dict[asyncio.Task[bool], str] = {}
        looked: dict[str, float] = {}
        try:
            while self.left() > 0:
                for endpoint in await self._db(self._due):
                    # A lane that found nothing to do is left alone for a second, so that nobody spins.
                    resting = monotonic() - looked.get(endpoint, -_LOOK_EVERY) < _LOOK_EVERY
                    if len(lanes) < LANES and not resting and endpoint not in lanes.values():
                        lanes[asyncio.create_task(self._lane(self.endpoints[endpoint]))] = endpoint
                if not lanes:
                    return
                done, _ = await asyncio.wait(lanes, timeout=_LOOK_EVERY, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    endpoint = lanes.pop(task)
                    if not task.result():
                        looked[endpoint] = monotonic()
            self.tally.stopped_by = "budget"
        finally:
            # Lanes still at work finish by themselves: nothing due, or the budget.
            await asyncio.gather(*lanes, return_exceptions=True)

    def left(self) -> float:
        return self.deadline - monotonic()

    # -- one lane ----------------------------------------------------------------------------------------------

    async def _lane(self, endpoint: Endpoint) -> bool:
        """Work on one endpoint; whether anything was posted or decided."""
        connection = await self._db(self.engine.connect)
        try:
            if not await self._db(queue.take_lane, connection, endpoint.id, self.parts.now()):
                return False
            self.tally.endpoints.add(endpoint.id)
            worked = await self._drain(endpoint, connection)
            await self._db(queue.leave_lane, connection, endpoint.id)
            return worked
        except BaseException:
            # The session may still hold the lane: it must not go back to the pool.
            await self._db(connection.invalidate)
            raise
        finally:
            await self._db(connection.close)

    async def _drain(self, endpoint: Endpoint, connection: sa.Connection) -> bool:
        state = await self._db(queue.health, connection, endpoint.id)
        poster = self._poster()
        worked = False
        try:
            while self._may_start(state):
                passage = gate(state, self.parts.now())
                if passage == "CLOSED":
                    break
                rows = await self._db(
                    queue.claim, connection, endpoint.id, self.parts.now(), self._most(endpoint, passage)
                )
                if not rows:
                    break
                worked = True
                state = await self._send_all(endpoint, connection, poster, rows, state)
        finally:
            await poster.close()
        if worked and state.last_ok_at is not None:
            await self._db(queue.touch, connection, endpoint.id, state)
        return worked

    def _most(self, endpoint: Endpoint, passage: str) -> int:
        if passage == "PROBE":
            return 1
        return _SUMMARY_MOST if endpoint.format in CHAT_FORMATS else queue.CLAIM

    def _may_start(self, state: Health) -> bool:
        needed = self.parts.limits.total_s if state.consecutive_failures else 0.0
        return self.left() > needed

    async def _send_all(
        self, endpoint: Endpoint, connection: sa.Connection, poster: Poster, rows: list[Claimed], state: Health
    ) -> Health:
        """Post the claimed rows one after the other; what cannot be posted now goes back."""
        rows = await self._without_silenced(connection, rows)
        grouped = endpoint.format in CHAT_FORMATS and len(rows) > self.settings.alerts.group_threshold
        groups = [rows] if grouped else [[row] for row in rows]
        claimed = monotonic()
        waiting: set[str] = set()
        while groups:
            group = groups.pop(0)
            if group[0].message.episode_id in waiting:
                # An earlier alert of this episode has to be tried again first.
                await self._db(queue.release, connection, group)
                continue
            if not self._may_start(state) or gate(state, self.parts.now()) == "CLOSED":
                await self._db(queue.release, connection, [row for rest in (group, *groups) for row in rest])
                break
            if monotonic() - claimed > _RENEW_AFTER:
                await self._db(
                    queue.renew, connection, [row for rest in (group, *groups) for row in rest], self.parts.now()
                )
                claimed = monotonic()
            decisions, outcome = await self._post(endpoint, poster, group)
            self._count(decisions)
            state = await self._db(queue.settle, connection, decisions, outcome, state, self.parts.now())
            waiting |= {row.message.episode_id for row, decision in decisions if decision.state == "RETRYING"}
        return state

    async def _post(
        self, endpoint: Endpoint, poster: Poster, group: list[Claimed]
    ) -> tuple[list[tuple[Claimed, Decision]], Outcome]:
        outcome = await self._outcome(endpoint, poster, [row.message for row in group])
        self.tally.posts += 1
        spread = self.parts.spread()
        decisions = [(row, decide(outcome, form=endpoint.format, tries=row.tries + 1, spread=spread)) for row in group]
        if decisions[0][1].state != "DELIVERED":
            what = outcome.status if outcome.status is not None else outcome.trouble and outcome.trouble.value
            log.warning("%s answered %s: %s", endpoint.label, what, decisions[0][1].state.lower())
        return decisions, outcome

    async def _outcome(self, endpoint: Endpoint, poster: Poster, messages: list[Message]) -> Outcome:
        url = endpoint.url.get_secret_value()
        try:
            body = render(endpoint.format, messages, url)
        except (ValueError, TypeError, KeyError) as error:
            # One message that cannot be written must not hold up those behind it.
            return Outcome(trouble=Trouble.BAD_MESSAGE, error=type(error).__name__)
        secrets = [secret.get_secret_value() for secret in endpoint.secrets]
        stamp = int(self.parts.now().timestamp())
        return await poster.post(
            target(endpoint.format, url), body, headers(messages, body, secrets=secrets, timestamp=stamp)
        )

    async def _without_silenced(self, connection: sa.Connection, rows: list[Claimed]) -> list[Claimed]:
        """A silence that was made after the plan holds as well; replays and tests are asked for, so they go out."""
        holding = await self._db(self._silences, connection)
        if not holding:
            return rows
        now = self.parts.now()
        quiet = [row for row in rows if row.reason not in ("REPLAY", "TEST") and silenced(holding, _subject(row), now)]
        if quiet:
            await self._db(queue.suppress, connection, quiet, "SILENCED")
            self.tally.suppressed += len(quiet)
        return [row for row in rows if row not in quiet]

    def _count(self, decisions: Sequence[tuple[Claimed, Decision]]) -> None:
        for _, decision in decisions:
            if decision.state == "DELIVERED":
                self.tally.delivered += 1
            elif decision.state == "RETRYING":
                self.tally.retrying += 1
            else:
                self.tally.dead += 1

    # -- database ----------------------------------------------------------------------------------------------

    async def _db(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a short database call outside the event loop, so that a slow one delays no time limit."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.threads, lambda: call(*args, **kwargs))

    def _expire(self, json_hours: float, chat_hours: float) -> int:
        with self.engine.connect() as connection:
            return queue.expire(connection, self.parts.now(), json_hours, chat_hours)

    def _due(self) -> list[str]:
        with self.engine.connect() as connection:
            return [e for e in queue.due_endpoints(connection, self.parts.now()) if e in self.endpoints]

    def _silences(self, connection: sa.Connection) -> list[silences.Silence]:
        found = silences.holding(connection, self.parts.now())
        connection.commit()
        return found


def _subject(row: Claimed) -> Subject:
    message = row.message
    return Subject(message.event_type, message.symbol, message.severity, message.asset_pair, message.is_simulated)
