"""Computed episodes against recorded alerts: decisions 13 and 14 on plain values."""

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from regimes_dagster.alerts.reconcile import Event, NewAlert, Recorded, reconcile
from regimes_dagster.partitions import Window, utc

T0 = utc("2024-07-01")
JULY = Window(T0, utc("2024-08-01"))
COOLDOWN = {"LIQUIDATION_CASCADE": timedelta(hours=12)}


def hour(n: float) -> pd.Timestamp:
    return T0 + timedelta(hours=n)


def event(episode: str, phase: str, level: int, at: float, onset: float | None = None, **more) -> Event:
    return Event(
        episode_id=episode, event_type="LIQUIDATION_CASCADE", key=more.pop("key", "BTC/USDT"), phase=phase, level=level,
        ts=hour(at), onset_ts=hour(at if onset is None else onset), **more,
    )  # fmt: skip


def recorded(alert: NewAlert, ended: pd.Timestamp | None = None, retracted: bool = False) -> Recorded:
    e = alert.event
    return Recorded(alert.episode_id, e.event_type, e.key, alert.phase, alert.level, e.ts, e.onset_ts, ended, retracted)


def run(events, on_record=(), window=JULY, **more):
    return reconcile(events, list(on_record), window=window, cooldowns=COOLDOWN, **more)


def after(result, on_record=()):
    """What is on record after a run."""
    kept = [
        replace(
            alert,
            retracted=(alert.retracted or alert.alert_id in result.retract) and alert.alert_id not in result.restore,
            ended_ts=result.ended.get(alert.episode_id, alert.ended_ts),
        )
        for alert in on_record
    ]
    return kept + [recorded(alert, result.ended.get(alert.episode_id)) for alert in result.new]


EPISODE = [event("a", "OPEN", 1, 14), event("a", "ESCALATE", 3, 24, 14), event("a", "CLOSE", 3, 30, 14)]


def test_an_episode_is_recorded_once_per_phase_and_level() -> None:
    first = run(EPISODE)
    assert [alert.alert_id for alert in first.new] == ["a:OPEN:1", "a:ESCALATE:3"]
    second = run(EPISODE, after(first))
    assert (second.new, second.retract, second.restore) == ([], [], [])


def test_a_close_is_recorded_only_if_asked() -> None:
    assert [a.alert_id for a in run(EPISODE, emit_close=True).new][-1] == "a:CLOSE:3"
    assert run(EPISODE).ended == {"a": hour(30)}


def test_hour_by_hour_records_what_one_run_records() -> None:
    # Measured: BTC opened on 2024-07-04 14:00 and escalated ten hours later, in the cooldown.
    on_record: list[Recorded] = []
    for n in range(10, 40):
        seen = [e for e in EPISODE if e.ts <= hour(n)]
        on_record = after(run(seen, on_record, JULY.until(hour(n))), on_record)
    assert {a.alert_id for a in on_record} == {a.alert_id for a in run(EPISODE).new}


def test_a_shifted_onset_keeps_the_recorded_id_and_posts_nothing() -> None:
    on_record = after(run(EPISODE[:1]))
    for shifted in (13, 15, 20):
        moved = run([event("b", "OPEN", 1, shifted)], on_record)
        assert moved.new == []
        assert moved.adopted == {"b": "a"}
        assert moved.retract == []


def test_an_escalation_of_an_adopted_episode_is_recorded_under_the_old_id() -> None:
    on_record = after(run(EPISODE[:1]))
    moved = run([event("b", "OPEN", 1, 15), event("b", "ESCALATE", 2, 18, 15)], on_record)
    assert [a.alert_id for a in moved.new] == ["a:ESCALATE:2"]
    later = run([event("b", "ESCALATE", 3, 20, 15)], after(moved, on_record), Window(hour(16), hour(40)))
    assert [a.alert_id for a in later.new] == ["a:ESCALATE:3"], "also when its OPEN lies in the window before"


def test_an_open_within_the_cooldown_of_a_recorded_episode_adopts_its_id() -> None:
    on_record = after(run(EPISODE))
    assert run([event("b", "OPEN", 1, 41)], on_record).adopted == {"b": "a"}
    assert run([event("b", "OPEN", 1, 43)], on_record).adopted == {}


def test_a_recorded_open_within_the_cooldown_of_the_computed_one_keeps_its_id() -> None:
    on_record = after(run(EPISODE))
    earlier = [event("b", "OPEN", 1, 2), event("b", "CLOSE", 1, 4, 2)]
    assert run(earlier, on_record).adopted == {"b": "a"}
    far = after(run([event("a", "OPEN", 1, 16)]))
    assert run([event("b", "OPEN", 1, 1), event("b", "CLOSE", 1, 3, 1)], far).adopted == {}


def test_another_key_is_another_episode() -> None:
    on_record = after(run(EPISODE[:1]))
    assert [a.alert_id for a in run([event("b", "OPEN", 1, 15, key="ETH/USDT")], on_record).new] == ["b:OPEN:1"]


