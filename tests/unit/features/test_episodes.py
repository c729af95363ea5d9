"""The episode machine: each rule as a sentence, and equality with a plainly written reference for any input."""

import itertools
import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regimes_dagster.features.episodes import EpisodeRule, Episodes, episode_id, run_episodes

START = pd.Timestamp("2024-07-04 01:00", tz="UTC")
RULE = EpisodeRule("LIQUIDATION_CASCADE", cooldown_h=4, release_bars=2)


def grid(n: int, start: pd.Timestamp = START) -> pd.DatetimeIndex:
    return pd.date_range(start, periods=n, freq="h", unit="us")


def run(levels: str, rule: EpisodeRule = RULE, **more: Any) -> Episodes:
    """One key from a string per hour: digit = level (0 means off), ``-`` = neither on nor off, ``?`` = invalid."""
    level = np.array([[int(c) if c.isdigit() else 0] for c in levels], dtype=np.int8)
    release = np.array([[c == "0"] for c in levels])
    valid = np.array([[c != "?"] for c in levels])
    return run_episodes(grid(len(levels)), ["BTC/USDT"], level, release, valid, rule, **more)


def states(result: Episodes) -> str:
    return "".join({"IDLE": "i", "ACTIVE": "A", "COOLING": "c", "UNKNOWN": "u"}[s] for s in result.state[:, 0])


def phases(result: Episodes) -> list[tuple[int, str, int]]:
    hours = (result.events["ts"] - START) // pd.Timedelta("1h")
    return list(zip(hours, result.events["phase"], result.events["level"], strict=True))


def test_one_open_per_episode_and_close_after_the_release_bars() -> None:
    result = run("0111-10100000000")
    assert states(result) == "iAAAAAAAAcccciii"
    assert phases(result) == [(1, "OPEN", 1), (9, "CLOSE", 1)]


def test_an_escalation_is_told_once_per_higher_tier() -> None:
    assert phases(run("0113212344")) == [(1, "OPEN", 1), (3, "ESCALATE", 3), (8, "ESCALATE", 4)]


def test_cooling_never_hides_the_crash() -> None:
    # 2024-07-04: BTC opened at severity 1.40, and ten hours later 3.84 came during the cooldown.
    rule = EpisodeRule("LIQUIDATION_CASCADE", cooldown_h=12, release_bars=2)
    result = run("01000000001300000", rule)
    assert phases(result) == [(1, "OPEN", 1), (3, "CLOSE", 1), (11, "ESCALATE", 3), (13, "CLOSE", 3)]
    assert result.events["episode_id"].nunique() == 1
    assert states(result)[9:13] == "ccAA"


def test_equal_and_lower_levels_stay_silent_while_cooling() -> None:
    result = run("0200210000000")
    assert phases(result) == [(1, "OPEN", 2), (3, "CLOSE", 2)]
    assert states(result) == "iAAcccciiiiii"


def test_a_condition_that_still_holds_when_the_cooldown_ends_goes_on_without_a_second_open() -> None:
    result = run("010001111000000")
    assert states(result) == "iAAccccAAAcccci"
    assert phases(result) == [(1, "OPEN", 1), (3, "CLOSE", 1), (10, "CLOSE", 2)]
    assert result.events["episode_id"].nunique() == 1


def test_a_condition_that_begins_when_the_cooldown_ends_is_a_new_episode() -> None:
    result = run("0100000100")
    assert phases(result) == [(1, "OPEN", 1), (3, "CLOSE", 1), (7, "OPEN", 1), (9, "CLOSE", 1)]
    assert result.events["episode_id"].nunique() == 2


def test_a_split_of_a_condition_that_holds_goes_on_without_a_second_open() -> None:
    rule = EpisodeRule("LIQUIDATION_CASCADE", cooldown_h=4, release_bars=2, max_episode_h=24)
    result = run("0" + "1" * 40 + "0000000", rule)
    assert phases(result) == [(1, "OPEN", 1), (42, "CLOSE", 1)]


def test_a_split_ends_an_episode_that_only_lingers_between_on_and_off() -> None:
    rule = EpisodeRule("LIQUIDATION_CASCADE", cooldown_h=4, release_bars=2, max_episode_h=24)
    result = run("01" + "-" * 40, rule)
    assert phases(result) == [(1, "OPEN", 1), (25, "CLOSE", 1)]


def test_after_a_split_the_next_span_begins_anew() -> None:
    rule = EpisodeRule("LIQUIDATION_CASCADE", cooldown_h=4, release_bars=2, max_episode_h=5)
    assert phases(run("0111111" + "-" * 10, rule)) == [(1, "OPEN", 1), (11, "CLOSE", 1)]


