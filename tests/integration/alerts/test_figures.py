"""Queue depth, latency and failures by endpoint, and the two verdicts of the asset checks."""

import pytest

from regimes_dagster.alerts.metrics import dead_verdict, figures, late_verdict, prometheus
from tests.servers.receivers import Receiver, answer


def read(outbox):
    with outbox.engine.connect() as connection:
        return figures(connection, outbox.now())


def test_the_figures_of_a_healthy_and_a_sick_endpoint(outbox, settings_for) -> None:
    with Receiver() as healthy, Receiver(answer(500)) as sick:
        settings = settings_for(healthy.url, {"url": sick.url, "name": 'si"ck'.replace('"', "")})
        outbox.add(settings, 4)
        outbox.now.move(7)
        outbox.deliver(settings)
    found = read(outbox)
    assert (found.waiting, found.n) == (4, 4)
    assert found.p50_s == pytest.approx(7, abs=2)
    assert found.p95_s is not None
    assert found.p95_s >= (found.p50_s or 0)
    by_name = {e.name: e for e in found.endpoints}
    assert (by_name["hook0"].delivered, by_name["hook0"].failed_attempts) == (4, 0)
    assert (by_name["sick"].waiting, by_name["sick"].failed_attempts) == (4, 4)
    text = prometheus(found)
    assert "regimes_alert_deliveries_waiting 4\n" in text
    assert f'regimes_alert_endpoint_failed_attempts{{endpoint="{settings.endpoints[1].label}"}} 4\n' in text
    assert "/hook" not in text
    assert found.as_metadata()["waiting"] == 4


def test_nothing_at_all_has_figures_too(outbox) -> None:
    found = read(outbox)
    assert (found.waiting, found.p50_s, found.oldest_due_s) == (0, None, 0.0)
    assert late_verdict(found)[0]
    assert dead_verdict(found)[0]
    assert "regimes_alert_latency_seconds" not in prometheus(found)


def test_a_delivery_that_is_15_minutes_late_turns_the_check_red(outbox, settings_for) -> None:
    settings = settings_for("https://hooks.example.com/a")
    outbox.add(settings)
    outbox.now.move(14 * 60)
    assert late_verdict(read(outbox))[0]
    outbox.now.move(2 * 60)
    good, text = late_verdict(read(outbox))
    assert not good
    assert "16 minutes late" in text
    assert "hooks.example.com" in text


def test_a_paused_endpoint_is_not_late_before_its_probe_is_due(outbox, settings_for) -> None:
    with Receiver(answer(500)) as receiver:
        settings = settings_for(receiver.url)
        outbox.add(settings, 6)
        outbox.deliver(settings)
    outbox.now.move(20)
    assert read(outbox).oldest_due_s == 0


def test_a_dead_delivery_or_a_switched_off_endpoint_turns_the_check_red(outbox, settings_for) -> None:
    with Receiver(answer(400)) as receiver, Receiver(answer(410)) as gone:
        settings = settings_for(receiver.url, gone.url)
        outbox.add(settings)
        outbox.deliver(settings)
    good, text = dead_verdict(read(outbox))
    assert not good
    assert "1 dead" in text
    assert "switched off (GONE)" in text
    assert "/hook" not in text
