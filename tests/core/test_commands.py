"""What the one door does for every command: lock, decide, run, record, commit, in this order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connection, transaction

from apps.accounts.models import User
from apps.audit.chain import verify
from apps.audit.models import Event
from apps.core.actors import Actor
from apps.core.commands import (
    at_close,
    bookkeeping,
    command,
    completing,
    note,
    record_system_event,
    registry,
    require,
)
from apps.core.errors import Conflict, Denied, NotFound
from tests.harness.world import Inhabited

SYSTEM = Actor.system("tests")


@pytest.fixture(autouse=True)
def _registry_of_the_product() -> Iterator[None]:
    """Commands made by a test are gone after it."""
    before = dict(registry)
    yield
    registry.clear()
    registry.update(before)


def _rename(action: str = "user.rename", then: Callable[[User], object] = lambda user: None) -> Callable[..., User]:
    @command(action, on="user")
    def rename(*, actor: Actor, user: User, name: str) -> User:
        user.name = name
        user.save(update_fields=["name"])
        then(user)
        return user

    return rename


def _new_events(since: int) -> list[Event]:
    return list(Event.objects.filter(sequence__gt=since).order_by("sequence"))


@pytest.fixture
def mark(acme: Inhabited) -> int:
    last = Event.objects.order_by("-sequence").first()
    return last.sequence if last else 0


def test_the_row_is_read_anew_and_the_event_says_what_changed(acme: Inhabited, mark: int) -> None:
    stale = User.objects.get(pk=acme.users["viewer"].pk)
    User.objects.filter(pk=stale.pk).update(name="Changed meanwhile")

    returned = _rename()(actor=SYSTEM, user=stale, name="Vera")

    assert returned is not stale
    [event] = _new_events(mark)
    assert event.changes == {"name": ["Changed meanwhile", "Vera"]}
    assert (event.resource_type, event.resource_id, event.resource_label) == ("user", str(stale.pk), stale.email)


def test_a_row_that_is_gone_is_not_found_and_leaves_nothing(acme: Inhabited, mark: int) -> None:
    ghost = User(email="ghost@acme.example")
    with pytest.raises(NotFound):
        _rename()(actor=SYSTEM, user=ghost, name="Casper")
    assert _new_events(mark) == []


def test_an_error_leaves_neither_change_nor_event(acme: Inhabited, mark: int) -> None:
    def fail(_: User) -> None:
        raise Conflict("no")

    with pytest.raises(Conflict):
        _rename(then=fail)(actor=SYSTEM, user=acme.users["viewer"], name="Vera")
    assert User.objects.get(pk=acme.users["viewer"].pk).name != "Vera"
    assert _new_events(mark) == []


def test_a_nested_command_is_authorized_for_itself_and_linked(acme: Inhabited, mark: int) -> None:
    inner = _rename("user.inner")
    outer = _rename("user.outer", then=lambda user: inner(actor=SYSTEM, user=user, name="Inner"))

    outer(actor=SYSTEM, user=acme.users["viewer"], name="Outer")

    first, second = _new_events(mark)
    assert [first.action, second.action] == ["user.outer", "user.inner"]
    assert (first.parent, second.parent) == (None, first.id)


def test_a_nested_denial_undoes_all_and_is_recorded_without_its_vanished_parent(acme: Inhabited, mark: int) -> None:
    owner = acme.actor("owner")
    inner = _rename("user.inner")
    outer = _rename("user.outer", then=lambda user: inner(actor=owner, user=user, name="Inner"))

    with pytest.raises(Denied):
        outer(actor=SYSTEM, user=acme.users["viewer"], name="Outer")

    [denial] = _new_events(mark)
    assert (denial.action, denial.outcome, denial.parent) == ("user.inner", "denied", None)
    assert denial.detail["during"] == "user.outer"
    assert User.objects.get(pk=acme.users["viewer"].pk).name not in ("Inner", "Outer")


def test_a_nested_denial_that_the_body_survives_is_recorded_beside_it(acme: Inhabited, mark: int) -> None:
    owner = acme.actor("owner")
    inner = _rename("user.inner")

    def try_it(user: User) -> None:
        with pytest.raises(Denied):
            inner(actor=owner, user=user, name="Inner")

    _rename("user.outer", then=try_it)(actor=SYSTEM, user=acme.users["viewer"], name="Outer")

    succeeded, denied = _new_events(mark)
    assert (succeeded.action, denied.action, denied.outcome) == ("user.outer", "user.inner", "denied")
    assert denied.parent == succeeded.id


def test_a_refusal_by_require_in_a_body_is_recorded_once(acme: Inhabited, mark: int) -> None:
    viewer = acme.actor("viewer")
    refused = _rename(then=lambda user: require(viewer, "user.grant-ownership"))

    with pytest.raises(Denied):
        refused(actor=SYSTEM, user=acme.users["builder"], name="Bob")

    [denial] = _new_events(mark)
    assert (denial.action, denial.outcome) == ("user.grant-ownership", "denied")
    assert denial.detail["during"] == "user.rename"
    assert "user.grant-ownership" in denial.detail["reason"]


def test_a_failed_nested_command_takes_its_events_along(acme: Inhabited, mark: int) -> None:
    def fail(_: User) -> None:
        raise Conflict("no")

    inner = _rename("user.inner", then=fail)

    def go_on(user: User) -> None:
        with pytest.raises(Conflict):
            inner(actor=SYSTEM, user=user, name="Inner")

    _rename("user.outer", then=go_on)(actor=SYSTEM, user=acme.users["viewer"], name="Outer")

    assert [event.action for event in _new_events(mark)] == ["user.outer"]
    assert User.objects.get(pk=acme.users["viewer"].pk).name == "Outer"


def test_a_command_that_runs_on_commit_opens_a_door_of_its_own(live_organization: Inhabited) -> None:
    """What ran on commit used to meet the closed door: its event was buffered there and lost."""
    user = live_organization.users["viewer"]
    later = _rename("user.later")
    at_once = _rename(
        "user.at-once",
        then=lambda row: transaction.on_commit(lambda: later(actor=SYSTEM, user=row, name="Later") and None),
    )

    at_once(actor=SYSTEM, user=user, name="At once")

    actions = list(Event.objects.order_by("-sequence").values_list("action", "parent")[:2])
    assert actions == [("user.later", None), ("user.at-once", None)]
    assert User.objects.get(pk=user.pk).name == "Later"
    assert verify().broken_at is None


def test_note_adds_to_the_event_of_the_command_under_way(acme: Inhabited, mark: int) -> None:
    inner = _rename("user.inner", then=lambda _: note(depth=2))

    def both(user: User) -> None:
        note(depth=1)
        inner(actor=SYSTEM, user=user, name="Inner")
        note(after=True)

    _rename("user.outer", then=both)(actor=SYSTEM, user=acme.users["viewer"], name="Outer")

    outer, nested = _new_events(mark)
    assert outer.detail == {"depth": 1, "after": True}
    assert nested.detail == {"depth": 2}


def test_note_outside_of_a_command_is_a_mistake(acme: Inhabited) -> None:
    with pytest.raises(ImproperlyConfigured):
        note(anything=1)


def test_at_close_runs_once_per_key_before_the_log_is_numbered(acme: Inhabited, mark: int) -> None:
    ran: list[int] = []

    def remember() -> None:
        ran.append(len(_new_events(mark)))

    def twice(_: User) -> None:
        at_close(remember, key="one")
        at_close(remember, key="one")
        assert ran == []

    _rename(then=twice)(actor=SYSTEM, user=acme.users["viewer"], name="Vera")
    assert ran == [0]

    at_close(remember, key="one")
    assert ran == [0, 1], "outside of a command it runs at once"


def test_completing_sees_the_result_of_the_outermost_command_once(acme: Inhabited) -> None:
    inner = _rename("user.inner")
    outer = _rename("user.outer", then=lambda user: inner(actor=SYSTEM, user=user, name="Inner"))
    seen: list[Any] = []

    with completing(seen.append):
        result = outer(actor=SYSTEM, user=acme.users["viewer"], name="Outer")
        _rename("user.next")(actor=SYSTEM, user=acme.users["viewer"], name="Next")
    outer(actor=SYSTEM, user=acme.users["viewer"], name="Outside")

    assert seen == [result]


def test_an_error_while_completing_undoes_the_command(acme: Inhabited, mark: int) -> None:
    def fail(_: object) -> None:
        raise Conflict("too late")

    with pytest.raises(Conflict), completing(fail):
        _rename()(actor=SYSTEM, user=acme.users["viewer"], name="Vera")

    assert _new_events(mark) == []
    assert User.objects.get(pk=acme.users["viewer"].pk).name != "Vera"


def test_bookkeeping_numbers_its_events_after_everything_else(acme: Inhabited, mark: int) -> None:
    user = acme.users["viewer"]
    ran: list[int] = []
    with bookkeeping():
        record_system_event("user.observe", user, seen=True)
        at_close(lambda: ran.append(len(_new_events(mark))), key="due")
        assert _new_events(mark) == []

    assert ran == [0]
    [event] = _new_events(mark)
    assert (event.action, event.actor_kind, event.detail) == ("user.observe", "system", {"seen": True})


def test_bookkeeping_inside_a_command_is_part_of_it(acme: Inhabited, mark: int) -> None:
    def observe(user: User) -> None:
        with bookkeeping():
            record_system_event("user.observe", user)

    _rename(then=observe)(actor=SYSTEM, user=acme.users["viewer"], name="Vera")

    outer, observed = _new_events(mark)
    assert (outer.action, observed.action, observed.parent) == ("user.rename", "user.observe", outer.id)


def test_bookkeeping_that_fails_leaves_nothing(acme: Inhabited, mark: int) -> None:
    with pytest.raises(RuntimeError), bookkeeping():
        record_system_event("user.observe", acme.users["viewer"])
        raise RuntimeError
    assert _new_events(mark) == []


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (lambda actor: None, "keyword-only"),
        (lambda *, user, actor: None, "actor"),
    ],
)
def test_a_command_with_another_signature_is_refused_at_import(function: Any, problem: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=problem):
        command("user.odd")(function)


def test_a_command_open_to_strangers_must_say_why() -> None:
    with pytest.raises(ImproperlyConfigured, match="why"):
        command("user.odd", open=True)(lambda *, actor: None)


def test_a_command_makes_no_needless_savepoint(acme: Inhabited, django_assert_num_queries: Any) -> None:
    """Two round trips for each change add up; the door itself is the transaction."""
    user = acme.users["viewer"]
    rename = _rename()
    rename(actor=SYSTEM, user=user, name="warm")
    with connection.execute_wrapper(_count := _Savepoints()):
        rename(actor=SYSTEM, user=user, name="counted")
    # The test's own transaction turns the door's into a savepoint; the other is the log's.
    assert _count.made <= 2


class _Savepoints:
    made = 0

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        self.made += sql.startswith("SAVEPOINT")
        return execute(sql, params, many, context)