def test_an_episode_opens_only_after_the_confirming_bars() -> None:
    rule = EpisodeRule("REGIME_CONFIRMED", cooldown_h=4, confirm_bars=3)
    assert phases(run("0110111", rule)) == [(6, "OPEN", 1)]


def test_three_invalid_hours_hold_the_state_and_its_counters() -> None:
    result = run("0110???0")
    assert states(result) == "iAAAAAAc"
    assert phases(result) == [(1, "OPEN", 1), (7, "CLOSE", 1)]


def test_a_fourth_invalid_hour_makes_the_state_unknown() -> None:
    result = run("011?????")
    assert states(result) == "iAAAAAuu"
    assert result.episode_id[5, 0] is not None
    assert result.episode_id[6, 0] is None


@pytest.mark.parametrize(("history", "expected"), [("??1", "uuA"), ("??0", "uui"), ("1", "A")])
def test_the_first_valid_hour_sets_the_state_without_an_event(history: str, expected: str) -> None:
    result = run(history)
    assert states(result) == expected
    assert result.events.empty


def test_an_episode_that_nobody_was_told_of_escalates_but_does_not_close() -> None:
    assert phases(run("?1100")) == []
    assert phases(run("?1200")) == [(2, "ESCALATE", 2), (4, "CLOSE", 2)]


def test_an_episode_that_nobody_was_told_of_does_not_silence_the_next() -> None:
    result = run("?110010")
    assert states(result) == "uAAAiAA"
    assert phases(result) == [(5, "OPEN", 1)]


def test_an_outage_inside_an_episode_continues_it_without_an_event() -> None:
    result = run("01?????100", EpisodeRule("FUNDING_ANOMALY", cooldown_h=24, release_bars=2))
    assert states(result) == "iAAAAuuAAc"
    assert phases(result) == [(1, "OPEN", 1), (9, "CLOSE", 1)]
    assert result.episode_id[7, 0] == result.episode_id[1, 0]


def test_an_episode_that_ended_during_an_outage_cools_down_without_an_event() -> None:
    result = run("01?????00011000", EpisodeRule("FUNDING_ANOMALY", cooldown_h=10, release_bars=2))
    assert states(result) == "iAAAAuuccccAAcc"
    assert phases(result) == [(1, "OPEN", 1), (13, "CLOSE", 1)]


def test_an_outage_longer_than_the_cooldown_forgets_the_episode() -> None:
    result = run("01??????1")
    assert states(result)[-1] == "A"
    assert result.episode_id[8, 0] == episode_id(RULE.event_type, "BTC/USDT", grid(9)[8])
    assert phases(result) == [(1, "OPEN", 1)]


def test_repeats_during_the_cooldown_are_recorded_when_asked_and_do_not_prolong_it() -> None:
    rule = EpisodeRule("VOLATILITY_REGIME_CHANGE", cooldown_h=6, record_repeats=True)
    result = run("0101010000010", rule)
    assert phases(result) == [
        (1, "OPEN", 1), (2, "CLOSE", 1), (3, "OPEN", 1), (4, "CLOSE", 1), (5, "OPEN", 1), (6, "CLOSE", 1),
        (11, "OPEN", 1), (12, "CLOSE", 1),
    ]  # fmt: skip
    assert result.events["suppressed_reason"].tolist() == [None, None, *["COOLDOWN"] * 4, None, None]
    assert result.events["episode_id"].nunique() == 4
    assert states(result) == "iAcAcAcciiiAc"


def test_ids_do_not_depend_on_anything_but_type_key_and_onset() -> None:
    import hashlib

    text = "LIQUIDATION_CASCADE|BTC/USDT|2024-07-04T02:00:00+00:00"
    assert run("01").events["episode_id"].tolist() == [hashlib.sha256(text.encode()).hexdigest()[:16]]


def test_a_grid_with_a_hole_is_refused() -> None:
    ts = grid(4).delete(1)
    array = np.zeros((3, 1), dtype=np.int8)
    with pytest.raises(ValueError, match="complete hourly grid"):
        run_episodes(ts, ["BTC/USDT"], array, array == 0, array == 0, RULE)


def test_a_stored_state_with_a_missing_part_is_refused_with_its_key() -> None:
    with pytest.raises(ValueError, match="BTC/USDT lacks"):
        run("01", state={"BTC/USDT": {"status": "IDLE"}})


def test_a_checkpoint_after_the_last_hour_means_the_last_hour() -> None:
    result = run("011", checkpoints=[START + pd.Timedelta("20D")])
    assert list(result.states) == [grid(3)[2]]


