"""The log as evidence: PostgreSQL refuses to change it, and whatever was changed all the same is found."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import DatabaseError, connection, connections, transaction

from apps.accounts.commands import update_profile
from apps.accounts.models import User
from apps.audit.chain import verify
from apps.audit.models import ChainHead, Event
from apps.core.actors import Actor
from apps.core.commands import bookkeeping, record_system_event
from apps.core.tenancy import tenant
from apps.gateways import due
from apps.gateways.commands import create_key, register_gateway
from apps.gateways.models import Environment
from tests.harness.world import Inhabited

SYSTEM = Actor.system("tests")
FORBIDDEN = (
    "UPDATE audit_event SET action = 'nothing'",
    "DELETE FROM audit_event",
    "TRUNCATE audit_event",
    "TRUNCATE audit_event CASCADE",
)


@pytest.mark.parametrize("statement", FORBIDDEN)
def test_the_application_role_cannot_change_the_log(statement: str, acme: Inhabited) -> None:
    with pytest.raises(DatabaseError, match="permission denied"), transaction.atomic():
        connection.cursor().execute(statement)


@pytest.mark.parametrize("statement", FORBIDDEN)
def test_not_even_the_owner_role_changes_the_log(statement: str, live_organization: Inhabited) -> None:
    with (
        pytest.raises(DatabaseError, match=r"Cannot update|append-only"),
        _as_owner(live_organization) as sql,
    ):
        sql(statement)
    assert Event.objects.exists()


@pytest.mark.parametrize("statement", ["ALTER TABLE audit_event DISABLE TRIGGER ALL", "DROP TABLE audit_event"])
def test_the_application_role_cannot_take_the_guard_away(statement: str, acme: Inhabited) -> None:
    with pytest.raises(DatabaseError, match="must be owner"), transaction.atomic():
        connection.cursor().execute(statement)


@contextmanager
def _as_owner(world: Inhabited) -> Iterator[Any]:
    """Statements of the owner role in the organization's schema, committed together."""
    owner = connections["owner"]
    owner.set_schema(world.schema)  # type: ignore[attr-defined]
    try:
        with transaction.atomic(using="owner"), owner.cursor() as cursor:
            yield cursor.execute
    finally:
        owner.set_schema_to_public()  # type: ignore[attr-defined]
        owner.close()


def _tamper(world: Inhabited, *statements: str) -> None:
    """What only somebody with the owner's role can do: switch the guard off, change the log, switch it on."""
    with _as_owner(world) as sql:
        sql("ALTER TABLE audit_event DISABLE TRIGGER USER")
        for statement in statements:
            sql(statement)
        sql("ALTER TABLE audit_event ENABLE TRIGGER USER")


@pytest.fixture
def log(live_organization: Inhabited) -> Inhabited:
    """An organization whose log ends with six changes of a name."""
    for number in range(6):
        update_profile(actor=SYSTEM, user=live_organization.users["viewer"], name=f"Name {number}")
    assert verify().broken_at is None
    return live_organization


def _last() -> int:
    return int(ChainHead.objects.get().sequence)


def test_an_altered_event_is_found(log: Inhabited) -> None:
    target = _last() - 2
    _tamper(log, f"UPDATE audit_event SET actor_label = 'somebody else' WHERE sequence = {target}")
    found = verify()
    assert (found.broken_at, found.events) == (target, target - 1)
    assert "altered" in found.problem


@pytest.mark.parametrize("column", ["changes", "detail"])
def test_an_altered_document_in_an_event_is_found(column: str, log: Inhabited) -> None:
    _tamper(log, f"""UPDATE audit_event SET {column} = '{{"forged": true}}' WHERE sequence = {_last()}""")
    assert verify().broken_at == _last()


def test_a_deleted_event_is_found(log: Inhabited) -> None:
    target = _last() - 2
    _tamper(log, f"DELETE FROM audit_event WHERE sequence = {target}")
    assert verify().broken_at == target
    assert "missing" in verify().problem


def test_the_first_event_cannot_be_cut_off(log: Inhabited) -> None:
    _tamper(log, "DELETE FROM audit_event WHERE sequence = 1")
    assert verify().broken_at == 1


def test_a_truncated_tail_is_found(log: Inhabited) -> None:
    last = _last()
    _tamper(log, f"DELETE FROM audit_event WHERE sequence > {last - 2}")
    assert verify().broken_at == last - 1
    assert "last events are missing" in verify().problem


def test_an_emptied_log_is_found(log: Inhabited) -> None:
    _tamper(log, "TRUNCATE audit_event")
    assert verify().broken_at == 1


def test_a_log_that_lost_its_head_is_found(log: Inhabited) -> None:
    last = _last()
    _tamper(log, "DELETE FROM audit_chainhead")
    assert verify().broken_at is not None
    assert verify().events == last


def test_an_inserted_event_is_found(log: Inhabited) -> None:
    """The inserted row brings a hash that fits itself; it still cannot be anybody's predecessor."""
    last = _last()
    _tamper(
        log,
        f"UPDATE audit_event SET sequence = {last + 1} WHERE sequence = {last}",
        _copy(last - 1, as_=last),
        f"UPDATE audit_chainhead SET sequence = {last + 1}",
    )
    assert verify().broken_at == last


