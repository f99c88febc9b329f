"""Reading a gateway's execution log: nothing lost, nothing twice, whatever happens in between."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import DatabaseError, IntegrityError, transaction
from django.utils import timezone
from pydantic import ValidationError

from apps.audit.models import Event
from apps.core.actors import Actor
from apps.core.errors import GatewayUnavailable
from apps.gateways.commands import create_key
from apps.gateways.models import Environment, Gateway
from apps.telemetry import collection
from apps.telemetry.collection import read_log
from apps.telemetry.models import Execution, ExecutionCursor, ExecutionRollup, Resolution
from contract.admin_api import ExecutionPage, ExecutionRecord
from tests.telemetry.conftest import add_gateway
from tests.telemetry.logs import Log, record


def _cursor(gateway: Gateway) -> ExecutionCursor:
    return ExecutionCursor.objects.get(gateway=gateway)


def _counted(gateway: Gateway) -> int:
    """What the rollups of minutes sum up to; hours must say the same."""
    sums = {
        resolution: sum(
            ExecutionRollup.objects.filter(gateway=gateway, resolution=resolution).values_list("executions", flat=True)
        )
        for resolution in Resolution
    }
    assert len(set(sums.values())) == 1, sums
    return sums[Resolution.MINUTE]


def test_a_record_becomes_a_row_with_everything_the_gateway_said(eu_1: Gateway, log: Log) -> None:
    began = timezone.now() - timedelta(minutes=3)
    log.records = [
        record(
            1, started_at=began, status="failed", error_code="model_failed", channel="mcp", session_id="s-1",
            duration_ms=1234.5, input_tokens=7, output_tokens=0, registration="support-bot-production",
        )
    ]  # fmt: skip

    assert read_log(eu_1, log.page) == 1

    row = Execution.objects.get()
    assert (row.gateway, row.gateway_name, row.environment) == (eu_1, "eu-1", eu_1.environment)
    assert (row.registration, row.agent_slug) == ("support-bot-production", "support-bot")
    assert (row.status, row.error_code, row.channel, row.session_id) == ("failed", "model_failed", "mcp", "s-1")
    assert (row.started_at, row.duration_ms, row.input_tokens, row.output_tokens) == (began, 1234.5, 7, 0)
    assert (row.epoch, row.seq, row.execution_id, row.key_id) == ("e1", 1, "x000001", "abcdefgh01")


def test_reading_goes_on_where_it_ended(eu_1: Gateway, log: Log) -> None:
    log.add(3)
    assert read_log(eu_1, log.page) == 3
    log.add(2)
    assert read_log(eu_1, log.page) == 2

    assert read_log(eu_1, log.page) == 0
    assert list(Execution.objects.order_by("seq").values_list("seq", flat=True)) == [1, 2, 3, 4, 5]
    assert log.asked == [0, 3, 5]
    assert _counted(eu_1) == 5


def test_a_long_log_is_read_page_by_page_in_bounded_turns(
    eu_1: Gateway, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collection, "PAGES_A_TURN", 2)
    log.add(2_500)

    assert read_log(eu_1, log.page) == 2_000
    assert read_log(eu_1, log.page) == 500
    assert _counted(eu_1) == 2_500 == Execution.objects.count()


def test_a_crash_between_fetch_and_commit_loses_and_repeats_nothing(
    eu_1: Gateway, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.add(4)

    def crash(*_: object) -> None:
        raise DatabaseError("the connection was lost")

    # The rows are inserted by then, the rollups and the cursor are not.
    with monkeypatch.context() as broken:
        broken.setattr(collection, "add", crash)
        with pytest.raises(DatabaseError):
            read_log(eu_1, log.page)
    assert Execution.objects.count() == 0
    assert _cursor(eu_1).after == 0

    assert read_log(eu_1, log.page) == 4
    assert Execution.objects.count() == 4 == _counted(eu_1)


def test_two_readers_at_once_keep_each_record_once(eu_1: Gateway, log: Log) -> None:
    log.add(3)

    def overtaken(after: int) -> ExecutionPage:
        page = log.page(after)
        if after == 0:
            # The other reader fetches and commits the same page while this one still holds it in its hands.
            assert read_log(eu_1, log.page) == 3
        return page

    assert read_log(eu_1, overtaken) == 0
    assert Execution.objects.count() == 3 == _counted(eu_1)


def test_a_lost_log_is_a_fact_and_the_new_one_is_read_from_its_beginning(eu_1: Gateway, log: Log) -> None:
    log.add(5)
    read_log(eu_1, log.page)
    new = Log(epoch="e2")
    new.add(7)

    assert read_log(eu_1, new.page) == 7

    # It asked once with the old position, threw that page away, and began again.
    assert new.asked == [5, 0]
    assert Execution.objects.count() == 12 == _counted(eu_1)
    assert (_cursor(eu_1).epoch, _cursor(eu_1).after) == ("e2", 7)
    event = Event.objects.get(action="gateway.lose-execution-log")
    assert event.resource_id == str(eu_1.pk)
    assert event.actor_kind == "system"
    assert event.detail == {"previous_epoch": "e1", "read_until": 5, "epoch": "e2"}


def test_the_first_reading_of_a_log_is_no_loss(eu_1: Gateway) -> None:
    pruned = Log(record(901), record(902), first_seq=901)

    assert read_log(eu_1, pruned.page) == 2
    assert _cursor(eu_1).missed == 0
    assert not Event.objects.filter(action__in=["gateway.lose-execution-log", "gateway.drop-executions"]).exists()


def test_records_that_the_gateway_dropped_meanwhile_are_counted_as_missed(eu_1: Gateway, log: Log) -> None:
    log.add(2)
    read_log(eu_1, log.page)
    log.records = [record(10), record(11)]
    log.first_seq = 10

    assert read_log(eu_1, log.page) == 2
    assert _cursor(eu_1).missed == 7
    assert Event.objects.get(action="gateway.drop-executions").detail == {"count": 7, "epoch": "e1"}


def test_a_log_restored_from_a_backup_adds_only_what_is_new(eu_1: Gateway, log: Log) -> None:
    log.add(3)
    read_log(eu_1, log.page)
    read_log(eu_1, Log(record(1), epoch="e2").page)
    log.add(1)

    assert read_log(eu_1, log.page) == 1
    assert Execution.objects.filter(epoch="e1").count() == 4
    assert _counted(eu_1) == 5


def test_one_broken_record_does_not_stop_the_log_behind_it(eu_1: Gateway, log: Log) -> None:
    log.records = [
        record(1),
        record(2, session_id="with a \0 in it"),
        record(3, duration_ms=-1),
        record(4, execution_id="x" * 65),
        record(5, input_tokens=2**70),
        record(6, duration_ms=float("nan")),
        record(7, input_tokens=2**63 - 1),
        record(8, input_tokens=2**63 - 1),
        record(9, channel="a channel of next year"),
        record(10, release_digest="none"),
        record(11, started_at="9999-12-31T23:59:59-12:00"),
        record(12, started_at="0001-01-01T00:00:00+12:00"),
        record(13, duration_ms=1.7e308),
        record(14, registration=""),
        record(15),
    ]

    assert read_log(eu_1, log.page) == 2
    assert list(Execution.objects.order_by("seq").values_list("seq", flat=True)) == [1, 15]
    assert _counted(eu_1) == 2
    # The twelfth is only too old to be kept.
    assert (_cursor(eu_1).after, _cursor(eu_1).unreadable) == (15, 12)


@pytest.mark.parametrize(
    "members",
    [{"next_after": 2**70}, {"first_seq": 2**70}, {"epoch": ""}, {"epoch": "e" * 65}, {"items": [{"seq": 2**70}]}],
    ids=["too far", "began too far", "no epoch", "long epoch", "a position that is none"],
)
def test_a_page_that_no_cursor_can_hold_is_none(members: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ExecutionPage.model_validate({"epoch": "e1", "next_after": 0, "items": [], **members})


def test_what_a_record_may_say_fits_its_row() -> None:
    for name, field in ExecutionRecord.model_json_schema()["properties"].items():
        texts = [each for each in (field, *field.get("anyOf", ())) if each.get("type") == "string"]
        for text in texts:
            if "maxLength" in text:
                column = Execution._meta.get_field(name)
                assert text["maxLength"] <= (getattr(column, "max_length", None) or 0), name
            else:
                assert name == "started_at" or "pattern" in text, f"{name} is unbounded"


@pytest.mark.parametrize(
    "page",
    [
        ExecutionPage(epoch="e1", next_after=1, items=[record(2), record(1)]),
        ExecutionPage(epoch="e1", next_after=1, items=[record(1), record(1)]),
        ExecutionPage(epoch="e1", next_after=0, items=[record(1)]),
        ExecutionPage(epoch="e1", next_after=500, items=[]),
    ],
    ids=["descends", "repeats", "stands still", "jumps"],
)
def test_a_log_out_of_order_is_refused_and_the_cursor_says_why(eu_1: Gateway, page: ExecutionPage) -> None:
    with pytest.raises(GatewayUnavailable):
        read_log(eu_1, lambda _: page)

    assert Execution.objects.count() == 0
    assert (_cursor(eu_1).epoch, _cursor(eu_1).after) == ("", 0)
    assert _cursor(eu_1).problem.startswith("Its execution log")


def test_a_problem_is_gone_with_the_next_answer(eu_1: Gateway, log: Log) -> None:
    def silent(_: int) -> ExecutionPage:
        raise GatewayUnavailable("connection refused")

    with pytest.raises(GatewayUnavailable):
        read_log(eu_1, silent)
    assert _cursor(eu_1).problem == "connection refused"

    read_log(eu_1, log.page)
    assert _cursor(eu_1).problem == ""
    assert _cursor(eu_1).collected_at is not None


def test_what_is_older_than_it_would_be_kept_is_left_out(eu_1: Gateway, log: Log) -> None:
    log.records = [record(1, started_at=timezone.now() - timedelta(days=31)), record(2)]

    assert read_log(eu_1, log.page) == 1
    assert _cursor(eu_1).unreadable == 0
    assert _counted(eu_1) == 1


def test_using_a_key_is_noted_on_the_key(eu_1: Gateway, production: Environment, log: Log) -> None:
    key, _ = create_key(actor=Actor.system("tests"), environment=production, name="shop")
    early, late = timezone.now() - timedelta(minutes=9), timezone.now() - timedelta(minutes=1)
    log.records = [
        record(1, key_id=key.public_id, started_at=late),
        record(2, key_id=key.public_id, started_at=early),
        record(3, key_id="nobody-knows"),
    ]

    read_log(eu_1, log.page)

    key.refresh_from_db()
    assert key.last_used_at == late


def test_the_same_positions_of_two_gateways_are_two_executions(
    eu_1: Gateway, production: Environment, log: Log
) -> None:
    eu_2 = add_gateway(production, "eu-2", 18_002)
    log.add(2)

    assert read_log(eu_1, log.page) + read_log(eu_2, log.page) == 4
    assert _counted(eu_1) == 2 == _counted(eu_2)


def test_executions_outlive_their_gateway(eu_1: Gateway, log: Log) -> None:
    log.add(2)
    read_log(eu_1, log.page)

    eu_1.delete()

    assert {(row.gateway, row.gateway_name) for row in Execution.objects.all()} == {(None, "eu-1")}
    assert sum(ExecutionRollup.objects.values_list("executions", flat=True)) == 4
    assert not ExecutionCursor.objects.exists()


def test_the_database_refuses_the_same_record_twice(eu_1: Gateway, log: Log) -> None:
    log.add(1)
    read_log(eu_1, log.page)
    twin = Execution.objects.get()
    twin.pk = uuid4()

    with pytest.raises(IntegrityError), transaction.atomic():
        twin.save(force_insert=True)