def test_no_hours_and_no_keys_give_empty_results_of_the_right_shape() -> None:
    nothing = np.zeros((0, 2), dtype=np.int8)
    result = run_episodes(grid(0), ["A/B", "C/D"], nothing, nothing, nothing, RULE)
    assert result.state.shape == (0, 2)
    assert result.events.empty
    assert result.states == {}
    nobody = np.zeros((5, 0), dtype=np.int8)
    assert run_episodes(grid(5), [], nobody, nobody, nobody, RULE).state.shape == (5, 0)


# --- any input: a reference that goes hour by hour, written from the rules and not from the code ----------------


@dataclass
class Reference:
    rule: EpisodeRule
    status: str = "UNKNOWN"
    before: str = "UNKNOWN"
    onset: int | None = None
    peak: int = 0
    told: bool = False
    muted: bool = False
    span_from: int = 0
    cooldown_until: int = 0
    closes: int = 0
    offs: int = 0
    gaps: int = 0
    ons: int = 0
    last_valid: int = -1
    log: list[tuple[int, str, int, int, bool]] = field(default_factory=list)

    def say(self, t: int, phase: str, level: int) -> None:
        assert self.onset is not None
        self.log.append((t, phase, level, self.onset, self.muted))

    def start(self, t: int, level: int, *, told: bool, muted: bool = False) -> None:
        self.status, self.onset, self.peak, self.told, self.muted = "ACTIVE", t, level, told, muted
        self.span_from, self.offs, self.closes = t, 0, 0
        if told:
            self.say(t, "OPEN", level)

    def resume(self, t: int) -> None:
        self.status, self.span_from, self.offs = "ACTIVE", t, 0

    def finish(self, t: int) -> None:
        if self.told and not self.muted:
            self.cooldown_until = t + self.rule.cooldown_h
        if self.told:
            self.closes = max(self.peak, self.closes + 1)
            self.say(t, "CLOSE", self.closes)
        self.status = "COOLING" if t < self.cooldown_until else "IDLE"

    def hour(self, t: int, level: int, off: bool, ok: bool) -> tuple[str, int | None]:
        rule = self.rule
        if not ok:
            self.gaps += 1
            if self.gaps > rule.hold_h and self.status != "UNKNOWN":
                if self.status == "ACTIVE" and self.told:
                    self.cooldown_until = max(self.cooldown_until, self.last_valid + rule.cooldown_h)
                self.before, self.status, self.ons = self.status, "UNKNOWN", 0
        else:
            self.gaps, self.last_valid = 0, t
            ons_before, self.ons = self.ons, (self.ons + 1 if level else 0)
            self.valid_hour(t, level, off and level == 0, ons_before)
        return self.status, self.onset if self.status in ("ACTIVE", "COOLING") else None

    def valid_hour(self, t: int, level: int, off: bool, ons_before: int) -> None:
        rule = self.rule
        if self.status == "UNKNOWN":
            remembered = self.before in ("ACTIVE", "COOLING") and t < self.cooldown_until
            if remembered and level and (self.before == "ACTIVE" or level > self.peak):
                self.peak = max(self.peak, level)
                self.resume(t)
            elif remembered and not (level and rule.record_repeats):
                self.status = "COOLING"
            elif level:
                self.start(t, level, told=False)
            else:
                self.status = "IDLE"
        elif self.status == "COOLING" and level > self.peak:
            self.resume(t)
            self.peak, self.told, self.muted = level, True, False
            self.say(t, "ESCALATE", level)
        elif self.status == "COOLING" and rule.record_repeats and ons_before < rule.confirm_bars <= self.ons:
            self.start(t, level, told=True, muted=t < self.cooldown_until)
        elif self.status == "COOLING" and t < self.cooldown_until:
            pass
        elif self.status == "COOLING" and level and ons_before:
            self.resume(t)
        elif self.status in ("COOLING", "IDLE"):
            self.status = "IDLE"
            if self.ons >= rule.confirm_bars:
                self.start(t, level, told=True)
        else:
            if level > self.peak:
                self.peak, self.told, self.muted = level, True, False
                self.say(t, "ESCALATE", level)
            self.offs = self.offs + 1 if off else 0
            if self.offs >= rule.release_bars:
                self.finish(t)
            elif rule.max_episode_h and t - self.span_from >= rule.max_episode_h:
                if level:
                    self.span_from = t
                else:
                    self.finish(t)