def test_a_repeat_that_the_machine_keeps_silent_stays_a_row_of_its_own() -> None:
    on_record = after(run(EPISODE))
    repeat = event("b", "OPEN", 1, 33, suppressed_reason="COOLDOWN")
    assert [a.alert_id for a in run([*EPISODE, repeat], on_record).new] == ["b:OPEN:1"]


def test_an_open_computed_again_at_a_higher_level_is_an_escalation() -> None:
    on_record = after(run([event("a", "OPEN", 1, 14)]))
    assert [a.alert_id for a in run([event("a", "OPEN", 2, 14)], on_record).new] == ["a:ESCALATE:2"]


def test_an_open_computed_again_at_a_lower_level_is_no_news() -> None:
    on_record = after(run([event("a", "OPEN", 2, 14)]))
    again = run([event("a", "OPEN", 1, 14), event("a", "ESCALATE", 2, 15, 14)], on_record)
    assert (again.new, again.retract) == ([], [])


def test_an_alert_whose_condition_vanished_is_retracted_and_comes_back_without_news() -> None:
    on_record = after(run(EPISODE))
    gone = run([], on_record)
    assert gone.retract == ["a:OPEN:1", "a:ESCALATE:3"]
    on_record = after(gone, on_record)
    assert run([], on_record).retract == [], "only once"
    back = run(EPISODE, on_record)
    assert (back.new, back.restore) == ([], ["a:OPEN:1", "a:ESCALATE:3"])


def test_a_level_that_is_no_longer_reached_is_retracted_alone() -> None:
    on_record = after(run(EPISODE))
    assert run(EPISODE[:1], on_record).retract == ["a:ESCALATE:3"]


def test_alerts_outside_the_window_are_left_alone() -> None:
    on_record = after(run(EPISODE))
    august = Window(utc("2024-08-01"), utc("2024-09-01"))
    assert run([], on_record, august).retract == []


def test_the_month_before_recorded_after_its_successor_adds_only_itself() -> None:
    feb, jan = Window(hour(20), JULY.end), Window(JULY.start, hour(20))
    on_record = after(run(EPISODE, window=feb))
    assert [a.alert_id for a in on_record] == ["a:ESCALATE:3"]
    on_record = [*on_record, *after(run(EPISODE, on_record, jan))]
    assert {a.alert_id for a in on_record} == {"a:OPEN:1", "a:ESCALATE:3"}


def test_an_episode_that_was_lost_in_a_gap_does_not_swallow_a_later_one() -> None:
    lost = [event("a", "OPEN", 1, 14)]
    on_record = after(run(lost))
    later = run([*lost, event("b", "OPEN", 1, 300)], on_record)
    assert [a.alert_id for a in later.new] == ["b:OPEN:1"]
    assert run([event("b", "OPEN", 1, 300)], on_record).adopted == {}


@st.composite
def histories(draw):
    """Episodes of one machine as it could compute them: in order, with a cooldown between them."""
    events, at = [], draw(st.integers(1, 20))
    for number in range(draw(st.integers(0, 6))):
        name, onset, level = f"e{number}-{at}", at, draw(st.integers(1, 2))
        events.append(event(name, "OPEN", level, onset))
        for _ in range(draw(st.integers(0, 2))):
            at += draw(st.integers(1, 5))
            level += 1
            events.append(event(name, "ESCALATE", level, at, onset))
        at += draw(st.integers(1, 5))
        events.append(event(name, "CLOSE", level, at, onset))
        at += 12 + draw(st.integers(1, 60))
    return events


@settings(max_examples=150, deadline=None)
@given(histories(), st.lists(st.integers(0, 500), max_size=6))
def test_windows_in_any_order_record_every_alert_exactly_once(events, cuts) -> None:
    edges = [hour(n) for n in sorted({0, 744, *cuts})]
    windows = [Window(a, b) for a, b in pairwise(edges)]
    on_record: list[Recorded] = []
    for window in [*windows[1::2], *windows[::2], *windows]:
        on_record = after(run(events, on_record, window), on_record)
    ids = [alert.alert_id for alert in on_record]
    assert sorted(ids) == sorted({f"{e.episode_id}:{e.phase}:{e.level}" for e in events if e.phase != "CLOSE"})
    assert not any(alert.retracted for alert in on_record)


@settings(max_examples=150, deadline=None)
@given(histories(), histories())
def test_whatever_is_computed_again_an_episode_has_one_open_and_nothing_is_lost(before, now) -> None:
    on_record = after(run(before))
    result = run(now, on_record)
    total = after(result, on_record)
    assert len({alert.alert_id for alert in total}) == len(total)
    opens = [alert.episode_id for alert in total if alert.phase == "OPEN"]
    assert len(set(opens)) == len(opens)
    assert {a.alert_id for a in on_record} <= {a.alert_id for a in total}
    settled = run(now, total)
    assert (settled.new, settled.retract, settled.restore) == ([], [], []), "a second run changes nothing"
