"""The json format: the guide's body, byte for byte the same, whatever the payload."""

import json
import math
import re

import jsonschema
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings

from regimes_dagster.alerts import contract
from regimes_dagster.alerts.body import GUIDE_KEYS, MAX_BYTES, envelope, json_body
from regimes_dagster.alerts.message import DATA_KEYS, webhook_id
from regimes_dagster.schemas import EVENT_TYPES, OPERATIONAL_EVENT_TYPES
from tests.unit.alerts import messages
from tests.unit.alerts.messages import message, odd_messages

FUNDING = message(
    event_type="FUNDING_ANOMALY", severity="WARNING", source="FUNDING",
    data={
        "reasons": ["Z-score anomaly: 2.30σ", "High volatility: 0.00042"],
        "anomaly_score": 2.8,
        "funding_rate": 0.00125,
        "funding_z_score": 2.3,
    },
)  # fmt: skip
CORRELATION = message(
    event_type="CORRELATION_BREAK", symbol="BTC/USDT/ETH/USDT", asset_pair="BTC/USDT/ETH/USDT", source="CORRELATION",
    data={"signal": "POTENTIAL_PAIR_TRADE", "return_correlation": -0.65, "divergence_strength": 0.65},
)  # fmt: skip


@pytest.mark.parametrize(
    ("made", "printed"),
    [(message(), messages.CASCADE), (FUNDING, messages.FUNDING), (CORRELATION, messages.CORRELATION)],
    ids=["cascade", "funding", "correlation"],
)
def test_the_guides_examples_come_out_as_printed(made, printed: str) -> None:
    wanted = json.loads(printed)
    body = json.loads(json_body(made))
    shown = json.dumps({key: body[key] for key in body if key in wanted}, indent=2, ensure_ascii=False)
    # json.dumps breaks lists into lines; the guide prints them in one.
    shown = re.sub(r"\[\s+(.*?)\s+\]", lambda m: "[" + re.sub(r",\s+", ", ", m[1]) + "]", shown, flags=re.DOTALL)
    assert shown == printed


def test_the_guides_request_body_comes_out_as_printed() -> None:
    lines = [line.strip() for line in messages.REQUEST.splitlines()[1:-2]]
    body = json.loads(json_body(message()))
    assert [f"{json.dumps(key)}: {json.dumps(value)}," for key, value in body.items() if key != "data"] == lines
    assert tuple(body) == GUIDE_KEYS


def test_the_body_has_the_guides_keys_in_its_order_and_no_other() -> None:
    assert tuple(json.loads(json_body(FUNDING))) == GUIDE_KEYS
    assert tuple(json.loads(json_body(CORRELATION))) == (*GUIDE_KEYS[:3], "asset_pair", *GUIDE_KEYS[3:])


def test_what_postgresql_does_to_the_order_of_keys_changes_no_byte() -> None:
    shuffled = dict(sorted(message().data.items(), key=lambda item: (len(item[0]), item[0])))
    assert json_body(message(data=shuffled)) == json_body(message())
    assert json_body(message(data={k: json.loads(json.dumps(v)) for k, v in shuffled.items()})) == json_body(message())


def test_numbers_that_json_does_not_know_become_null_and_sigma_stays_sigma() -> None:
    odd = {"a": math.nan, "b": math.inf, "c": [-math.inf, np.float64("nan"), pd.NaT, pd.NA], "d": np.int64(3), "e": "σ"}
    raw = json_body(message(data=odd))
    assert json.loads(raw)["data"] == {"a": None, "b": None, "c": [None] * 4, "d": 3, "e": "σ"}
    assert "σ".encode() in raw


@settings(max_examples=200, deadline=None)
@given(odd_messages())
def test_any_message_is_valid_utf8_json_under_20_kb(made) -> None:
    raw = json_body(made)
    assert len(raw) <= MAX_BYTES
    body = json.loads(raw.decode("utf-8"), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert tuple(body) == GUIDE_KEYS
    assert "\x00" not in json.dumps(body, ensure_ascii=False)
    assert raw == json_body(made)


def test_a_payload_that_is_too_long_says_that_it_was_cut() -> None:
    body = json.loads(json_body(message(data={**message().data, "log": ["x" * 900] * 60})))
    assert body["data"]["truncated"] is True
    assert body["data"]["total_liquidated_usd"] == 1500000


def test_ids_are_the_same_for_every_retry_and_differ_for_a_reminder() -> None:
    assert re.fullmatch(r"msg_[0-9a-f]{24}", webhook_id(message()))
    assert webhook_id(message()) == webhook_id(message(title="another text"))
    assert len({webhook_id(message()), webhook_id(message(reminder=1)), webhook_id(message(alert_id="b"))}) == 3


def test_there_is_a_schema_file_per_event_in_step_with_the_declarations() -> None:
    assert set(contract.DATA) == {*EVENT_TYPES, *OPERATIONAL_EVENT_TYPES, "TEST"}
    for event_type, keys in contract.DATA.items():
        assert tuple(keys) == DATA_KEYS[event_type]
        text = contract.path(event_type).read_text(encoding="utf-8")
        assert text == contract.render(event_type), "run python -m regimes_dagster.alerts.contract"
        jsonschema.Draft202012Validator.check_schema(json.loads(text))
    assert len(list(contract.FOLDER.glob("*.json"))) == len(contract.DATA)


@pytest.mark.parametrize("made", [message(), FUNDING, CORRELATION], ids=["cascade", "funding", "correlation"])
def test_the_guides_examples_satisfy_the_contract(made) -> None:
    jsonschema.validate(json.loads(json_body(made)), contract.json_schema(made.event_type))


def test_the_contract_refuses_another_key_and_a_wrong_type() -> None:
    body = envelope(message())
    for wrong in ({**body, "episode_id": "x"}, {**body, "data": {**body["data"], "severity": "high"}}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, contract.json_schema("LIQUIDATION_CASCADE"))