rules = st.builds(
    EpisodeRule,
    event_type=st.just("LIQUIDATION_CASCADE"),
    cooldown_h=st.integers(0, 9),
    release_bars=st.integers(1, 3),
    confirm_bars=st.integers(1, 3),
    max_episode_h=st.one_of(st.none(), st.integers(1, 8)),
    hold_h=st.integers(0, 3),
    record_repeats=st.booleans(),
)
# Hours come in runs, as markets do; single draws per hour would hardly ever hold a state for long.
runs = st.lists(
    st.tuples(
        st.integers(1, 7), st.sampled_from([0, 0, 0, 1, 1, 2, 3]), st.booleans(), st.sampled_from([True] * 4 + [False])
    ),
    min_size=1,
    max_size=25,
)


def arrays(drawn: list[tuple[int, int, bool, bool]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    hours = [part for length, *part in drawn for _ in range(length)]
    level, release, valid = (np.array([h[i] for h in hours])[:, None] for i in range(3))
    return level.astype(np.int8), release.astype(bool), valid.astype(bool)


@given(rule=rules, drawn=runs)
@settings(max_examples=400, deadline=None)
def test_the_machine_equals_the_reference_for_any_input(
    rule: EpisodeRule, drawn: list[tuple[int, int, bool, bool]]
) -> None:
    level, release, valid = arrays(drawn)
    ts = grid(len(level))
    result = run_episodes(ts, ["BTC/USDT"], level, release, valid, rule)
    reference = Reference(rule)
    expected = [reference.hour(t, int(level[t, 0]), bool(release[t, 0]), bool(valid[t, 0])) for t in range(len(ts))]
    assert result.state[:, 0].tolist() == [state for state, _ in expected]
    ids = [None if onset is None else episode_id(rule.event_type, "BTC/USDT", ts[onset]) for _, onset in expected]
    assert result.episode_id[:, 0].tolist() == ids
    assert [
        (START + pd.Timedelta(hours=t), phase, n, ts[onset], "COOLDOWN" if muted else None)
        for t, phase, n, onset, muted in reference.log
    ] == list(
        result.events[["ts", "phase", "level", "onset_ts", "suppressed_reason"]].itertuples(index=False, name=None)
    )


@given(rule=rules, columns=st.lists(runs, min_size=1, max_size=3), data=st.data())
@settings(max_examples=200, deadline=None)
def test_cutting_anywhere_and_resuming_from_json_changes_nothing(
    rule: EpisodeRule, columns: list[list[tuple[int, int, bool, bool]]], data: st.DataObject
) -> None:
    parts = [arrays(drawn) for drawn in columns]
    n = min(len(part[0]) for part in parts)
    level, release, valid = (np.hstack([part[i][:n] for part in parts]) for i in range(3))
    keys = [f"K{k}/USDT" for k in range(len(columns))]
    ts = grid(n)
    whole = run_episodes(ts, keys, level, release, valid, rule, checkpoints=list(ts))
    cuts = sorted(data.draw(st.sets(st.integers(0, n), max_size=4)) | {0, n})
    state: dict[str, Any] | None = None
    pieces = []
    for a, b in itertools.pairwise(cuts):
        piece = run_episodes(
            ts[a:b], keys, level[a:b], release[a:b], valid[a:b], rule, state=state, checkpoints=[ts[b - 1]]
        )
        state = json.loads(json.dumps(piece.states[ts[b - 1]], allow_nan=False))
        assert state == whole.states[ts[b - 1]]
        pieces.append(piece)
    assert (np.concatenate([p.state for p in pieces]) == whole.state).all()
    assert (np.concatenate([p.episode_id for p in pieces]) == whole.episode_id).all()
    assert np.array_equal(np.concatenate([p.onset for p in pieces]).view(np.int64), whole.onset.view(np.int64))
    rows = [row for p in pieces for row in p.events.itertuples(index=False, name=None)]
    assert rows == list(whole.events.itertuples(index=False, name=None))


@given(rule=rules, drawn=runs)
@settings(max_examples=200, deadline=None)
def test_each_phase_and_level_of_an_episode_occurs_once_and_open_comes_first(
    rule: EpisodeRule, drawn: list[tuple[int, int, bool, bool]]
) -> None:
    level, release, valid = arrays(drawn)
    events = run_episodes(grid(len(level)), ["BTC/USDT"], level, release, valid, rule).events
    assert not events.duplicated(["episode_id", "phase", "level"]).any()
    for _, episode in events.groupby("episode_id"):
        assert "OPEN" not in set(episode["phase"].iloc[1:])
        assert episode["level"][episode["phase"] != "CLOSE"].is_monotonic_increasing