def test_an_event_appended_behind_the_head_is_found(log: Inhabited) -> None:
    """It chains correctly to the last event, hash included: only the head does not know of it."""
    forged = Event.objects.get(sequence=_last())
    record_system_event("user.observe", log.users["viewer"])
    genuine = Event.objects.get(sequence=_last())
    _tamper(
        log,
        f"UPDATE audit_chainhead SET sequence = {forged.sequence}, hash = '{forged.hash}'",
    )
    assert verify().broken_at == genuine.sequence
    assert "head" in verify().problem


def test_events_in_another_order_are_found(log: Inhabited) -> None:
    last = _last()
    _tamper(
        log,
        f"UPDATE audit_event SET sequence = {last + 100} WHERE sequence = {last - 2}",
        f"UPDATE audit_event SET sequence = {last - 2} WHERE sequence = {last - 1}",
        f"UPDATE audit_event SET sequence = {last - 1} WHERE sequence = {last + 100}",
    )
    assert verify().broken_at == last - 2


def _copy(sequence: int, *, as_: int) -> str:
    columns = [field.column for field in Event._meta.concrete_fields if field.name not in ("sequence", "id")]
    return (
        f"INSERT INTO audit_event (sequence, id, {', '.join(columns)})"
        f" SELECT {as_}, gen_random_uuid(), {', '.join(columns)} FROM audit_event WHERE sequence = {sequence}"
    )


def test_whatever_json_a_command_meets_is_kept_and_still_verifies(acme: Inhabited) -> None:
    """Numbers that PostgreSQL or JCS would write differently, and text that neither can hold."""
    odd: dict[str, Any] = {
        "huge": 2**63 + 1,
        "float": 1e20,
        "small": 5e-324,
        "negative zero": -0.0,
        "third": 1 / 3,
        "infinite": float("inf"),
        "nan": float("nan"),
        "nul": "a\x00b",
        "half a pair": "x\ud800y",
        "emoji": "🙂",
        "nested": [{"key\x00": [1, None, True, 1.0]}],
    }
    record_system_event("user.observe", acme.users["viewer"], **odd)
    assert verify().broken_at is None
    kept = Event.objects.order_by("-sequence")[0].detail
    assert kept["huge"] == str(2**63 + 1)
    assert kept["nul"] == "ab"


def test_eight_threads_leave_a_log_without_gaps_or_deadlocks(live_organization: Inhabited) -> None:
    """Commands on different rows and on the same row, at once: numbered without gap, every one of them."""
    users = list(live_organization.users.values())
    before = _last()
    problems: list[BaseException] = []

    def work(number: int) -> None:
        try:
            with tenant(live_organization.schema):
                for turn in range(20):
                    user = users[(number + turn) % len(users)] if turn % 2 else users[0]
                    update_profile(actor=SYSTEM, user=User(pk=user.pk), name=f"{number} {turn}")
        except BaseException as problem:
            problems.append(problem)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    checks = [verify() for _ in range(5)]
    for thread in threads:
        thread.join(timeout=120)

    assert problems == []
    assert [check.problem for check in checks] == [""] * 5, "a log that is being written to is no broken log"
    assert _last() == before + 160
    assert list(Event.objects.order_by("sequence").values_list("sequence", flat=True)) == list(range(1, _last() + 1))
    assert verify().broken_at is None


def test_commands_and_bookkeeping_do_not_wait_for_each_other_in_a_circle(live_organization: Inhabited) -> None:
    """Both lock the tenant's due work and the head of the log; locked as the code calls them, the orders differ."""
    environment = Environment.objects.get(slug="development")
    register_gateway(
        actor=SYSTEM, environment=environment, name="eu-1", address="http://127.0.0.1:9", deploy_token="t" * 20
    )
    user = live_organization.users["viewer"]
    problems: list[BaseException] = []

    def command(number: int, turn: int) -> None:
        create_key(actor=SYSTEM, environment=environment, name=f"key {number} {turn}")

    def keep_books(number: int, turn: int) -> None:
        with bookkeeping():
            record_system_event("user.observe", user, number=number, turn=turn)
            due.lower()

    def work(number: int) -> None:
        try:
            with tenant(live_organization.schema):
                for turn in range(15):
                    (command if number % 2 else keep_books)(number, turn)
        except BaseException as problem:
            problems.append(problem)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert problems == []
    assert Event.objects.filter(action="user.observe").count() == 45
    assert Event.objects.filter(action="caller-key.create").count() == 45
    assert verify().broken_at is None


def test_a_rollback_leaves_no_gap(acme: Inhabited) -> None:
    before = _last()
    with pytest.raises(RuntimeError), transaction.atomic():
        record_system_event("user.observe", acme.users["viewer"])
        raise RuntimeError
    record_system_event("user.observe", acme.users["viewer"])
    assert _last() == before + 1
    assert verify().broken_at is None
